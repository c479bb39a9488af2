"""Pictures side by side, each with a line of its own below it: samples of a data set, pairs that look alike."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mae_hydra.figures.sheet import GAP, GROUP_GAP, LINE, MARGIN, SMALL_SIZE, TITLE_SIZE, fit
from mae_hydra.figures.style import FRAME, INK, PAPER, QUIET_INK, font
from mae_hydra.names import clean


def gallery(
    pictures: Sequence[np.ndarray],
    captions: Sequence[str],
    *,
    columns: int,
    title: str = "",
    cell: int = 224,
    group: int = 0,
) -> np.ndarray:
    """Pictures, each RGB uint8 (h, w, 3), in rows of `columns` as one RGB uint8 picture (H, W, 3).

    A caption that is too long keeps its end, which is what tells file names apart. `group`: after so many columns comes
    a wider gap (0: nowhere).
    """
    title, captions = clean(title), [clean(caption) for caption in captions]
    small = font(SMALL_SIZE)
    line = round(SMALL_SIZE * LINE) + 4
    cells = [fit(picture, cell) for picture in pictures]
    rows = [range(start, min(start + columns, len(cells))) for start in range(0, len(cells), columns)]
    lefts = [
        MARGIN + c * cell + sum(GROUP_GAP if group and k % group == 0 else GAP for k in range(1, c + 1))
        for c in range(columns)
    ]
    heights = [max(cells[index].shape[0] for index in row) + line + GAP for row in rows]
    head = round(TITLE_SIZE * LINE) + 8 if title else 0
    used = min(columns, len(cells))
    width = max(lefts[used - 1] + cell + MARGIN, 2 * MARGIN + int(font(TITLE_SIZE, bold=True).getlength(title)) + 1)
    canvas = Image.new("RGB", (width, 2 * MARGIN + head + sum(heights) - GAP), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, MARGIN), title, fill=INK, font=font(TITLE_SIZE, bold=True))
    top = MARGIN + head
    for row, height in zip(rows, heights, strict=True):
        for left, index in zip(lefts, row, strict=False):
            picture = cells[index]
            inner = left + (cell - picture.shape[1]) // 2
            upper = top + (height - line - GAP) - picture.shape[0]
            canvas.paste(Image.fromarray(picture), (inner, upper))
            box = (inner - 1, upper - 1, inner + picture.shape[1], upper + picture.shape[0])
            draw.rectangle(box, outline=FRAME)
            middle = (left + cell / 2, top + height - GAP - line / 2 + 2)
            draw.text(middle, _fitting(captions[index], small, cell), fill=QUIET_INK, font=small, anchor="mm")
        top += height
    return np.asarray(canvas)


def _fitting(text: str, with_font: ImageFont.FreeTypeFont, width: int) -> str:
    """The end of `text` that is at most `width` pixels wide, after an ellipsis where something is left out."""
    if with_font.getlength(text) <= width:
        return text
    start = next(start for start in range(1, len(text) + 1) if with_font.getlength(f"…{text[start:]}") <= width)
    return f"…{text[start:]}"
