"""How charts are made, dressed, and become files or pixels.

Figures are made on the Agg canvas by hand, never through pyplot: no GUI backend is touched and no global state is
left behind.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from PIL import Image

from mae_hydra import atomic
from mae_hydra.figures.style import FRAME, HAIRLINE, PAPER, QUIET_INK, css
from mae_hydra.names import harmless


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


def is_number(setting: object) -> bool:
    """Whether a setting lies on a line of numbers; true and false do not."""
    return isinstance(setting, (int, float)) and not isinstance(setting, bool)


def setting_text(setting: object) -> str:
    """A setting as a label: four digits of a number, true and false as YAML has them."""
    if is_number(setting):
        return f"{setting:.4g}"
    return str(setting).lower() if isinstance(setting, bool) else str(setting)


@contextmanager
def drawing(figure: Figure) -> Iterator[None]:
    """Every text as it stands: a `$` in a name is no formula, and a letter that the font lacks stays a box."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_text(harmless(text.get_text()))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from (current )?font")
        yield


def to_pixels(figure: Figure) -> np.ndarray:
    """The figure as RGB uint8 (H, W, 3)."""
    canvas = FigureCanvasAgg(figure)
    with drawing(figure):
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save(figure: Figure | np.ndarray, path: Path) -> None:
    """Write a figure, or pixels (H, W, 3), to `path`, whole or not at all.

    The suffix picks the format (.png; .svg and .pdf for figures).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    form = path.suffix.removeprefix(".")
    with atomic.writing(path) as temporary, open(temporary, "wb") as file:
        if isinstance(figure, Figure):
            # Without dates and random ids the same numbers give the same bytes.
            dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
            with matplotlib.rc_context({"svg.hashsalt": "mae_hydra"}), drawing(figure):
                figure.savefig(file, format=form, metadata=dates.get(form))
        else:
            Image.fromarray(figure).save(
                file, format=form
            )  # optimize=True: a twentieth smaller, in eight times the time
