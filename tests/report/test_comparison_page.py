"""The page of a few runs beside each other: each row, each difference and each command is that of its run."""

import json
import re
from pathlib import Path

import pytest
import yaml
from drawn import Drawn, curves_of
from made_runs import made_run

from mae_hydra.errors import UserError
from mae_hydra.experiment.read_runs import read_run
from mae_hydra.report import write_comparison
from mae_hydra.report.comparison_page import comparison_page, names_of

LOSS = {"monitor": "val/loss", "mode": "min"}


def compared(page: Path, *directories: Path) -> Drawn:
    runs = [run for directory in directories if (run := read_run(directory)) is not None]
    drawn = Drawn(page)
    comparison_page(drawn, runs, [each.name for each in directories], lambda directory: f"/{directory.name}/")
    return drawn


def test_every_run_has_a_row_the_best_of_the_complete_ones_is_named_and_what_differs_is_told(tmp_path: Path) -> None:
    """The one with the best score of all still trains; a stage that failed is told in place of its run's state."""
    made_run(tmp_path / "a", ["seed=1", "model.x=2"], value=30.0)
    made_run(tmp_path / "b", ["seed=2"], value=50.0)
    made_run(tmp_path / "c", ["seed=3"], value=70.0, state="interrupted", cells=False)
    status = tmp_path / "c" / "status.json"
    status.write_text(json.dumps(json.loads(status.read_text()) | {"value": None}))
    made_run(tmp_path / "d", ["seed=4"], value=20.0, cells=False)
    made_run(tmp_path / "d" / "probe", [], monitor="val/top1", value=None, state="failed", error="no", cells=False)
    config = yaml.safe_load((tmp_path / "b" / "config.yaml").read_text())
    (tmp_path / "b" / "config.yaml").write_text(yaml.safe_dump(config | {"seed": 5}))
    for name, word in (("a", "seed=1"), ("b", "seed=2")):  # the whole command, which stands in a part of its own
        (tmp_path / name / "environment.json").write_text(json.dumps({"command": ["train.py", word]}))
    page = compared(tmp_path / "page", *(tmp_path / name for name in "abcd"))
    assert page.facts == [("runs", "4"), ("best final val/mIoU", "50.00 %, b")]
    assert page.rows("What they found") == [
        ["run", "directory", "state", "value", "took"],
        *([f'<a href="/{name}/">{name}</a>', str(tmp_path / name), state,
           f"best and last val/mIoU {value}.00 % at step 20", "60 s"] for name, state, value in
          (("a", "completed", 30), ("b", "completed", 50), ("c", "interrupted", 70), ("d", "probe failed", 20))),
    ]  # fmt: skip
    assert page.rows("What differs") == [
        ["of", "key", "a", "b", "c", "d"],
        ["configuration", "seed", "0", "5", "0", "0"],
        ["machine", "packages.torch", "-", "-", "2", "2"],
        ["results", "val/mIoU", "30", "50", "70", "20"],
    ]
    words = ("a\npython train.py seed=1 model.x=2", "b\npython train.py seed=2", "c\npython train.py seed=3")
    assert page.code("What was typed") == [*words, "d\npython train.py seed=4"]
    found = curves_of(page.figures["curves"])
    assert {title: [(name, y) for name, _, y in lines] for title, lines in found.items()}["val/mIoU, %"] == [
        ("a", [25.0, 30.0]), ("b", [45.0, 50.0]), ("c", [65.0, 70.0]), ("d", [15.0, 20.0])
    ]  # fmt: skip
    assert list(page.pictures) == ["strips_run"]


@pytest.mark.parametrize(
    ("told", "best"),
    [
        ([{"value": 0.5}, {"value": 0.25}], [("best final val/loss", "0.25, b")]),
        ([{"value": 0.25}, {"value": 0.5}], [("best final val/loss", "0.25, a")]),
        ([{"value": 0.5}, {"value": 0.25, "state": "failed"}], []),  # of one run there is no best
        ([{"value": 0.5}, {"value": 0.25, "task": "segment, dice"}], []),  # losses of different tasks
        ([{"value": 0.5}, {"value": 0.25, "monitor": "val/mse"}], []),
        ([{"value": 0.5}, {"value": 0.0}], [("best final val/loss", "0, b")]),
        ([{"value": 0.5}, {"value": 0.25}, {"value": 0.125, "state": "failed"}], [("best final val/loss", "0.25, b")]),
        ([{"value": 0.5}, {"value": 0.25}, {"value": 0.75, "state": "failed", "task": "probe"}], []),
        (
            [{"value": 0.5, "monitor": "val/f1"}, {"value": 0.25, "monitor": "val/f1", "task": "segment, dice"}],
            [("best final val/f1", "0.25, b")],  # a score is the same of all tasks
        ),
    ],
)
def test_of_losses_the_smallest_is_the_best_where_all_measure_the_same(
    tmp_path: Path, told: list[dict], best: list[tuple[str, str]]
) -> None:
    for name, more in zip("abc", told, strict=False):
        task = more.pop("task", None)
        run = made_run(tmp_path / name, [], cells=False, **LOSS | more)
        status = json.loads((run / "status.json").read_text())
        (run / "status.json").write_text(json.dumps(status | ({"task": task} if task else {})))
    page = compared(tmp_path / "page", *(tmp_path / name for name in "abc"[: len(told)]))
    assert page.facts == [("runs", str(len(told))), *best]


@pytest.mark.parametrize(
    ("names", "called"),
    [
        (["a/x", "b/y"], ["x", "y"]),
        (["l" * 18, "m"], ["l" * 18, "m"]),
        (["l" * 19, "m"], ["A", "B"]),
        (["a/one", "b/one"], ["A", "B"]),
        ([f"{n}/one" for n in range(26)], [chr(65 + n) for n in range(26)]),
        ([f"{n}/one" for n in range(27)], [str(n) for n in range(1, 28)]),
    ],
)
def test_runs_are_called_by_their_directories_or_where_those_are_long_or_alike_by_letters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], called: list[str]
) -> None:
    assert names_of([Path("/runs") / name for name in names]) == called
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path / "x")
    assert names_of([Path(), Path("y")]) == ["x", "y"]


def test_a_comparison_replaces_no_file_that_it_has_not_written(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / name, [], value=None, cells=False) for name in "ab"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "index.html").write_text("mine")
    with pytest.raises(UserError, match="it was not mae-hydra compare that wrote it"):
        write_comparison(runs, tmp_path / "out")
    (runs[1] / "report").mkdir()
    (runs[1] / "report" / "index.html").touch()
    write_comparison(runs, tmp_path / "out", trusted=True)
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<h1>2 runs beside each other</h1>" in page
    assert '<div class="quiet made">comparison ·' in page
    assert re.findall(r'<a href="([^#"]*)">(.*?)</a>', page) == [
        ("../b/report/index.html", "b")
    ]  # the one that is there
