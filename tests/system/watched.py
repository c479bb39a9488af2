"""What a piece of the program imports, starts, opens and writes, as Python's own audit events tell."""

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Nobody's configuration names these: what they import lazily, and Python's own, is not somebody else's wish.
OURS = {
    "mae_hydra", "torch", "torchvision", "timm", "torchmetrics", "numpy", "PIL", "hydra", "omegaconf", "yaml", "antlr4",
    "safetensors", "rich", "matplotlib", "jaxtyping", "beartype", "hydra_plugins", "fsspec", "huggingface_hub",
}  # fmt: skip
STARTS = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "pty.spawn",
)
REACHES = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "urllib.Request", "webbrowser.open")
CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree")

_watching: list[list[str]] = []


@functools.cache
def _begin() -> None:
    """Once, and not before it is asked for: a hook cannot be taken back, and Python calls it for every `id(…)`."""
    sys.addaudithook(_note)


def _note(event: str, arguments: tuple) -> None:
    if not _watching:
        return
    if event == "import":
        if arguments[0].partition(".")[0] not in OURS:
            _watching[-1].append(f"import {arguments[0]}")
    elif event == "open":
        mode, path = arguments[1], arguments[0]
        if isinstance(mode, str) and set(mode) & set("wax+") and str(path) != "/dev/null":
            _watching[-1].append(f"write {path}")
    elif event in (*STARTS, *REACHES, *CHANGES):
        _watching[-1].append(f"{event} {arguments[:1]}")


@contextmanager
def watched() -> Iterator[list[str]]:
    """What happens meanwhile that nothing read from a file may make happen."""
    found: list[str] = []
    _begin()
    _watching.append(found)
    try:
        yield found
    finally:
        _watching.remove(found)


def evil_module(folder: Path, name: str = "evilmod") -> Path:
    """A module in `folder` that leaves evidence when it is imported; returns where."""
    evidence = folder / "evidence"
    (folder / f"{name}.py").write_text(f"open({str(evidence)!r}, 'w').close()\ndef x(*_, **__): pass\nclass X: pass\n")
    return evidence
