"""Progressive training: a MAE that also learns from images smaller than its own size."""

import math

import pytest
import reference
import torch
from tiny_models import decoder, encoder, mae, scramble

from mae_hydra.models import CrossDecoder
from mae_hydra.models.positions import sincos_positions
from mae_hydra.precision import cast_parameters
from mae_hydra.types import Batch


def place(index: int, count: int, span: int) -> float:
    """The centre of patch `index` of `count`, in patches of the larger grid that covers the same picture."""
    return (index + 0.5) / count * span - 0.5


def table(dim: int, grid: tuple[int, int], span: tuple[int, int]) -> torch.Tensor:
    rows = [[0.0] * dim]
    for row in range(grid[0]):
        for column in range(grid[1]):
            places = (place(column, grid[1], span[1]), place(row, grid[0], span[0]))
            waves = (math.sin, math.cos)
            rows.append([wave(at / 10000 ** (4 * k / dim)) for at in places for wave in waves for k in range(dim // 4)])
    return torch.tensor([rows], dtype=torch.float64)


def test_patches_of_a_coarser_grid_stand_at_their_centres_in_the_finer_one():
    torch.testing.assert_close(sincos_positions(16, (2, 3), span=(4, 9)), table(16, (2, 3), (4, 9)), rtol=0, atol=1e-14)
    assert torch.equal(sincos_positions(16, (3, 5), span=(3, 5)), sincos_positions(16, (3, 5)))
    # Four patches' mean place is the place of the one that covers them.
    assert place(1, 4, 8) == (2 + 3) / 2


@pytest.mark.parametrize("size", [16, [16, 24]])
def test_the_loss_of_smaller_images_equals_an_independent_computation(size):
    height, width = (size, size) if isinstance(size, int) else size
    grid = (height // 8, width // 8)
    count = grid[0] * grid[1] // 4
    model = mae(32, smaller=[size, 24]).double()
    scramble(model)
    state = dict(model.state_dict())
    for name, dim in (("encoder.pos_embed", 24), ("decoder.pos_embed", 16)):
        # Tables are made in float32, the default type, like the model's own.
        state[name] = table(dim, grid, (4, 4)).float().double()
    images = torch.randn(2, 3, height, width, dtype=torch.float64)
    noise = torch.rand(2, grid[0] * grid[1], dtype=torch.float64)
    expected = reference.mae(images, state, noise, count, 8, (3, 2))
    loss = model.loss(Batch(images), noise=noise)
    assert loss.count == expected["hidden"].sum()
    torch.testing.assert_close(loss.total / loss.count, expected["loss"], rtol=1e-7, atol=0)


def test_their_positions_are_in_the_precision_of_the_models_own():
    model = mae(32, smaller=[16])
    with cast_parameters(model, "bf16_params"):  # beside fp32 positions the tokens would be in fp32 again
        _, *found = model._positions(torch.zeros(1, 3, 16, 16))
    assert {each.dtype for each in found} == {torch.bfloat16}


@pytest.mark.parametrize("masking", ["random", "block", "grid"])
def test_every_strategy_masks_smaller_images_at_the_same_ratio(masking):
    model = mae(32, smaller=[16], masking=masking)
    loss = model.loss(Batch(torch.zeros(2, 3, 16, 16, dtype=torch.uint8)))
    assert loss.count == 2 * 3


@pytest.mark.parametrize("num_encoder_blocks", [1, 2])
def test_the_cross_attention_decoder_takes_them_too(num_encoder_blocks):
    parts = {"encoder": encoder(), "decoder": CrossDecoder(**cross(), num_encoder_blocks=num_encoder_blocks)}
    model = mae(smaller=[16], predicted_share=0.34, **parts)
    loss = model.loss(Batch(torch.randn(2, 3, 16, 16)))
    assert loss.count == 2
    loss.total.backward()


def cross() -> dict:
    made = decoder()
    return {
        "encoder_dim": made.encoder_dim, "embed_dim": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 4.0,
        "patch_size": 8, "in_chans": 3, "image_size": 32,
    }  # fmt: skip


def test_the_state_dict_and_the_full_size_are_as_without():
    torch.manual_seed(0)
    plain = mae(32)
    model = mae(32, smaller=[16])
    model.load_state_dict(plain.state_dict())
    assert model.state_dict().keys() == plain.state_dict().keys()
    images, noise = torch.randn(2, 3, 32, 32), torch.rand(2, 16)
    assert torch.equal(model.loss(Batch(images), noise=noise).total, plain.loss(Batch(images), noise=noise).total)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"smaller": [12]}, "image_size must be a multiple of patch_size 8, got 12x12"),
        ({"smaller": [40]}, "smaller images must fit into image_size 32x32, got 40x40"),
        ({"smaller": [[16, 40]]}, "smaller images must fit into image_size 32x32, got 16x40"),
        ({"smaller": [16], "mask_ratio": 0.9}, "mask_ratio 0.9 leaves none of 4 patches to see"),
        ({"smaller": [16], "encoder": encoder(positions="learned")}, "need fixed positions"),
        ({"smaller": [16], "decoder": decoder(positions="learned")}, "need fixed positions"),
    ],
)
def test_sizes_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        mae(32, **changes)


def test_images_of_a_size_that_was_not_announced_are_refused():
    with pytest.raises(ValueError, match="32x32 pixels, got 3 channels of 24x24"):
        mae(32, smaller=[16]).loss(Batch(torch.randn(2, 3, 24, 24)))
