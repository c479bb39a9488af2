"""Photos and label maps are told apart by how many colors a picture has, if it is large enough to have many."""

import numpy as np
import pytest

from mae_hydra.data.labels.recognise import LEAST_PIXELS, MOST_COLOURS, _is_label_like


@pytest.mark.parametrize("bands", [(), (1,), (3,), (4,)])
def test_a_label_map_has_few_colors_on_many_pixels(bands: tuple[int, ...]) -> None:
    """Of colors that differ in the last band alone, as those of a palette of blues."""
    values = np.zeros((16, 16, *bands), np.uint8)
    assert values[..., :1].size == LEAST_PIXELS or not bands
    last = values.reshape(LEAST_PIXELS, -1)[:, -1]
    last[:MOST_COLOURS] = range(MOST_COLOURS)
    assert _is_label_like(values)
    assert not _is_label_like(values[:-1])
    last[MOST_COLOURS] = MOST_COLOURS
    assert not _is_label_like(values)
