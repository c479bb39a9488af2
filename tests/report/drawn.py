"""A page whose figures are kept as they were made: what they say is asked of them, and nothing is rendered."""

import html
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from mae_hydra.owned import Owned
from mae_hydra.report.page import Page


class Drawn(Page):
    """`figures` and `pictures` by the name of their file; so `captions`, `legends`, `sheets` and `strips`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Owned(folder, "report", trusted=True))
        self.figures: dict[str, Figure] = {}
        self.captions: dict[str, str] = {}
        self.legends: dict[str, bool] = {}
        self.pictures: dict[str, np.ndarray] = {}
        self.sheets: dict[str, bool] = {}
        self.strips: dict[str, Sequence[Markup]] = {}

    def chart(self, figure: Figure, name: str, caption: str = "", *, legend: bool = True) -> Markup:
        self.figures[name], self.captions[name], self.legends[name] = figure, caption, legend
        return Markup("<figure></figure>")

    def picture(self, pixels: np.ndarray, name: str, caption: str = "", *, sheet: bool = True) -> Markup:
        self.pictures[name], self.captions[name], self.sheets[name] = pixels, caption, sheet
        return Markup("<figure></figure>")

    def beside(self, pixels: np.ndarray, strips: Sequence[Markup], name: str, caption: str) -> Markup:
        self.strips[name] = strips
        return self.picture(pixels, name, caption)

    def body(self, title: str) -> str:
        [found] = [section.body for section in self.sections if section.title == title]
        return str(found)

    def rows(self, title: str) -> list[list[str]]:
        """The rows of a section's tables, their heads among them."""
        rows = re.findall(r"<tr[^>]*>(.*?)</tr>", self.body(title), re.DOTALL)
        return [[html.unescape(cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)] for row in rows]

    def code(self, title: str) -> list[str]:
        return [html.unescape(text) for text in re.findall(r"<pre>(.*?)</pre>", self.body(title), re.DOTALL)]


def curves_of(figure: Figure) -> dict[str, list[tuple[str, list[float], list[float]]]]:
    """By the title of each panel its lines: name, x, y."""
    return {
        axes.get_title(loc="left"): [
            (str(line.get_label()), np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
            for line in axes.lines
        ]
        for axes in figure.axes
    }
