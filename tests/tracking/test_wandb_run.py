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


def test_what_the_run_is_called_and_how_long_a_server_is_waited_for_reaches_wandb(tmp_path, monkeypatch, capsys):
    import wandb

    asked: dict = {}

    def init(**told):
        asked.update(told)
        raise OSError("nobody there")

    monkeypatch.setattr(wandb, "init", init)
    tracker = Wandb(**SETTINGS | {"entity": "team", "patience": 7.0})
    with pytest.raises(OSError, match="nobody there"):
        tracker.start(tmp_path, CONFIG, 0)
    assert capsys.readouterr().err == ""  # it is offline already
    labels = ("project", "entity", "group", "job_type", "name", "tags", "notes", "mode", "dir", "config", "resume")
    assert {name: asked[name] for name in labels} == {
        **SETTINGS, "entity": "team", "dir": str(tmp_path), "config": CONFIG, "resume": "allow"
    }  # fmt: skip
    assert asked["settings"].init_timeout == 7.0
    assert (asked["settings"].console, asked["settings"].silent, asked["reinit"]) == ("off", True, "finish_previous")
    assert (asked["settings"].finish_timeout, asked["settings"].finish_timeout_raises) == (300.0, True)
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
    tracker.finish(state, {"val/mIoU": 5.0, "steps": 7, "words": "no number", "none": None})
    assert run.codes == [0 if state == "completed" else 1]
    assert run.summary["state"] == state
    assert run.preempting is (state == "interrupted")  # an agent hands it out again
    assert len(run.artifacts) == logged
    for artifact in run.artifacts:
        assert (artifact.name, artifact.type) == ("run-01234567-model", "model")
        assert artifact.metadata == {"val/mIoU": 5.0, "steps": 7}
        held = {name: Path(entry.local_path).read_text() for name, entry in artifact.manifest.entries.items()}
        assert held == {name.rpartition("/")[2]: name for name in names if name != "status.json"}


class Told:
    """What the server's part of a run is asked, and what it answers."""

    id, url, starting_step = "01234567", "http://wandb/run", 2

    def __init__(self, run_dir: Path, *, silent: bool = False) -> None:
        self.dir, self.silent = str(run_dir / "wandb/run-1/files"), silent
        self.summary: dict = {}
        self.rows: list = []
        self.asked: list = []
        self.config = self

    def log(self, values, step):
        self.rows.append((step, values))

    def update(self, values, **more):
        self.asked.append(("parent", values["parent"]["step"], more))

    def define_metric(self, name, **more):
        self.asked.append((name, *more.values()))

    def use_artifact(self, name):
        self.asked.append(("use_artifact", name))

    def alert(self, title, text, wait_duration):
        self.asked.append(("alert", title, text))

    def mark_preempting(self):
        self.asked.append("preempting")

    def finish(self, exit_code):
        if self.silent:
            raise TimeoutError
        self.asked.append(("finish", exit_code))


def started(run_dir: Path, monkeypatch, run: Told, step: int, **settings) -> Wandb:
    import wandb

    monkeypatch.setattr(wandb, "init", lambda **told: run)
    tracker = Wandb(**SETTINGS | settings)
    tracker.start(run_dir, CONFIG, step)
    return tracker


LINES = [{"step": 1, "a": 1.0}, {"step": 2, "a": 2.0, "b": None}, {"step": 3, "a": 3.0}, {"step": 4, "a": 4.0}]


@pytest.mark.parametrize(("step", "sent"), [(0, []), (2, [2]), (3, [2, 3])])
def test_the_server_is_sent_the_lines_that_it_has_not_got_up_to_where_the_run_goes_on(
    tmp_path, monkeypatch, capsys, caplog, step, sent
):
    caplog.set_level("INFO", logger="mae_hydra")
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    run = Told(tmp_path)
    started(tmp_path, monkeypatch, run, step, mode="online")
    assert run.rows == [(each, {"step": each, "a": float(each)}) for each in sent]
    assert capsys.readouterr().out == "W&B: http://wandb/run\n"
    assert [record.message for record in caplog.records] == ["W&B: http://wandb/run"]  # in train.log, too
    assert run.asked == [
        ("step",), ("train/*", "step"), ("perf/*", "step"), ("val/*", "step", "min,max,last")
    ]  # fmt: skip


