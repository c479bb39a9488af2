"""Any optimizer from the command line to a run that was cut and goes on to the same bits."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import TINY_MAE, TINY_UPERNET

from mae_hydra.benchmark import plan as planning
from mae_hydra.benchmark.estimate import Activations
from mae_hydra.commands import main

OPTIMIZERS = {
    "sgd": ["optimizer=sgd"],
    "lion": ["optimizer=lion", "optimizer.layer_decay=0.7", "engine.precision=fp16"],
    "muon": ["optimizer=muon", "optimizer.layer_decay=0.7"],
    "timm's": ["optimizer=named", "optimizer.name=lamb", "engine.clip_grad=0.5"],
    "typed": ["optimizer={_target_: torch.optim.SGD, _partial_: true, lr: 0.1, momentum: 0.9}"],
}


def content(run: str) -> dict:
    return torch.load(Path(run, "checkpoints/last.pt"), weights_only=True)


QUICK = ("muon", "typed")  # two optimizers as one, and one that is no part of ours


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in OPTIMIZERS])
def test_a_run_goes_on_to_the_same_bits(name, train, capsys, monkeypatch):
    monkeypatch.setattr(planning, "activations", lambda *told, **more: Activations(1, 1))  # they need no optimizer
    words = [*TINY_MAE, *OPTIMIZERS[name], "schedule.total=4", "checkpoint.every=2", "checkpoint.keep_last=4"]
    assert train(*words, "hydra.run.dir=whole") == 0
    shutil.copytree("whole", "cut")
    for file in ("last.pt", "best.pt", "step-00000004.pt"):
        Path("cut/checkpoints", file).unlink(missing_ok=True)
    Path("cut/status.json").unlink()
    assert train("resume=cut") == 0
    assert "from step 2" in capsys.readouterr().out
    ours, theirs = content("whole"), content("cut")
    assert all(torch.equal(value, theirs["model"][key]) for key, value in ours["model"].items())
    for position, values in ours["optimizer"]["state"].items():
        for key, value in values.items():
            found = theirs["optimizer"]["state"][position][key]
            assert torch.equal(value, found) if isinstance(value, torch.Tensor) else value == found
    assert main(["plan", *words]) == 0
    if name == "typed":  # its class is judged where the record is read; the optimizer is built by none
        assert main(["evaluate", "cut"]) == 0


@pytest.mark.slow
def test_a_recorded_class_of_torch_and_of_torchmetrics_is_evaluated_to_the_end(train, capsys, monkeypatch):
    """Nobody types MAE_HYDRA_TRUST for them; the metric gives, of the last weights, what it gave in training."""
    monkeypatch.delenv("MAE_HYDRA_TRUST", raising=False)
    kappa = "{_target_: torchmetrics.classification.MulticlassCohenKappa, num_classes: 12}"
    words = ["model=upernet_vitt", *TINY_UPERNET, *OPTIMIZERS["typed"]]
    assert train(*words, f"+evaluation.validation.metrics.kappa={kappa}", "hydra.run.dir=run") == 0
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    [trained] = [line["val/kappa"] for line in lines if "val/kappa" in line and line["step"] == 4]
    assert main(["evaluate", "run", "--last", "--out", "found"]) == 0
    found = json.loads(Path("found/results.json").read_text())["kappa"]
    assert found == pytest.approx(trained, rel=1e-5)
    assert f"kappa {found:.4g}   (" in capsys.readouterr().out.replace("\n", "")
