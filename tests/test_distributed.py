"""Which process this is, and what several hand each other; torch's own part is replaced by a note of what it is asked.

Real processes are in tests/engine/test_parallel.py, slow.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist

from mae_hydra import distributed
from mae_hydra.distributed import (
    all_reduce_sum,
    any_rank,
    barrier,
    broadcast,
    broadcast_object,
    gather_objects,
    is_main,
    local_rank,
    rank,
    session,
    world_size,
)

CPU = torch.device("cpu")
Note = Callable[..., None]


@pytest.fixture
def second_of_two(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """As under torchrun, on a second machine. The other process adds 1, has tensors of 7, and says "main"."""
    for name, value in (("RANK", "1"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    noted: list[Any] = []

    def note(name: str, answer: Note = lambda *given, **more: None) -> None:
        def noting(*given: Any, **more: Any) -> None:
            answer(*given, **more)
            noted.append((name, more))

        monkeypatch.setattr(dist, name, noting)

    note("all_reduce", lambda tensor: tensor.add_(1))
    note("broadcast", lambda tensor, src: tensor.fill_(7 if src == 0 else -1))
    note("broadcast_object_list", lambda box, src: box.__setitem__(0, "main" if src == 0 else "wrong"))
    note("all_gather_object", lambda every, value: every.__setitem__(slice(None), ["main", value]))
    for name in ("barrier", "init_process_group", "destroy_process_group"):
        note(name)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: noted.append(("set_device", device)))
    return noted


def test_the_second_of_two_is_not_the_main_one_and_gets_what_that_one_has(second_of_two: list[Any]) -> None:
    assert (rank(), local_rank(), world_size(), is_main()) == (1, 0, 2, False)
    assert all_reduce_sum(torch.tensor(2)).item() == 3
    assert any_rank(False, CPU)  # it holds in the other one
    tensors = [torch.zeros(2), torch.nn.Parameter(torch.zeros(1))]
    broadcast(tensors)
    assert [tensor.tolist() for tensor in tensors] == [[7, 7], [7]]
    assert broadcast_object("mine") == "main"
    assert gather_objects("mine") == ["main", "mine"]
    barrier()
    assert second_of_two[-1] == ("barrier", {})


@pytest.mark.parametrize(("device", "joined"), [
    ("cpu", [("init_process_group", {})]),
    ("cuda:1", [("set_device", torch.device("cuda:1")), ("init_process_group", {"device_id": torch.device("cuda:1")})]),
])  # fmt: skip
def test_a_session_joins_by_what_the_device_has_and_parts_whatever_happens(
    second_of_two: list[Any], device: str, joined: list[Any]
) -> None:
    with pytest.raises(KeyError), session(torch.device(device)):
        raise KeyError
    assert second_of_two == [*joined, ("destroy_process_group", {})]


def test_one_process_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert (rank(), local_rank(), world_size(), is_main()) == (0, 0, 1, True)
    assert (any_rank(False, CPU), any_rank(True, CPU)) == (False, True)
    assert (broadcast_object("mine"), gather_objects("mine")) == ("mine", ["mine"])
    assert all_reduce_sum(torch.tensor(2)).item() == 2
    with session(CPU):
        assert not dist.is_initialized()
    broadcast([torch.zeros(1)])
    distributed.barrier()
