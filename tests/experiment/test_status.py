"""Fingerprints, job names and status files decide what a rerun does; they are checked without any training."""

import json
import os
import socket
from pathlib import Path

import pytest

from mae_hydra.configuration.job_names import slug
from mae_hydra.configuration.key_meaning import Decides, differences, told
from mae_hydra.configuration.resolvers import run_dir
from mae_hydra.experiment.holder import holding
from mae_hydra.experiment.read_runs import read_run
from mae_hydra.experiment.start import discard_unbegun
from mae_hydra.experiment.status import Status, fingerprint, read_status, write_json

CONFIG = {
    "name": "a",
    "task": "pretrain",
    "seed": 0,
    "data": {"root": "/here", "num_workers": 2, "batch_size": 8},
    "optimizer": {"lr": 0.1},
    "paths": {"output_root": "outputs"},
}


def changed(key: str, value):
    copy = json.loads(json.dumps(CONFIG))
    *parents, last = key.split(".")
    node = copy
    for parent in parents:
        node = node[parent]
    node[last] = value
    return copy


@pytest.mark.parametrize("key", ["name", "data.root", "data.num_workers", "paths.output_root"])
def test_where_a_run_happens_does_not_change_its_fingerprint(key):
    assert fingerprint(changed(key, "other")) == fingerprint(CONFIG)


@pytest.mark.parametrize("key", ["seed", "data.batch_size", "optimizer.lr", "task"])
def test_what_a_run_computes_changes_its_fingerprint_and_is_named(key):
    assert fingerprint(changed(key, 77)) != fingerprint(CONFIG)
    difference = told(differences(CONFIG, changed(key, 77), Decides.WEIGHTS))
    assert difference.startswith(f"{key}: ")
    assert difference.endswith(" -> 77")


def test_job_names_do_not_depend_on_the_order_and_carry_no_grammar(tmp_path, monkeypatch):
    first = slug(["model.mask_ratio=0.5", "seed=1", "+sweep=mask_ratio", "hydra.verbose=true", "logger=wandb"])
    assert first == slug(["seed=1", "model.mask_ratio=0.5"])
    assert first.startswith("mask_ratio-0.5_seed-1-")
    swept_first = slug(["a.first=1", "model.mask_ratio=0.5"], {"model.mask_ratio": "0.5,0.75"})
    assert swept_first.startswith("mask_ratio-0.5_first-")
    monkeypatch.setenv("MAE_HYDRA_SWEPT", '["model.mask_ratio"]')  # typed with several values
    typed = ["a.first=1", "model.mask_ratio=0.5"]
    assert slug(typed, None, str(tmp_path)) == swept_first
    (tmp_path / slug(typed)).mkdir()  # by an older version, which put what was swept anywhere
    assert slug(typed, None, str(tmp_path)) == slug(typed) != swept_first
    assert not set("=,") & set(slug(["augment.scale=[0.2,1.0]", "init_from=a/b=c.pt"]))
    assert len(slug([f"model.key{i}=value{i}" for i in range(60)])) <= 107


def test_equal_short_names_of_different_keys_do_not_collide():
    assert slug(["backbone.depth=2"]) != slug(["head.depth=2"])


def test_a_resumed_run_stays_in_its_directory_and_a_new_one_gets_its_own(tmp_path):
    assert run_dir(str(tmp_path) + "/", "fresh", "root") == str(tmp_path)
    assert {run_dir(resume, "fresh", "root") for resume in ("auto", None, "/nowhere/at/all")} == {"fresh"}


def test_running_is_believed_only_while_somebody_holds_the_directory(tmp_path):
    with holding(tmp_path):
        Status(tmp_path, CONFIG, ["seed=0"]).write()
        assert read_status(tmp_path)["state"] == "running"
    assert read_status(tmp_path)["state"] == "interrupted"


def test_a_run_took_what_all_its_attempts_took_without_the_time_between_them(tmp_path):
    """The first is interrupted after 60 seconds, the second killed after 10, the third completes in 5.

    The file that tells of the kill has been copied since.
    """
    attempts = [("interrupted", 1000.0, 1060.0), ("running", 5000.0, None), ("completed", 9000.0, 9005.0)]
    metrics = tmp_path / "metrics.jsonl"
    for (state, start, end), before in zip(attempts, (0.0, 60.0, 70.0), strict=True):
        status = Status(tmp_path, CONFIG, [])
        assert status.content["before"] == before
        write_json(status.path, status.content | {"state": state, "start": start, "end": end})
        lines = [{"step": step, "perf/time": start + 9 + step} for step in (0, 1)]  # of which the last one tells
        metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = read_run(tmp_path)
    assert run is not None
    assert (run.seconds, run.total_seconds) == (75.0, 75.0)
    assert Status(tmp_path, CONFIG | {"resume": "never"}, []).content["before"] == 0.0  # it is trained anew


def test_the_record_of_an_older_version_tells_of_its_last_attempt(tmp_path):
    write_json(tmp_path / "status.json", {"state": "completed", "start": 1000.0, "end": 1060.0, "attempt": 2})
    run = read_run(tmp_path)
    assert run is not None
    assert run.seconds == 60.0
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')  # which has no times, so the file's own counts
    os.utime(tmp_path / "metrics.jsonl", (1090, 1090))
    assert Status(tmp_path, CONFIG, []).content["before"] == 60.0
    write_json(tmp_path / "status.json", {"state": "running", "start": 1000.0, "attempt": 1})
    assert Status(tmp_path, CONFIG, []).content["before"] == 90.0


