"""`then`: what follows a run from its weights, in one command, in a sweep, stopped, failed and gone on with."""

import json
import signal
import time
from pathlib import Path

import pytest
from conftest import TINY
from forked import start
from test_interruption import finish

from mae_hydra.experiment.read_runs import columns, read_run, read_sweep, state_of, values_of
from mae_hydra.experiment.status import read_status

MAE = [*TINY, "backbone.out_indices=[1]", "head.embed_dim=16", "head.depth=1", "head.num_heads=2"]
SMALL = '"backbone.embed_dim=32","backbone.num_heads=2","backbone.depth=4","backbone.out_indices=[0,1,2,3]"'
SMALL += ',"head.channels=16","data.num_train=16","data.num_validation=4","data.num_workers=0"'


def then(*extra: str) -> str:
    more = "".join(f',"{word}"' for word in extra)
    return f'+then.upernet=["model=upernet_vitt","seed=${{seed}}",{SMALL}{more}]'


DEEP = [word for word in MAE if not word.startswith(("backbone.depth", "backbone.out"))]
DEEP += ["backbone.depth=4", "backbone.out_indices=[3]"]


@pytest.mark.slow
def test_a_sweep_ends_in_what_follows_each_job_and_repeats_nothing(tmp_path):
    words = ["-m", "+sweep=mask_ratio", "model.mask_ratio=0.5,0.75", *DEEP, then()]
    finish(start(tmp_path, *words))
    sweep = tmp_path / "outputs/sweeps/mask_ratio"
    runs = read_sweep(sweep)
    assert columns(runs) == {"val/loss": False, "upernet: val/mIoU": True}
    assert [state_of(run) for run in runs] == ["completed"] * 2
    rows = json.loads((sweep / "results.json").read_text())
    for run, row in zip(runs, rows, strict=True):
        stage = read_run(run.directory / "upernet")
        assert stage.config["init_from"] == str(run.directory.absolute())
        assert stage.config["seed"] == run.config["seed"]
        assert row["upernet: val/mIoU"] == stage.value == values_of(run)["upernet: val/mIoU"]
    ends = [run.stages["upernet"].status["end"] for run in runs]
    finish(start(tmp_path, *words))
    assert [run.stages["upernet"].status["end"] for run in read_sweep(sweep)] == ends


@pytest.mark.slow
def test_a_stage_that_fails_leaves_the_run_complete_and_the_sweep_goes_on(tmp_path):
    words = ["-m", "+sweep=mask_ratio", "model.mask_ratio=0.5,0.75", *DEEP]
    process = start(tmp_path, *words, then("optimizer.lr=-1"))
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "lr must be positive" in errors
    runs = read_sweep(tmp_path / "outputs/sweeps/mask_ratio")
    assert [(run.state, state_of(run)) for run in runs] == [("completed", "upernet failed")] * 2
    finish(start(tmp_path, *words, then()))  # the mistake is mended; only what failed is run
    runs = read_sweep(tmp_path / "outputs/sweeps/mask_ratio")
    assert [state_of(run) for run in runs] == ["completed"] * 2
    assert [run.status["attempt"] for run in runs] == [1, 1]


@pytest.mark.slow
def test_a_stage_that_is_interrupted_goes_on(tmp_path):
    words = [*DEEP, then("schedule.total=3000", "evaluation.validation.every=null"), "hydra.run.dir=outputs/run"]
    process = start(tmp_path, *words)
    log = tmp_path / "outputs/run/upernet/metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not log.exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 75
    assert read_status(tmp_path / "outputs/run")["state"] == "completed"
    stage = read_status(tmp_path / "outputs/run/upernet")
    assert stage["state"] == "interrupted"


def test_what_cannot_be_a_stage_is_said_before_the_first_step(train, capfd, tmp_path):
    assert train(*MAE, "+then.upernet='model=upernet_vitt'", "hydra.run.dir=outputs/run") == 1
    assert "then.upernet must be a list of overrides" in capfd.readouterr().err
    assert not Path("outputs/run/metrics.jsonl").exists()
