"""Curves and bars: which numbers reach the axes, and what a figure leaves behind."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawn_legends import columns_of
from PIL import Image

from mae_hydra import figures
from mae_hydra.figures import (
    Panel,
    Series,
    TrialPoint,
    class_bars,
    confusion_matrix,
    curves,
    save,
    search_figure,
    series_of,
    to_pixels,
)
from mae_hydra.figures.chart import drawing
from mae_hydra.figures.lines import running_mean
from mae_hydra.figures.over_labels import Arm, label_curves
from mae_hydra.figures.search_plots import importances

ROWS = [
    {"step": 10, "train/loss": 2.0, "lr": 0.1},
    {"step": 30, "train/loss": 1.0},
    {"step": 20, "train/loss": float("nan")},
    {"step": 20, "val/mIoU": 12.5},
    {"step": 40, "train/loss": None},
    {"step": 30, "train/loss": 0.9},  # written again after a resume
    {"step": 5, "train/loss": 3.0},
]


def test_a_curve_takes_the_rows_that_have_its_key_in_order_and_the_last_of_equal_steps() -> None:
    assert series_of(ROWS, "train/loss", "loss") == Series("loss", (5.0, 10.0, 30.0), (3.0, 2.0, 0.9))
    assert series_of(ROWS, "val/mIoU", "mIoU") == Series("mIoU", (20.0,), (12.5,))
    assert series_of(ROWS, "nothing", "none") == Series("none", (), ())
    rows = [{"step": 3, "epoch": 2, "lr": 0.0}, {"step": 1, "lr": 0.5}, {"epoch": 1, "step": 2, "lr": 1.0}]
    rows.append({"step": 4, "epoch": 3, "lr": float("inf")})
    assert series_of(rows, "lr", "lr", x="epoch") == Series("lr", (1.0, 2.0), (1.0, 0.0))


def test_the_running_mean_is_that_of_the_values_there_are() -> None:
    values = np.random.default_rng(0).normal(size=200)  # half width 4
    expected = [values[max(0, i - 4) : i + 5].mean() for i in range(200)]
    np.testing.assert_allclose(running_mean(values), expected)
    np.testing.assert_allclose(running_mean(values[:26]), [values[max(0, i - 1) : i + 2][: 27 - i].mean()
                                                           for i in range(25)] + [values[24:26].mean()])  # fmt: skip


def test_every_run_is_drawn_in_every_panel_in_one_colour() -> None:
    runs = [Series("a", (1.0, 2.0), (3.0, 4.0)), Series("b", (1.0, 2.0), (5.0, 6.0))]
    figure = curves([Panel("loss", runs), Panel("mIoU", runs[1:])], title="both")
    left, right = figure.axes
    assert [line.get_ydata().tolist() for line in left.lines] == [[3.0, 4.0], [5.0, 6.0]]
    assert left.lines[1].get_color() == right.lines[0].get_color() != left.lines[0].get_color()
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["a", "b"]
    assert right.get_legend() is None
    assert figure.get_suptitle() == "both"
    third = curves([Panel(name, runs[:1]) for name in "xyz"])
    assert [axes.get_subplotspec().get_geometry() for axes in third.axes] == [(2, 2, n, n) for n in range(3)]  # type: ignore[union-attr]
    assert third.get_suptitle() == ""


def test_a_smoothed_curve_keeps_the_raw_values_behind_it() -> None:
    y = tuple(np.random.default_rng(0).random(100).tolist())
    series = Series("run", tuple(float(step) for step in range(100)), y)
    raw, smooth = curves([Panel("loss", [series], smooth=True)]).axes[0].lines
    assert raw.get_ydata().tolist() == list(y)
    assert smooth.get_ydata().std() < raw.get_ydata().std()


def test_bars_are_sorted_by_the_first_run_and_absent_values_are_written_out() -> None:
    figure = class_bars(
        {"new": {"sky": 20.0, "sea": 70.0, "tree": None}, "old": {"sky": 30.0, "tree": 5.0}}, title="IoU"
    )
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["sea", "sky", "tree"]
    widths = [[bar.get_width() for bar in bars] for bars in axes.containers]
    assert widths == [[70.0, 20.0, 0.0], [0.0, 30.0, 5.0]]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["70.0", "20.0", "absent", "absent", "30.0", "5.0"]
    ends = [(bar.get_width(), bar.get_y() + bar.get_height() / 2) for bars in axes.containers for bar in bars]
    assert [text.xy for text in axes.texts] == [pytest.approx(end) for end in ends]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["new", "old"]
    later = class_bars(
        {"new": {"sky": 20.0, "sea": None}, "old": {"tree": 5.0, "sky": 30.0, "moor": 90.0}}, title="IoU"
    )
    names = [label.get_text() for label in later.axes[0].get_yticklabels()]
    assert names == ["sky", "sea", "tree", "moor"]  # those that only a later run has stand below
    widths = [[bar.get_width() for bar in bars] for bars in later.axes[0].containers]
    assert widths == [[20.0, 0.0, 0.0, 0.0], [30.0, 0.0, 5.0, 90.0]]
    assert columns_of(axes.get_legend()) == 2  # as many as have room beside each other
    last = class_bars({"IoU": {"tree": None, "sky": 0.0}}, title="IoU").axes[0]
    assert [label.get_text() for label in last.get_yticklabels()] == ["sky", "tree"]  # 0 is more than absent
    assert [text.get_text() for text in class_bars({"IoU": {"tree": None}}, title="").axes[0].texts] == ["absent"]
    [alone] = class_bars({"IoU": {"s" * 40: 20.0}}, title="of classes", x_label="Dice").axes
    assert alone.get_legend() is None
    assert [len(label.get_text()) for label in alone.get_yticklabels()] == [32]
    assert (alone.get_title(loc="left"), alone.get_xlabel()) == ("of classes", "Dice")


@pytest.mark.parametrize(
    ("scores", "end", "side"),
    [((1, 2), None, "top"), ((1, 2), 50, "bottom"), ((2, 1), None, "bottom"), ((2, 1), 50, "top")],
)
def test_what_labels_are_worth_stands_beside_the_curve(scores, end, side) -> None:
    arm = Arm("mae", (10.0, 100.0), [[float(score)] for score in scores], (end, "label factor 5"))
    [text] = label_curves([arm], metric="val/mIoU").axes[0].texts
    assert (text.get_text(), text.xy, text.get_va()) == ("label factor 5", (end or 10, scores[0]), side)
    assert (text.xyann[1] < 0) == (side == "top")


def test_figures_are_written_whole_and_equal_numbers_give_equal_files(tmp_path: Path) -> None:
    def draw() -> object:
        return curves([Panel("a loss of $a_1$", [Series("run", (1.0, 2.0), (3.0, 4.0))])])

    for name in ("figure.png", "figure.svg"):
        save(draw(), tmp_path / "a" / name)
        save(draw(), tmp_path / "b" / name)
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    pixels = to_pixels(draw())
    with Image.open(tmp_path / "a" / "figure.png") as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), pixels)
    save(pixels, tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as image:
        assert np.array_equal(np.asarray(image), pixels)


def test_no_text_is_cut_off_at_the_edge() -> None:
    many = {f"a class with a long name {index}": 100.0 - index for index in range(20)}
    loss = Panel("Training loss", [Series("run", (0.0, 160000.0), (1e-5, 9e-4))], y_label="loss")
    four = {f"a run that is told at length {index}": {"sky": 20.0} for index in range(4)}
    bars = class_bars({"one": many, "two": many}, title="Per class"), class_bars(four, title="Per class")
    for figure in (*bars, curves([loss, loss], title="Title")):
        pixels = to_pixels(figure)
        edge = np.concatenate([pixels[:4].reshape(-1, 3), pixels[-4:].reshape(-1, 3)])
        sides = np.concatenate([pixels[:, :4].reshape(-1, 3), pixels[:, -4:].reshape(-1, 3)])
        assert (edge == 255).all()
        assert (sides == 255).all()


def test_what_is_no_figure_is_not_found_among_them() -> None:
    assert all(hasattr(figures, name) for name in figures.__all__)
    assert not hasattr(figures, "pie")


def test_drawing_touches_no_gui_backend() -> None:
    code = "import sys, mae_hydra.figures; sys.exit('matplotlib.pyplot' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_many_classes_stand_in_columns_with_every_name():
    figure = class_bars({"IoU": {f"class {number}": float(number) for number in range(120)}}, title="many")
    assert len(figure.axes) == 3
    names = [label.get_text() for axes in figure.axes for label in axes.get_yticklabels()]
    assert names == [f"class {number}" for number in range(119, -1, -1)]
    height, width = to_pixels(figure).shape[:2]
    assert height < 2.5 * width


@pytest.mark.parametrize("count", [12, 40, 150])
def test_a_confusion_matrix_shows_shares_of_each_row_and_names_its_classes(count):
    counts = np.diag(np.arange(1, count + 1)) * 3
    counts[2, 1], counts[3] = 3, 0
    figure = confusion_matrix(counts, [f"name {number}" for number in range(count)], title="matrix")
    drawn = figure.axes[0].images[0].get_array()
    assert drawn[2, 2] == pytest.approx(75)
    assert drawn[2, 1] == pytest.approx(25)
    assert np.ma.getmaskarray(drawn)[3].all()
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert "name 0" in labels[0]
    assert len(labels) == (count if count <= 48 else 15)
    assert to_pixels(figure).shape[0] > 300


def test_the_importance_of_a_parameter_is_what_it_explains_by_itself():
    places = np.random.default_rng(0).uniform(size=(60, 3))
    trials = [
        TrialPoint(number, {"middle": 10 ** (4 * a - 4), "none": b, "choice": "x" if c < 0.5 else "y"}, "complete",
                   40 - 40 * (a - 0.5) ** 2 + 5 * (c < 0.5)) for number, (a, b, c) in enumerate(places)
    ]  # fmt: skip
    found = importances(trials, ["middle"])
    assert list(found) == ["middle", "choice", "none"] or list(found) == ["choice", "middle", "none"]
    assert found["middle"] > 0.4
    assert found["choice"] > 0.3
    assert found["none"] < 0.05
    alone = importances(
        [TrialPoint(t.number, {"c": t.params["choice"]}, t.state, float(t.params["choice"] == "x")) for t in trials]
    )
    assert alone["c"] > 0.999
    assert importances(trials[:5]) == {}
    assert importances([TrialPoint(n, {"a": 1.0}, "complete", float(n)) for n in range(8)]) == {"a": 0.0}


def test_a_search_s_figure_has_its_history_its_importance_and_a_slice_for_each_parameter():
    states = ["complete"] * 8 + ["pruned", "failed"]
    trials = [
        TrialPoint(
            n, {"lr": 10.0**-n, "depth": n % 3, "kind": "ab"[n % 2]}, state, None if state == "failed" else 1.0 + n
        )
        for n, state in enumerate(states)
    ]
    figure = search_figure(trials, metric="val/loss", higher_is_better=False, logarithmic=["lr"])
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "trial", "of the spread of the values, explained by it alone", "lr", "depth", "kind"
    ]  # fmt: skip
    history, slice_of_lr = figure.axes[0], figure.axes[2]
    [best] = [line for line in history.lines if line.get_label() == "best"]
    assert (list(best.get_xdata()), list(best.get_ydata())) == ([0, 9], [1.0, 1.0])
    assert {line.get_label() for line in history.lines} == {"complete", "pruned", "failed", "best"}
    assert slice_of_lr.get_xscale() == "log"
    to_pixels(figure)
    bare = [TrialPoint(0, {"lr": 0.1}, "failed", None)]
    to_pixels(search_figure(bare, metric="val/loss", higher_is_better=True))


def test_the_names_of_runs_stand_between_the_bars_and_the_title() -> None:
    figure = class_bars({"y": {"sky": 1.0}, "x" * 40: {"sky": 2.0}, "z": {"sky": 3.0}}, title="IoU")
    with drawing(figure):
        figure.draw_without_rendering()
    [axes] = figure.axes
    legend, title = axes.get_legend().get_window_extent(), axes._left_title.get_window_extent()  # type: ignore[attr-defined]
    assert axes.bbox.y1 <= legend.y0 < legend.y1 <= title.y0
    [first, long, last] = [text.get_text() for text in axes.get_legend().get_texts()]  # type: ignore[union-attr]
    assert (first, len(long), last) == ("y", 32, "z")
    assert columns_of(axes.get_legend()) == 1  # two of the longest would not stand beside each other
    assert legend.x1 <= figure.bbox.x1
