"""What an evaluation leaves behind: each number in its column, each picture under its name."""

import csv
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from rich.table import Table

from mae_hydra.evaluation.resumable_counts import Entry, Tally
from mae_hydra.workflows import evaluation_report
from mae_hydra.workflows.evaluation_report import (
    EvaluationReport,
    accuracy_table,
    class_table,
    confused_pairs,
    show,
    write_report,
)

NAMES = ("sky", "sea", "tree")
CONFUSIONS = torch.tensor([[6, 2, 0], [1, 7, 0], [3, 1, 4]])
DATA: Any = SimpleNamespace(num_classes=3, class_names=NAMES)


def cells(table: Table) -> list[list[str]]:
    columns = [list(map(str, column.cells)) for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def test_confusions_are_counted_from_label_to_prediction_as_a_share_of_the_label() -> None:
    assert confused_pairs(CONFUSIONS, NAMES) == [
        {"labelled": "tree", "predicted": "sky", "pixels": 3, "percent": 37.5},
        {"labelled": "sky", "predicted": "sea", "pixels": 2, "percent": 25.0},
        {"labelled": "sea", "predicted": "sky", "pixels": 1, "percent": 12.5},
        {"labelled": "tree", "predicted": "sea", "pixels": 1, "percent": 12.5},
    ]


def test_of_classes_of_other_sizes_each_share_is_of_its_own_label() -> None:
    pairs = confused_pairs(torch.tensor([[3, 1], [5, 3]]), ("a", "b"))
    assert [(pair["labelled"], pair["percent"]) for pair in pairs] == [("b", 62.5), ("a", 25.0)]


def counted(folder: Path, *, boundaries: bool = False) -> EvaluationReport:
    """Of two images, beside one that is no longer in the set."""
    tally = Tally(folder, 0, 3)
    edges = [torch.tensor([[1, 2, 3], [4, 4, 4], [4, 4, 4]]) + more if boundaries else None for more in (1, 9, 0)]
    tally.add(Entry("b", "second", torch.tensor([[4, 0, 0], [0, 4, 0], [0, 0, 0]]), edges[0]))
    tally.add(Entry("gone", "left the set", torch.full((3, 3), 1000), edges[1]))
    tally.add(Entry("a", "first", torch.tensor([[2, 2, 0], [0, 0, 0], [0, 0, 0]]), edges[2]))
    tally.finish()
    return EvaluationReport.of_tally(tally, DATA, {"a": 0, "b": 1, "c": 2})


def test_a_report_is_of_the_images_that_are_in_the_set_now(tmp_path: Path) -> None:
    found = counted(tmp_path)
    assert found.confusions is not None
    assert found.confusions.tolist() == [[6, 2, 0], [0, 4, 0], [0, 0, 0]]
    assert found.images == [(0, "first", 25.0, 50.0), (1, "second", 100.0, 100.0)]  # sky at half, sea at none
    assert found.scalars["aAcc"] == pytest.approx(100 * 10 / 12)
    assert found.scalars["mIoU"] == pytest.approx(100 * (6 / 8 + 4 / 6) / 2)
    edges = counted(tmp_path / "edges", boundaries=True)
    assert edges.scalars["mBIoU"] == pytest.approx(100 * (3 / 15 + 5 / 13 + 7 / 11) / 3)  # of 9 and 9 each


def test_the_files_of_an_evaluation_hold_its_numbers_and_the_best_and_the_worst_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(evaluation_report, "save", lambda figure, path: drawn.update({path.name: figure}))
    monkeypatch.setattr(
        evaluation_report, "segmentation_sheet", lambda images, maps, data, title: (title, images, *maps.values())
    )
    images = [
        evaluation_report.ImageScore(n, f"image {n}", value, 2.0 * n)
        for n, value in enumerate([50.0, 10.0, math.nan, 90.0, 30.0, 70.0, 20.0, 80.0])
    ]
    samples = [
        SimpleNamespace(image=torch.full((3, 2, 2), n, dtype=torch.uint8), label=torch.full((2, 2), n))
        for n in range(8)
    ]
    data: Any = SimpleNamespace(num_classes=3, class_names=NAMES, validation=samples)
    inference = SimpleNamespace(predict=lambda model, pictures: [picture[0] + 100 for picture in pictures])
    rows = [{"name": name, "IoU": 10.0 * n} for n, name in enumerate(NAMES)]
    report = EvaluationReport({"mIoU": 33.0}, rows, images, CONFUSIONS)
    write_report(report, data, SimpleNamespace(inference=inference), None, tmp_path)

    for name, expected in (("best", [3, 7, 5, 0, 4, 6]), ("worst", [1, 6, 4, 0, 5, 7])):  # nan is neither
        title, pictures, labels, maps = drawn[f"{name}.png"]
        values = ", ".join(f"{images[n].mean_iou:.0f}" for n in expected)
        assert title == f"The 6 {name} images by their own mIoU: {values} %"
        assert [int(picture[0, 0, 0]) for picture in pictures] == expected
        assert [int(label[0, 0]) for label in labels] == expected
        assert [int(each[0, 0]) for each in maps] == [n + 100 for n in expected]
    assert json.loads((tmp_path / "per_class.json").read_text()) == rows
    with open(tmp_path / "per_image.csv") as file:
        written = list(csv.DictReader(file))
    assert written[1] == {"number": "1", "name": "image 1", "mean_iou": "10.0", "pixel_accuracy": "2.0"}
    with open(tmp_path / "confusions.csv") as file:
        assert next(csv.DictReader(file)) == {"labelled": "tree", "predicted": "sky", "pixels": "3", "percent": "37.5"}
    axes = drawn["confusion_matrix.png"].axes[0]
    assert axes.get_title(loc="left") == "Which class was taken for which: 8 images, mIoU 33.00 %"
    assert [label.get_text() for label in axes.get_yticklabels()] == list(NAMES)
    assert [label.get_text() for label in drawn["classes.png"].axes[0].get_yticklabels()] == ["tree", "sea", "sky"]


def test_a_report_without_maps_has_its_tables_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(evaluation_report, "save", lambda figure, path: drawn.update({path.name: figure}))
    picture: Any = SimpleNamespace(pixels="pixels")
    rows = [{"name": "a", "n": 1}, {"name": "b\ud800", "n": 2}]  # which no file can hold as it is
    report = EvaluationReport({"top1": 5.0}, pictures={"sheet": picture}, tables={"per_class": rows, "none": []})
    write_report(report, DATA, None, None, tmp_path)
    assert drawn == {"sheet.png": "pixels"}
    assert json.loads((tmp_path / "per_class.json").read_text()) == rows
    assert (tmp_path / "per_class.csv").read_text().split() == ["name,n", "a,1", "b\\ud800,2"]
    assert json.loads((tmp_path / "none.json").read_text()) == []
    assert not (tmp_path / "per_image.csv").exists()


def test_many_classes_stand_side_by_side_column_after_column() -> None:
    rows = [{"name": f"c{n}", "IoU": None if n == 1 else float(n), "Acc": n + 0.5} for n in range(101)]
    table = class_table(rows)
    assert [str(column.header) for column in table.columns] == ["class", "IoU", "Acc"] * 3
    found = cells(table)
    assert found[0] == ["c0", "0.0", "0.5", "c34", "34.0", "34.5", "c68", "68.0", "68.5"]
    assert found[1][:3] == ["c1", "–", "1.5"]
    assert found[33][:6] == ["c33", "33.0", "33.5", "c67", "67.0", "67.5"]
    assert len(class_table(rows[:50]).columns) == 3
    scores = {"Precision": 1.0, "BIoU": 2.0, "Dice": 3.0, "Acc": 4.0, "IoU": 5.0, "pixels": 6.0}
    whole = class_table([{"name": "a", **scores}])
    assert [str(column.header) for column in whole.columns] == ["class", "IoU", "Acc", "Dice", "Precision", "BIoU"]
    assert cells(whole) == [["a", "5.0", "4.0", "3.0", "1.0", "2.0"]]


def test_of_a_classifier_the_worst_classes_that_occur_come_first() -> None:
    rows = [
        {"name": f"c{n}", "accuracy": float(50 - n) if n else None, "images": n, "mistaken_for": "x" if n % 2 else None}
        for n in range(30)
    ]
    table = accuracy_table(rows)
    assert table.title == "Per class, %: the 20 worst of 29"
    found = cells(table)
    assert found[:2] == [["c29", "21.0", "29", "x"], ["c28", "22.0", "28", "–"]]
    assert len(found) == 20
    assert accuracy_table(rows[:21]).title == "Per class, %"


def test_of_several_evaluators_each_has_its_table_and_what_is_of_others_no_percent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(evaluation_report, "plain_console", lambda: Console(width=200))
    (tmp_path / "validation").mkdir()
    row = {"name": "sky", "IoU": 76.54, "Acc": None}
    (tmp_path / "validation" / "per_class.json").write_text(json.dumps([row]))
    scores = {"validation/mIoU": 12.345, "validation/loss": 0.5, "validation/kappa": 0.43212, "mine/found": 3.0}
    show(scores | {"images": 7}, tmp_path)
    said = capsys.readouterr().out
    assert "sky" in said
    assert "76.5" in said
    assert "validation/mIoU 12.35 %   validation/loss 0.5   validation/kappa 0.4321   mine/found 3   (7 images)" in said


def test_scores_are_percentages_and_a_loss_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(evaluation_report, "plain_console", lambda: Console(width=200))
    found = {"mIoU": 12.345, "loss": 0.123456, "images": 7, "protocol": {"validation_images": 9}}
    show(found, tmp_path)
    said = capsys.readouterr().out.splitlines()
    assert said == ["mIoU 12.35 %   loss 0.1235   (7 of 9 images)", f"tables, figures and the protocol: {tmp_path}"]
    show(found | {"protocol": {"validation_images": 7}}, tmp_path)
    assert "(7 images)" in capsys.readouterr().out
    show({"knn": 61.0, "linear_mIoU": 7.25, "linear_loss": 2.5, "images": 7}, tmp_path)
    assert capsys.readouterr().out.startswith("knn 61.00 %   linear_mIoU 7.25 %   linear_loss 2.5   (7 images)")


def test_of_many_pairs_thirty_stand_beside_the_matrix_and_bars_are_of_the_iou(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(evaluation_report, "save", lambda figure, path: None)
    monkeypatch.setattr(evaluation_report, "confusion_matrix", lambda counts, names, **told: drawn.update(told))
    monkeypatch.setattr(evaluation_report, "class_bars", lambda values, title: drawn.update(values=values))
    names = tuple("abcdefg")
    rows = [{"name": name, "IoU": 10.0 * n or None, "Acc": 1.0} for n, name in enumerate(names)]
    report = EvaluationReport({"mIoU": 33.0}, rows, [], torch.ones(7, 7, dtype=torch.int64))
    write_report(report, SimpleNamespace(class_names=names), None, None, tmp_path)  # type: ignore[arg-type]
    assert (len(drawn["largest"]), drawn["largest"][0]) == (30, "a → b   14.3 %")
    assert drawn["values"] == {"IoU": {name: 10.0 * n or None for n, name in enumerate(names)}}
    with open(tmp_path / "confusions.csv") as file:
        assert len(list(csv.DictReader(file))) == 42  # of which the file has all
