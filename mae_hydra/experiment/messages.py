"""What a run says: on the screen and in train.log."""

import logging
import sys

from mae_hydra.distributed import is_main
from mae_hydra.terminal import in_words

log = logging.getLogger("mae_hydra")


def say(*lines: str) -> None:
    """Print `lines`, and have them in train.log."""
    for line in lines:
        log.info(line)
        print(in_words(line, sys.stdout), flush=True)


def warn(lines: list[str], word: str) -> None:
    """Print `lines` behind a `word` ("note", "warning"), and log them; the main process alone does."""
    for line in lines if is_main() else ():
        log.warning(line)
        print(in_words(f"{word}: {line}", sys.stdout), flush=True)
