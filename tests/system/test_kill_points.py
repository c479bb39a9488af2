"""SIGKILL at each of the moments that matter, in real processes: the same command again ends like an unbroken run."""

from pathlib import Path

import pytest
import torch
from conftest import TINY_MAE, TINY_UPERNET
from forked import start
from test_interruption import finish
from test_kills import lines
from torch.utils._pytree import tree_leaves

# Run in place of train.py: kills itself at the nth call of a function, before it or behind it; a file that the function
# is to write has its first half by then.
KILLED = """
import importlib, io, os, signal, sys
target, nth, when = sys.argv[1], int(sys.argv[2]), sys.argv[3]
from mae_hydra.launching.launch import launch
names = target.split(".")
for cut in range(len(names) - 1, 0, -1):
    try:
        owner = importlib.import_module(".".join(names[:cut]))
        break
    except ImportError:
        pass
for name in names[cut:-1]:
    owner = getattr(owner, name)
original, calls = getattr(owner, names[-1]), 0
def dying(*arguments, **options):
    global calls
    calls += 1
    if calls == nth:
        if when == "behind":
            original(*arguments, **options)
        if when == "half":
            whole = io.BytesIO()
            original(arguments[0], whole)
            arguments[1].write(whole.getvalue()[: len(whole.getvalue()) // 2])
            arguments[1].flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)
setattr(owner, names[-1], dying)
launch(sys.argv[4:])
"""
MOMENTS = {
    "a step, gradients done": ("mae_hydra.engine.step._update", 4, "before"),
    "a step, weights changed": ("mae_hydra.engine.step._update", 4, "behind"),
    "a step, behind its log line": ("mae_hydra.tracking.local.LocalFiles.scalars", 3, "behind"),
    "a checkpoint half written": ("torch.save", 2, "half"),
    "a checkpoint written, without a name": ("mae_hydra.atomic.link", 2, "before"),
    "one of its names given": ("mae_hydra.atomic.link", 2, "behind"),
    "all of its names given, older ones not yet gone": ("mae_hydra.atomic.sync", 2, "before"),
    "before an evaluation": ("mae_hydra.evaluation.reconstruction.ReconstructionError.run", 1, "before"),
    "an evaluation done and not yet written down": (
        "mae_hydra.evaluation.reconstruction.ReconstructionError.run",
        2,
        "behind",
    ),
    "its scores written down and not yet its pictures": ("mae_hydra.tracking.local._write_whole", 2, "before"),
}
SEGMENTING = {
    "an evaluation under way": ("mae_hydra.evaluation.mean_iou.count_confusions", 3, "before"),
    "a checkpoint half written": ("torch.save", 2, "half"),
}
COMMON = [
    "schedule.total=7",
    "checkpoint.every=2",
    "evaluation.validation.every=3",
    "engine.log_every=2",
    "resume=auto",
]
COMMON += ["engine.global_batch=4", "data.batch_size=2", "engine.ema_decay=0.9", "data.num_workers=2"]
TASKS = {
    task: [*(o for o in words if not o.startswith("data.num_workers")), *COMMON]
    for task, words in (("pretrain", TINY_MAE), ("segment", ["model=upernet_vitt", *TINY_UPERNET]))
}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("unbroken")
    for task, words in TASKS.items():
        finish(start(root, *words, f"hydra.run.dir={root / task}"))
    return {task: root / task for task in TASKS}


def state(run: Path) -> dict:
    return torch.load(run / "checkpoints/last.pt", weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "moment"), [*(("pretrain", m) for m in MOMENTS), *(("segment", m) for m in SEGMENTING)]
)
def test_a_run_killed_at_this_moment_ends_like_an_unbroken_one(tmp_path, unbroken, task, moment):
    target, nth, when = (MOMENTS if task == "pretrain" else SEGMENTING)[moment]
    (tmp_path / "killed.py").write_text(KILLED)
    broken, words = tmp_path / "broken", [*TASKS[task], f"hydra.run.dir={tmp_path / 'broken'}"]
    killed = start(tmp_path, target, str(nth), when, *words, program=tmp_path / "killed.py")
    _, said = killed.communicate(timeout=300)
    assert killed.returncode == -9, f"the moment did not come: {said}"
    finish(start(tmp_path, *words))
    ours, theirs = state(broken), state(unbroken[task])
    for part in ("model", "optimizer", "average"):
        for one, other in zip(tree_leaves(ours[part]), tree_leaves(theirs[part]), strict=True):
            assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    assert [ours[name] for name in ("step", "best", "evaluated")] == [theirs[n] for n in ("step", "best", "evaluated")]
    assert lines(broken) == lines(unbroken[task])
    kept = sorted(path.name for path in (unbroken[task] / "checkpoints").iterdir())
    assert sorted(path.name for path in (broken / "checkpoints").iterdir()) == kept  # nothing half written is left
