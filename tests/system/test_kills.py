"""SIGKILL at any moment: the same command again ends like a run that nothing happened to, bit for bit."""

import json
import os
import random
import time
from pathlib import Path

import pytest
import torch
from conftest import TINY_MAE, TINY_UPERNET
from forked import start
from test_interruption import finish
from torch.utils._pytree import tree_leaves

KILLS = int(os.environ.get("KILLS", "5"))  # of each task; the long form: KILLS=50. test_kill_points.py has chosen ones
STEPS = 15 * KILLS
EVERYTHING = [
    "data.num_workers=2",
    "data.batch_size=2",
    "engine.global_batch=4",  # two micro-batches a step
    "engine.ema_decay=0.9",
    "engine.log_every=5",
    "checkpoint.every=3",
    "evaluation.validation.every=7",
    "resume=auto",
]
TASKS = {
    "pretrain": [f"schedule.total={STEPS}", *(o for o in TINY_MAE if not o.startswith("data.num_workers"))],
    "segment": [
        "model=upernet_vitt",
        f"schedule.total={STEPS * 11 // 15}",
        "backbone.drop_path_rate=0.3",
        *(o for o in TINY_UPERNET if not o.startswith("data.num_workers")),
    ],
}


def lines(run: Path) -> list[dict]:
    """metrics.jsonl without what depends on the clock."""
    found = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if not name.startswith("perf/")} for line in found]


def stirrings(run: Path) -> float:
    """When something was last written: training has begun once this changes."""
    return max((path.stat().st_mtime for path in run.rglob("*.pt")), default=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_a_run_killed_again_and_again_ends_like_an_unbroken_one(tmp_path, task):
    whole, broken = tmp_path / "outputs/whole", tmp_path / "outputs/broken"
    command = [*TASKS[task], *EVERYTHING]
    finish(start(tmp_path, *command, f"hydra.run.dir={whole}"))

    dice, kills, steps = random.Random(), 0, set()
    while kills < KILLS:
        before = stirrings(broken)
        process = start(tmp_path, *command, f"hydra.run.dir={broken}")
        deadline = time.monotonic() + 120
        while stirrings(broken) == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(dice.uniform(0, 0.15))
        process.kill()
        _, said = process.communicate(timeout=60)
        assert process.returncode == -9, f"finished before it was killed {KILLS} times, or failed: {said}"
        kills += 1
        steps.add(torch.load(broken / "checkpoints/last.pt", weights_only=True)["step"])
    assert len(steps) >= 3, "the kills must lie all over the run"

    finish(start(tmp_path, *command, f"hydra.run.dir={broken}"))
    files = [torch.load(run / "checkpoints/last.pt", weights_only=True) for run in (whole, broken)]
    for name in ("model", "optimizer", "average"):
        for ours, theirs in zip(*(tree_leaves(file[name]) for file in files), strict=True):
            assert torch.equal(ours, theirs) if isinstance(ours, torch.Tensor) else ours == theirs
    assert [files[1][name] for name in ("step", "best", "evaluated")] == [
        files[0][n] for n in ("step", "best", "evaluated")
    ]
    assert lines(broken) == lines(whole)
    assert [line["step"] for line in lines(broken)] == sorted({line["step"] for line in lines(broken)})
