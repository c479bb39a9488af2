"""Names, numbers and marks of a figure are those of its values, each at its place."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from growth_figure import Growth, growth
from matplotlib.colors import to_hex
from matplotlib.text import Text

from mae_hydra.figures import (
    Marginal,
    Panel,
    Series,
    confusion_matrix,
    curves,
    heat_map,
    marginals,
    overlay,
    parallel_coordinates,
    save,
)
from mae_hydra.figures.style import INK, PAPER, css
from mae_hydra.figures.sweep_plots import SPREAD


def test_a_confusion_matrix_says_which_side_is_which_and_writes_each_share_into_its_cell() -> None:
    counts = np.array([[6, 2, 0], [0, 10, 0], [1, 0, 1]])
    [axes, *bars] = confusion_matrix(counts, ["a", "b", "c"], title="who", largest=["a → b"]).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "labeled")
    assert axes.get_title(loc="left") == "who"
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["a", "b", "c"]
    [bar] = bars
    assert bar.get_ylabel() == "% of the class's pixels"
    assert [label.get_text() for label in bar.get_yticklabels()] == ["0", "1", "5", "10", "25", "50", "100"]
    assert [axes.images[0].norm(value) for value in (0, 1, 25, 100)] == pytest.approx([0, 0.1, 0.5, 1])  # of its root
    # (column, row): three quarters of a's pixels are right, a quarter were taken for b.
    assert {text.get_position(): text.get_text() for text in axes.texts} == {
        (0, 0): "75", (1, 0): "25", (1, 1): "100", (0, 2): "50", (2, 2): "50"
    }  # fmt: skip


@pytest.mark.parametrize("count", [24, 48, 49])
def test_the_largest_confusions_stand_beside_a_matrix_that_names_few_of_its_classes(count: int) -> None:
    names = [f"c{n}" for n in range(count - 1)] + ["c" * 40]
    figure = confusion_matrix(np.eye(count, dtype=int), names, title="", largest=["x → y"])
    beside = [text.get_text() for axes in figure.axes[1:] for text in axes.texts]
    assert beside == (["Most often taken for another:\n\nx → y"] if count > 48 else [])
    across, down = ([label.get_text() for label in labels] for labels in
                    (figure.axes[0].get_xticklabels(), figure.axes[0].get_yticklabels()))  # fmt: skip
    if count > 48:
        assert (across, down) == ([f"{n}" for n in range(0, count, 10)], [f"{n} c{n}" for n in range(0, count, 10)])
    else:
        assert across == down
        assert down[:-1] == names[:-1]
        assert len(down[-1]) == 24


def test_a_marginal_names_its_key_and_metric_and_writes_out_the_best_mean_where_it_is() -> None:
    points = {"x": [1.0, 3.0], "y": [6.0], "z": [3.0, 5.0]}
    for higher, value, place in ((True, "6", (1.0, 6.0)), (False, "2", (0.0, 2.0 + np.sqrt(2)))):
        [axes] = marginals([Marginal("the key", "the metric", points, higher)]).axes
        assert (axes.get_xlabel(), axes.get_title(loc="left")) == ("the key", "the metric")
        assert [label.get_text() for label in axes.get_xticklabels()] == ["x", "y", "z"]
        [written] = axes.texts
        assert written.get_text() == value
        assert written.xy == pytest.approx(place)
        [means, *_] = axes.containers[0].lines
        assert (list(means.get_xdata()), list(means.get_ydata())) == ([0.0, 1.0, 2.0], [2.0, 6.0, 4.0])
        assert list(axes.lines[0].get_xdata()) == [0.0, 0.0]
        [bars] = axes.containers[0].lines[2]
        reach = [segment[:, 1].tolist() for segment in bars.get_segments()]
        assert reach == [pytest.approx(ends) for ends in ([2 - 2**0.5, 2 + 2**0.5], [6, 6], [4 - 2**0.5, 4 + 2**0.5])]
        dots = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines if line.get_alpha() == 0.3]
        assert dots == [([0, 0], [1, 3]), ([2, 2], [3, 5])]  # each single value, where there are several


def test_settings_that_grow_by_factors_stand_on_a_logarithmic_axis_and_others_do_not() -> None:
    for settings, scale in (
        ((1, 10, 21), "log"),
        ((1, 10, 20), "linear"),
        ((0, 10, 100), "linear"),
        ((1, 100), "linear"),
    ):
        [axes] = marginals([Marginal("k", "m", {each: [1.0] for each in settings}, True)]).axes
        assert axes.get_xscale() == scale
        assert [label.get_text() for label in axes.get_xticklabels()] == [f"{each:g}" for each in settings]


def test_a_heat_map_has_the_first_key_down_and_marks_the_best_pair() -> None:
    values: dict = {(1, "a"): 2.0, (1, "b"): 5.0, (2, "a"): 3.0}
    for higher, best in ((True, "5"), (False, "2")):
        [axes] = heat_map(values, keys=("down", "across"), metric="m", higher_is_better=higher).axes
        assert (axes.get_ylabel(), axes.get_xlabel(), axes.get_title(loc="left")) == ("down", "across", "m")
        assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "2"]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
        written = {text.get_position(): text.get_text() for text in axes.texts}
        assert written == {(0, 0): "2", (1, 0): "5", (0, 1): "3"}
        assert [text.get_text() for text in axes.texts if text.get_fontweight() == "bold"] == [best]
        drawn = np.ma.filled(axes.images[0].get_array(), np.nan)
        shades = drawn if higher else -drawn  # the better, the darker
        inks = {text.get_text(): text.get_color() for text in axes.texts}
        assert inks == dict.fromkeys("235", css(INK)) | dict.fromkeys("5" if higher else "23", css(PAPER))
        assert np.array_equal(shades, [[2, 5], [3, np.nan]], equal_nan=True)


def test_numbers_of_a_heat_map_stand_in_their_order_before_words() -> None:
    settings = (10, "x", 9)
    [axes] = heat_map(dict.fromkeys(product(settings, settings), 1.0), keys=("a", "b"), metric="m",
                      higher_is_better=True).axes  # fmt: skip
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["9", "10", "x"]
    assert {text.get_color() for text in axes.texts} == {css(INK)}  # none is better than another
    [axes] = heat_map({(1, "a"): 1.0, (2, "b"): 2.0}, keys=("k", "l"), metric="m", higher_is_better=True).axes
    assert {text.get_position(): text.get_text() for text in axes.texts} == {(0, 0): "1", (1, 1): "2"}
    [axes] = marginals([Marginal("k", "m", {each: [1.0] for each in settings}, True)]).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["10", "x", "9"]  # in the order that was given


def test_true_and_false_are_named_and_nothing_is_between_them() -> None:
    [axes] = marginals([Marginal("k", "m", {False: [1.0], True: [2.0]}, True)]).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["false", "true"]
    assert axes.containers[0].lines[0].get_linewidth() == 0
    values: dict = {(False, 1): 1.0, (True, 1): 2.0}
    [axes] = heat_map(values, keys=("a", "b"), metric="m", higher_is_better=True).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["false", "true"]
    rows = [{"a": on, "m": float(on)} for on in (False, True)]
    [axes] = parallel_coordinates(rows, keys=["a"], metric="m", higher_is_better=True).axes
    assert {(text.get_text(), *text.xy) for text in axes.texts} == {
        ("false", 0, 0.0), ("true", 0, 1.0), ("0", 1, 0.0), ("1", 1, 1.0)
    }  # fmt: skip
    assert [line.get_label() for line in axes.lines[:2]] == ["a false, m 0", "a true, m 1"]


def test_of_parallel_lines_the_better_are_darker_and_ticks_stand_at_their_values() -> None:
    rows = [{"a": 10, "b": "x", "m": 3.0}, {"a": 30, "b": "y", "m": 1.0}, {"a": 15, "b": "y", "m": 2.0}]
    for higher in (True, False):
        [axes] = parallel_coordinates(rows, keys=["a", "b"], metric="m", higher_is_better=higher).axes
        lines = {tuple(np.asarray(line.get_ydata())): line for line in axes.lines if len(line.get_ydata()) == 3}
        colours = [
            to_hex(lines[heights].get_color()) for heights in ((0.0, 0.0, 1.0), (0.25, 1.0, 0.5), (1.0, 1.0, 0.0))
        ]
        widths = [float(lines[heights].get_linewidth()) for heights in ((0.0, 0.0, 1.0), (1.0, 1.0, 0.0))]
        assert (widths[0] > widths[1]) is higher
        best_first = [to_hex(SPREAD(quality)) for quality in (1.0, 0.5, 0.0)]
        assert colours == (best_first if higher else best_first[::-1])
        written = {(text.get_text(), *text.xy) for text in axes.texts}
        assert written == {
            ("10", 0, 0.0), ("15", 0, 0.25), ("30", 0, 1.0), ("x", 1, 0.0), ("y", 1, 1.0), ("1", 2, 0.0), ("2", 2, 0.5),
            ("3", 2, 1.0),
        }  # fmt: skip


def test_a_panel_has_its_title_its_labels_and_its_scale() -> None:
    panel = Panel("the loss", [Series("run", (1.0, 2.0), (3.0, 4.0))], y_label="bits", x_label="epoch", log=True)
    [axes] = curves([panel]).axes
    assert (axes.get_title(loc="left"), axes.get_ylabel(), axes.get_xlabel()) == ("the loss", "bits", "epoch")
    assert axes.get_yscale() == "log"
    assert axes.yaxis.get_major_formatter()(0.002) == "0.002"
    assert axes.xaxis.get_major_formatter()(160_000) == "160k"
    assert [axis.get_gridlines()[0].get_visible() for axis in (axes.xaxis, axes.yaxis)] == [False, True]
    assert axes.get_axisbelow() is True  # curves are over the grid
    alone = marginals([Marginal("k", "m", {1: [1.0], 2: [2.0]}, True)]).axes[0]
    geometries = [each.get_subplotspec().get_geometry() for each in (axes, alone)]
    assert geometries == [(1, 1, 0, 0)] * 2  # as wide as there is
    three = marginals([Marginal("k", name, {1: [1.0], 2: [2.0]}, True) for name in "xyz"]).axes
    assert [(each.get_title(loc="left"), *each.get_subplotspec().get_geometry()) for each in three] == [
        (name, 2, 2, n, n) for n, name in enumerate("xyz")
    ]
    [axes] = curves([Panel("plain", panel.series)]).axes
    assert (axes.get_xlabel(), axes.get_yscale()) == ("step", "linear")


def test_growth_draws_what_was_measured_over_what_was_predicted() -> None:
    figure = growth(
        [Growth("size", "ms", (1, 2), (10.0, 30.0), (11.0, 22.0)), Growth("batch", "s", (4, 8), (1.0, 2.0), None)],
        title="cost",
    )
    first, second = figure.axes
    assert [(line.get_label(), np.asarray(line.get_ydata()).tolist()) for line in first.lines] == [
        ("predicted", [11.0, 22.0]), ("measured", [10.0, 30.0])
    ]  # fmt: skip
    assert [np.asarray(line.get_ydata()).tolist() for line in second.lines] == [[1.0, 2.0]]
    assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes] == [("size", "ms"), ("batch", "s")]


def test_boundaries_keep_a_third_of_their_light() -> None:
    labels = np.zeros((4, 4), np.uint8)
    labels[:, 2:] = 1
    drawn = overlay(np.zeros((4, 4, 3), np.uint8), labels, np.full((2, 3), 200, np.uint8), opacity=1.0, boundaries=True)
    assert drawn[0, :, 0].tolist() == [200, 70, 200, 200]


def test_a_dollar_in_a_name_is_no_formula(tmp_path: Path) -> None:
    figure = curves([Panel("of $x_1$ and $x_2$", [Series("run", (1.0,), (2.0,))])])
    save(figure, tmp_path / "a.svg")
    assert "<!-- of $x_1$ and $x_2$ -->" in (tmp_path / "a.svg").read_text()
    texts = [text for text in figure.findobj(Text) if "$" in text.get_text()]
    assert [text.get_parse_math() for text in texts] == [False]
