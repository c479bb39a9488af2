import pytest
import torch
from reference import patches_of

from mae_hydra.models import normalise_patches, patch_statistics, patchify, unpatchify
from mae_hydra.models.patches import take_patches, take_tokens, take_windows

SHAPES = [(3, 16, 16), (1, 8, 24), (4, 24, 8)]


@pytest.mark.parametrize("shape", SHAPES)
def test_patches_are_pixel_major_with_the_channel_last(shape):
    images = torch.randn(2, *shape)
    assert torch.equal(patchify(images, 4), patches_of(images, 4))
    channels, _, width = shape
    row, column, channel = 2, 3, channels - 1  # within patch number 1, to the right of the first
    place = (row * 4 + column) * channels + channel
    assert width > 4
    assert patchify(images, 4)[0, 1, place] == images[0, channel, row, 4 + column]


@pytest.mark.parametrize("shape", SHAPES)
def test_unpatchify_undoes_patchify(shape):
    images = torch.randn(2, *shape)
    grid = (shape[1] // 4, shape[2] // 4)
    assert torch.equal(unpatchify(patchify(images, 4), 4, grid), images)


def test_taking_some_patches_equals_taking_them_from_all():
    images = torch.randn(3, 2, 8, 16)
    positions = torch.rand(3, 8).argsort(1)[:, :5]
    everything = patchify(images, 4)
    expected = torch.stack([everything[sample, positions[sample]] for sample in range(3)])
    assert torch.equal(take_patches(images, 4, positions), expected)
    assert torch.equal(take_tokens(everything, positions), expected)
    assert torch.equal(take_windows(images, 4, positions)[1, 2].permute(1, 2, 0).flatten(), expected[1, 2])


def test_patches_of_channels_last_images_are_the_same():
    images = torch.randn(2, 3, 8, 8)
    positions = torch.tensor([[1, 3], [2, 0]])
    last = images.to(memory_format=torch.channels_last)
    assert torch.equal(patchify(last, 4), patchify(images, 4))
    assert torch.equal(take_patches(last, 4, positions), take_patches(images, 4, positions))


def test_the_target_divides_by_the_unbiased_deviation():
    patches = torch.tensor([[[1.0, 2.0, 3.0, 6.0]]], dtype=torch.float64)  # mean 3, squares 4 + 1 + 0 + 9 = 14
    expected = (patches - 3) / (14 / 3 + 1e-6) ** 0.5
    torch.testing.assert_close(normalise_patches(patches), expected, rtol=1e-14, atol=0)
    mean, std = patch_statistics(patches)
    torch.testing.assert_close(normalise_patches(patches) * std + mean, patches)


def test_a_flat_patch_gives_a_target_of_zeros():
    assert not normalise_patches(torch.full((1, 1, 12), 0.7)).any()


def test_the_target_stays_in_float32_under_autocast():
    patches = torch.randn(2, 3, 48)
    with torch.autocast("cpu", torch.bfloat16):
        target = normalise_patches(patches)
    assert target.dtype == torch.float32
    assert torch.equal(target, normalise_patches(patches))
    assert normalise_patches(patches.bfloat16()).dtype == torch.float32
