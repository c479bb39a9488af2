"""What is put around a model, by how many processes train it and in which way; no process is started."""

from typing import Any

import pytest
import torch
from tiny_training import TinySegmenter, images_of, settings
from torch import nn

from mae_hydra.engine import moving_average, parallel, wrap
from mae_hydra.engine.parallel import LossModule
from mae_hydra.errors import UserError
from mae_hydra.types import Loss

CPU = torch.device("cpu")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was asked of the parts that need several processes, of which there seem to be two."""
    told: list[Any] = []

    class Parallel(nn.Module):
        def __init__(self, module: nn.Module, **named: Any) -> None:
            super().__init__()
            told.append(("ddp", module, named))

    monkeypatch.setattr(parallel, "world_size", lambda: 2)
    monkeypatch.setattr("mae_hydra.engine.settings.world_size", lambda: 2)
    monkeypatch.setattr(parallel, "synchronise", lambda model, device: told.append(("synchronise", model, device)))
    monkeypatch.setattr(parallel, "shard", lambda *modules, device: told.append(("shard", *modules, device)))
    monkeypatch.setattr(parallel, "DistributedDataParallel", Parallel)
    return told


def test_one_process_needs_nothing_around_the_loss(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "world_size", lambda: 1)
    monkeypatch.setattr("mae_hydra.engine.settings.world_size", lambda: 1)
    model = TinySegmenter()
    for chosen in (settings(), settings(parallel="fsdp")):
        forward = wrap(model, chosen)
        assert isinstance(forward, LossModule)
        assert forward(images_of(0)).total == model.loss(images_of(0)).total
    assert asked == []


def test_several_processes_add_up_their_gradients_and_statistics(asked: list[Any]) -> None:
    model = TinySegmenter(norm=True)
    wrap(model, settings(), moving_average(model, 0.9))
    assert [each[0] for each in asked] == ["synchronise", "ddp"]
    assert asked[0][1:] == (model, CPU)
    [(_, forward, named)] = asked[1:]
    assert (type(forward), forward.model) == (LossModule, model)
    assert named == {"device_ids": None, "gradient_as_bucket_view": True}


def test_a_sharded_model_has_its_average_sharded_too(asked: list[Any]) -> None:
    model = TinySegmenter()
    average = moving_average(model, 0.9)
    assert average is not None
    forward = wrap(model, settings(parallel="fsdp"), average)
    assert isinstance(forward, LossModule)
    assert asked == [("synchronise", model, CPU), ("shard", forward, average.module, CPU)]
    asked.clear()
    forward = wrap(model, settings(parallel="fsdp"))
    assert asked[1:] == [("shard", forward, CPU)]


def test_statistics_of_a_step_need_a_model_in_two_parts_only_where_it_has_any() -> None:
    with pytest.raises(UserError, match=r"engine\.batch_norm=step needs a model with `features` and `loss_of`"):
        wrap(TinySegmenter(norm=True), settings(batch_norm="step"))
    wrap(TinySegmenter(norm=True), settings(batch_norm="micro"))
    wrap(TinySegmenter(norm=False), settings(batch_norm="step"))


def test_a_loss_is_a_sum_and_a_count() -> None:
    class Mean(nn.Module):
        def loss(self, batch: Any) -> Any:
            return self.given

    for given, kind in ((torch.tensor(1.0), "Tensor"), ((torch.tensor(1.0), torch.tensor(1), {}), "tuple")):
        model = Mean()
        model.given = given  # type: ignore[assignment]
        with pytest.raises(UserError, match=rf"of Mean gives a {kind}; it must give a mae_hydra\.types\.Loss"):
            LossModule(model)(images_of(0))


def test_several_micro_batches_at_once_are_one_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(parallel, "loss_of_a_step", lambda *given: told.append(given) or Loss(torch.ones(()), 1, {}))
    model, batches = TinySegmenter(), (images_of(0), images_of(1))
    LossModule(model)(*batches)
    assert told == [(model, batches)]
    LossModule(model)(batches[0])
    assert len(told) == 1


@pytest.mark.parametrize(("device", "needed"), [("cpu", "g++"), ("meta", "triton and gcc")])
def test_where_nothing_can_be_compiled_training_goes_on_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], device: str, needed: str
) -> None:
    told: list[Any] = []

    def fails(function: Any) -> Any:
        raise RuntimeError("no compiler\nmore")

    monkeypatch.setattr(torch._dynamo, "reset", lambda: told.append("reset"))
    monkeypatch.setattr(torch, "compile", lambda function: told.append(function(torch.zeros(1)).item()) or torch.abs)
    assert parallel.compiler_works(torch.device(device))
    assert (told, capsys.readouterr().out) == ([1.0], "")
    monkeypatch.setattr(torch, "compile", fails)
    assert not parallel.compiler_works(torch.device(device))
    assert told[1:] == ["reset"]
    assert f"needs a working compiler ({needed}); none was found" in capsys.readouterr().out


@pytest.mark.parametrize(("chosen", "works", "compiled"), [(True, True, 2), (True, False, 0), (False, True, 0)])
def test_every_block_is_compiled_where_that_was_chosen_and_works(
    monkeypatch: pytest.MonkeyPatch, chosen: bool, works: bool, compiled: int
) -> None:
    told: list[nn.Module] = []

    class Blocks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(nn.Linear(1, 1) for _ in range(2))

    monkeypatch.setattr(nn.Module, "compile", lambda module: told.append(module))
    monkeypatch.setattr(parallel, "compiler_works", lambda device: works)
    model = Blocks()
    wrap(model, settings(compile=chosen))
    assert told == list(model.blocks)[:compiled]
