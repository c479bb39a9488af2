"""Offline W&B runs, read back record by record."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mae_hydra.engine import Interrupted
from mae_hydra.tracking import Trackers, Wandb
from mae_hydra.tracking.offline_records import records
from mae_hydra.types import Evaluation, Picture

# wandb and what it imports warn about themselves; its clean-up of a temporary directory is left to the interpreter.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)

SETTINGS = {
    "project": "tests",
    "entity": None,
    "mode": "offline",
    "group": "sweep",
    "job_type": "segment",
    "name": "tiny",
    "tags": ["a", "b"],
    "notes": "a note",
}
CONFIG = {"model": {"mask_ratio": 0.75, "out_indices": [1, 2]}, "seed": 0}


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    """Neither a key nor a network may be needed."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens there


def offline_runs(run_dir: Path) -> list[Path]:
    return sorted(run_dir.glob("wandb/offline-run-*/run-*.wandb"))


def nested(items) -> dict:
    values: dict = {}
    for item in items:
        *parents, name = item.nested_key or [item.key]
        inner = values
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[name] = json.loads(item.value_json)
    return values


def history(path: Path) -> list[dict]:
    """One dictionary per row."""
    return [nested(record.history.item) for record in records(path) if record.WhichOneof("record_type") == "history"]


def summary(path: Path) -> dict:
    """The summary at the end."""
    values: dict = {}
    for record in records(path):
        if record.WhichOneof("record_type") == "summary":
            values |= nested(record.summary.update)
    return values


def wait_for_the_files() -> None:
    """The runs are written by a process of wandb's own, which has time until this one ends."""
    import wandb

    wandb.teardown()


def picture() -> Picture:
    labels = np.zeros((8, 8), np.uint8)
    labels[:4] = 1
    labels[0] = 255
    return Picture(np.full((8, 8, 3), 50, np.uint8), "a caption", {"prediction": labels}, ("wall", "floor"))


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    """A run of two parts: died after step 20, went on from its checkpoint of step 10."""
    run_dir = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        first = Wandb(**SETTINGS)
        first.start(run_dir, CONFIG, 0)
        first.scalars(10, {"train/loss": 0.5, "train/lr": 1e-4})
        table = {"classes": [{"name": "wall", "IoU": 0.5}, {"name": "floor", "IoU": float("nan")}]}
        first.evaluation(10, "segmentation", Evaluation({"mIoU": 30.0}, {"examples": picture()}, table))
        first.scalars(20, {"train/loss": 0.4})
        first.finish("failed", {})
        second = Wandb(**SETTINGS)
        second.start(run_dir, CONFIG, 10)
        second.scalars(20, {"train/loss": 0.4})
        second.evaluation(20, "segmentation", Evaluation({"mIoU": 20.0}))
        second.evaluation(30, "segmentation", Evaluation({"mIoU": 10.0}))
        second.finish("completed", {})
        wait_for_the_files()
    return run_dir


@pytest.mark.slow
def test_a_resumed_run_is_the_same_run(run_dir):
    first, second = offline_runs(run_dir)
    name = (run_dir / "wandb_id.txt").read_text()
    assert len(name) == 8
    assert first.name == second.name == f"run-{name}.wandb"


