"""What the runs of a sweep found, from directories made by hand: rows, columns, order and numbers over seeds."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mae_hydra.experiment import read_runs
from mae_hydra.experiment.read_runs import Run, columns, error_of, over_seeds, read_sweep, state_of, table_of, values_of


def made(
    folder: Path, *words: str, monitor: str = "val/loss", mode: str = "min", latest: float = 9.0, **told: Any
) -> Path:
    """A run of 60 seconds, complete with the value 0.5 unless `told` otherwise."""
    folder.mkdir(parents=True)
    status = {"state": "completed", "value": 0.5, "error": None, "start": 100.0, "end": 160.0, "overrides": list(words)}
    (folder / "status.json").write_text(json.dumps(status | told))
    config = {"checkpoint": {"monitor": monitor, "mode": mode}, "optimizer": {"lr": 0.5}, "seed": 7, "notes": None}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    rows = [{"step": 1, monitor: 1.0, "train/lr": 0.1}, {"step": 2, monitor: latest}, {"step": 3, monitor: None}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_run_has_the_latest_value_of_every_scalar_until_it_is_complete(tmp_path: Path) -> None:
    found = {state: read_runs.read_run(made(tmp_path / state, state=state, value=value, before=5.0, end=end))
             for state, value, end in (("completed", 0.5, 160.0), ("failed", None, None))}  # fmt: skip
    done, failed = found["completed"], found["failed"]
    assert done is not None
    assert failed is not None
    assert (done.metrics, done.value, done.seconds) == ({"step": 3, "val/loss": 9.0, "train/lr": 0.1}, 0.5, 65.0)
    assert (failed.value, failed.seconds, failed.total_seconds) == (9.0, None, 0.0)
    assert [Run(tmp_path, {}, {"checkpoint": {"mode": mode}}, {}).higher_is_better for mode in ("max", "min")] == [
        True,
        False,
    ]
    assert Run(tmp_path, {}, {}, {}).higher_is_better is False


@pytest.fixture
def sweep(tmp_path: Path) -> list[Run]:
    """Three jobs with two stages each, of which some are not complete, and one that never began."""
    for job, words, states in (
        ("a", ["+optimizer.lr=10", "seed=1", "logger=wandb"], ("completed", "completed")),
        ("b", ["optimizer.lr=9", "seed=1"], ("failed", "interrupted")),
        ("c", ["seed=1", "model=u"], ("completed", None)),
    ):  # fmt: skip
        run = made(tmp_path / job, *words)
        for stage, state, value in zip(("probe", "upernet"), states, (40.0, 30.0), strict=True):
            if state is not None:
                error = f"ValueError: {stage}" if state != "completed" else None
                made(run / stage, monitor="val/mIoU", mode="max", state=state, value=value if error is None else None,
                     error=error, latest=value, end=130.0)  # fmt: skip
    (tmp_path / "d").mkdir()
    (tmp_path / "d/status.json").write_text(
        json.dumps({"state": "failed", "error": "no such data", "overrides": ["seed=2"]})
    )
    return read_sweep(tmp_path)


def test_a_job_is_what_it_and_all_that_follows_it_have_come_to(sweep: list[Run]) -> None:
    assert [run.name for run in sweep] == ["a", "b", "c", "d"]
    assert [state_of(run) for run in sweep] == ["completed", "probe failed", "completed", "failed"]
    assert [error_of(run) for run in sweep] == ["", "ValueError: probe", "", "no such data"]
    assert columns(sweep) == {"val/loss": False, "probe: val/mIoU": True, "upernet: val/mIoU": True}
    assert [values_of(run) for run in sweep] == [
        {"val/loss": 0.5, "probe: val/mIoU": 40.0, "upernet: val/mIoU": 30.0},
        {"val/loss": 0.5, "probe: val/mIoU": 40.0, "upernet: val/mIoU": 30.0},  # the latest
        {"val/loss": 0.5, "probe: val/mIoU": 40.0}, {},
    ]  # fmt: skip
    assert [run.total_seconds for run in sweep] == [120.0, 120.0, 90.0, 0.0]
    assert columns(sweep[3:]) == {"value": False}
    assert read_runs.read_run(sweep[0].directory, stages=False).stages == {}  # type: ignore[union-attr]


def of(state: str, value: float | None = None, error: str | None = None, **stages: Run) -> Run:
    status = {"state": state, "value": value, "error": error, "overrides": []}
    return Run(Path(), status, {"checkpoint": {"monitor": "val/loss"}}, {}, stages)


def test_a_job_waits_for_its_first_stage_that_is_not_complete_and_fails_by_its_own_training_first() -> None:
    done, runs, failed = of("completed"), of("running"), of("failed", error="of the stage")
    jobs = [
        of("completed", a=done, b=runs, c=failed), of("completed", a=done, c=failed), of("completed", a=done),
        of("failed", error="its own", b=runs, c=failed), of("running", c=failed), of("completed", p=of("pruned")),
    ]  # fmt: skip
    assert [(state_of(job), error_of(job)) for job in jobs] == [
        ("b running", "of the stage"), ("c failed", "of the stage"), ("completed", ""), ("failed", "its own"),
        ("running", "of the stage"), ("p pruned", ""),
    ]  # fmt: skip


def test_stages_of_later_jobs_have_their_columns_and_a_sweep_file_tells_its_keys(tmp_path: Path) -> None:
    runs = [of("completed", value=1.0), of("completed", value=2.0, probe=of("completed", value=5.0))]
    for seed, run in enumerate(runs):
        run.untyped["seed"] = seed
    assert over_seeds(runs) == (["seeds", "val/loss", "probe: val/loss"], [[2, "1.5 ± 0.71", "5"]])
    assert read_runs.grid_in(tmp_path) == []
    for told, keys in (
        ({"sweeper": {"params": {"+model.depth": "1,2", "seed": 3}}}, ["model.depth", "seed"]),
        ({"sweeper": {"params": None}}, []), ({"sweeper": "basic"}, []), ([], []),
    ):  # fmt: skip
        (tmp_path / "multirun.yaml").write_text(yaml.safe_dump({"hydra": told}))
        assert read_runs.grid_in(tmp_path) == keys


def test_a_score_of_zero_is_a_score() -> None:
    runs = [of("completed", value=value, a=of("completed", value=0.0)) for value in (0.0, 1.0)]
    for seed, run in enumerate(runs):
        run.untyped["seed"] = seed
    assert values_of(runs[0]) == {"val/loss": 0.0, "a: val/loss": 0.0}
    assert over_seeds(runs) == (["seeds", "val/loss", "a: val/loss"], [[2, "0.5 ± 0.71", "0 ± 0"]])


def test_a_job_whose_files_are_damaged_is_one_that_failed(tmp_path: Path) -> None:
    made(tmp_path / "a", "seed=1")
    made(made(tmp_path / "b", "seed=2") / "probe")
    for run in ("a", "b/probe"):
        (tmp_path / run / "config.yaml").write_text("[")
    damaged, parent = read_sweep(tmp_path)
    assert (damaged.state, damaged.value, damaged.overrides, damaged.config) == ("failed", None, [], {})
    assert "config.yaml cannot be read" in error_of(damaged)
    assert (state_of(parent), values_of(parent)) == ("probe failed", {"val/loss": 0.5})
    assert "config.yaml cannot be read" in error_of(parent)
    assert columns([damaged, parent]) == {"val/loss": False, "probe: value": False}


def test_the_table_has_what_differs_complete_jobs_first_and_numbers_by_their_size(
    sweep: list[Run], tmp_path: Path
) -> None:
    rows = table_of(sweep, ["logger"])
    told = [(row["job"], row["state"], row["logger"], row["optimizer.lr"], row["seed"], row["model"]) for row in rows]
    assert told == [
        ("c", "completed", None, 0.5, 1, "u"),  # what was typed for others has its value here, too
        ("a", "completed", "wandb", 10, 1, None), ("b", "probe failed", None, 9, 1, None),
        ("d", "failed", None, None, 2, None),
    ]  # fmt: skip
    assert list(rows[0]) == [
        "job", "state", "logger", "optimizer.lr", "seed", "model", "val/loss", "probe: val/mIoU",
        "upernet: val/mIoU", "value", "seconds", "overrides", "error",
    ]  # fmt: skip
    assert [(row["value"], row["error"], row["upernet: val/mIoU"]) for row in rows] == [
        (0.5, None, None), (0.5, None, 30.0), (0.5, "ValueError: probe", 30.0), (None, "no such data", None),
    ]  # fmt: skip
    read_runs.write_table(rows, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text()) == rows
    with open(tmp_path / "results.csv", newline="") as file:
        written = list(csv.DictReader(file))
    assert list(written[0]) == list(rows[0])
    assert [row["overrides"] for row in written][:2] == ["seed=1 model=u", "+optimizer.lr=10 seed=1 logger=wandb"]


def test_a_table_takes_what_no_text_is(tmp_path: Path) -> None:
    row = {"job": "Bäume", "state": "failed", "overrides": ["a=\udcff"], "error": "no \udcff"}
    read_runs.write_table([row], tmp_path)
    _, line = (tmp_path / "results.csv").read_text(encoding="utf-8").splitlines()
    assert line == "Bäume,failed,a=\\udcff,no \\udcff"


def test_numbers_stand_before_words_in_the_order_of_their_size() -> None:
    values = ["a", 10, None, 9.5, True, float("nan"), -1]
    assert sorted(values, key=read_runs._place)[:3] == [-1, 9.5, 10]
    assert {str(value) for value in sorted(values, key=read_runs._place)[3:]} == {"a", "None", "True", "nan"}


def test_over_seeds_complete_jobs_of_a_setting_are_one_row(tmp_path: Path) -> None:
    for lr, seed, value, state, stage in (
        (1, 0, 2.0, "completed", "completed"), (1, 1, 4.0, "completed", "completed"), (1, 2, 9.0, "failed", None),
        (1, 3, 6.0, "completed", "completed"), (2, 0, 0.12345, "completed", "completed"),
        (2, 1, 9.0, "completed", "failed"),
    ):  # fmt: skip
        words = (f"lr={lr}", f"mix={'-ba'[lr]}", f"seed={seed}")
        run = made(tmp_path / f"{lr}-{seed}", *words, value=value, state=state)
        if stage is not None:
            made(run / "probe", monitor="val/mIoU", state=stage, value=30.0 + seed)
    assert over_seeds(read_sweep(tmp_path)) == (
        ["lr", "mix", "seeds", "val/loss", "probe: val/mIoU"],
        [[1, "b", 3, "4 ± 2", "31.33 ± 1.5"], [2, "a", 1, "0.1235", "30"]],
    )
    assert over_seeds(read_sweep(tmp_path)[:1]) is None


@pytest.mark.parametrize(
    ("name", "percent"),
    [
        *((f"val/{name}", True) for name in ("mIoU", "mAcc", "aAcc", "mDice", "mPrecision", "mBIoU", "top1", "top5")),
        *((f"upernet: val/{name}", True) for name in ("mean_error", "mCE", "knn", "linear", "knn_mIoU", "linear_mIoU")),
        ("val/loss", False), ("val/kappa", False), ("mIoU/val", False),
    ],
)  # fmt: skip
def test_a_score_has_the_unit_of_its_name(name: str, percent: bool) -> None:
    assert read_runs.with_unit(name, 35.6789) == ("35.68 %" if percent else "35.68")
    assert read_runs.with_unit(name, 0.54937) == ("0.55 %" if percent else "0.5494")


def test_what_was_typed_is_read_as_a_value() -> None:
    typed = {
        "1e-3": 0.001,
        "3": 3,
        "true": True,
        "a": "a",
        "[1,2]": "[1,2]",
        "null": "null",
        "": "",
        "a: [": "a: [",
        "0.5": 0.5,
    }
    assert [repr(read_runs._value(text)) for text in typed] == [repr(value) for value in typed.values()]
