"""A run in a list, by what its small files tell: rows made by hand, at every bound."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from mae_hydra.errors import UserError
from mae_hydra.experiment.many import clean, filters
from mae_hydra.experiment.many.filters import Filter, chosen
from mae_hydra.experiment.many.listing import (
    Row,
    common_words,
    list_runs,
    newest_first,
    own_words,
    read_row,
    run_directories,
    size_of,
    sweeps_of,
)
from mae_hydra.experiment.read_runs import Run

STATUS: dict[str, Any] = {"state": "completed", "value": 0.5, "error": None, "ended": None, "start": 1000.0,
                          "end": 1060.0, "overrides": [], "before": 0.0, "task": "segment"}  # fmt: skip


def row(
    name: str = "a", *words: str, best: float | None = None, step: int | None = 5, size: int = 0, metrics: Any = None,
    monitor: str = "val/mIoU", mode: str = "max", folder: Path = Path("out"), config: Any = None, **told: Any,
) -> Row:  # fmt: skip
    whole = {"checkpoint": {"monitor": monitor, "mode": mode}} | (config or {})
    run = Run(folder / name, STATUS | {"overrides": list(words)} | told, whole, metrics or {})
    return Row(run, name, size, best, step, looked=1100.0)


def test_a_row_tells_what_became_of_a_run_and_why() -> None:
    stopped = row(state="interrupted", error="interrupted after step 5", end=None)
    assert [stopped.state, row(state="interrupted").state, row().state] == ["dead", "interrupted", "completed"]
    assert [row(error="old").why, row(ended="no better").why, row().why] == ["", "no better", ""]
    assert row(state="failed", error="ValueError", ended="no better").why == "ValueError"
    assert stopped.why == "interrupted after step 5"
    assert [row(task=None, config={"task": "pretrain"}).task, row().task, row(task=None).task] == [
        "pretrain",
        "segment",
        "",
    ]
    assert [row().metric, row(best=0.0).metric, row(metrics={"val/mIoU": 1.0}).metric] == ["", "val/mIoU", "val/mIoU"]
    assert [row().age, row(start=1200.0).age, row(start=None).age] == [100.0, 0.0, None]
    assert [row(before=5.0).took, row(state="running", end=None, before=5.0).took, row(end=None).took] == [
        65.0,
        105.0,
        None,
    ]
    assert row("a", "seed=1", "logger=wandb", "model=u").words == ["seed=1", "model=u"]


def test_the_facts_of_a_row_are_plain_values() -> None:
    facts = row("a", "seed=1", best=31.5, size=7, metrics={"val/mIoU": 30.0}, end=1060.06, error="e", ended="w").facts()
    assert facts.pop("started")[:4] == "1970"
    assert facts == {
        "name": "a", "task": "segment", "state": "completed", "step": 5, "monitor": "val/mIoU", "best": 31.5,
        "best_step": None, "last": 30.0, "last_step": None, "typed": ["seed=1"], "age_s": 100.0, "took_s": 60.1,
        "bytes": 7, "path": "out/a", "error": "e", "ended": "w",
    }  # fmt: skip
    assert row(start=None, end=None).facts()["started"] is None


def test_the_newest_run_stands_first_and_of_the_same_time_by_name() -> None:
    rows = [row("old", start=5.0), row("b"), row("new", start=2000.0), row("a"), row("unknown", start=None)]
    assert [each.name for each in newest_first(rows)] == ["new", "a", "b", "old", "unknown"]


def test_what_few_have_typed_stands_first_and_what_all_have_nowhere() -> None:
    rows = [row("a", "x=1", "y=2", "z=3"), row("b", "y=2", "x=1", "z=4", "w=5"), row("c", "y=2", "z=4", "x=1")]
    assert common_words(rows) == ["x=1", "y=2"]
    assert own_words(rows) == ["z=3", "w=5 z=4", "z=4"]
    assert (common_words(rows[:1]), own_words(rows[:1])) == ([], ["x=1 y=2 z=3"])


def test_the_best_job_of_a_sweep_is_complete_and_judged_as_all_others(tmp_path: Path) -> None:
    def best(*jobs: Row) -> str | None:
        [sweep] = sweeps_of(jobs)
        return sweep.best and sweep.best.name

    def job(
        name: str, value: float | None, mode: str = "max", monitor: str = "val/mIoU", state: str = "completed"
    ) -> Row:
        metrics = {} if value is None else {monitor: value}
        return row(f"s/{name}", folder=tmp_path / "sweeps", metrics=metrics, mode=mode, monitor=monitor, state=state)

    three = [job("a", 3.0), job("b", 5.0), job("c", 9.0, state="failed"), job("d", None)]
    assert best(*three) == "s/b"
    assert best(*(job(name, value, "min") for name, value in (("a", 3.0), ("b", 5.0)))) == "s/a"
    assert best(*three, job("e", 1.0, monitor="val/loss")) is None
    assert best(job("c", 9.0, state="failed")) is None
    assert sweeps_of([row("r/a", folder=tmp_path / "runs")]) == []
    (tmp_path / "runs/r").mkdir(parents=True)
    (tmp_path / "runs/r/results.csv").touch()
    [told] = sweeps_of([row("r/a", folder=tmp_path / "runs"), row("x/b", folder=tmp_path / "runs")])
    assert (told.name, told.directory, told.states, len(told.jobs)) == ("r", tmp_path / "runs/r", "1 completed", 1)
    [told] = sweeps_of(three[::-1])
    assert told.states == "3 completed, 1 failed"


def made(run: Path, *steps: int, rows: str = "", **told: Any) -> Path:
    (run / "checkpoints").mkdir(parents=True)
    (run / "status.json").write_text(json.dumps(STATUS | told))
    (run / "config.yaml").write_text(yaml.safe_dump({"checkpoint": {"monitor": "val/loss", "mode": "min"}}))
    (run / "metrics.jsonl").write_text(rows)
    for step in steps:
        (run / f"checkpoints/step-{step:08d}.pt").write_bytes(b"x")
    return run


def test_a_row_has_the_best_and_the_last_evaluation_and_the_last_step_that_was_saved(tmp_path: Path) -> None:
    lines = ['{"step": 5, "val/loss": 3}', '{"step": 10, "val/loss": 1}', '{"step": 15, "val/loss": 2}',
             '{"step": 17, "val/loss": null}', '{"step": 18}']  # fmt: skip
    run = made(tmp_path / "run", 10, 20, rows="\n".join(lines) + "\n")
    for name in ("step-x.pt", f"step-{10**16}.pt"):
        (run / "checkpoints" / name).touch()
    found = read_row(run, tmp_path)
    told = (found.name, found.best, found.best_step, found.last, found.last_step, found.step)
    assert told == ("run", 1, 10, 2, 15, 20)
    assert read_row(run, run).name == "run"
    nothing = read_row(made(tmp_path / "new"), tmp_path)
    assert (nothing.best, nothing.step, nothing.best_step, nothing.last_step) == (None, None, None, None)
    (run / "config.yaml").unlink()
    found = read_row(run, tmp_path)
    assert (found.state, found.run.config, found.best, found.step) == ("completed", {}, None, 20)
    (run / "status.json").write_text('{"value": 1}')
    assert (read_row(run, tmp_path).state, read_row(run, tmp_path).best) == ("unreadable", None)
    with pytest.raises(UserError, match="is no folder"):
        list_runs(tmp_path / "none")
    with pytest.raises(UserError, match="there is no run at or below"):
        list_runs(made(tmp_path / "other/run").joinpath("checkpoints"))


def test_folders_that_a_run_or_a_tracker_fills_are_not_looked_into(tmp_path: Path) -> None:
    run = made(tmp_path / "a/run")
    for place in ("a/run/upernet", "a/wandb/x", "a/.hidden/x", "a/figures/x", "b"):
        made(tmp_path / place)
    for name in ("checkpoints", "figures", "tables", "wandb", "report", "tensorboard", "replay", "profile"):
        made(run / name / "x")
    found = {str(path.relative_to(tmp_path)) for path in run_directories(tmp_path)}
    assert found == {"a/run", "a/run/upernet", "a/figures/x", "b"}
    assert size_of(run, with_runs=True) > size_of(run) > 0


def test_runs_are_listed_in_the_order_of_their_names_each_once_and_behind_what_went_meanwhile(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    for name in ("a", "b/x", "c/y"):
        made(root / name)
    (root / "c/self").symlink_to("self")
    (root / "c/round").symlink_to(root)
    (root / "c/same").symlink_to(root / "a")
    (root / "d").symlink_to(made(tmp_path / "elsewhere/run").parent)
    found = run_directories(root)
    assert next(found) == root / "a"
    shutil.rmtree(root / "b")
    assert list(found) == [root / "c/y", root / "d/run"]
    assert list(run_directories(root / "b")) == []


def test_of_a_run_its_own_bytes_count_and_not_what_a_link_leads_to_or_goes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, before = made(tmp_path / "run"), size_of(tmp_path / "run")
    (tmp_path / "large").write_bytes(b"x" * 10_000)
    (run / "checkpoints/large").symlink_to(tmp_path / "large")
    (run / "tables/deep").mkdir(parents=True)
    (run / "tables/deep/a.csv").write_bytes(b"x" * 100)
    made(run / "then")
    link = (run / "checkpoints/large").lstat().st_size
    assert size_of(run) == before + 100 + link
    assert size_of(run, with_runs=True) == 2 * before + 100 + link
    assert size_of(run / "none") == 0

    class Gone:
        name = "gone"

        def stat(self, *, follow_symlinks: bool) -> Any:
            raise FileNotFoundError

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda place: [Gone(), *scandir(place)])
    assert size_of(run) == before + 100 + link


@pytest.mark.parametrize(
    ("told", "words", "step", "files", "why"),
    [
        ({"state": "failed"}, ["+debug=smoke"], 5, (), "failed run of +debug="),
        ({"state": "interrupted", "end": None}, ["+debug=smoke"], 5, (), "dead run of +debug="),
        ({"state": "interrupted"}, ["+debug=smoke"], 5, (), "interrupted run of +debug="),
        ({"state": "running"}, ["+debug=smoke"], 5, (), ""),
        ({}, ["+debug=smoke"], 5, (), ""),
        ({"state": "failed"}, ["seed=1"], None, (), "failed before its first step"),
        ({"state": "failed"}, ["seed=1"], 0, (), ""),
        ({"state": "failed"}, ["seed=1"], None, (3,), ""),
        ({"state": "interrupted", "end": None}, ["seed=1"], None, (), ""),  # killed before its first line
        ({"state": "interrupted"}, ["seed=1"], None, (), ""),
    ],
)
def test_a_run_has_come_to_nothing_where_it_failed_before_its_first_step_or_was_a_trial(
    tmp_path: Path, told: Any, words: list[str], step: int | None, files: tuple[int, ...], why: str
) -> None:
    made(tmp_path / "a", *files)
    assert clean._came_to_nothing(row("a", *words, step=step, folder=tmp_path, **told)) == why
    if words == ["+debug=smoke"]:  # also where a file chose it
        (tmp_path / "a/environment.json").write_text('{"choices": {"debug": "smoke"}}')
        assert clean._came_to_nothing(row("a", "seed=1", step=step, folder=tmp_path, **told)) == why


def test_what_is_ours_alone_goes_whole_and_not_with_what_was_put_there_meanwhile(tmp_path: Path) -> None:
    run = made(tmp_path / "run", 5, state="failed")
    for name in (".heartbeat-12", "error.rank3.txt", "wandb/x/notes.txt"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).touch()
    assert clean._is_ours_alone(run)
    proposal = clean.Proposal(run, "failed", 1, run)
    (run / "tables").mkdir()
    (run / "tables/status.json").touch()  # another run
    assert not clean.remove(proposal)
    (run / "tables/status.json").unlink()
    (run / "notes.txt").touch()
    assert not clean.remove(proposal)
    assert run.is_dir()
    (run / "notes.txt").unlink()
    step = run / "checkpoints/step-00000005.pt"
    assert clean.remove(clean.Proposal(step, "superseded", 1, run))
    assert not step.exists()
    assert run.is_dir()
    assert clean.remove(proposal)
    assert not run.exists()


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("age<1.5m", ["new"]), ("age>=100s", ["old"]), ("age<1w", ["new", "old"]), ("took>1m", ["old"]),
        ("took<=60", ["new"]),
        ("size>1kB", ["old"]), ("size>=2MB", ["old"]), ("size<2MB", ["new"]), ("size<1TB", ["new", "old"]),
        ("val/mIoU=30", ["new"]), ("val/mIoU!=30", ["old"]), ("name=n*", ["new"]), ("name!=n*", ["old"]),
        ("name=N*", []), ("val/top-5>1", ["old"]), ("data@other_1.x=3", ["old"]),
        ("head.depth=3", ["old"]), ("flag!=false", ["old"]), ("flag=true", ["old"]),
        ("best=null", ["new"]), ("best>1", ["old"]),
    ],
)  # fmt: skip
def test_filters_know_units_globs_and_their_opposites(word: str, names: list[str]) -> None:
    new = row("new", metrics={"val/mIoU": 30.0}, start=1050.0, end=1110.0, size=1000, config={"head": {"depth": 2}})
    old = row("old", metrics={"val/mIoU": 31.0, "val/top-5": 2.0}, end=1061.0, size=2_000_000, best=5.0,
              config={"head": {"depth": 3}, "flag": True, "data@other_1": {"x": 3}})  # fmt: skip
    assert [each.name for each in chosen([new, old], [Filter.of(word)])] == names


def test_a_column_is_what_the_list_shows_before_a_key_of_that_name() -> None:
    told: dict[str, Any] = {"metrics": {"val/mIoU": 2.0, "step": 99.0}, "config": {"task": "t", "best": 99, "seed": 3}}
    one = row("a", best=1.0, step=7, size=8, before=5.0, **told)
    one = dataclasses.replace(one, best_step=3, last_step=4)
    found = {key: filters.value_of(one, key) for key in (*filters.COLUMNS, "val/mIoU", "seed", "none")}
    columns = {
        "name": "a", "task": "segment", "state": "completed", "step": 7, "monitor": "val/mIoU", "best": 1.0,
        "best_step": 3, "last": 2.0, "last_step": 4, "age": 100.0, "took": 65.0, "size": 8, "val/mIoU": 2.0, "seed": 3,
    }  # fmt: skip
    assert found == {key: (True, value) for key, value in columns.items()} | {"none": (False, None)}


def test_a_key_that_no_run_has_is_answered_with_those_that_end_alike() -> None:
    rows = [row("a", config={"optimizer": {"lr": 1}}), row("b", metrics={"train/lr": 1.0}, config={"lr": {"end": 2}})]
    with pytest.raises(UserError, match=r"none of the 2 runs has lr; did you mean optimizer\.lr\?$"):
        chosen(rows, [Filter.of("lr=1")])
    with pytest.raises(UserError, match=r"has val/mIuO; there are name, task, .*, size, what is logged"):
        chosen(rows, [Filter.of("name=a"), Filter.of("val/mIuO=1")])


def test_a_value_is_read_as_it_is_typed() -> None:
    typed = [("age", "2d"), ("took", ".5 h"), ("size", "1.5GB"), ("best", "2d"), ("age", "2x"), ("best", "1e3")]
    typed += [("flag", "true"), ("best", "null"), ("name", "a: ["), ("betas", "[1, 2]")]
    assert [filters._value(key, text) for key, text in typed] == [
        172_800.0, 1800.0, 1.5e9, "2d", "2x", 1000.0, True, None, "a: [", [1, 2],
    ]  # fmt: skip


def test_units_are_those_of_a_clock_and_of_a_disk() -> None:
    assert filters.UNITS == {
        "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
    }  # fmt: skip


def test_a_run_needs_what_its_words_its_configuration_and_its_parent_name_from_where_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    for name in ("first/checkpoints/last.pt", "second/checkpoints/last.pt", "third.pt", "fourth/last.pt", "unnamed.pt"):
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).touch()
    here.mkdir()
    (here / "fifth.pt").touch()
    monkeypatch.chdir(here)
    steps = ((0, "first", 20), (1, "first", 40), (2, "second", 5), (3, "second", None))
    for number, parent, step in steps:
        run = made(there / f"run{number}", overrides=["init_from=third.pt", "~logger", "data.root=fifth.pt"])
        (run / "environment.json").write_text(json.dumps({"folder": str(there)}))
        told = {"path": str(there / parent / "checkpoints/last.pt"), "step": step}
        (run / "parent.json").write_text(json.dumps(told))
    own = there / "run3"
    config = {"then": [{"init_from": "fourth/last.pt@ema"}], "paths": {"run_dir": "run3", "root": str(there),
              "own": "run3/checkpoints"}}  # fmt: skip
    (own / "config.yaml").write_text(yaml.safe_dump(config))
    found = clean.needed_paths([there / f"run{number}" for number, *_ in steps])
    named = ("first/checkpoints/last.pt", "second/checkpoints/last.pt", "third.pt", "fourth/last.pt")
    steps_of = {there / "first/checkpoints": {20, 40}, there / "second/checkpoints": {5}}
    assert found == {there / name: set() for name in named} | {here / "fifth.pt": set()} | steps_of
    assert [clean._needs(there / name, found) for name in ("first", "fourth", "third.pt", "unnamed.pt", "run3")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_records_are_asked_below_every_output_folder_that_a_run_was_started_with(tmp_path: Path) -> None:
    listed = made(tmp_path / "listed/a")
    others = [made(tmp_path / place) for place in ("outputs/b", "outputs/deep/c", "else/d")]
    rows = []
    for run, root, folder in ((listed, "outputs", tmp_path), (others[1], str(tmp_path / "else"), "/nowhere")):
        (run / "environment.json").write_text(json.dumps({"folder": str(folder)}))
        told = Run(run, STATUS, {"paths": {"output_root": root}}, {})
        rows.append(Row(told, run.name, 0, None, None))
    assert sorted(clean._all_runs(rows, tmp_path / "listed")) == sorted([listed, *others])
    assert sorted(clean._all_runs(rows[:1], tmp_path)) == sorted([listed, *others])
    untold = ({}, {"paths": None}, {"paths": {"output_root": None}})
    nowhere = [Row(Run(listed, STATUS, config, {}), "a", 0, None, None) for config in untold]
    assert clean._all_runs(nowhere, tmp_path / "listed") == [listed]
    (listed / "environment.json").unlink()  # where its folder lies is not known then
    assert clean._all_runs(rows[:1], tmp_path / "listed") == [listed]


def test_a_checkpoint_goes_where_a_later_one_is_whole_and_it_is_no_milestone_no_link_and_needed_by_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made(tmp_path / "run", 5, 10, 15, 20, 25)
    folder = run / "checkpoints"
    monkeypatch.setattr(clean, "check_file", lambda path: path.read_bytes() == b"x")
    for name, step in (("last.pt", 25), ("best.pt", 15)):
        os.link(folder / f"step-{step:08d}.pt", folder / name)
    (folder / "step-x.pt").touch()
    (tmp_path / "kept.pt").write_bytes(b"xx")
    (folder / "step-00000007.pt").symlink_to(tmp_path / "kept.pt")
    (folder / "step-00000008.pt").touch()  # of which nothing would be free

    def going(needed: Any = None, **checkpoint: Any) -> list[str]:
        told = Row(Run(run, STATUS, {"checkpoint": checkpoint}, {}), "run", 0, None, 25)
        found = list(clean._superseded(told, needed or {}))
        assert all((each.size, each.run, each.why) == (1, run, "superseded by last.pt") for each in found)
        return [str(int(each.path.stem.removeprefix("step-"))) for each in found]

    assert going() == ["5", "10", "20"]
    assert going(keep_every=10) == ["5"]
    assert going(keep_every=0) == going(keep_every=None) == going(keep_every="10") == ["5", "10", "20"]
    assert going({folder: {10, 3}, folder / "step-00000020.pt": set(), tmp_path: {5}}) == ["5"]
    for content in (b"", None):  # the last one is damaged, or gone
        (folder / "last.pt").unlink()
        if content is not None:
            (folder / "last.pt").write_bytes(content)
        assert going() == []


def test_steps_are_superseded_in_complete_runs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clean, "check_file", lambda path: True)
    rows = []
    for state in ("completed", "pruned", "failed", "interrupted", "running", "unreadable"):
        made(tmp_path / state, 5, 10, state=state)
        rows.append(row(state, folder=tmp_path, step=10, state=state))
    found = clean.proposals(rows, tmp_path)
    step = tmp_path / "completed/checkpoints/step-00000005.pt"
    assert step in [each.path for each in found]
    assert {each.run for each in found} == {tmp_path / "completed"}


def test_all_that_a_run_writes_is_its_own_and_nothing_else(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    for name in (
        ".lock", "console.log", "data.json", "environment.json", "error.txt", "git.diff", "git.json", "metrics.jsonl",
        "nonfinite.jsonl", "overrides.yaml", "parent.json", "results.json", "starts.jsonl", "train.log",
        "wandb_id.txt", ".heartbeat-3", "error.rank1.txt",
    ):  # fmt: skip
        (run / name).touch()
    for name in ("figures", "profile", "replay", "report", "tables", "tensorboard", "wandb"):
        (run / name).mkdir()
        (run / name / "anything").touch()
    assert clean._is_ours_alone(run)
    for name in ("heartbeat-3", "model.pt", "config.yml", "error.txt.old", ".hidden", "probe"):
        (run / name).touch()
        assert not clean._is_ours_alone(run)
        (run / name).unlink()
    assert clean._is_ours_alone(run)


def test_a_linked_folder_or_a_missing_record_makes_a_run_a_persons(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    (tmp_path / "pictures").mkdir()
    assert clean._is_ours_alone(run)
    for name in ("figures", "tables/figures"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).symlink_to(tmp_path / "pictures")
        assert not clean._is_ours_alone(run)
        (run / name).unlink()
    for name in ("config.yaml", "status.json"):
        (run / name).rename(tmp_path / name)
        assert not clean._is_ours_alone(run)
        (tmp_path / name).rename(run / name)
    assert clean._is_ours_alone(run)