def test_best_values_are_those_of_the_whole_run_however_often_it_was_resumed(tmp_path):
    lines = [{"step": 1, "val/mIoU": 30.0}, {"step": 2, "train/loss": 1.0}, {"step": 3, "val/mIoU": 10.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 4, "val')
    (tmp_path / "wandb_id.txt").write_text("01234567")
    tracker = Wandb(**SETTINGS)
    tracker.start(tmp_path, CONFIG, 2)
    tracker.evaluation(3, "segmentation", Evaluation({"mIoU": 10.0}))
    tracker.finish("completed", {})
    wait_for_the_files()
    (path,) = offline_runs(tmp_path)
    assert (summary(path)["min/val/mIoU"], summary(path)["max/val/mIoU"]) == (10.0, 30.0)


def test_a_training_from_the_start_is_a_new_run_whatever_was_there(tmp_path):
    """With resume=never, and where the first attempt died before its first checkpoint."""
    (tmp_path / "wandb_id.txt").write_text("01234567")
    tracker = Wandb(**SETTINGS)
    tracker.start(tmp_path, CONFIG, 0)
    tracker.scalars(1, {"train/loss": 1.0})
    tracker.finish("completed", {})
    wait_for_the_files()
    (path,) = offline_runs(tmp_path)
    assert path.name == f"run-{(tmp_path / 'wandb_id.txt').read_text()}.wandb" != "run-01234567.wandb"


def test_a_run_interrupted_in_an_evaluation_has_every_step_once_and_whole(tmp_path, monkeypatch):
    """The server closes a step when a part of a run ends: what a later part says of it would be lost."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "engine")
    from tiny_training import Run, TinyEvaluator, settings

    def train(at=lambda step: None) -> None:
        trackers = Trackers([Wandb(**SETTINGS)])
        Run(tmp_path, evaluators={"tiny": TinyEvaluator(3, at)}, settings=settings(log_every=3), tracker=trackers)()

    with pytest.raises(Interrupted, match="after step 6"):
        train(lambda step: signal.raise_signal(signal.SIGTERM) if step == 6 else None)
    train()
    wait_for_the_files()
    first, second = (history(path) for path in offline_runs(tmp_path))
    assert [(row["step"], row["_step"]) for row in first] == [(step, step) for step in (1, 3)]
    assert [(row["step"], row["_step"]) for row in second] == [(step, step) for step in (6, 9, 12)]
    assert all({"train/loss", "val/loss"} <= row.keys() for row in (first + second)[1:])


def test_the_run_knows_its_configuration_and_its_place(run_dir):
    (run,) = [r.run for r in records(offline_runs(run_dir)[0]) if r.WhichOneof("record_type") == "run"][:1]
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["model"] == {"mask_ratio": 0.75, "out_indices": [1, 2]}
    assert config["seed"] == 0
    assert (run.project, run.run_group, run.job_type, run.display_name) == ("tests", "sweep", "segment", "tiny")
    assert (list(run.tags), run.notes) == (["a", "b"], "a note")


def test_curves_stand_against_the_step_and_each_step_is_one_row(run_dir):
    first, second = (history(path) for path in offline_runs(run_dir))
    assert [(row["step"], row["_step"]) for row in first] == [(10, 10), (20, 20)]
    assert [(row["step"], row["_step"]) for row in second] == [(20, 20), (30, 30)]
    assert (first[0]["train/loss"], first[0]["train/lr"], first[0]["val/mIoU"]) == (0.5, 1e-4, 30.0)
    metrics = [r.metric for r in records(offline_runs(run_dir)[0]) if r.WhichOneof("record_type") == "metric"]
    axes = {metric.name or metric.glob_name: metric.step_metric for metric in metrics}
    assert axes["train/*"] == axes["perf/*"] == axes["val/*"] == "step"


def test_the_summary_keeps_the_best_value(run_dir):
    second = summary(offline_runs(run_dir)[1])
    assert second["val/mIoU"] == {"max": 20.0, "min": 10.0, "last": 10.0}
    assert second["state"] == "completed"
    assert summary(offline_runs(run_dir)[0])["state"] == "failed"


def test_the_exit_code_tells_a_finished_run_from_a_broken_one(run_dir):
    codes = [
        record.exit.exit_code
        for path in offline_runs(run_dir)
        for record in records(path)
        if record.WhichOneof("record_type") == "exit"
    ]
    assert codes == [1, 0]


def test_pictures_carry_their_class_maps_in_wandbs_own_format(run_dir):
    path = offline_runs(run_dir)[0]
    entry = history(path)[0]["segmentation/examples"]
    files = path.parent / "files"
    with Image.open(files / entry["path"]) as image:
        assert np.array_equal(np.asarray(image), picture().pixels)
    with Image.open(files / entry["masks"]["prediction"]["path"]) as image:
        assert np.array_equal(np.asarray(image), picture().maps["prediction"])
    assert entry["caption"] == "a caption"
    config = [
        json.loads(item.value_json)
        for record in records(path)
        if record.WhichOneof("record_type") == "config"
        for item in record.config.update
        if item.key == "_wandb" or "_wandb" in item.nested_key
    ]
    assert '"wall"' in json.dumps(config)


def test_tables_can_be_read_back(run_dir):
    path = offline_runs(run_dir)[0]
    entry = history(path)[0]["segmentation/classes"]
    table = json.loads((path.parent / "files" / entry["path"]).read_text())
    assert table["columns"] == ["name", "IoU"]
    assert table["data"][0] == ["wall", 0.5]


def test_two_jobs_of_one_process_are_two_runs(tmp_path):
    for number in (1, 2):
        tracker = Wandb(**SETTINGS | {"name": f"job{number}"})
        (tmp_path / f"{number}").mkdir()
        tracker.start(tmp_path / f"{number}", CONFIG, 0)
        tracker.scalars(1, {"train/loss": float(number)})
        if number == 2:
            tracker.finish("completed", {})  # the first was left open, by a crash say
    wait_for_the_files()
    paths = [offline_runs(tmp_path / f"{number}")[0] for number in (1, 2)]
    assert paths[0].name != paths[1].name
    assert [[row["train/loss"] for row in history(path)] for path in paths] == [[1.0], [2.0]]


def test_the_way_to_upload_is_said_and_nothing_else(tmp_path, capfd):
    import wandb

    tracker = Wandb(**SETTINGS)
    tracker.start(tmp_path, CONFIG, 0)
    tracker.finish("completed", {})
    out, err = capfd.readouterr()
    assert out == f"to upload this run to W&B: wandb sync {tmp_path}/wandb/offline-run-*\n"
    if tuple(map(int, wandb.__version__.split(".")[:2])) < (0, 31):  # says of itself that it does not resume offline
        assert "`resume` will be ignored" in err
        assert len(err.splitlines()) == 1
    else:
        assert err == ""


def test_without_an_account_the_run_is_kept_offline(tmp_path, capsys):
    trackers = Trackers([Wandb(**SETTINGS | {"mode": "online"})])
    trackers.start(tmp_path, CONFIG, 0)
    trackers.scalars(1, {"train/loss": 1.0})
    trackers.finish("completed", {})
    assert "not logged in to W&B (No API key configured" in capsys.readouterr().err
    assert offline_runs(tmp_path)


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="mode must be one of online, offline, disabled, got 'on'"):
        Wandb(**SETTINGS | {"mode": "on"})


def test_what_is_for_the_report_and_what_was_not_asked_for_is_not_logged(tmp_path):
    """The cells of a sweep's page are no picture of the run; checkpoints go up where `artifacts` says so alone."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.pt").write_bytes(b"weights")
    tracker = Wandb(**SETTINGS)
    tracker.start(tmp_path, CONFIG, 0)
    cells = Picture(picture().pixels, for_report=True)
    tracker.evaluation(1, "segmentation", Evaluation({"mIoU": 1.0}, {"examples": picture(), "cells": cells}))
    tracker.finish("completed", {})
    wait_for_the_files()
    [path] = offline_runs(tmp_path)
    [row] = history(path)
    assert {key for key in row if key.startswith("segmentation/")} == {"segmentation/examples"}
    kinds = [
        r.request.WhichOneof("request_type") or "" for r in records(path) if r.WhichOneof("record_type") == "request"
    ]
    names = [r.artifact.name for r in records(path) if r.WhichOneof("record_type") == "artifact"]
    assert not [each for each in (*kinds, *names) if "artifact" in each or each.endswith("-model")]


def test_what_the_run_is_called_and_how_long_a_server_is_waited_for_reaches_wandb(tmp_path, monkeypatch):
    import wandb

    asked: dict = {}

    def init(**told):
        asked.update(told)
        raise OSError("nobody there")

    monkeypatch.setattr(wandb, "init", init)
    tracker = Wandb(**SETTINGS | {"entity": "team", "patience": 7.0})
    with pytest.raises(OSError, match="nobody there"):
        tracker.start(tmp_path, CONFIG, 0)
    labels = ("project", "entity", "group", "job_type", "name", "tags", "notes", "mode", "dir", "config", "resume")
    assert {name: asked[name] for name in labels} == {
        **SETTINGS, "entity": "team", "dir": str(tmp_path), "config": CONFIG, "resume": "allow"
    }  # fmt: skip
    assert asked["settings"].init_timeout == 7.0
    assert asked["id"] == (tmp_path / "wandb_id.txt").read_text()


@pytest.mark.parametrize(("state", "artifacts", "logged"), [
    ("completed", True, 1), ("completed", False, 0), ("failed", True, 0), ("interrupted", True, 0),
])  # fmt: skip
def test_the_checkpoints_of_a_complete_run_go_up_with_what_explains_them(tmp_path, state, artifacts, logged):
    class Run:
        """What `finish` asks of a run of W&B."""

        id, summary, dir = "01234567", {}, str(tmp_path / "wandb/offline-run/files")

        def __init__(self):
            self.artifacts, self.codes, self.preempting = [], [], False

        def log_artifact(self, artifact):
            self.artifacts.append(artifact)

        def mark_preempting(self):
            self.preempting = True

        def finish(self, exit_code):
            self.codes.append(exit_code)

    (tmp_path / "checkpoints").mkdir()
    names = ("checkpoints/last.pt", "checkpoints/best.pt", "config.yaml", "results.json", "git.diff", "status.json")
    for name in names:
        (tmp_path / name).write_text(name)
    tracker, run = Wandb(**SETTINGS | {"artifacts": artifacts}), Run()
    tracker._run, tracker._run_dir = run, tmp_path
    tracker.finish(state, {"val/mIoU": 5.0, "words": "no number"})
    assert run.codes == [0 if state == "completed" else 1]
    assert run.summary["state"] == state
    assert run.preempting is (state == "interrupted")  # an agent hands it out again
    assert len(run.artifacts) == logged
    for artifact in run.artifacts:
        assert (artifact.name, artifact.type, artifact.metadata) == ("run-01234567-model", "model", {"val/mIoU": 5.0})
        held = {name: Path(entry.local_path).read_text() for name, entry in artifact.manifest.entries.items()}
        assert held == {name.rpartition("/")[2]: name for name in names if name != "status.json"}
