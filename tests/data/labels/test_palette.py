import numpy as np

from mae_hydra.data import distinct_colours


def test_a_thousand_classes_get_different_colours_and_always_the_same() -> None:
    colours = distinct_colours(1000)
    assert (colours.dtype, colours.shape) == (np.uint8, (1000, 3))
    assert len(np.unique(colours, axis=0)) == 1000
    assert np.array_equal(colours[:12], distinct_colours(12))
    assert colours[:4].tolist() == [[230, 34, 34], [121, 156, 242], [96, 153, 15], [230, 34, 205]]  # as in old figures
    assert len(np.unique(distinct_colours(2800), axis=0)) == 2800  # hues alone give fewer


def test_the_first_dozen_can_be_told_apart() -> None:
    colours = distinct_colours(12).astype(int)
    distances = np.abs(colours[:, None] - colours[None]).sum(axis=-1) + 1000 * np.eye(12, dtype=int)
    assert distances.min() > 60


def test_no_class_needs_no_colour() -> None:
    assert distinct_colours(0).shape == (0, 3)
