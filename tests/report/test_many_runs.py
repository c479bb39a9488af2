"""`mae-hydra runs`: every run below a folder once, with what its small files tell, filtered and sorted."""

import csv
import io
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from made_runs import made_run

from mae_hydra.commands import main
from mae_hydra.commands.runs import SORTS, _cells, sort
from mae_hydra.errors import UserError
from mae_hydra.experiment.holder import holding
from mae_hydra.experiment.many.filters import Filter, chosen
from mae_hydra.experiment.many.listing import list_runs, run_directories, size_of, sweeps_of


def changed(run: Path, name: str, **values: object) -> None:
    file = run / name
    read, write = (json.loads, json.dumps) if file.suffix == ".json" else (yaml.safe_load, yaml.safe_dump)
    content = read(file.read_text()) if file.exists() else {}
    file.write_text(write(content | values))


def begun_lately(folder: Path) -> None:
    """All runs below it, in their order: a list says `30 s`, in as many letters for another minute."""
    files = sorted(folder.rglob("status.json"), key=lambda file: json.loads(file.read_text())["start"])
    for number, file in enumerate(files):
        changed(file.parent, file.name, start=time.time() - 30 + number / 1000)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two single runs, one of which a stage followed, and a sweep of three jobs."""
    root = tmp_path_factory.mktemp("many") / "outputs"
    plain = made_run(root / "runs/mae/one", ["seed=1"], monitor="val/loss", mode="min", value=0.5, cells=False)
    changed(plain, "status.json", task="pretrain")
    made_run(plain / "upernet", ["model=upernet_vitt", "seed=1"], value=31.0, cells=False)
    killed = made_run(root / "runs/mae/two", ["seed=2"], monitor="val/loss", mode="min", value=0.25, cells=False)
    changed(killed, "status.json", task="pretrain", state="running", end=None, value=None)
    for ratio, value in ((0.5, 20.0), (0.75, 40.0), (0.9, 33.0)):
        job = made_run(root / "sweeps/grid" / f"ratio-{ratio}", [f"model.mask_ratio={ratio}", "seed=1"], value=value,
                       state="failed" if ratio == 0.9 else "completed", cells=False)  # fmt: skip
        changed(job, "config.yaml", model={"mask_ratio": ratio}, augment={"flip": True})
        changed(job, "environment.json", choices={"model": "upernet_vitb"})
    return root


def test_every_run_is_listed_once_also_what_followed_another_one(outputs: Path) -> None:
    rows = list_runs(outputs)
    names = {"runs/mae/one", "runs/mae/one/upernet", "runs/mae/two", "sweeps/grid/ratio-0.5", "sweeps/grid/ratio-0.75",
             "sweeps/grid/ratio-0.9"}  # fmt: skip
    assert len(rows) == len(names)
    assert {row.name for row in rows} == names
    of = {row.name: row for row in rows}
    told = [(of[name].state, of[name].step, of[name].best, of[name].last) for name in sorted(names)[:3]]
    assert told == [("completed", 20, 0.5 - 5, 0.5), ("completed", 20, 31.0, 31.0), ("dead", 20, 0.25 - 5, 0.25)]
    assert [(of[name].best_step, of[name].last_step) for name in sorted(names)[:3]] == [(10, 20), (20, 20), (10, 20)]
    [sweep] = sweeps_of(rows)
    assert (sweep.name, sweep.states) == ("sweeps/grid", "2 completed, 1 failed")
    assert sweep.best is not None
    assert sweep.best.name == "sweeps/grid/ratio-0.75"


def test_a_link_to_itself_hides_no_run(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", ["seed=1"], cells=False)
    (tmp_path / "loop").symlink_to("loop")
    assert list(run_directories(tmp_path)) == [run]


def test_a_run_that_somebody_holds_is_running(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", ["seed=1"], state="running", cells=False)
    changed(run, "status.json", end=None, before=600.0)
    assert [row.state for row in list_runs(tmp_path)] == ["dead"]
    with holding(run):
        [row] = list_runs(tmp_path)
    assert row.state == "running"
    assert row.age is not None
    assert row.took == 600 + row.age


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["task=pretrain"], ["one", "two"]),
        (["state=dead"], ["two"]),
        (["val/mIoU>30"], ["upernet", "ratio-0.75", "ratio-0.9"]),
        (["val/mIoU>30", "state!=failed", "name=*grid*"], ["ratio-0.75"]),
        (["model.mask_ratio=0.750"], ["ratio-0.75"]),
        (["model.mask_ratio<=0.75"], ["ratio-0.5", "ratio-0.75"]),
        (["model=upernet_vitb", "best<25"], ["ratio-0.5"]),
        (["augment.flip=true", "step>=20", "last=20"], ["ratio-0.5"]),
        (["age<1h", "size<1MB", "task=pretrain"], ["one", "two"]),
        (["age>1d"], []),
        (["age>.002h", "age<1.5h", "task=pretrain"], ["one", "two"]),
        (["monitor=val/loss", "best<0"], ["one", "two"]),
    ],
)
def test_filters_ask_columns_scalars_groups_and_the_configuration(
    outputs: Path, words: list[str], names: list[str]
) -> None:
    found = chosen(list_runs(outputs), [Filter.of(word) for word in words])
    assert sorted(Path(row.name).name for row in found) == sorted(names)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["mask_ratio=0.5"], "none of the 6 runs has mask_ratio; did you mean model.mask_ratio?"),
        (["val/mIuO>3"], "did you mean val/mIoU?"),
        (["zzz=3"], "there are name, task, state"),
        (["val/mIoU>many"], "compares with 'many', which is no number"),
        (["val/mIoU"], "val/mIoU is neither a folder nor a filter"),
        (["/nowhere/at/all"], "/nowhere/at/all is neither a folder nor a filter"),
        (["."], "one folder at a time"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_one_sentence(
    outputs: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", str(outputs), *words]) == 1
    said = capsys.readouterr()
    assert told in said.err
    assert not said.out


def test_zero_is_a_number_and_what_is_not_known_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value, end in (("a", 0.0, 1.0), ("b", None, None)):
        run = made_run(tmp_path / name, [], value=value, state="failed", monitor="val/loss", mode="max", cells=False)
        changed(run, "status.json", start=1.0, end=end)
    (tmp_path / "a/metrics.jsonl").write_text('{"step": 0, "val/loss": 0.0}\n')
    zero, unknown = sorted(list_runs(tmp_path), key=lambda row: row.name)
    told = ("step", "best", "last", "took_s")
    assert [zero.facts()[name] for name in told] == [0, 0.0, 0.0, 0.0]
    assert [unknown.facts()[name] for name in told] == [None] * 4
    assert (_cells(zero)[2:6], _cells(unknown)[2:6]) == (("loss", "0", "0", "0"), ("", "", "", ""))


def test_rows_are_sorted_by_a_column_the_better_and_the_larger_first_and_those_without_last() -> None:
    def row(name: str, number: float | None, metric: str = "m", higher: bool = True) -> Any:
        numbers = dict.fromkeys(("best", "last", "step", "size", "took"), number)
        run = SimpleNamespace(monitor=metric, higher_is_better=higher)
        return SimpleNamespace(name=name, state=name[::-1], run=run, **numbers)

    rows = [row("a", 1.0), row("b", None), row("c", 3.0), row("d", 0.0), row("e", 5.0, "loss", False),
            row("f", 2.0, "loss", False)]  # fmt: skip
    order = {by: "".join(each.name for each in sort(rows, by, False)) for by in SORTS}
    assert order == {
        "started": "abcdef", "best": "fecadb", "last": "fecadb", "name": "abcdef", "state": "abcdef",
        "step": "ecfadb", "size": "ecfadb", "took": "ecfadb",
    }  # fmt: skip
    assert [each.name for each in sort(rows, "step", True)] == list("bdafce")
    assert [each.name for each in sort(rows, "started", True)] == list("fedcba")


@pytest.mark.parametrize(("width", "lines"), [("130", 1), ("129", 2)])
def test_the_first_of_many_rows_are_shown_with_how_many_more_there_are_and_every_sweep(
    outputs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: str, lines: int
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    begun_lately(outputs)
    assert main(["runs", str(outputs), "--sort", "name", "--most", "1"]) == 0
    head, *told = capsys.readouterr().out.splitlines()
    assert told[-2:] == ["sweep sweeps/grid: 2 completed, 1 failed; best val/mIoU 40 @20: ratio-0.75", "… and 5 more"]
    assert len(told) == lines + 2
    for name, value in (("step", "  20"), ("last", " 0.5")):  # numbers stand right, below their name
        end = head.index(name) + len(name)
        assert (head[end : end + 1], told[0][end - 4 : end]) == (" ", value)


def test_a_run_that_is_not_complete_is_told_with_the_reason_and_a_sweep_with_its_best_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job is judged by the weights that it ended with, whatever it had reached before."""
    for number, last in ((0, 0.75), (1, 0.5)):
        job = made_run(tmp_path / f"sweeps/s/{number}", [f"x={number}"], monitor="val/loss", mode="min", cells=False)
        curve = [{"step": 10, "val/loss": 0.25 * number}, {"step": 20, "val/loss": last}]
        (job / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in curve))
    made_run(tmp_path / "sweeps/t/0", ["x=5"], value=50.0, cells=False)
    why = "CUDA is out of memory: " + "x" * 60
    words = [f"backbone.number_{n}={n}" for n in range(9)]
    made_run(
        tmp_path / "z", words, state="failed", error=f"CUDA is out\nof memory: {'x' * 60}", value=None, cells=False
    )
    made_run(tmp_path / ("y" * 90), ["x=7"], cells=False)

    def told(width: str | None) -> list[str]:
        monkeypatch.delenv("COLUMNS", raising=False)
        if width is not None:
            monkeypatch.setenv("COLUMNS", width)
        begun_lately(tmp_path)
        assert main(["runs", str(tmp_path), "--sort", "name"]) == 0
        return capsys.readouterr().out.splitlines()

    [line] = [line for line in told(None) if line.startswith("z ")]
    assert line.endswith(f"  {' '.join(words)}  [{why}]")
    sweeps = [
        "sweep sweeps/s: 2 completed; best val/loss 0.5 @20: 1",
        "sweep sweeps/t: 1 completed; best val/mIoU 50 @20: 0",
    ]
    for width, rows, below in ((200, 1, why), (90, 2, why[:20])):
        lines = told(str(width))
        place = [line.split()[0] for line in lines].index("z")
        assert lines[place + rows].startswith(f"  {below}")
        cut = lines[place + rows - 1]  # the last column takes what is left
        assert (cut[-1], len(cut)) == ("…", width)
        assert max(map(len, lines[:-2])) <= width
        assert any(line.startswith("y" * 11) and ("x=7" in line) is (rows == 1) for line in lines)
        assert lines[-2:] == sweeps


