"""A sheet on a page: its pictures as they are, its paper and its ink those of the page."""

import numpy as np

from mae_hydra.figures import LegendEntry, sheet
from mae_hydra.figures.sheet import GAP, MARGIN
from mae_hydra.figures.style import FRAME
from mae_hydra.report.layers import split

RNG = np.random.default_rng(0)


def test_pictures_and_legend_stay_and_the_paper_around_them_goes() -> None:
    white, photo = np.full((64, 64, 3), 255, np.uint8), RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    red = LegendEntry("sky", np.array([200, 0, 0], np.uint8))
    pixels = sheet([[white, photo]], columns=["a", "b"], title="Title", legend=[red], cell=64)
    layers = split(pixels)
    assert layers is not None
    pictures, ink = layers
    opaque = pictures[..., 3] == 255
    assert (pictures[opaque][:, :3] == pixels[opaque]).all()
    assert opaque.sum() == 2 * 64 * 64 + 14 * 14  # both, also the one that is as white as the paper, and the legend's
    left = MARGIN + 64 + GAP
    [top] = [y for y in range(pixels.shape[0] - 64) if (pixels[y : y + 64, left : left + 64] == photo).all()]
    for beside in (MARGIN, left):  # the white one and the photo
        assert opaque[top : top + 64, beside : beside + 64].all()
    assert opaque[(pixels == (200, 0, 0)).all(2)].all()
    assert not ink[..., 1][opaque].any()
    dark = (pixels.max(2) < 60) & ~opaque  # the letters of the title
    assert dark.any()
    assert ink[..., 1][dark].min() > 200
    assert ink[0, 0, 1] == 0


def test_what_has_the_color_of_a_frame_within_a_picture_is_part_of_it() -> None:
    photo = RNG.integers(0, 200, (64, 64, 3), dtype=np.uint8)
    photo[30:34, 30:34] = FRAME
    layers = split(pixels := sheet([[photo]], cell=64))
    assert layers is not None
    [top, left] = np.argwhere((pixels == photo[0, 0]).all(2))[0]
    assert (layers[0][top : top + 64, left : left + 64, 3] == 255).all()
    assert not layers[1][top : top + 64, left : left + 64, 1].any()


def test_a_photo_by_itself_has_one_layer() -> None:
    photo = RNG.integers(0, 200, (20, 30, 3), dtype=np.uint8)
    photo[-1, -1] = 255  # white in another corner than the first
    assert split(photo) is None
