"""`engine.parallel=fsdp` over gloo: the weights of replicas, and whole checkpoints for any number of processes."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import TINY_MAE, TINY_UPERNET
from forked import start
from test_interruption import finish, state_of

from mae_hydra.experiment.status import read_status

MAE = [*TINY_MAE, "engine.global_batch=4", "data.batch_size=2", "checkpoint.every=2", "engine.clip_grad=0.5"]
UPERNET = ["model=upernet_vitt", *TINY_UPERNET, "engine.global_batch=8", "data.batch_size=2", "engine.devices=2"]


def train(tmp_path: Path, name: str, *overrides: str) -> dict:
    finish(start(tmp_path, *overrides, f"hydra.run.dir=outputs/{name}"))
    return state_of(tmp_path / "outputs" / name)


def named_moments(state: dict) -> dict[str, dict[str, torch.Tensor]]:
    names = [name for group in state["optimizer"]["param_groups"] for name in group["names"]]
    return {name: state["optimizer"]["state"][position] for position, name in enumerate(names)}


def assert_same(one: dict, other: dict) -> None:
    assert one["step"] == other["step"]
    ours, theirs = named_moments(one), named_moments(other)
    compared = 0
    for name, moments in ours.items():
        torch.testing.assert_close(moments["exp_avg"], theirs[name]["exp_avg"], rtol=2e-3, atol=1e-6, msg=name)
        # Of parameters whose gradient is zero (of keys, before a normalisation) Adam makes steps of its rounding.
        meant = moments["exp_avg_sq"].sqrt() > 1e-6
        compared += int(meant.sum())
        for a, b in ((one, other), (one["average"], other["average"])):
            torch.testing.assert_close(a["model"][name][meant], b["model"][name][meant], rtol=1e-3, atol=1e-5, msg=name)
    assert compared > 0.8 * sum(moments["exp_avg"].numel() for moments in ours.values())


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mae", "upernet"])
def test_sharded_training_is_that_of_whole_replicas(tmp_path, model):
    """With micro-batches, clipping and a moving average, which is what the evaluations see."""
    same = [*(MAE if model == "mae" else UPERNET), "engine.devices=2", "engine.ema_decay=0.9"]
    sharded = train(tmp_path, "fsdp", *same, "engine.parallel=fsdp")
    replicas = train(tmp_path, "ddp", *same, "engine.parallel=ddp")
    assert_same(sharded, replicas)
    results = [json.loads((tmp_path / "outputs" / name / "results.json").read_text()) for name in ("fsdp", "ddp")]
    for name, value in results[1].items():
        if not name.startswith("perf"):
            assert results[0][name] == pytest.approx(value, rel=1e-3, abs=1e-6), name


WITHOUT_DRAWS = ["backbone.drop_path_rate=0", "head.dropout=0", "model.auxiliary.dropout=0"]


@pytest.mark.slow
def test_statistics_of_a_step_train_the_same_upernet_on_any_number_of_processes(tmp_path):
    """Two processes with two micro-batches each, sharded, and one with all images at once."""
    same = ["model=upernet_vitt", *TINY_UPERNET, *WITHOUT_DRAWS, "engine.global_batch=8", "engine.ema_decay=0.9"]
    cut = ["engine.devices=2", "engine.parallel=fsdp", "engine.batch_norm=step", "data.batch_size=2"]
    assert_same(train(tmp_path, "two", *same, *cut), train(tmp_path, "one", *same, "data.batch_size=8"))


SIX = [*MAE, "engine.global_batch=6", "data.batch_size=6", "engine.ema_decay=0.9"]


@pytest.fixture(scope="module")
def half_way(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by two processes with sharded weights, as if it had been interrupted after two of four steps."""
    root = tmp_path_factory.mktemp("sharded")
    train(root, "run", *SIX, "engine.parallel=fsdp", "engine.devices=2", "checkpoint.keep_every=2")
    for file in ("last.pt", "best.pt", "step-00000004.pt"):
        (root / "outputs/run/checkpoints" / file).unlink(missing_ok=True)
    status = json.loads((root / "outputs/run/status.json").read_text())
    (root / "outputs/run/status.json").write_text(json.dumps(status | {"state": "interrupted"}))
    return root / "outputs/run"


@pytest.mark.slow
@pytest.mark.parametrize("processes", [3, 1])
def test_another_number_of_processes_goes_on_from_a_checkpoint(tmp_path, half_way, processes):
    """As replicas go on from it. Three does not divide the sizes: some processes keep nothing of some parameters."""
    for parallel in ("fsdp", "ddp"):
        shutil.copytree(half_way, tmp_path / "outputs" / parallel)
    sharded, replicas = (
        train(tmp_path, parallel, *SIX, f"engine.parallel={parallel}", f"engine.devices={processes}")
        for parallel in ("fsdp", "ddp")
    )
    assert_same(sharded, replicas)
    assert read_status(tmp_path / "outputs/fsdp")["attempt"] == 2
