"""One file after another, written whole or not at all, on a thread of its own if wanted."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from mae_hydra import atomic


class Writer:
    """Writes what `torch.save` takes. In the `background` it works on a copy, so that training may go on at once."""

    def __init__(self, *, background: bool) -> None:
        self.background = background
        self._thread: ThreadPoolExecutor | None = None
        self._under_way: Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a write has begun that nobody has waited for."""
        return self._under_way is not None

    def begin(self, content: Any, paths: list[Path]) -> None:
        """Have `content` at every one of `paths`, in this order, as one file; `end` tells what became of it."""
        assert not self.busy
        if not self.background:
            self._under_way = Future()
            try:
                write(content, paths)
            except (OSError, RuntimeError) as error:
                self._under_way.set_exception(error)
            else:
                self._under_way.set_result(None)
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        copied = tree_map_only(Tensor, lambda tensor: tensor.detach().to("cpu", copy=True), content)
        self._under_way = self._thread.submit(write, copied, paths)

    def end(self) -> OSError | None:
        """Wait for what is under way; what kept it from being written, or None."""
        assert self._under_way is not None
        under_way, self._under_way = self._under_way, None
        try:
            under_way.result()
        except OSError as error:
            return error
        except RuntimeError as error:  # torch's own writer is confused where the disk is full
            cause = error.__context__
            return cause if isinstance(cause, OSError) else OSError(str(error).splitlines()[0])
        return None


def write(content: Any, paths: list[Path]) -> None:
    """Write once, flush to the disk, and put it in the place of every path, each of which is whole at any moment."""
    folder = paths[0].parent
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".*.partial"):  # of a crash, on whichever machine: the folder is this run's alone
        left.unlink(missing_ok=True)
    with atomic.writing(paths[-1]) as temporary:
        with open(temporary, "wb") as file:
            torch.save(content, file)
        atomic.sync(temporary)
        for path in paths[:-1]:
            atomic.link(temporary, path)