def test_where_there_is_no_run_it_is_said(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["runs"]) == 1
    assert "outputs is no folder" in capsys.readouterr().err
    assert main(["runs", "."]) == 1
    assert "there is no run at or below ." in capsys.readouterr().err
    made_run(tmp_path / "outputs/run", ["seed=1"], cells=False)
    assert main(["runs", "state=dead"]) == 0
    assert capsys.readouterr().out == "no run at or below outputs is like that\n"
    assert main(["runs", "state=dead", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["runs", "state=dead", "--csv"]) == 0
    assert capsys.readouterr().out.splitlines() == ["name"]


def test_the_table_is_text_json_and_csv(outputs: Path, capsys, monkeypatch) -> None:
    assert main(["runs", str(outputs), "--sort", "best", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["best"] for row in rows] == [-4.75, -4.5, 40.0, 33.0, 31.0, 20.0]  # each metric's better ones first
    assert rows[2]["typed"] == ["model.mask_ratio=0.75", "seed=1"]
    assert main(["runs", str(outputs), "--sort", "best", "--json", "--most", "2"]) == 0
    assert [row["best"] for row in json.loads(capsys.readouterr().out)] == [-4.75, -4.5]
    assert main(["runs", str(outputs), "--sort", "name", "--reverse", "--most", "2", "--csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["name"], row["typed"]) for row in table] == [
        (f"sweeps/grid/ratio-{ratio}", f"model.mask_ratio={ratio} seed=1") for ratio in ("0.9", "0.75")
    ]
    monkeypatch.delenv("COLUMNS", raising=False)
    assert main(["runs", str(outputs), "seed=0", "name=sweeps*"]) == 0  # config.yaml has the seed of all: 0
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines[0].split()) == "run task state metric step best last age size typed for it alone"
    assert lines[-2:] == ["typed for all: seed=1",
                          "sweep sweeps/grid: 2 completed, 1 failed; best val/mIoU 40 @20: ratio-0.75"]  # fmt: skip
    assert [(line.split()[0], line.split()[-1]) for line in lines[1:-2]] == [
        (f"sweeps/grid/ratio-{ratio}", f"model.mask_ratio={ratio}") for ratio in ("0.9", "0.75", "0.5")
    ]
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["runs", str(outputs)]) == 0  # steps that are not the run's last one are named
    told = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in told)
    assert "  val/mIoU, model.mask_ratio=0.75 seed=1" in told
    at = sorted(line.split()[3:6] for line in told if "pretrain" in line)
    assert at == [["20", "-4.5", "@10"], ["20", "-4.75", "@10"]]
    assert not any("@20" in line for line in told if not line.startswith("sweep"))


