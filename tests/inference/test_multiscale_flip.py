"""Multi-scale with flipping, against all twelve passes one by one."""

import pytest
import torch
from fixed_point import as_opencv
from torch import Tensor
from torch.nn.functional import interpolate
from window_segmenter import WindowSegmenter, picture

from mae_hydra.errors import UserError
from mae_hydra.inference import MultiscaleFlip, Slide

RATIOS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


def multiscale(crop: int, window_batch: int = 8, short: int | None = None, flip: bool = True) -> MultiscaleFlip:
    return MultiscaleFlip(
        ratios=RATIOS,
        flip=flip,
        crop=crop,
        stride_ratio=0.6667,
        short=short,
        long_ratio=None,
        window_batch=window_batch,
    )


def twelve_passes(model: WindowSegmenter, image: Tensor, crop: int) -> Tensor:
    """Every ratio and its mirror image on its own, even where several ratios meet in one size."""
    window = Slide(crop=crop, stride_ratio=0.6667, short=None, long_ratio=None, window_batch=1)
    height, width = image.shape[1:]
    total = torch.zeros(3, height, width, dtype=torch.float64)
    for ratio in RATIOS:
        short = max(int(crop * ratio), crop)
        factor = short / min(height, width)
        size = int(height * factor + 0.5), int(width * factor + 0.5)
        resized = as_opencv(image, size)
        for mirrored in (False, True):
            logits = window.scores(model, resized.flip(2) if mirrored else resized)
            logits = interpolate(logits[None], size=(height, width), mode="bilinear", align_corners=False)[0]
            total += (logits.flip(2) if mirrored else logits).double().softmax(0)
    return total / (2 * len(RATIOS))


def test_equal_passes_run_once_with_their_weight_and_the_result_is_that_of_all_twelve() -> None:
    model, image = WindowSegmenter((16, 16)), picture(21, 30)
    found = multiscale(16, short=16).scores(model, image)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), twelve_passes(model, image, 16), rtol=1e-5, atol=1e-6)


def test_a_typical_ade20k_picture_takes_52_windows_instead_of_60() -> None:
    inference = multiscale(512, short=512)
    assert inference.passes((683, 512)) == {(683, 512): 3, (854, 640): 1, (1025, 768): 1, (1195, 896): 1}

    class Counting(WindowSegmenter):
        def forward(self, images: Tensor) -> Tensor:
            self.batches.append(len(images))
            return images[:, :2, :1, :1].expand(-1, -1, 512, 512)

    model = Counting((512, 512))
    inference.predict(model, [picture(683, 512)])
    assert sum(model.batches) == 52
    assert model.batches[:-1] == [8] * (len(model.batches) - 1)


def test_scores_are_probabilities_and_a_mirrored_picture_gives_the_mirrored_answer() -> None:
    model, image = WindowSegmenter((16, 16)), picture(20, 27)
    scores = multiscale(16).scores(model, image)
    torch.testing.assert_close(scores.sum(0), torch.ones(20, 27))
    mirrored = multiscale(16).scores(model, image.flip(2))
    # Not to the last digit: a resized pixel half-way between two bytes may be rounded the other way.
    torch.testing.assert_close(mirrored, scores.flip(2), rtol=0, atol=2e-3)


def test_without_flip_only_the_picture_itself_is_looked_at() -> None:
    class TopHeavy(WindowSegmenter):
        """Class 0 in the left half of the window, whatever is in it."""

        def forward(self, images: Tensor) -> Tensor:
            left = torch.arange(16).lt(8).float().expand(len(images), 16, 16)
            return torch.stack([left, 1 - left], 1)

    image, model = picture(16, 16), TopHeavy((16, 16))
    once = MultiscaleFlip(
        ratios=[1.0], flip=False, crop=16, stride_ratio=1.0, short=None, long_ratio=None, window_batch=1
    )
    both = MultiscaleFlip(
        ratios=[1.0], flip=True, crop=16, stride_ratio=1.0, short=None, long_ratio=None, window_batch=1
    )
    assert once.predict(model, [image])[0].unique().tolist() == [0, 1]
    torch.testing.assert_close(both.scores(model, image), torch.full((2, 16, 16), 0.5))


