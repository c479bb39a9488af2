"""Talking to people: what they are told is text and no markup, and nobody having to hear it stops nothing."""

import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mae_hydra.names import harmless

if TYPE_CHECKING:
    from rich.console import Console


def plain_console(**options: Any) -> "Console":
    """A console of rich that takes every text as it stands: `[/x]` is no markup, `:car:` no picture."""
    from rich.console import Console

    return Console(**{"markup": False, "emoji": False, "highlight": False} | options)


def say_error(sentence: str) -> None:
    """Print it as an error, in lines of whole words on a terminal, in one for a file or another program."""
    print(in_words(f"error: {harmless(sentence)}", sys.stderr), file=sys.stderr)


def in_words(text: str, stream: Any) -> str:
    """Break a text into lines of whole words where `stream` is a terminal; indented lines stay as they are."""
    if not stream.isatty():
        return text
    width = shutil.get_terminal_size().columns
    whole: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    lines = [line if line[:1].isspace() else textwrap.fill(line, width, **whole) for line in text.split("\n")]
    return "\n".join(lines)


def filled(line: str, width: int, between: str = " · ") -> str:
    """Break a line between its parts where it is wider than the terminal; what follows is indented."""
    first, *others = line.split(between)
    lines = [first]
    for part in others:
        if len(lines[-1]) + len(between) + len(part) > width:
            lines.append(f"  {part}")
        else:
            lines[-1] += between + part
    return "\n".join(lines)


def ago(seconds: float | None) -> str:
    """How long ago something was, as `90 s`, `12 min`, `3 h`, `5 d`; empty where it is not known."""
    if seconds is None:
        return ""
    for unit, length, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < most:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def upload_line(directory: Path) -> str:
    """What uploads all that W&B has kept offline of a run, or of the jobs of a sweep; empty where there is nothing."""
    parts = "wandb/offline-run-*"
    found = [levels + parts for levels in ("", "*/", "*/*/") if any(directory.glob(levels + parts))]
    return f"wandb sync {' '.join(f'{shlex.quote(str(directory))}/{each}' for each in found)}" if found else ""


def watched() -> bool:
    """Whether a progress bar is drawn: by the main process, where a person looks at a terminal."""
    from mae_hydra.distributed import is_main  # which imports torch, and much that is said needs none

    return is_main() and sys.stdout.isatty()


class _Lasting:
    """A stream that lets go what cannot be written, and is otherwise the one that it stands for."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            try:
                self._stream.write(text)
            except UnicodeEncodeError:  # a file name that is no text, or a terminal that knows few letters
                encoding = self._stream.encoding
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Within, `print` cannot fail: the terminal may be closed, the reader of a pipe gone, the disk of a log full."""
    before = sys.stdout, sys.stderr
    wrapped: list[Any] = [stream if stream is None else _Lasting(stream) for stream in before]
    sys.stdout, sys.stderr = wrapped
    try:
        yield
    finally:
        for stream in wrapped:
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before
