"""`engine.stop_after` from the command line, and frozen blocks under every head of segmentation."""

import json
from pathlib import Path

import pytest
import torch
from conftest import TINY_MAE, TINY_UPERNET

SHORT = ["schedule.total=8", "evaluation.validation.every=1", "schedule.warmup=0"]


def test_a_run_that_gets_no_better_is_completed_and_says_why(train, capsys):
    # The rates are too small to change a weight.
    words = [*TINY_MAE, *SHORT, "optimizer.lr=1e-30", "optimizer.weight_decay=0"]
    assert train(*words, "engine.stop_after=2", "hydra.run.dir=run") == 0
    status = json.loads(Path("run/status.json").read_text())
    step = torch.load("run/checkpoints/last.pt", weights_only=True)["step"]
    assert (status["state"], step) == ("completed", 3)
    said = capsys.readouterr().out
    assert "ended after step 3 of 8: 2 evaluations without a better val/loss than" in said
    assert "(engine.stop_after)" in Path("run/train.log").read_text()


def test_without_evaluations_it_is_refused(train, capsys):
    assert (
        train(*TINY_MAE, "evaluation=none", "checkpoint.monitor=x", "checkpoint.mode=min", "engine.stop_after=2") == 1
    )
    assert "engine.stop_after counts evaluations, and this run has none" in capsys.readouterr().err


@pytest.mark.parametrize(("blocks", "learn"), [("0", set()), ("2", {"blocks.2", "blocks.3"})])
def test_upernet_learns_on_frozen_blocks(train, blocks, learn):
    words = ["model=upernet_vitt", *TINY_UPERNET, "schedule.total=3", "schedule.warmup=0", "optimizer.lr=0.01"]
    kept = ["evaluation=none", "checkpoint.every=1", "checkpoint.keep_last=9", "hydra.run.dir=run"]
    assert train(*words, f"model.trainable_blocks={blocks}", *kept) == 0
    before, after = (
        torch.load(f"run/checkpoints/step-0000000{step}.pt", weights_only=True)["model"] for step in (1, 3)
    )
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert {".".join(name.split(".")[1:3]) for name in changed if name.startswith("encoder.")} == learn
    assert any(name.startswith("head.") for name in changed)
    assert any(name.startswith("pyramid.") for name in changed)
