"""Whether the labels of a data set can mean what is configured, and whether they name the classes of the model."""

import logging

from mae_hydra.data import ImageData, check_labels
from mae_hydra.distributed import broadcast_object, is_main
from mae_hydra.errors import UserError

log = logging.getLogger("mae_hydra")


def say_doubts(data: ImageData, *, training: bool = True) -> None:
    """Look at a sample of the class maps: nonsense is a UserError in every process, doubt a line on the console."""
    verdict: list[str] | UserError = []
    if is_main():
        try:
            verdict = check_labels(data, training=training)
        except UserError as error:
            verdict = error
    verdict = broadcast_object(verdict)
    if isinstance(verdict, UserError):
        raise verdict
    say(verdict)


def say(lines: list[str]) -> None:
    """To the console and the log; by the main process only."""
    for line in lines if is_main() else ():
        log.warning(line)
        print(f"warning: {line}", flush=True)
