"""A chart on a page: in the page's own colours, telling its values, and apart from all others there."""

import re

import numpy as np
import pytest
from drawn_legends import columns_of
from matplotlib.figure import Figure

from mae_hydra.figures import (
    Marginal,
    Panel,
    Series,
    class_bars,
    confusion_matrix,
    curves,
    marginals,
    parallel_coordinates,
    to_svgs,
    variables,
)
from mae_hydra.figures.chart import drawing
from mae_hydra.figures.style import MEANT, SERIES_COLOURS, colours_of

RUNS = [Series("one", (10.0, 20.0), (1.0, 0.5)), Series("<b>", tuple(map(float, range(200))), (0.25,) * 200)]


def to_svg(figure: Figure, name: str = "chart") -> str:
    [svg] = to_svgs(figure, name=name)
    return svg


def titles(svg: str) -> list[str]:
    return re.findall(r"<title>(.*?)</title>", svg)


def test_every_colour_is_one_that_the_page_has_light_and_dark() -> None:
    matrix = confusion_matrix(np.array([[9, 1], [0, 5]]), ["sky", "sea"], title="taken for")
    points: dict[float | str, list[float]] = {"a": [1.0, 2.0], "b": [3.0]}
    for number, figure in enumerate(
        (curves([Panel("loss", RUNS)]), matrix, marginals([Marginal("k", "m", points, True)]))
    ):
        svg = to_svg(figure, name=f"chart {number}")
        used, (light, dark) = set(re.findall(r"var\((--[\w-]+)\)", svg)), variables()
        assert not re.search(r"#[0-9a-f]{6}\b", svg)
        assert "<image" not in svg
        assert used - {"--font"} <= set(re.findall(r"(--[\w-]+):", light)) == set(re.findall(r"(--[\w-]+):", dark))


def test_what_lies_under_the_pointer_tells_its_value() -> None:
    told = titles(to_svg(curves([Panel("loss", RUNS)]), name="loss"))
    assert {"one", "one, step 10: 1", "one, step 20: 0.5", "&lt;b&gt;, step 0: 0.25"} <= set(told)
    assert 20 < sum(text.startswith("&lt;b&gt;, step") for text in told) <= 60  # not a title for each of many points
    points: dict[float | str, list[float]] = {"dice": [1.0], "focal": [3.0]}
    assert titles(to_svg(marginals([Marginal("loss", "mIoU", points, True)]), name="m")) == [
        "loss dice: 1",
        "loss focal: 3",
    ]
    rows = [{"lr": 0.1, "mIoU": 0.5}, {"lr": 0.2, "mIoU": 0.75}]
    lines = to_svg(parallel_coordinates(rows, keys=["lr"], metric="mIoU", higher_is_better=True), name="p")
    assert titles(lines) == ["lr 0.1, mIoU 0.5", "lr 0.2, mIoU 0.75"]


def test_two_charts_of_a_page_refer_to_nothing_of_each_other() -> None:
    drawn = [to_svg(curves([Panel("loss", RUNS)]), name=name) for name in ("a", "b")]
    first, second = (set(re.findall(r' id="([^"]*)"', svg)) for svg in drawn)
    assert first
    assert not first & second
    for svg, ids in zip(drawn, (first, second), strict=True):
        assert set(re.findall(r'(?:href="|url\()#([^")]*)', svg)) <= ids


def test_a_chart_is_named_for_who_cannot_see_it() -> None:
    assert 'role="img" aria-label="loss, step"' in to_svg(curves([Panel("loss", RUNS)]), name="x")


def test_categories_are_not_joined_and_numbers_are() -> None:
    for points, width in (({"a": [1.0], "b": [2.0]}, 0), ({0.5: [1.0], 0.75: [2.0]}, 2)):
        [axes] = marginals([Marginal("k", "m", points, True)]).axes  # type: ignore[arg-type]
        assert axes.containers[0].lines[0].get_linewidth() == width


def test_pre_trained_and_from_scratch_have_their_colours_everywhere() -> None:
    assert colours_of(["masked autoencoder", "from scratch", "pre-trained"]) == {
        "masked autoencoder": SERIES_COLOURS[2], "from scratch": SERIES_COLOURS[1], "pre-trained": SERIES_COLOURS[0]
    }  # fmt: skip
    assert list(colours_of("aab").values()) == list(SERIES_COLOURS[:2])
    assert colours_of("abcdefghi")["i"] == colours_of("abcdefghi")["a"] == SERIES_COLOURS[0]
    names = ["from scratch", "pre-trained"]
    lines = curves([Panel("mIoU", [Series(name, (1.0, 2.0), (1.0, 2.0)) for name in names])]).axes[0].lines
    bars = class_bars({name: {"sky": 1.0} for name in names}, title="IoU").axes[0].patches
    assert [line.get_color() for line in lines] == [MEANT[name] for name in names]
    assert [bar.get_facecolor()[:3] for bar in bars] == [
        tuple(int(MEANT[name][at : at + 2], 16) / 255 for at in (1, 3, 5)) for name in names
    ]


