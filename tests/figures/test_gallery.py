import numpy as np

from mae_hydra.figures.gallery import gallery
from mae_hydra.figures.sheet import MARGIN


def test_a_gallery_shows_every_picture_at_its_shape_with_room_for_its_caption():
    red, wide = np.full((40, 40, 3), (200, 0, 0), np.uint8), np.full((20, 40, 3), (0, 0, 200), np.uint8)
    drawn = gallery([red, wide, red], ["a", "b", "c" * 300], columns=2, title="Pictures", cell=80)
    assert drawn.dtype == np.uint8
    assert (drawn == (200, 0, 0)).all(2).sum() == 2 * 80 * 80
    assert (drawn == (0, 0, 200)).all(2).sum() == 40 * 80
    one_row = gallery([red, wide], ["a", "b"], columns=2, title="Pictures", cell=80)
    assert drawn.shape[0] > one_row.shape[0]
    assert gallery([red], ["a"], columns=2, cell=80).shape[1] == 80 + 2 * MARGIN  # no room for what is not there
    assert drawn.shape[1] == one_row.shape[1]  # a long caption is cut, not given room


def test_pairs_stand_apart():
    pictures = [np.zeros((40, 40, 3), np.uint8)] * 4
    close, apart = (gallery(pictures, ["a"] * 4, columns=4, cell=40, group=group) for group in (0, 2))
    assert apart.shape[1] > close.shape[1]
