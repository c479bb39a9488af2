"""Work handed out to loading processes, and what they made, in order; without processes, one after the other.

An error about a file travels from the worker as a value and is raised in the main process as it was; DataLoader alone
would wrap it in the worker's traceback.
"""

import os
import signal
import sys
import warnings
from collections.abc import Generator, Iterable, Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, get_worker_info

from mae_hydra.errors import UserError
from mae_hydra.parent import end_with


def serve(
    samples: Any, keys: Iterable[Any], collate: Any, num_workers: int, pin: bool, prefetch: int = 2
) -> Generator[Any]:
    """What `collate` makes of the samples of each list of keys. The workers end with the iterator."""
    with warnings.catch_warnings():
        # More workers than cores pay off on slow storage, and are the user's choice.
        warnings.filterwarnings("ignore", message="This DataLoader will create", category=UserWarning)
        # Python 3.12 warns of forking a process with threads; the children run none of torch's, they have one thread.
        warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
        batches = iter(
            DataLoader(
                samples,
                batch_sampler=keys,
                collate_fn=_HandedOver(collate),
                num_workers=num_workers,
                prefetch_factor=prefetch if num_workers else None,
                pin_memory=pin,
                worker_init_fn=partial(_obey_the_main_process_only, os.getpid()),
                generator=torch.Generator(),  # its seeds are not used, and the global generator stays untouched
            )
        )
    try:
        for batch in batches:
            if isinstance(batch, UserError):
                raise batch
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(
            f"a loading process died ({str(error).splitlines()[0]}): the system ends one where memory or "
            "/dev/shm runs out; use fewer with data.num_workers, or smaller pictures; the run goes on from its last "
            "checkpoint"
        ) from error
    finally:
        del batches  # a traceback that holds this frame must not keep the workers alive


class _HandedOver:
    """What `collate` makes, in memory that the main process shares.

    The thread that hands it over would put it there as well; but where there is no room it only prints that, and the
    main process would wait for ever.
    """

    def __init__(self, collate: Any) -> None:
        self._collate = collate

    def __call__(self, items: Any) -> Any:
        made = self._collate(items)
        if get_worker_info() is None:
            return made
        try:
            for tensor in _tensors(made):
                tensor.share_memory_()
        except RuntimeError as error:
            return UserError(
                f"a loading process has no room for a batch ({str(error).splitlines()[0]}); use fewer of them with "
                "data.num_workers (0: none), or give more shared memory (docker run --shm-size=8g)"
            )
        return made


def _tensors(made: Any) -> Iterator[torch.Tensor]:
    if isinstance(made, torch.Tensor):
        yield made
    elif isinstance(made, (list, tuple)):
        for part in made:
            yield from _tensors(part)
    elif is_dataclass(made):
        for field in fields(made):
            yield from _tensors(getattr(made, field.name))


def _obey_the_main_process_only(main: int, worker: int) -> None:
    """Ctrl-C, a closed terminal, `kill` and Slurm's warning reach a whole process group; only the main process, which
    saves, acts on them.

    Workers end when the main process tells them to, or when it is gone; without a word, even where it goes while it
    fetches a batch.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    end_with(main, signal.SIGKILL)  # else it would wait for ever for somebody to read what it holds
    sys.excepthook = _report_all_but_lost_connections  # used by the thread that hands batches over, and by nothing else


def _report_all_but_lost_connections(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)