@pytest.mark.parametrize(("step", "sent"), [(0, []), (3, [2]), (4, [2, 4])])
def test_an_offline_run_takes_up_what_no_earlier_part_of_it_has_written(tmp_path, monkeypatch, step, sent):
    """Also what is missing between others: a killed part may have lost some."""
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    for part in ("2", "1"):
        (tmp_path / f"wandb/offline-run-{part}").mkdir(parents=True)
        (tmp_path / f"wandb/offline-run-{part}/run-x.wandb").touch()
    steps = {"offline-run-1": 1.0, "offline-run-2": 3.0}
    monkeypatch.setattr("mae_hydra.tracking.wandb.steps_in", lambda paths: {steps[path.parent.name] for path in paths})
    run = Told(tmp_path)
    started(tmp_path, monkeypatch, run, step)
    assert run.rows == [(each, {"step": each, "a": float(each)}) for each in sent]


@pytest.mark.parametrize(
    ("mode", "artifacts", "used"), [("online", True, True), ("online", False, False), ("offline", True, False)]
)
def test_a_run_names_the_weights_that_it_began_from_where_they_were_uploaded(
    tmp_path, monkeypatch, mode, artifacts, used
):
    parent = tmp_path / "parent/checkpoints/best.pt"
    parent.parent.mkdir(parents=True)
    (tmp_path / "parent/wandb_id.txt").write_text("89abcdef\n")
    (tmp_path / "parent.json").write_text(json.dumps({"path": str(parent), "step": 9}))
    run = Told(tmp_path)
    started(tmp_path, monkeypatch, run, 0, mode=mode, artifacts=artifacts)
    assert run.asked[0] == ("parent", 9, {"allow_val_change": True})  # a run that goes on had one before
    assert (("use_artifact", "run-89abcdef-model:latest") in run.asked) is used


