"""The table of the demo: means and spreads over its seeds, of each start in its row."""

import json
from pathlib import Path

import pytest

from mae_hydra.commands.demo import report as demo_report

ROWS = [
    {"start": start, "val/mIoU": value, "val/mAcc": value + 10, "val/aAcc": value + 20}
    for start, values in (("from scratch", (10.0, 11.0, 18.0)), ("pre-trained", (30.0,)))
    for value in values
]


def test_a_row_has_the_mean_and_the_deviation_of_every_metric() -> None:
    assert demo_report._row("from scratch", ROWS[:3]) == ["from scratch", "3", "13.0 ± 4.4", "23.0 ± 4.4", "33.0 ± 4.4"]
    assert demo_report._row("pre-trained", ROWS[3:]) == ["pre-trained", "1", "30.0", "40.0", "50.0"]


def test_the_files_of_the_demo_hold_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    figures = tmp_path / "shown/pretrain/figures"
    figures.mkdir(parents=True)
    (figures / "reconstructions.png").write_bytes(b"the picture")
    drawn: dict[str, str] = {}
    monkeypatch.setattr(demo_report, "save", lambda figure, path: drawn.update({path.name: figure}))
    for name in ("_segmentations", "_curves", "_classes"):
        monkeypatch.setattr(demo_report, name, lambda folder, name=name: f"{name} of {folder.name}")
    demo_report.write_report(tmp_path / "out", tmp_path / "shown", ROWS, 90.0)
    assert drawn == {
        "segmentations.png": "_segmentations of shown", "curves.png": "_curves of shown",
        "classes.png": "_classes of shown",
    }  # fmt: skip
    assert (tmp_path / "out/figures/reconstructions.png").read_bytes() == b"the picture"
    assert (tmp_path / "out/results.md").read_text().splitlines() == [
        "| UPerNet, ViT-Tiny | seeds | mIoU % | mAcc % | aAcc % |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| from scratch | 3 | 13.0 ± 4.4 | 23.0 ± 4.4 | 33.0 ± 4.4 |",
        "| pre-trained | 1 | 30.0 | 40.0 | 50.0 |",
    ]
    assert json.loads((tmp_path / "out/results.json").read_text()) == {"seconds": 90.0, "runs": ROWS}
    said = capsys.readouterr().out
    assert "1.5 minutes" in said
    assert "13.0 ± 4.4" in said


def test_the_curves_of_the_demo_are_those_of_its_runs(tmp_path: Path) -> None:
    for name, loss, score in (("pretrain", 1.0, None), ("pretrained", 2.0, 30.0), ("scratch", 3.0, 10.0)):
        (tmp_path / name / "tables").mkdir(parents=True)
        val = "" if score is None else f', "val/mIoU": {score}'
        (tmp_path / name / "metrics.jsonl").write_text(f'{{"step": 5, "train/loss": {loss}{val}}}\n')
        (tmp_path / name / "tables/per_class.json").write_text(f'[{{"name": "sky", "IoU": {score or 0}}}]')
    found = {
        axes.get_title(loc="left"): [(line.get_label(), list(line.get_ydata())) for line in axes.lines]
        for axes in demo_report._curves(tmp_path).axes
    }
    assert found == {
        "MAE loss (masked patches)": [("MAE", [1.0])],
        "Segmentation loss": [("pre-trained", [2.0]), ("from scratch", [3.0])],
        "mIoU on unseen scenes, %": [("pre-trained", [30.0]), ("from scratch", [10.0])],
    }
    [axes] = demo_report._classes(tmp_path).axes
    bars = {bar.get_label(): [each.get_width() for each in bar] for bar in axes.containers}
    assert bars == {"from scratch": [10.0], "pre-trained": [30.0]}