@pytest.mark.parametrize(("root", "left"), [("a/b", []), ("a", []), ("{here}/a/b", ["a"])])
def test_of_a_start_that_was_a_mistake_no_empty_folder_is_left(tmp_path, monkeypatch, root, left):
    """But what is above an absolute place: that was there for other reasons."""
    monkeypatch.chdir(tmp_path)
    place = Path(root.format(here=tmp_path))
    run = place / "runs/mae/one"
    run.mkdir(parents=True)
    Status(run, CONFIG, []).finish("failed", error="no such data")
    discard_unbegun(run, place)
    assert [path.name for path in tmp_path.iterdir()] == left
    for name in ("one", "two"):
        (place / "runs/mae" / name).mkdir(parents=True)
    Status(run, CONFIG, []).finish("failed", error="no such data")
    discard_unbegun(run, place)
    assert [path.name for path in (place / "runs/mae").iterdir()] == ["two"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"7", b'{"state": 3}', b"\xff\x00", b'{"state": "runn'])
def test_a_status_that_says_nothing_is_none(tmp_path, content):
    (tmp_path / "status.json").write_bytes(content)
    assert read_status(tmp_path) is None


def test_a_start_is_written_down_with_all_that_tells_it_from_another(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    content = Status(tmp_path, CONFIG, ["seed=0"]).content
    own = {"pid": os.getpid(), "host": socket.gethostname(), "scheduled": "4711", "start": content["start"]}
    assert content == own | {
        "state": "running", "name": "a", "task": "pretrain", "fingerprint": fingerprint(CONFIG),
        "overrides": ["seed=0"], "attempt": 1, "value": None, "error": None, "ended": None, "end": None, "before": 0.0,
    }  # fmt: skip
    assert fingerprint(dict(reversed(CONFIG.items()))) == fingerprint(CONFIG)
    assert len(fingerprint(CONFIG)) == 12
    for name, other in (("pid", 1), ("host", "b"), ("start", 5.0)):
        status = Status(tmp_path, CONFIG, [])
        write_json(tmp_path / "status.json", status.content | {name: other})
        assert not status.written


def test_a_record_that_tells_little_is_completed(tmp_path):
    write_json(tmp_path / "status.json", {"state": "completed"})
    assert read_status(tmp_path) == {
        "state": "completed", "value": None, "error": None, "ended": None, "start": None, "end": None, "overrides": [],
        "before": 0.0,
    }  # fmt: skip
    assert Status(tmp_path, CONFIG, []).content["before"] == 0.0
    write_json(tmp_path / "status.json", {"state": "failed", "start": 1000.0, "end": 900.0, "before": 7.0})
    assert Status(tmp_path, CONFIG, []).content["before"] == 7.0  # a clock that went back takes nothing away
    write_json(tmp_path / "status.json", {"state": "running", "start": 1000.0})
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "perf/time": 1030.0}\n{"step": 2, "perf/time": 9e12}\n')
    before = Status(tmp_path, CONFIG, []).content["before"]
    assert 1e9 < before < 1e11  # no line of the future counts beyond now


def test_a_start_that_was_killed_before_its_first_line_took_no_time(tmp_path):
    """Neither what an unwritten file would tell, nor the time until it is started again."""
    write_json(tmp_path / "status.json", {"state": "running", "start": 1000.0, "before": 7.0})
    assert Status(tmp_path, CONFIG, []).content["before"] == 7.0
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')  # of an older version, which told no time
    os.utime(tmp_path / "metrics.jsonl", (1030.0, 1030.0))
    assert Status(tmp_path, CONFIG, []).content["before"] == 37.0


def test_a_second_attempt_is_counted(tmp_path):
    Status(tmp_path, CONFIG, []).finish("failed", error="ValueError: x")
    assert Status(tmp_path, CONFIG, []).content["attempt"] == 2
    assert read_status(tmp_path)["state"] == "failed"  # until the second one is written
    Status(tmp_path, CONFIG, []).write()
    assert read_status(tmp_path)["state"] == "interrupted"  # nobody holds the directory


def test_a_status_is_written_where_the_directory_tells_of_this_start(tmp_path):
    first, second = Status(tmp_path, CONFIG, []), Status(tmp_path, CONFIG, [])
    assert not first.written
    first.write()
    assert (first.written, second.written) == (True, False)
    first.finish("completed", 1.0)
    assert first.written
    (tmp_path / "status.json").write_text("[")
    assert not first.written


def test_a_failing_write_leaves_the_former_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "status.json"
    write_json(path, {"a": 1})

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["status.json"]


def test_what_is_no_finite_number_is_written_as_null(tmp_path):
    nan, infinite = float("nan"), float("inf")
    write_json(tmp_path / "a.json", {"a": nan, "b": [infinite, 1.5, (-infinite, 2)], "c": {"d": "NaN"}, "e": tmp_path})
    written = {"a": None, "b": [None, 1.5, [None, 2]], "c": {"d": "NaN"}, "e": str(tmp_path)}
    assert json.loads((tmp_path / "a.json").read_text()) == written
