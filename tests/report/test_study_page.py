"""The page of a study: each number of its table, its first lines, and its curves, by hand."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from drawn import Drawn
from made_runs import made_run

from mae_hydra.errors import UserError
from mae_hydra.experiment.many.label_study import Point, Study
from mae_hydra.owned import Owned
from mae_hydra.report import study_page
from mae_hydra.report.page import Page

SCRATCH = [Point(0.1, 10.0, {0: 9.0, 1: 11.0}), Point(1.0, 100.0, {0: 20.0, 1: 20.0})]
MAE = [Point(0.1, 10.0, {0: 15.0, 1: 15.0}), Point(1.0, 100.0, {0: 25.0})]
STUDY = Study({"arms": {"scratch": [], "mae": []}}, "val/mIoU", True, {"scratch": SCRATCH, "mae": MAE}, [])
ROWS = [
    ["from scratch", "10 %", "10", "10.0 ± 1.4", "2", ""],
    ["from scratch", "100 %", "100", "20.0 ± 0.0", "2", ""],
    ["own MAE", "10 %", "10", "15.0 ± 0.0", "2", "3.2 [2.8, 3.5]"],
    ["own MAE", "100 %", "100", "25.0", "1", "more than 1"],
]


def test_a_study_is_a_table_two_files_and_a_line_where_labels_are_fewest(tmp_path: Path) -> None:
    page = Drawn(tmp_path)
    study_page.study_page(page, STUDY, tmp_path, tmp_path, lambda run: None)
    assert study_page.cells(STUDY) == ROWS
    assert [section.title for section in page.sections] == ["Labels and scores"]  # nothing is missing
    facts = dict(page.facts)
    assert (facts["runs"], facts["seeds"], facts["judged by"]) == ("7 completed", "2", "val/mIoU")
    assert facts["label factor of own MAE at 10 images"] == ROWS[2][-1]
    assert [name for name in facts if name.startswith("label factor")] == ["label factor of own MAE at 10 images"]
    lines = (tmp_path / "results.md").read_text().splitlines()
    head, _, *rows_told = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert head == ["start", "labels", "labeled images", "score", "seeds", "label factor"]
    assert rows_told == ROWS
    rows = json.loads((tmp_path / "results.json").read_text())
    with open(tmp_path / "results.csv") as file:
        written = list(csv.DictReader(file))
    for row, line in zip(rows, written, strict=True):
        told = {name: value for name, value in line.items() if value != "inf"}  # which JSON does not have
        assert told == {name: "" if row.get(name) is None else str(row[name]) for name in told}
    assert [row["labeled_images"] for row in rows] == [10.0, 100.0, 10.0, 100.0]


def test_of_labels_that_do_not_count_the_page_says_so_first_and_has_no_column_for_a_factor(tmp_path: Path) -> None:
    arms = {"scratch": [Point(0.1, 10.0, {0: 20.0}), Point(1.0, 100.0, {0: 10.0})], "mae": MAE[1:]}
    for arm, name, fraction, seed in (("scratch", "a", 1.0, 0), ("scratch", "b", 0.1, 1), ("scratch", "c", 0.1, 0)):
        run = made_run(tmp_path / arm / name, [f"data.label_fraction={fraction}"], cells=False)
        config = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump(config | {"data": {"label_fraction": fraction}, "seed": seed}))
    made_run(tmp_path / "scratch/b/probe", [], monitor="val/top1", value=9.0, state="failed", error="no", cells=False)
    made_run(tmp_path / "mae/d", [], monitor="val/loss", value=9.0, cells=False)  # not what the study is judged by
    page = Drawn(tmp_path)
    study = Study(STUDY.record, "val/mIoU", True, arms, [])
    study_page.study_page(page, study, tmp_path, tmp_path, lambda run: f"/{run.parent.name}/{run.name}/")
    assert page.body("Labels and scores").startswith("<p>There is no label factor: from scratch 100 labeled images")
    assert page.captions["labels"] == ""
    assert page.rows("Labels and scores")[:2] == [
        ["start", "labels", "labeled images", "val/mIoU, %", "seeds"],
        ["from scratch", "10 %", "10", "20.0", "1"],
    ]
    assert page.rows("Jobs: from scratch")[1:] == [
        ['<a href="/scratch/c/">10 %</a>', "0", "completed", "30.00", "60 s"],
        ['<a href="/scratch/b/">10 %</a>', "1", "probe failed", "30.00", "2 min"],
        ['<a href="/scratch/a/">100 %</a>', "0", "completed", "30.00", "60 s"],
    ]
    assert page.rows("Jobs: own MAE")[1:] == [['<a href="/mae/d/">100 %</a>', "0", "completed", "", "60 s"]]
    assert dict(page.facts)["took"] == "5 min"


def test_what_a_study_took_includes_the_pre_training(tmp_path: Path) -> None:
    for arm, minutes in (("pretrain", 40), ("scratch", 2), ("mae", 3)):
        (tmp_path / arm / "job").mkdir(parents=True)
        status = {"state": "completed", "value": 1.0, "start": 1000.0, "end": 1000.0 + 60 * minutes}
        (tmp_path / arm / "job" / "status.json").write_text(json.dumps(status))
    page = Page(Owned(tmp_path / "page", "report", trusted=True))
    empty = Study(STUDY.record, "val/mIoU", True, {}, [])
    study_page.study_page(page, empty, tmp_path, tmp_path, lambda run: None)
    assert dict(page.facts)["took"] == "45 min"


def test_the_curves_are_those_of_the_arms_and_the_factor_reaches_to_where_scratch_has_the_score(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(study_page, "label_curves", lambda arms, metric: drawn.extend([*arms, metric]))
    study_page.figure_of(STUDY)
    scratch, mae, metric = drawn
    assert metric == "val/mIoU, %"
    assert (scratch.name, scratch.images, scratch.scores) == (
        "from scratch",
        [10.0, 100.0],
        [[9.0, 11.0], [20.0, 20.0]],
    )
    assert (scratch.reach, mae.reach[1]) == (None, "label factor 3.2")
    assert mae.reach[0] == pytest.approx(10 * 10**0.5)


def test_the_factor_is_told_at_the_fewest_labels_and_where_it_is_greatest_and_what_is_missing_is_listed(
    tmp_path: Path,
) -> None:
    def points(*scores: float) -> list[Point]:
        shares = zip((0.005, 0.1, 1.0), (10.0, 100.0, 1000.0), scores, strict=True)
        return [Point(share, images, {0: score}) for share, images, score in shares]

    arms = {"scratch": points(10, 20, 30), "mae": points(15, 28, 30), "other": points(5, 20, 20)}
    record = {"arms": {arm: [] for arm in arms}, "command": "mae-hydra study"}
    study = Study(record, "val/mIoU", True, arms, ["mae/x: failed", "mae/y: running"])
    page = Drawn(tmp_path)
    study_page.study_page(page, study, tmp_path, tmp_path, lambda run: None)
    assert page.facts == [
        ("label factor of own MAE at 10 images", "3.2"), ("label factor of own MAE at 100 images", "6.3"),
        ("label factor of other at 10 images", "less than 1"), ("label factor of other at 100 images", "1"),
        ("runs", "9 completed"), ("seeds", "1"), ("judged by", "val/mIoU"), ("took", "0 s"),
    ]  # fmt: skip
    assert [row[1] for row in study_page.cells(study)] == ["0.5 %", "10 %", "100 %"] * 3
    assert page.body("Labels and scores").startswith("<p>Of one seed nothing says how much is chance; ")
    assert page.captions["labels"] == study_page.RULE
    assert page.code("What is missing") == ["mae/x: failed\nmae/y: running"]
    assert page.code("The command") == ["mae-hydra study"]


@pytest.mark.parametrize(("score", "told"), [(10.0, "10.0 ± 0.0"), (9.99, "9.990 ± 0.000")])
def test_percent_have_a_digit_and_scores_below_ten_three(score: float, told: str) -> None:
    study = Study(
        {}, "val/loss", True, {"scratch": [Point(1.0, 9.0, {0: 1.0}), Point(1.0, 10.0, {0: score, 1: score})]}, []
    )
    assert study_page.cells(study)[1][3] == told


def test_a_score_that_scratch_begins_above_has_no_way_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_page, "label_curves", lambda arms, metric: arms)
    low = [Point(0.1, 10.0, {0: 1.0}), Point(1.0, 100.0, {0: 15.0})]
    arms = study_page.figure_of(Study({}, "val/mIoU", True, {"scratch": SCRATCH, "mae": low}, []))
    assert arms[1].reach == (None, "label factor less than 1")


@pytest.mark.parametrize("name", ["results.json", "results.csv", "results.md"])
def test_a_study_replaces_no_table_that_is_not_its_own(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=f"{name} is there"):
        study_page.study_page(Page(Owned(tmp_path, "report")), STUDY, tmp_path, tmp_path, lambda run: None)
