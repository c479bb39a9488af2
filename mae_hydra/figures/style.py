"""One look for all figures: ink, paper, fonts, and how a figure becomes a file or pixels.

Figures are made on the Agg canvas by hand, never through pyplot: no GUI backend is touched and no global state is
left behind.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image, ImageFont

PAPER = (255, 255, 255)
INK = (31, 36, 48)
QUIET_INK = (102, 110, 124)
HAIRLINE = (226, 229, 234)
FRAME = (208, 212, 219)

SERIES_COLOURS = ("#2563eb", "#e8590c", "#0b9e72", "#9c36b5", "#d69e00", "#0e8fb3", "#d6336c", "#6b7280")
"""Line and bar colours, in the order they are given out; neighbours stay apart for colour-blind eyes and in grey."""


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along, so that sheets and plots agree on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)


def css(rgb: Sequence[int]) -> str:
    """(31, 36, 48) -> "#1f2430"."""
    return "#{:02x}{:02x}{:02x}".format(*(int(value) for value in rgb))


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches at 144 dots per inch."""
    margins = ConstrainedLayoutEngine(w_pad=0.14, h_pad=0.12)
    figure = Figure(figsize=(width, height), dpi=144, facecolor=css(PAPER), layout=margins)
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Axes, *, grid: str) -> None:
    """Quiet axes: no box, hairline grid along `grid` ("x", "y" or "both"), small grey ticks."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(css(FRAME))
    axes.set_axisbelow(True)
    axes.grid(axis=grid, color=css(HAIRLINE), linewidth=0.8)  # type: ignore[arg-type]
    axes.tick_params(colors=css(QUIET_INK), labelsize=8.5, length=0, pad=5)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(css(QUIET_INK))
        label.set_fontsize(9)


def to_pixels(figure: Figure) -> np.ndarray:
    """The figure as RGB uint8 (H, W, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save(figure: Figure | np.ndarray, path: Path) -> None:
    """Write a figure, or pixels (H, W, 3), to `path`; the suffix picks the format (.png, .svg, .pdf for figures)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(figure, Figure):
        # Without dates and random ids the same numbers give the same bytes.
        dates = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
        with matplotlib.rc_context({"svg.hashsalt": "mae_hydra"}):
            figure.savefig(path, metadata=dates.get(path.suffix))
    else:
        Image.fromarray(figure).save(path, optimize=True)