def test_many_long_names_stand_below_the_curves_once_and_leave_them_their_room() -> None:
    names = [f"seed {seed} depth {depth} mask_block 4 num_cls_tokens 8" for seed in range(4) for depth in range(9)]
    panels = [Panel(title, [Series(name, (0, 1), (1, 0)) for name in names]) for title in ("loss", "mIoU")]
    figure = curves(panels)
    with drawing(figure):
        figure.draw_without_rendering()
    assert [axes.get_legend() for axes in figure.axes] == [None, None]
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == names
    assert columns_of(legend) == 3  # as many as have room beside each other
    assert all(axes.get_position().width > 0.35 for axes in figure.axes)
    assert legend.get_window_extent().x1 <= figure.bbox.x1
    assert legend.get_window_extent().y1 <= min(axes.get_tightbbox().y0 for axes in figure.axes)
    short = curves([Panel("loss", [Series(name, (0, 1), (1, 0)) for name in "abc"])])
    assert not short.legends
    assert short.axes[0].get_legend() is not None
    assert not re.findall("<text[^>]*>seed ", "".join(to_svgs(curves(panels), name="many", legend=False)))


def test_every_axes_is_an_element_of_its_own_that_keeps_its_colours_and_may_lose_its_legend() -> None:
    panels = [Panel("loss", RUNS[:1]), Panel("mIoU, %", [*RUNS[1:], *RUNS[:1]])]
    first, second = to_svgs(curves(panels), name="both", legend=False)
    assert 'aria-label="loss, step"' in first
    assert 'aria-label="mIoU, %, step"' in second
    assert ">mIoU, %<" not in first
    assert not re.findall("<text[^>]*>(?:one|&lt;b&gt;)<", first + second)
    assert not {*re.findall(r' id="([^"]*)"', first)} & {*re.findall(r' id="([^"]*)"', second)}
    assert "var(--series-0)" in first
    assert {"one", "&lt;b&gt;", "one, step 10: 1 %"} <= set(titles(second))
    assert titles(first) == ["one", "one, step 10: 1", "one, step 20: 0.5"]
    widths = [float(svg.partition("max-width: ")[2].partition("px")[0]) for svg in (first, second)]
    assert all(350 < width < 560 for width in widths)
    assert len(to_svgs(confusion_matrix(np.eye(2), ["sky", "sea"], title="t"), name="m")) == 1  # with its scale


@pytest.mark.parametrize(("kept", "shown"), [(True, ["of axes", "of all", "of the rest"]), (False, [])])
def test_legends_of_axes_and_of_the_figure_are_kept_unless_a_page_has_its_own(kept: bool, shown: list[str]) -> None:
    figure = Figure((2, 1))
    axes = figure.subplots()
    axes.set_axis_off()  # which takes the ticks
    axes.legend(axes.plot([0, 1]), ["of axes"])
    figure.legend(axes.plot([1, 0]), ["of all"])
    figure.legend(axes.plot([1, 1]), ["of the rest"])
    [svg] = to_svgs(figure, name="x", legend=kept)
    assert re.findall("<text[^>]*>(.+?)</text>", svg) == shown
    assert svg.startswith('<svg viewBox="0 0 144 72" class="chart"')  # points
    assert "max-width: 192px; aspect-ratio: 2 / 1" in svg  # pixels of a page
    assert "<style" not in svg  # it would hold for the page


def test_a_list_beside_a_chart_is_part_of_it_and_a_line_tells_its_name_before_its_points() -> None:
    figure = Figure((2, 1))
    chart, beside = figure.subplots(1, 2)
    beside.axis("off")
    beside.text(0, 0, "beside")
    chart.set_xlabel("step")
    chart.plot([1], [2], "o", label="run")
    [svg] = to_svgs(figure, name="x")
    assert ">beside</text>" in svg
    assert re.findall(r"<g[^>]*>\s*<title>(.*?)</title>", svg) == ["run"]  # what a browser shows is the first child
