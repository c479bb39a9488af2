"""Sizes and pixels of test-time resizing, against hand-worked sizes and the bilinear formula."""

import numpy as np
import pytest
import torch
from fixed_point import as_opencv
from torch.nn.functional import interpolate
from window_segmenter import picture

from mae_hydra.inference.resize import (
    checked_long_ratio,
    resize_image,
    resize_scores,
    resized_part,
    resized_size,
    short_side,
)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((512, 683), (512, 683)),
        ((683, 512), (683, 512)),
        ((480, 640), (512, 683)),  # 640 * 512 / 480 = 682.67
        ((256, 256), (512, 512)),
        ((1024, 4096), (512, 2048)),
        ((300, 2000), (307, 2048)),  # the long side is the limit: 300 * 1.024 = 307.2
        ((2000, 300), (2048, 307)),
    ],
)
def test_the_ratio_is_kept_within_both_limits(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert resized_size(size, 512, 4.0) == expected


def test_without_a_cap_the_long_side_may_be_any_length() -> None:
    assert resized_size((300, 2000), 512, None) == (512, 3413)


def test_no_side_vanishes() -> None:
    assert resized_size((1, 10000), 64, 4.0) == (1, 256)


def test_halves_are_rounded_up_and_the_cap_down() -> None:
    assert resized_size((2, 5), 1, None) == (1, 3)  # 2.5
    assert resized_size((100, 300), 33, 1.5) == (16, 49)  # 49.5, and a third of it


@pytest.mark.parametrize("size", [(7, 9), (40, 31), (13, 60), (1, 1), (24, 16), (12, 33)])
def test_images_are_resized_in_the_fixed_point_arithmetic_of_opencv(size: tuple[int, int]) -> None:
    image = picture(24, 33)
    assert torch.equal(resize_image(image, size), as_opencv(image, size))


def test_opencv_itself_gave_these_bytes() -> None:
    """cv2.resize of version 5.0.0, enlarging, shrinking, and halving both sides, which is a mean of four."""
    values = torch.tensor(
        [[0, 111, 222, 77], [188, 43, 154, 9], [120, 231, 86, 197], [52, 163, 18, 129], [240, 95, 206, 61]]
    )
    wide = [[63, 72, 86, 144, 189, 106, 54], [120, 160, 223, 159, 94, 157, 197], [177, 156, 122, 130, 139, 105, 84]]
    high = [[18, 166, 101], [82, 137, 71], [162, 102, 42], [146, 140, 133]]
    high += [[117, 137, 157], [75, 95, 115], [152, 124, 96], [216, 150, 85]]
    for size, expected in (((3, 7), wide), ((8, 3), high)):
        assert resize_image(values[None].byte(), size)[0].tolist() == expected
    even = torch.tensor([[37, 148, 3, 114], [225, 80, 191, 46], [157, 12, 123, 234], [89, 200, 55, 166]])
    assert resize_image(even[None].byte(), (2, 2))[0].tolist() == [[123, 89], [115, 145]]


def _bilinear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Half-pixel centres, border pixels repeated, no antialiasing: the textbook formula, one axis after the other."""
    for axis, new in enumerate(size, start=1):
        old = image.shape[axis]
        at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, old - 1)
        share = (at - low).reshape([-1 if axis == dimension else 1 for dimension in range(3)])
        image = np.take(image, low, axis) * (1 - share) + np.take(image, high, axis) * share
    return image


def test_scores_are_resized_bilinearly() -> None:
    scores = torch.randn(4, 7, 9)
    for size in ((15, 8), (7, 4), (3, 9)):
        np.testing.assert_allclose(resize_scores(scores, size), _bilinear(scores.double().numpy(), size), atol=1e-5)


def test_settings_are_checked_by_name() -> None:
    assert short_side([64, 128]) == 64
    assert short_side(None) is None
    with pytest.raises(ValueError, match=r"short must be .* got 0"):
        short_side(0)
    with pytest.raises(ValueError, match=r"long_ratio must be at least 1 or null .*, got 0.5"):
        checked_long_ratio(0.5)


def test_a_long_side_may_be_capped_at_the_short_one():
    assert checked_long_ratio(1.0) == 1.0
    assert resized_size((100, 300), 50, 1.0) == (17, 50)
    with pytest.raises(ValueError, match=r"long_ratio must be at least 1 or null"):
        checked_long_ratio(0.99)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
@pytest.mark.parametrize("size", [(40, 33), (80, 66), (20, 17), (13, 90), (61, 5)])
def test_a_part_is_made_from_what_it_needs_and_is_that_of_the_whole(dtype, size):
    white = 256 if dtype == torch.uint8 else 65536
    image = torch.randint(0, white, (2, 40, 34), generator=torch.Generator().manual_seed(0)).to(dtype)
    whole = resize_image(image, size)
    if dtype == torch.uint16:
        expected = interpolate(image[None].float(), size=size, mode="bilinear", align_corners=False)[0]
        assert (whole.float() - expected).abs().max() <= 0.51
    height, width = size
    for top, bottom, left, right in ((0, height, 0, width), (3, 9, 1, 4), (height - 1, height, width - 2, width)):
        read = []

        def pixels(*sides, read=read):
            read.append(sides)
            return image[:, sides[0] : sides[1], sides[2] : sides[3]]

        found = resized_part(pixels, (40, 34), size, (top, bottom, left, right))
        assert torch.equal(found.int(), whole[:, top:bottom, left:right].int())
        rows = (bottom - top) * 40 / height + 3
        assert all(0 <= first < last <= 40 and last - first <= rows for first, last, _, _ in read)
