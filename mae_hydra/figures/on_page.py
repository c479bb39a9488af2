"""A chart as part of a page: an SVG in the page's own colours and font, so that it follows light and dark.

matplotlib draws it; each of its colours becomes a variable of the page (`variables`), and what lies under the pointer
tells its value.
"""

import io
import re
from collections.abc import Sequence
from functools import cache
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from mae_hydra.figures.chart import drawing
from mae_hydra.figures.lines import FEW_POINTS
from mae_hydra.figures.style import FRAME, HAIRLINE, INK, PAPER, QUIET_INK, RAMP, SERIES_COLOURS, css

DARK = {
    css(PAPER): "#14171d",
    css(INK): "#e6e9ef",
    css(QUIET_INK): "#9aa3b2",
    css(HAIRLINE): "#2c323d",
    css(FRAME): "#414958",
}
NAMES = {css(PAPER): "paper", css(INK): "ink", css(QUIET_INK): "quiet", css(HAIRLINE): "line", css(FRAME): "frame"}
DARK_SERIES = ("#7aa7f0", "#ff9d5c", "#3fcf9f", "#d08be8", "#eebf4d", "#52c4e2", "#ff7fab", "#a7afbc")
DARK_RAMP = ("#14171d", "#2b4a80", "#78a6f5", "#dbe7ff")
LEVELS = 9  # of the ramp
MOST_TIPS = 60  # points of a line that tell their value
XML = "{http://www.w3.org/2000/svg}"


def variables() -> tuple[str, str]:
    """Declarations of CSS for light and for dark pages: --paper, --ink, --series-0, --ramp-0, …"""
    light = {name: colour for colour, name in NAMES.items()}
    dark = {name: DARK[colour] for colour, name in NAMES.items()}
    for theme, series, ramp in ((light, SERIES_COLOURS, RAMP), (dark, DARK_SERIES, DARK_RAMP)):
        theme |= {f"series-{number}": colour for number, colour in enumerate(series)}
        theme |= {f"ramp-{number}": css(colour) for number, colour in enumerate(_steps(ramp))}
    told = [" ".join(f"--{name}: {colour};" for name, colour in theme.items()) for theme in (light, dark)]
    return told[0], told[1]


def to_svgs(figure: Figure, *, name: str, legend: bool = True) -> list[str]:
    """Each axes of the figure as an `svg` element, so that a page can put them below each other.

    Changes the figure, so this is the last that is made of it. `name` keeps what an element refers to within itself
    apart from the others of the page; `legend`: whether it is kept.
    """
    tips = {f"tip{number}": _tips(line, axes) for number, (line, axes) in enumerate(_lines(figure))}
    for gid, (line, _) in zip(tips, _lines(figure), strict=True):
        line.set_gid(gid)
    if not legend:
        for below in [*figure.legends]:  # what is removed leaves the list
            below.remove()
    with drawing(figure):
        figure.draw_without_rendering()
    figure.set_layout_engine("none")  # it stands as it stood among the others
    figure.patch.set_visible(False)
    for axes in figure.axes:
        _vectors(axes)
        if not legend and (drawn := axes.get_legend()) is not None:
            drawn.remove()
    panels = [axes for axes in figure.axes if axes.axison and axes.get_label() != "<colorbar>"]
    if len(panels) < 2:
        return [_svg(figure, tips, name, figure.axes)]
    return [_svg(figure, tips, f"{name} {number}", [axes]) for number, axes in enumerate(panels, 1)]


def _svg(figure: Figure, tips: dict[str, tuple[str, list[str]]], name: str, shown: Sequence[Axes]) -> str:
    for axes in figure.axes:
        axes.set_visible(axes in shown)
    box: Any = None
    if len(shown) < len(figure.axes):
        around = shown[0].get_tightbbox()
        assert around is not None
        box = around.transformed(figure.dpi_scale_trans.inverted()).padded(0.08)
    width, height = figure.get_size_inches() if box is None else (box.width, box.height)
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), drawing(figure):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches=box)
    root = ElementTree.fromstring(buffer.getvalue())
    groups = {group.get("id"): group for group in root.iter(f"{XML}g")}
    for gid, (whole, points) in tips.items():
        if gid in groups:
            _tell(groups[gid], whole, points)
    for element in root.iter():  # a page knows no prefixes, and each name once
        element.tag = element.tag.removeprefix(XML)
        if (href := element.attrib.pop("{http://www.w3.org/1999/xlink}href", None)) is not None:
            element.set("href", href)
        if element.tag == "g":
            element.attrib.pop("id", None)
    styles = [each for each in root.findall("defs") if each.find("style") is not None]  # they would hold for the page
    for unwanted in [*root.findall("metadata"), *styles]:
        root.remove(unwanted)
    titles = [text for axes in shown for text in (axes.get_title(loc="left"), axes.get_xlabel()) if text]
    view, label = root.attrib["viewBox"], ", ".join(titles) or name
    root.attrib = {"viewBox": view, "class": "chart", "role": "img", "aria-label": label}
    root.set("style", f"max-width: {96 * width:.0f}px; aspect-ratio: {width:.3g} / {height:.3g}")
    text = ElementTree.tostring(root, encoding="unicode")
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", text)
    return re.sub(r"#[0-9a-f]{6}\b", lambda found: _variable(found[0]), text)


