"""A sheet of pictures: a grid with column titles, row names, a legend and a footnote, drawn with Pillow.

Small pictures are enlarged by whole factors and large ones reduced until they fit a square cell, so that 64-pixel
scenes and photographs are both readable.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mae_hydra.figures.overlay import LegendEntry, hatching
from mae_hydra.figures.style import FRAME, INK, PAPER, QUIET_INK, font
from mae_hydra.names import clean, shortened

MARGIN, GAP, GROUP_GAP, SWATCH = 28, 10, 34, 15
TITLE_SIZE, COLUMN_SIZE, SMALL_SIZE = 20, 15, 13
LINE = 1.45  # line height in units of the font size


def fit(image: np.ndarray, cell: int, scaling: Literal["smooth", "nearest"] = "smooth") -> np.ndarray:
    """`image` (H, W) or (H, W, 3) uint8, as large as a square of `cell` pixels allows; enlarged by whole factors only.

    "nearest" is for class maps (and honest pixels), "smooth" for photographs.
    """
    height, width = image.shape[:2]
    factor = cell / max(height, width)
    factor = float(int(factor)) if factor >= 1 else factor
    size = max(1, round(width * factor)), max(1, round(height * factor))
    if size == (width, height):
        return image
    smooth = Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.NEAREST if scaling == "nearest" else smooth))


def sheet(
    rows: Sequence[Sequence[np.ndarray]],
    *,
    columns: Sequence[str] = (),
    row_names: Sequence[str] = (),
    title: str = "",
    footnote: str = "",
    legend: Sequence[LegendEntry] = (),
    cell: int = 256,
    group: int = 0,
) -> np.ndarray:
    """Pictures (each RGB uint8 (h, w, 3)) in rows and columns as one RGB uint8 picture (H, W, 3).

    `group`: after so many columns comes a wider gap (0: nowhere), where a row holds more than one example.
    """
    title, footnote = clean(title), clean(footnote)
    columns, row_names = [clean(name) for name in columns], [shortened(clean(name), 40) for name in row_names]
    legend = [LegendEntry(shortened(clean(entry.name), 40), entry.colour) for entry in legend]
    pictures = [[fit(picture, cell) for picture in row] for row in rows]
    num_columns = max(len(row) for row in pictures)
    widths = [max(row[c].shape[1] for row in pictures if c < len(row)) for c in range(num_columns)]
    heights = [max(picture.shape[0] for picture in row) for row in pictures]
    names_width = max((_text_width(name, font(SMALL_SIZE)) for name in row_names), default=-GAP) + GAP
    columns_size = _fitting_size(columns, widths)

    gaps = [0, *(GROUP_GAP if group and c % group == 0 else GAP for c in range(1, num_columns))]
    lefts = [MARGIN + names_width + sum(widths[:c]) + sum(gaps[: c + 1]) for c in range(num_columns)]
    width = lefts[-1] + widths[-1] + MARGIN
    inner = width - 2 * MARGIN
    title_lines = _wrap(title, font(TITLE_SIZE, bold=True), inner)
    legend_lines = _flow(legend, inner)
    footnote_lines = _wrap(footnote, font(SMALL_SIZE), inner)
    header = _height(title_lines, TITLE_SIZE) + (8 if title else 0) + (_line(COLUMN_SIZE) + 6 if any(columns) else 0)
    grid = sum(heights) + GAP * (len(heights) - 1)
    footer = (_height(legend_lines, SMALL_SIZE, 1.75) + 14 if legend else 0) + (
        _height(footnote_lines, SMALL_SIZE) + 12 if footnote else 0
    )
    canvas = Image.new("RGB", (width, 2 * MARGIN + header + grid + footer), PAPER)
    draw = ImageDraw.Draw(canvas)

    top = MARGIN
    for line in title_lines:
        draw.text((MARGIN, top), line, fill=INK, font=font(TITLE_SIZE, bold=True))
        top += _line(TITLE_SIZE)
    for left, column_width, name in zip(lefts, widths, columns, strict=False):
        draw.text((left + column_width / 2, MARGIN + header - 8), name, fill=INK, font=font(columns_size), anchor="ms")

    top = MARGIN + header
    for r, row in enumerate(pictures):
        if r < len(row_names):
            middle = (MARGIN + names_width - GAP, top + heights[r] / 2)
            draw.text(middle, row_names[r], fill=QUIET_INK, font=font(SMALL_SIZE), anchor="rm")
        for c, picture in enumerate(row):
            left = lefts[c] + (widths[c] - picture.shape[1]) // 2
            upper = top + (heights[r] - picture.shape[0]) // 2
            canvas.paste(Image.fromarray(picture), (left, upper))
            # One pixel outside the picture: light pictures keep an edge and no pixel of theirs is covered.
            draw.rectangle((left - 1, upper - 1, left + picture.shape[1], upper + picture.shape[0]), outline=FRAME)
        top += heights[r] + GAP
    top += 14 - GAP
    for entries in legend_lines:
        _draw_legend_line(canvas, draw, entries, top)
        top += _line(SMALL_SIZE, 1.75)
    top += 12 if legend else -2
    for line in footnote_lines:
        draw.text((MARGIN, top), line, fill=QUIET_INK, font=font(SMALL_SIZE))
        top += _line(SMALL_SIZE)
    return np.asarray(canvas)


def _draw_legend_line(
    canvas: Image.Image, draw: ImageDraw.ImageDraw, entries: Sequence[tuple[int, LegendEntry]], top: int
) -> None:
    for left, entry in entries:
        box = (left, top + 3, left + SWATCH, top + 3 + SWATCH)
        if entry.colour is None:
            canvas.paste(Image.fromarray(hatching(SWATCH + 1, SWATCH + 1)), box[:2])
        draw.rectangle(box, fill=None if entry.colour is None else tuple(entry.colour), outline=FRAME)
        draw.text((left + SWATCH + 8, top + 3 + SWATCH / 2), entry.name, fill=INK, font=font(SMALL_SIZE), anchor="lm")


def _flow(entries: Sequence[LegendEntry], width: int) -> list[list[tuple[int, LegendEntry]]]:
    """Legend entries with their left edges, in columns of equal width, as many lines as are needed."""
    if not entries:
        return []
    pitch = max(_text_width(entry.name, font(SMALL_SIZE)) for entry in entries) + SWATCH + 8 + 22
    per_line = max(1, (width + 22) // pitch)
    lines = [entries[start : start + per_line] for start in range(0, len(entries), per_line)]
    return [[(MARGIN + position * pitch, entry) for position, entry in enumerate(line)] for line in lines]


def _wrap(text: str, with_font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines of whole words, each at most `width` pixels wide; a longer word is cut."""
    lines: list[str] = []
    words = [part for word in text.split() for part in _cut(word, with_font, width)]
    for word in words:
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _text_width(longer, with_font) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _cut(word: str, with_font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    if _text_width(word, with_font) <= width:
        return [word]
    count = next(n for n in range(len(word) - 1, -1, -1) if n <= 1 or _text_width(word[:n], with_font) <= width)
    return [word[:count], *_cut(word[count:], with_font, width)] if count else [word]


def _fitting_size(texts: Sequence[str], widths: Sequence[int]) -> int:
    """The largest font size up to COLUMN_SIZE at which every column title stays inside its column (but at least 9)."""
    for size in range(COLUMN_SIZE, 9, -1):
        if all(_text_width(text, font(size)) <= width for text, width in zip(texts, widths, strict=False)):
            return size
    return 9


def _text_width(text: str, with_font: ImageFont.FreeTypeFont) -> int:
    return int(np.ceil(with_font.getlength(text)))


def _line(size: int, spacing: float = LINE) -> int:
    return round(size * spacing)


def _height(lines: Sequence[object], size: int, spacing: float = LINE) -> int:
    return len(lines) * _line(size, spacing)