@pytest.mark.parametrize(
    ("state", "mode", "asked"),
    [
        ("completed", "online", [("finish", 0)]),
        ("failed", "online", [("alert", "tiny failed", "see {}/error.txt"), ("finish", 1)]),
        ("failed", "offline", [("finish", 1)]),
        ("interrupted", "online", ["preempting", ("finish", 1)]),
    ],
)
def test_who_waits_for_a_run_hears_that_it_failed_and_an_agent_that_it_may_go_on(
    tmp_path, monkeypatch, state, mode, asked
):
    lines = [{"step": 1, "val/x": 3.0, "a": 1.0}, {"step": 2, "val/x": None}, {"step": 3, "val/x": 2.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = Told(tmp_path)
    tracker = started(tmp_path, monkeypatch, run, 0, mode=mode)
    run.asked.clear()
    tracker.finish(state, {})
    expected = [each if isinstance(each, str) else tuple(str(part).format(tmp_path) for part in each) for each in asked]
    assert [each if isinstance(each, str) else tuple(map(str, each)) for each in run.asked] == expected
    assert run.summary == {"state": state, "min/val/x": 2.0, "max/val/x": 3.0}
    tracker.finish(state, {})  # it has ended
    assert len(run.asked) == len(asked)


def test_what_the_server_refuses_beside_the_numbers_stops_no_run(tmp_path, monkeypatch):
    """An artifact that was never uploaded, an alert that cannot be sent."""

    class Refusing(Told):
        def use_artifact(self, name):
            raise ValueError(name)

        def alert(self, title, text, wait_duration):
            raise RuntimeError(title)

    parent = tmp_path / "parent/checkpoints/best.pt"
    parent.parent.mkdir(parents=True)
    (tmp_path / "parent/wandb_id.txt").write_text("89abcdef")
    (tmp_path / "parent.json").write_text(json.dumps({"path": str(parent), "step": 9}))
    run = Refusing(tmp_path)
    tracker = started(tmp_path, monkeypatch, run, 0, mode="online", artifacts=True)
    tracker.finish("failed", {})
    assert run.asked[-1] == ("finish", 1)


@pytest.mark.parametrize("content", [None, b"null", b"[1]", b'{"path": "x"', b"\xff", b"[" * 100_000])
def test_a_parent_that_is_no_record_is_none(tmp_path, content):
    from mae_hydra.tracking.wandb import _parent

    if content is not None:
        (tmp_path / "parent.json").write_bytes(content)
    assert _parent(tmp_path) is None


def test_a_server_that_does_not_take_the_end_leaves_the_files_with_the_way_to_upload_them(
    tmp_path, monkeypatch, capsys
):
    tracker = started(tmp_path, monkeypatch, Told(tmp_path, silent=True), 0)
    tracker.finish("completed", {})
    assert capsys.readouterr().out.splitlines() == [
        "warning: W&B has not taken the end of this run in 5 minutes; its files are kept",
        f"to upload it later: wandb sync {tmp_path}/wandb/run-1",
    ]


def test_a_server_out_of_reach_is_asked_once_and_the_run_is_then_kept_offline(tmp_path, monkeypatch, capsys):
    import wandb

    modes = []

    def init(**told):
        modes.append(told["mode"])
        if told["mode"] == "online":
            raise wandb.errors.CommError("no login server\nat all")
        return Told(tmp_path)

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(wandb, "teardown", lambda: modes.append("teardown"))
    tracker = Wandb(**SETTINGS | {"mode": "online"})
    tracker.start(tmp_path, CONFIG, 0)
    assert (modes, tracker.mode) == (["online", "teardown", "offline"], "offline")
    said = capsys.readouterr()
    assert said.err == "warning: W&B cannot be reached (no login server); this run is kept offline\n"
    assert "http" not in said.out


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        ("AuthenticationError", "", "not logged in to W&B (AuthenticationError; or set WANDB_API_KEY)"),
        ("UsageError", "No API key configured.", "not logged in to W&B (No API key configured; or set WANDB_API_KEY)"),
        ("UsageError", "bad project", "W&B cannot be reached (bad project)"),
        ("CommError", "the login server", "W&B cannot be reached (the login server)"),
    ],
)
def test_who_is_not_logged_in_is_told_apart_from_a_server_that_is_away(kind, text, told):
    import wandb

    from mae_hydra.tracking.wandb import _why_offline

    assert _why_offline(getattr(wandb.errors, kind)(text)) == told


def test_a_run_of_an_agent_has_its_id_and_what_follows_it_one_of_its_own(tmp_path, monkeypatch):
    from mae_hydra.tracking.wandb import _run_id

    run, stage = tmp_path / "run", tmp_path / "run/probe"
    stage.mkdir(parents=True)
    own = _run_id(run, 0)
    assert _run_id(run, 5) == own  # it goes on
    assert _run_id(run, 0) != own  # and begins anew
    (run / "status.json").touch()
    for name, value in (("WANDB_SWEEP_ID", "sweep"), ("WANDB_RUN_ID", "agents")):
        monkeypatch.setenv(name, value)
    assert (_run_id(run, 0), _run_id(run, 5)) == ("agents", "agents")
    assert _run_id(stage, 0) != "agents"
    monkeypatch.delenv("WANDB_SWEEP_ID")
    assert _run_id(tmp_path / "run", 0) != "agents"  # somebody's own setting
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    monkeypatch.delenv("WANDB_RUN_ID")
    again = _run_id(run, 0)
    assert _run_id(run, 5) == again
    (run / "wandb_id.txt").unlink()
    assert len(_run_id(run, 5)) == len(again) == 8  # a run that goes on without its file


def test_a_table_has_a_column_for_all_that_any_row_has():
    from mae_hydra.tracking.wandb import _table

    made = _table([{"name": "sky", "IoU": 1.0}, {"name": "sea", "images": 3}])
    assert (made.columns, made.data) == (["name", "IoU", "images"], [["sky", 1.0, None], ["sea", None, 3]])