def _lines(figure: Figure) -> list[tuple[matplotlib.lines.Line2D, Axes]]:
    return [(line, axes) for axes in figure.axes for line in axes.lines]


def _vectors(axes: Axes) -> None:
    """Cells in place of pixels, which could not take the colours of a page; those of nothing are left out."""
    for image in axes.images:
        values = np.ma.asarray(image.get_array()).astype(float)
        colours = np.asarray(image.cmap(image.norm(values)))
        levels = np.array([[_level(css(np.round(255 * cell[:3]))) for cell in row] for row in colours])
        shown = np.ma.masked_where((levels == 0) | np.isnan(np.ma.filled(values, np.nan)), values)
        edges = [np.arange(size + 1) - 0.5 for size in shown.shape]
        limits = axes.axis()
        scale: Any = image.norm
        mesh = axes.pcolormesh(edges[1], edges[0], shown, cmap=image.cmap, norm=scale, zorder=0)
        mesh.set_edgecolor("none")
        axes.axis(limits)
        image.set_visible(False)
    for collection in axes.collections:  # that of a colour bar is one
        collection.set_rasterized(False)
        collection.set_antialiased(False)  # no seams between its cells
        if axes.get_label() == "<colorbar>":
            collection.set(edgecolor="face", linewidth=1)  # a browser leaves gaps between cells of half a pixel


def _tips(line: matplotlib.lines.Line2D, axes: Axes) -> tuple[str, list[str]]:
    """What a line says, and what each of its points does; points of a line without marks get some that nobody sees."""
    x, y = (np.asarray(values, dtype=float) for values in line.get_data())
    name = str(line.get_label())
    name = "" if name.startswith("_") else name
    if (line.get_alpha() is not None and len(x) > FEW_POINTS) or not axes.get_xlabel():
        return name, []  # the noise behind a smoothed curve
    every = -(-len(x) // MOST_TIPS)
    if line.get_marker() in (None, "None", ""):
        line.set(marker="o", markersize=9, markerfacecolor=(0, 0, 0, 0), markeredgecolor="none", markevery=every)
    else:
        every = 1
    named = {}
    if isinstance(axes.xaxis.get_major_locator(), FixedLocator):
        named = dict(zip(axes.get_xticks(), (label.get_text() for label in axes.get_xticklabels()), strict=False))
    begin, unit = f"{name}, " if name else "", " %" if axes.get_title(loc="left").endswith(", %") else ""
    pairs = zip(x[::every], y[::every], strict=True)
    return name, [f"{begin}{axes.get_xlabel()} {named.get(a) or f'{a:g}'}: {b:.4g}{unit}" for a, b in pairs]


def _tell(group: ElementTree.Element, whole: str, points: list[str]) -> None:
    for place, text in zip(group.iter(f"{XML}use"), points, strict=False):
        ElementTree.SubElement(place, f"{XML}title").text = text
    if whole:
        title = ElementTree.Element(f"{XML}title")
        title.text = whole
        group.insert(0, title)


def _variable(colour: str) -> str:
    if colour in NAMES:
        return f"var(--{NAMES[colour]})"
    if colour in SERIES_COLOURS:
        return f"var(--series-{SERIES_COLOURS.index(colour)})"
    return f"var(--ramp-{_level(colour)})"


@cache  # asked for every cell of a matrix, of which few colours differ
def _level(colour: str) -> int:
    """The step of the ramp that is nearest to a colour."""
    return int(((_steps(RAMP) - _rgb(colour)) ** 2).sum(1).argmin())


def _steps(ramp: tuple[str, ...]) -> np.ndarray:
    stops, places = np.array([_rgb(colour) for colour in ramp]), np.linspace(0, 1, len(ramp))
    return np.stack([np.interp(np.linspace(0, 1, LEVELS), places, channel) for channel in stops.T], 1)


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)], dtype=float)
