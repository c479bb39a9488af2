"""Which process this is, and what several processes add up.

Outside torchrun everything here is a no-op for one process. Under torchrun, `RANK`, `LOCAL_RANK` and `WORLD_SIZE` come
from the environment, and `session` joins the processes (NCCL on CUDA, Gloo on CPU).
"""

import gc
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    """Number of this process among all of them."""
    return int(os.environ.get("RANK", 0))


def local_rank() -> int:
    """Number of this process on its machine: which of the machine's devices is its own."""
    return int(os.environ.get("LOCAL_RANK", 0))


def world_size() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_main() -> bool:
    """Whether this process writes files and talks to people."""
    return rank() == 0


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Add `tensor` up over all processes, in place; every process gets the same bits."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether `flag` holds in any process; with several processes this waits for the device."""
    if world_size() == 1:
        return flag
    return bool(all_reduce_sum(torch.tensor(int(flag), device=device)).item())


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Make `tensors`, in place, what they are in the main process."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor.detach(), src=0)


def broadcast_object(value: Any) -> Any:
    """What `value` is in the main process (a run directory, say)."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gather_objects(value: Any) -> list[Any]:
    """What `value` is in each process, by rank."""
    every = [value]
    if world_size() > 1:
        every = [None] * world_size()
        dist.all_gather_object(every, value)
    return every


def barrier() -> None:
    """Wait until every process has come here."""
    if world_size() > 1:
        dist.barrier()


@contextmanager
def session(device: torch.device) -> Iterator[None]:
    """Join the processes that torchrun started, and part again, whatever happens in between."""
    if world_size() == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
        dist.init_process_group("nccl", device_id=device)
    else:
        dist.init_process_group("gloo")
    try:
        yield
    finally:
        # What still holds the group (DDP stands in a cycle) would keep Gloo's threads beyond the interpreter's end, and
        # one that lets go of a tensor there aborts the process.
        gc.collect()
        dist.destroy_process_group()