def test_a_damaged_run_has_a_row_and_stops_no_other(tmp_path: Path) -> None:
    made_run(tmp_path / "good", ["seed=1"], cells=False)
    made_run(tmp_path / "bad", ["seed=1"], cells=False)
    (tmp_path / "bad/status.json").write_text("[")
    made_run(tmp_path / "torn", ["seed=1"], cells=False)
    (tmp_path / "torn/metrics.jsonl").write_bytes(b'{"step": 5, "val/mIoU": 3}\n\0\0\xff\n{"step": 6, "train/lo')
    of = {row.name: row for row in list_runs(tmp_path)}
    assert (of["bad"].state, of["bad"].step) == ("unreadable", None)
    assert "status.json cannot be read" in of["bad"].run.status["error"]
    assert (of["torn"].step, of["torn"].best) == (5, 3)
    assert of["good"].state == "completed"


def test_links_are_followed_once_and_files_counted_once(tmp_path: Path) -> None:
    run = made_run(tmp_path / "a/run", ["seed=1"], cells=False)
    (tmp_path / "a/loop").symlink_to(tmp_path)
    (tmp_path / "elsewhere").symlink_to(run)
    assert len(list(run_directories(tmp_path))) == 1
    before = size_of(run)
    (run / "checkpoints").mkdir()
    (run / "checkpoints/last.pt").write_bytes(b"x" * 1000)
    os.link(run / "checkpoints/last.pt", run / "checkpoints/step-00000020.pt")
    assert size_of(run) == before + 1000
    made_run(run / "then", ["seed=1"], cells=False)
    assert size_of(run) == before + 1000
    assert size_of(run, with_runs=True) > before + 1000


def test_a_long_record_is_not_parsed_line_by_line(tmp_path: Path) -> None:
    """What is between the evaluations is passed over: a list of many runs takes seconds."""
    run = made_run(tmp_path / "run", ["seed=1"], cells=False)
    lines = [
        {"step": n, "train/loss": 1.0, **({"val/mIoU": float(n)} if n % 10_000 == 0 else {})} for n in range(1, 50_001)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    began = time.process_time()
    [row] = list_runs(tmp_path)
    assert (row.step, row.best, row.last) == (50_000, 50_000.0, 50_000.0)
    assert time.process_time() - began < 0.3


def test_a_configuration_nested_beyond_measure_is_said_and_ends_nothing(tmp_path: Path) -> None:
    """libyaml's composer would overflow the stack."""
    from mae_hydra.configuration.from_file import read_recorded

    for text in ("[" * 200_000, "- " * 100_000, "{a: " * 50_000):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(UserError, match="cannot be read"):
            read_recorded(tmp_path / "config.yaml")
