"""FSDP2 in a single process: what is sharded, saved whole and filled in again is the model that it was."""

import copy
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from tiny_training import settings
from torch import nn
from torch.distributed.tensor import DTensor

from mae_hydra.engine import State, Twin, sharding
from mae_hydra.engine.checkpoint import Checkpoints
from mae_hydra.engine.step import _exchange

CPU = torch.device("cpu")


class Net(nn.Module):
    num_depths = 1

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.own_blocks = nn.Sequential(nn.Linear(4, 4))
        self.blocks_of_none = nn.ModuleList([nn.Linear(4, 4)])
        self.norm = nn.BatchNorm1d(4)
        self.first.bias.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for block in (*self.blocks, *self.own_blocks, *self.blocks_of_none):
            x = block(x)
        return self.norm(x)


@pytest.fixture
def alone() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_every_element_of_a_list_of_blocks_is_one() -> None:
    net = Net()
    assert list(sharding.blocks_of(net)) == [*net.blocks, *net.own_blocks]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.usefixtures("alone")
def test_a_sharded_model_is_saved_whole_and_filled_in_again(tmp_path) -> None:
    torch.manual_seed(0)
    plain, x = Net(), torch.randn(8, 3)
    net, twin = copy.deepcopy(plain), Twin(plain)
    assert all(parameter.is_meta for parameter in twin._model.parameters())
    assert not sharding.is_sharded(net)
    sharding.shard(net, device=CPU)
    assert sharding.is_sharded(net)
    assert all(isinstance(parameter, DTensor) for parameter in net.parameters())
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    net(x).square().sum().backward()
    optimizer.step()
    whole = sharding.gather_full({"model": net.state_dict(), "optimizer": optimizer.state_dict(), "step": 1})
    whole["model"] = {name: value.clone() for name, value in whole["model"].items()}
    assert whole["step"] == 1
    assert not any(isinstance(value, DTensor) for value in whole["model"].values())
    moments = [value for of in whole["optimizer"]["state"].values() for value in of.values()]
    assert not any(isinstance(value, DTensor) for value in moments)
    assert not torch.equal(whole["model"]["first.weight"], plain.first.weight)

    filled = twin.filled(net)
    assert {name: parameter.requires_grad for name, parameter in filled.named_parameters()} == {
        name: parameter.requires_grad for name, parameter in plain.named_parameters()
    }
    assert all(torch.equal(value, whole["model"][name]) for name, value in filled.state_dict().items())
    with torch.no_grad():
        filled.first.weight.zero_()  # it is a copy
        filled.norm.running_mean.zero_()
    for name in ("first.weight", "norm.running_mean"):
        assert torch.equal(sharding.full_tensor(net.state_dict()[name]), whole["model"][name])
    twin.close()
    assert all(parameter.is_meta for parameter in twin._model.parameters())

    other = Net()
    sharding.shard(other, device=CPU)
    again = torch.optim.AdamW(other.parameters(), lr=0.1)
    like = other.state_dict()
    values = sharding.shard_tensors(whole["model"] | {"more": torch.ones(2)}, like)
    assert values.pop("more").tolist() == [1.0, 1.0]
    assert all(isinstance(value, DTensor) is isinstance(like[name], DTensor) for name, value in values.items())
    other.load_state_dict(values)
    again.load_state_dict(sharding.shard_optimizer_state(whole["optimizer"], again))
    for one, two in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(sharding.full_tensor(one), sharding.full_tensor(two))
        assert sharding.local_shard(one).shape == one.shape  # all of it, in one process
        if one.requires_grad:
            for name in ("exp_avg", "exp_avg_sq"):
                of_both = optimizer.state[one][name], again.state[two][name]
                assert all(isinstance(each, DTensor) for each in of_both)
                assert torch.equal(*map(sharding.full_tensor, of_both))
            assert again.state[two]["step"] == 1

    kept = Checkpoints(
        tmp_path, every=1, keep_last=1, keep_every=None, save_best=False, monitor="x", mode="min", background=False
    )
    state = State(net, optimizer, settings().scaler(), step=1)
    kept.write(state)  # without the others, whose shares would be missing
    assert not kept.exist
    kept.save(state, last=True)
    saved = torch.load(tmp_path / "last.pt", weights_only=True)["model"]
    assert all(torch.equal(value, whole["model"][name]) for name, value in saved.items())
    with _exchange(net, gradients=False):
        net(x).sum().backward()


def test_the_main_processes_numbers_are_sharded_the_blocks_by_themselves_first(monkeypatch) -> None:
    told: list = []
    monkeypatch.setattr(sharding, "init_device_mesh", lambda *given: given)
    monkeypatch.setattr(sharding, "broadcast", lambda tensors: told.append([tensor.shape for tensor in tensors]))
    monkeypatch.setattr(sharding, "fully_shard", lambda part, mesh: told.append((part, mesh)))
    monkeypatch.setenv("WORLD_SIZE", "3")
    first, second = Net(), nn.BatchNorm1d(5)
    sharding.shard(first, second, device=CPU)
    mesh = ("cpu", (3,))
    assert told == [
        [tensor.shape for tensor in (*first.parameters(), *first.buffers())],
        *((part, mesh) for part in (*first.blocks, *first.own_blocks, first)),
        [(5,), (5,), (5,), (5,), ()], (second, mesh),
    ]  # fmt: skip
