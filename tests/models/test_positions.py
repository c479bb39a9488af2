import math

import pytest
import torch
from tiny_models import decoder, encoder

from mae_hydra.models.positions import sincos_positions


def test_positions_follow_the_official_layout_column_first():
    dim, (height, width) = 16, (3, 5)
    table = sincos_positions(dim, (height, width))
    assert table.shape == (1, 1 + height * width, dim)
    assert table.dtype == torch.float64
    quarter = dim // 4
    for row in range(height):
        for column in range(width):
            expected = [
                wave(place / 10000 ** (2 * k / (dim / 2)))
                for place in (column, row)
                for wave in (math.sin, math.cos)
                for k in range(quarter)
            ]
            torch.testing.assert_close(
                table[0, 1 + row * width + column], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-15
            )


def test_the_cls_row_of_the_positions_is_zero_and_no_other_is():
    table = sincos_positions(32, (4, 4))[0]
    assert not table[0].any()
    assert (table[1:].abs().sum(1) > 1).all()


def test_fixed_positions_are_stored_filled_and_frozen():
    for module in (encoder(positions="fixed"), decoder()):
        stored = module.state_dict()["pos_embed"]
        width = stored.shape[2]
        assert torch.equal(stored, sincos_positions(width, module.grid).float())
        assert stored.abs().sum() > 0
        assert not module.pos_embed.requires_grad


def test_learned_positions_start_from_the_same_table_and_train():
    learned = encoder(positions="learned").pos_embed
    assert learned.requires_grad
    assert torch.equal(learned, encoder(positions="fixed").pos_embed)


def test_a_width_that_four_does_not_divide_is_refused():
    with pytest.raises(ValueError, match=r"multiple of 4 .*, got 18"):
        sincos_positions(18, (2, 2))
