"""Every number, name and mark of a figure stands where its value is: on both sides of each bound, of the second too."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_legends import columns_of
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from PIL import ImageDraw

from mae_hydra.figures import (
    LegendEntry,
    Marginal,
    Panel,
    Series,
    TrialPoint,
    class_bars,
    confusion_matrix,
    curves,
    legend_of,
    marginals,
    save,
    search_figure,
    sheet,
    to_svgs,
    variables,
)
from mae_hydra.figures import bars as bars_module
from mae_hydra.figures import gallery as gallery_module
from mae_hydra.figures.chart import drawing, new_figure
from mae_hydra.figures.gallery import gallery
from mae_hydra.figures.lines import FEW_POINTS
from mae_hydra.figures.over_labels import Arm, label_curves
from mae_hydra.figures.search_plots import importances
from mae_hydra.figures.style import INK, PAPER, SERIES_COLOURS, css, font
from mae_hydra.figures.sweep_plots import _scale


def labels(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


@pytest.mark.parametrize(("count", "columns"), [(2, [2]), (3, [2, 1]), (4, [2, 2]), (5, [2, 2, 1])])
def test_bars_of_many_classes_go_on_in_the_next_column_best_on_top(
    monkeypatch: pytest.MonkeyPatch, count: int, columns: list[int]
) -> None:
    monkeypatch.setattr(bars_module, "ROWS", 2)
    first = {f"c{n}": float(n) for n in range(count)}
    figure = class_bars({"new": first, "old": {"c0": 50.0}}, title="t")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["t", "", ""][: len(columns)]
    names = [f"c{n}" for n in range(count)][::-1]
    assert [labels(axes) for axes in figure.axes] == [
        names[sum(columns[:n]) : sum(columns[: n + 1])] for n in range(len(columns))
    ]
    for axes in figure.axes:
        low, high = axes.get_ylim()
        assert low > high  # the first row is the upper one
        assert (low, high) == figure.axes[0].get_ylim()  # bars are as thick in a column of fewer
        assert [axis.get_gridlines()[0].get_visible() for axis in (axes.xaxis, axes.yaxis)] == [True, False]
        assert axes.get_xlim()[1] > 50  # room for the longest bar of all runs
    new, old = figure.axes[0].containers
    middles = [[bar.get_y() + bar.get_height() / 2 for bar in each] for each in (new, old)]
    assert middles == [pytest.approx([n + aside for n in range(columns[0])]) for aside in (-0.2, 0.2)]


def test_a_file_of_a_chart_has_no_date_and_no_control_letters(tmp_path: Path) -> None:
    figure = curves([Panel("a\x1b[31mred\x00", [Series("run", (1.0,), (2.0,))])])
    asked: list[dict] = []
    figure.savefig = lambda file, **more: asked.append(more)  # type: ignore[method-assign]
    for form in ("pdf", "svg", "png"):
        save(figure, tmp_path / f"a.{form}")
    assert [(each["format"], each["metadata"]) for each in asked] == [
        ("pdf", {"CreationDate": None}), ("svg", {"Date": None}), ("png", None)
    ]  # fmt: skip
    with drawing(figure):
        assert figure.axes[0].get_title(loc="left") == "ared "


def test_a_figure_that_cannot_be_drawn_leaves_the_file_as_it_was_and_a_letter_without_a_font_is_a_box(
    tmp_path: Path,
) -> None:
    file = tmp_path / "made" / "below" / "a.png"
    figure = new_figure(1, 1)
    figure.text(0, 0.5, "漢")
    save(figure, file)
    before = file.read_bytes()

    def torn(place: Any, **more: Any) -> None:
        place.write(b"half")
        raise RuntimeError("torn")

    figure.savefig = torn  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="torn"):
        save(figure, file)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["a.png"]


def test_a_gallery_has_each_caption_below_its_picture_and_pairs_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[float, str]] = []
    boxes: list[tuple[float, float, float, float]] = []

    def text(draw: Any, place: tuple[float, float], words: str, *, fill: Any, **how: Any) -> None:
        told.append((place[0], words))
        boxes.append(draw.textbbox(place, words, **how))

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    pictures = [np.full((40, 40, 3), (10 * n + 100, 0, 0), np.uint8) for n in range(5)]
    pictures[1] = pictures[1][:20]
    pictures[4] = pictures[4][:, :20]
    title = "a title that is wider than all of the pictures"
    drawn = gallery(
        pictures, ["a", "b\x1b[31m", "c" * 50 + "end", "d", "e"], columns=4, cell=40, group=2, title=f"{title}\x1b[0m"
    )
    places = [np.argwhere((drawn == (10 * n + 100, 0, 0)).all(2)) for n in range(5)]
    lefts, tops, ends = (
        [int(edge(place[:, axis])) for place in places] for axis, edge in ((1, np.min), (0, np.min), (0, np.max))
    )
    gaps = [int(right - left - 40) for left, right in pairwise(lefts)]
    assert gaps[:3] == [gallery_module.GAP, gallery_module.GROUP_GAP, gallery_module.GAP]
    assert ends[0] == ends[1] == tops[0] + 39  # a lower one stands on the same line
    assert lefts[4] == lefts[0] + 10  # in the middle of its column
    assert tops[4] > ends[0]
    [(left, words), *captions] = told
    before, above, behind, below = boxes[0]  # of the title, above the pictures and inside of the sheet, wide as it is
    assert (words, 0 < above < below < min(tops), 0 < before < behind < drawn.shape[1]) == (title, True, True)
    assert drawn.shape[1] - behind == pytest.approx(left, abs=2)
    assert [place for place, _ in captions] == [float(lefts[n % 4] + 20) for n in range(5)]
    assert [words for _, words in captions if len(words) == 1] == ["a", "b", "d", "e"]
    assert captions[2][1].startswith("…")
    assert captions[2][1].endswith("end")
    assert 30 < font(gallery_module.SMALL_SIZE).getlength(captions[2][1]) <= 40
    no_title = gallery(pictures, [""] * 5, columns=4, cell=40)
    assert below - above < drawn.shape[0] - no_title.shape[0] < 3 * (below - above)  # no room where there is no title


def test_a_curve_is_smoothed_from_more_points_on_than_are_marked() -> None:
    for count, lines, marker in ((FEW_POINTS, 1, "o"), (FEW_POINTS + 1, 2, "None")):
        x = tuple(map(float, range(count)))
        [axes] = curves([Panel("loss", [Series("run", x, x)], smooth=True)]).axes
        assert len(axes.lines) == lines
        assert (axes.lines[-1].get_label(), axes.lines[-1].get_marker()) == ("run", marker)
        [axes] = curves([Panel("lr", [Series("run", x, x)])]).axes
        assert [line.get_marker() for line in axes.lines] == [marker]


def test_a_legend_that_one_panel_has_no_room_for_stands_below_all() -> None:
    many = [Series(f"a run with a long name {n}", (0.0, 1.0), (0.0, 1.0)) for n in range(20)]
    figure = curves([Panel("one", many[:1]), Panel("many", many)])
    assert [axes.get_legend() for axes in figure.axes] == [None, None]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [series.name for series in many]
    points = ((0.0, 1.0), (0.0, 1.0))
    for names, below, columns in (
        (["n" * 90], False, None),  # one curve needs no name
        (list("abcdefgh"), False, 1), (list("abcdefghi"), False, 2),
        ([*"abcdefghi", "n" * 25], False, 2), ([*"abcdefghi", "n" * 26], True, None),  # 2.2 of 4.4 inches
    ):  # fmt: skip
        figure = curves([Panel("loss", [Series(name, *points) for name in names])])
        legend = figure.axes[0].get_legend()
        assert (bool(figure.legends), legend and columns_of(legend)) == (below, columns)


def test_a_share_is_written_in_the_ink_that_is_seen_on_its_cell() -> None:
    [axes, *_] = confusion_matrix(np.array([[3, 1], [74, 26]]), ["a", "b"], title="").axes
    inks = {text.get_text(): to_hex(text.get_color()) for text in axes.texts}
    assert (axes.images[0].norm.vmin, axes.images[0].norm.vmax) == (0, 100)  # whatever the largest share is
    assert inks == {"75": css(PAPER), "25": css(INK), "74": css(PAPER), "26": css(PAPER)}


def test_scores_over_labels_have_means_deviations_dots_and_ticks_that_stand_apart() -> None:
    scratch = Arm("from scratch", (10.0, 110.0, 140.0), [[1.0, 3.0], [4.0], [8.0]])
    own = Arm("own", (10.0, 100.0), [[2.0, 2.0], [2.0]], (50.0, "label factor 5"))
    [axes] = label_curves([scratch, own], metric="val/mIoU, %").axes
    assert (axes.get_xscale(), axes.get_xlabel()) == ("log", "labeled images")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["10", "100", "140"]  # 110 is too near
    first, second = axes.containers
    assert [np.asarray(each.lines[0].get_ydata()).tolist() for each in (first, second)] == [[2, 4, 8], [2, 2]]
    reach = [segment[:, 1].tolist() for segment in first.lines[2][0].get_segments()]
    assert reach == [pytest.approx([2 - 2**0.5, 2 + 2**0.5]), [4, 4], [8, 8]]
    assert not second.has_yerr
    assert [each.lines[0].get_color() for each in (first, second)] == [SERIES_COLOURS[1], SERIES_COLOURS[0]]
    assert axes.get_title(loc="left") == "val/mIoU, %"
    dots = [line for line in axes.lines if line.get_alpha() == 0.3]
    assert [list(line.get_xdata()) for line in dots] == [[10, 10], [10, 10]]
    assert [list(line.get_ydata()) for line in dots] == [[1, 3], [2, 2]]
    [bridge] = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert (list(bridge.get_xdata()), list(bridge.get_ydata())) == ([10, 50], [2, 2])
    [text] = axes.texts
    assert (text.get_text(), text.get_va()) == ("label factor 5", "bottom")  # a curve that stays level is above
    assert [name.get_text() for name in axes.get_legend().get_texts()] == ["from scratch", "own"]  # type: ignore[union-attr]
    [axes] = label_curves([Arm("own", (1e3, 1281167.0), [[1.0], [2.0]])], metric="m").axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1,000", "1,281,167"]


def test_a_legend_of_more_classes_than_a_byte_holds_counts_each() -> None:
    palette = np.arange(900, dtype=np.uint16).reshape(300, 3).astype(np.uint8)
    maps = [np.array([[299, 0]], np.uint16), np.array([[700, 299]], np.uint16)]
    names = [f"c{n}" for n in range(300)]
    assert [entry.name for entry in legend_of(maps, names, palette)] == ["c0", "c299", "ignored"]
    assert [entry.name for entry in legend_of([np.zeros((1, 1), np.uint8)], names, palette)] == ["c0"]


def told(svgs: list[str]) -> list[str]:
    import re

    return [text for svg in svgs for text in re.findall(r"<title>(.*?)</title>", svg)]


def test_points_of_a_chart_tell_their_own_values_with_their_unit() -> None:
    x = tuple(map(float, range(121)))
    series = Series("run", x, tuple(2 * value for value in x))
    assert told(to_svgs(curves([Panel("val/mIoU, %", [series])]), name="a")) == [
        "run", *(f"run, step {n}: {2 * n} %" for n in range(0, 121, 3))
    ]  # fmt: skip
    points: Mapping[Any, list[float]] = {1.0: [3.0, 5.0], 2.0: [7.0]}
    found = told(to_svgs(marginals([Marginal("lr", "loss", points, False)]), name="b"))
    assert {"lr 1: 3", "lr 1: 5", "lr 1: 4", "lr 2: 7"} <= set(found)


def test_colours_of_a_page_turn_with_its_theme() -> None:
    light, dark = (dict(each.strip().removeprefix("--").split(": ") for each in theme.split(";") if each) for theme in
                   variables())  # fmt: skip
    ends = ("paper", "ink", "ramp-0", "ramp-8", "series-0", "series-7")
    assert [light[name] for name in ends] == ["#ffffff", "#1f2430", "#ffffff", "#0b2a6b", *SERIES_COLOURS[::7]]
    assert [dark[name] for name in ends] == ["#14171d", "#e6e9ef", "#14171d", "#dbe7ff", "#7aa7f0", "#a7afbc"]
    names = [f"r{n}" for n in range(3)]
    [svg] = to_svgs(curves([Panel("loss", [Series(name, (1.0, 2.0), (1.0, 2.0)) for name in names])]), name="c")
    assert {f"var(--series-{n})" in svg for n in range(3)} == {True}
    assert "var(--series-3)" not in svg


def test_cells_of_nothing_are_no_part_of_a_chart() -> None:
    matrix = confusion_matrix(np.eye(4, dtype=int), list("abcd"), title="t")
    axes = matrix.axes[0]
    limits = axes.axis()
    to_svgs(matrix, name="m")
    [cells] = axes.collections
    assert axes.axis() == limits
    assert cells.get_coordinates()[0, 0].tolist() == [-0.5, -0.5]  # type: ignore[attr-defined]
    assert cells.get_zorder() < min(text.get_zorder() for text in axes.texts)
    mesh = cells.get_array()
    assert np.ma.getmaskarray(mesh).reshape(4, 4).tolist() == (~np.eye(4, dtype=bool)).tolist()


def trial(number: int, value: float | None, state: str = "complete", **params: Any) -> TrialPoint:
    return TrialPoint(number, params or {"a": float(number), "b": 1.0 + number % 2}, state, value)


def test_the_importance_of_few_trials_is_adjusted_and_of_complete_ones_alone() -> None:
    """Ranks 0 to 5 against a line are explained whole; those of a choice of two as worked out by hand."""
    six = [trial(n, 10.0 * n**3, lr=10.0**n, kind="xy"[n % 2], flat=1.0) for n in range(6)]
    found = importances([*six, trial(6, 0.0, "pruned", lr=5.0, kind="x", flat=2.0)], ["lr"])
    # Means 2 and 3 of ranks whose squares about 2.5 add up to 17.5: 1.5 / 17.5 explained, (1 - 16 / 17.5 * 5 / 4) < 0.
    assert found == {"lr": pytest.approx(1.0), "kind": 0.0, "flat": 0.0}
    assert importances(six[:5], ["lr"]) == {}
    bent = [trial(n, float((n - 3) ** 2), a=float(n)) for n in range(7)]  # ranks 5.5 3.5 1.5 0 1.5 3.5 5.5
    ranks = np.array([5.5, 3.5, 1.5, 0, 1.5, 3.5, 5.5])
    fit = np.polyval(np.polyfit(np.arange(7), ranks, 2), np.arange(7))
    left = ((ranks - fit) ** 2).sum() / ((ranks - ranks.mean()) ** 2).sum()
    assert importances(bent) == {"a": pytest.approx(1 - left * 6 / 4)}
    each = [trial(n, float(n), kind=str(n), zero=float(n)) for n in range(6)]  # as many options as values explain all
    assert importances(each, ["zero"]) == {"zero": pytest.approx(1.0), "kind": 0.0}  # a logarithm of 0 there is not
    switched = [trial(n, float(n % 2), on=bool(n % 2)) for n in range(6)]
    assert importances(switched) == {"on": pytest.approx(1.0)}


def test_a_search_marks_its_best_trial_its_failed_ones_and_each_value_of_each_parameter() -> None:
    trials = [trial(3, 1.0), trial(0, 5.0), trial(1, 6.0), trial(2, 3.0), trial(4, 2.0, "pruned")]
    trials += [trial(5, None, "failed"), trial(6, 4.0), trial(7, 9.0, "pruned")]
    figure = search_figure(trials, metric="m", higher_is_better=False, logarithmic=["b"])
    history, of_a, of_b = figure.axes
    lines = {str(line.get_label()): line for line in history.lines}
    drawn = {name: (list(line.get_xdata()), list(line.get_ydata())) for name, line in lines.items()}
    assert drawn["best"] == ([0, 2, 3, 7], [5, 3, 1, 1])
    assert drawn["pruned"] == ([4, 7], [2, 9])
    assert drawn["failed"][0] == [5]
    assert (drawn["complete"], lines["best"].get_drawstyle()) == (([3, 0, 1, 2, 6], [1, 5, 6, 3, 4]), "steps-post")
    blue, orange = SERIES_COLOURS[:2]
    assert [(lines[name].get_marker(), lines[name].get_color()) for name in ("complete", "pruned")] == [
        ("o", blue), ("x", orange)
    ]  # fmt: skip
    assert (of_a.get_xlabel(), of_b.get_xlabel()) == ("a", "b")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["m", "m", "m"]
    assert (of_a.get_xscale(), of_b.get_xscale()) == ("linear", "log")
    for axes, key in ((of_a, "a"), (of_b, "b")):
        found = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if line.get_markersize() == 5]
        assert found == [(each.params[key], each.value) for each in trials if each.value is not None]
        looks = [(line.get_marker(), line.get_color()) for line in axes.lines if line.get_markersize() == 5]
        assert looks == [("x", orange) if each.state == "pruned" else ("o", blue) for each in trials if each.value]
        shades = {line.get_ydata()[0]: line.get_alpha() for line in axes.lines if line.get_markersize() == 5}
        assert [shades[5.0], shades[9.0]] == [pytest.approx(0.35), pytest.approx(1.0)]  # the first, the last
        [ring] = [line for line in axes.lines if line.get_markersize() == 11]
        assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (trials[0].params[key], 1.0)


def test_shares_of_importance_are_written_as_percent() -> None:
    trials = [trial(n, float(n), lr=float(n)) for n in range(6)]
    bars = search_figure(trials, metric="m", higher_is_better=True).axes[1]
    assert (labels(bars), [text.get_text() for text in bars.texts]) == (["lr"], ["100%"])
    assert bars.get_title(loc="left") == "importance"
    low, high = bars.get_ylim()
    assert low > high  # the first is the upper one
    assert bars.get_xlim()[1] > 1  # of the whole, however little all of them explain


def test_options_of_a_search_stand_side_by_side_in_their_order() -> None:
    trials = [trial(n, float(n), on=n == 0, kind="ba"[n % 2] * 30) for n in range(3)]
    _, of_on, of_kind = search_figure(trials, metric="m", higher_is_better=True).axes
    for axes, names, places in ((of_on, ["false", "true"], [1, 0, 0]), (of_kind, ["a", "b"], [1, 0, 1])):
        assert [label.get_text()[:5] for label in axes.get_xticklabels()] == [name * (5 if len(name) == 1 else 1)
                                                                             for name in names]  # fmt: skip
        assert all(len(label.get_text()) <= 20 for label in axes.get_xticklabels())
        assert [line.get_xdata()[0] for line in axes.lines if line.get_markersize() == 5] == places


def test_an_axis_of_many_numbers_names_its_ends_and_its_middle() -> None:
    place, marks = _scale([0.0, 1.0, 2.0, 3.0, 4.0, 10.0])
    assert marks == [(n / 10, f"{n}") for n in (0, 1, 2, 3, 4, 10)]
    place, marks = _scale([2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 12.0])
    assert (marks, place(4.0)) == ([(0.0, "2"), (0.5, "7"), (1.0, "12")], 0.2)
    assert _scale([3.0, 3.0])[1] == [(0.0, "3")]
    assert _scale([0.0, 1.0, 4.0] * 3)[1] == [(0.0, "0"), (0.25, "1"), (1.0, "4")]  # of many jobs


def test_a_sheet_names_its_columns_and_rows_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, tuple[float, float]] = {}
    fonts: dict[str, Any] = {}

    def text(draw: Any, place: tuple[float, float], words: str, **more: Any) -> None:
        told[words], fonts[words] = place, more["font"]

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    pictures = [[np.full((30, 30, 3), (10 * (2 * row + column) + 100, 0, 0), np.uint8) for column in range(2)]
                for row in range(2)]  # fmt: skip
    bad = "\x1b[31m"  # a color of a terminal
    legend = [LegendEntry("sky", (1, 2, 3)), LegendEntry("sea", (4, 5, 6))]
    long = sheet(
        pictures, columns=["wider than 30"], row_names=["r" * 50], legend=[LegendEntry("l" * 50, None)], cell=30
    )
    assert sorted(len(words) for words in told) == [13, 40, 40]
    assert {words: font.size for words, font in fonts.items() if words.startswith("w")} == {"wider than 30": 9}
    assert long.dtype == np.uint8
    found = sheet(
        pictures,
        columns=[f"left{bad}", "right"],
        row_names=["upper", f"lower{bad}"],
        title=f"t{bad}",
        legend=[legend[0], LegendEntry(f"sea{bad}", (4, 5, 6))],
        cell=30,
        footnote=f"below{bad} all",
    )
    corners = [[np.argwhere((found == picture[0, 0]).all(2)).min(0) for picture in row] for row in pictures]
    for column, name in enumerate(("left", "right")):
        assert told[name][0] == corners[0][column][1] + 15
        assert told[name][1] < corners[0][column][0]
    for row, name in enumerate(("upper", "lower")):
        assert told[name][1] == corners[row][0][0] + 15
        assert told[name][0] < corners[row][0][1]
    for entry in legend:
        patch = np.argwhere((found == entry.colour).all(2))
        assert patch[:, 0].min() <= told[entry.name][1] <= patch[:, 0].max() + 1
        assert patch[:, 1].max() < told[entry.name][0]
    heights = [told[words][1] for words in ("t", "left", "upper", "lower", "sky", "below all")]
    assert heights == sorted(heights)
    told.clear()
    title, footnote = ("title of more words than a line holds", "footnote that needs a second line, too")
    sheet(pictures, title=title, footnote=footnote, legend=[*legend, LegendEntry("the ground", (7, 8, 9))], cell=30)
    words = list(told)
    lines = [words[: words.index("sky")], ["sky", "sea", "the ground"], words[words.index("the ground") + 1 :]]
    assert words == [word for each in lines for word in each]
    assert [" ".join(each) for each in (lines[0], lines[2])] == [title, footnote]
    assert all(len({told[word][1] for word in each}) == len(each) > 2 for each in lines)  # each on a line of its own