@pytest.mark.parametrize("size", [(1, 1), (3, 90), (200, 7), (16, 16), (15, 17), (64, 33)])
def test_no_size_of_picture_crashes(size: tuple[int, int]) -> None:
    model = WindowSegmenter((16, 16))
    capped = MultiscaleFlip(
        ratios=RATIOS, flip=True, crop=16, stride_ratio=0.6667, short=16, long_ratio=4.0, window_batch=64
    )
    for inference in (multiscale(16, 64), capped):
        assert inference.predict(model, [picture(*size)])[0].shape == size


def test_several_pictures_equal_each_alone() -> None:
    model = WindowSegmenter((16, 16))
    pictures = [picture(21, 30), picture(18, 16, seed=1), picture(40, 19, seed=2)]
    found = multiscale(16, window_batch=7).predict(model, pictures)
    for image, labels in zip(pictures, found, strict=True):
        assert torch.equal(labels, multiscale(16, window_batch=1).predict(model, [image])[0])


@pytest.mark.parametrize("ratios", [[], [1.0, 0.0], [-1.0]])
def test_impossible_ratios_are_refused(ratios: list[float]) -> None:
    with pytest.raises(ValueError, match="ratios must be positive numbers"):
        MultiscaleFlip(
            ratios=ratios, flip=True, crop=16, stride_ratio=0.6667, short=None, long_ratio=None, window_batch=1
        )


def test_windows_that_the_model_does_not_take_are_refused_beforehand() -> None:
    multiscale(crop=16).check(WindowSegmenter((16, 16)), (200, 300))  # pictures may have any size
    with pytest.raises(UserError, match=r"inference.crop is 8x8, the model takes 16x16; use inference.crop=16"):
        multiscale(crop=8).check(WindowSegmenter((16, 16)), (16, 16))


@pytest.mark.parametrize(
    ("size", "crop", "expected"),
    [
        ((64, 128), [16, 24], {(16, 32): 2, (32, 64): 1, (64, 128): 1}),
        ((128, 64), [16, 24], {(48, 24): 2, (64, 32): 1, (128, 64): 1}),
        ((64, 128), [16, 60], {(30, 60): 2, (32, 64): 1, (64, 128): 1}),
        ((64, 128), [16, 61], {(31, 62): 2, (32, 64): 1, (64, 128): 1}),  # 30.5
    ],
)
def test_a_picture_covers_a_rectangular_crop_and_is_no_larger_than_that_asks(size, crop, expected) -> None:
    """Of Cityscapes (1024x2048, crop 512x1024) ratios below 1 are ratios below 1."""
    settings = {"flip": False, "stride_ratio": 0.6667, "short": 32, "long_ratio": None, "window_batch": 1}
    assert MultiscaleFlip(ratios=[0.25, 0.5, 1.0, 2.0], crop=crop, **settings).passes(size) == expected


def test_a_short_side_is_rounded_down_as_published():
    """1.25 and 1.75 times 21 are 26.25 and 36.75; below the crop of 24 all are one pass."""
    assert multiscale(24).passes((21, 42)) == {(24, 48): 3, (26, 52): 1, (31, 62): 1, (36, 72): 1}


def test_the_long_side_of_every_pass_is_capped_where_a_ratio_says_so() -> None:
    settings = {"flip": False, "crop": 16, "stride_ratio": 0.6667, "short": None, "window_batch": 1}
    inference = MultiscaleFlip(ratios=[1.0, 2.0], long_ratio=2.0, **settings)
    assert inference.passes((20, 100)) == {(8, 40): 1, (16, 80): 1}
