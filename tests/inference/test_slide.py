"""Sliding windows, against a plain loop: one window at a time, each padded to the full canvas."""

import pytest
import torch
from fixed_point import as_opencv
from torch import Tensor
from torch.nn.functional import interpolate, pad
from window_segmenter import WindowSegmenter, picture

from mae_hydra.errors import UserError
from mae_hydra.inference import MultiscaleFlip, SegmentationModel, Slide
from mae_hydra.inference.strips import Picture

CROP = (16, 16)


def slide(window_batch: int = 4, short: int | None = None, crop: tuple[int, int] = CROP) -> Slide:
    return Slide(crop=list(crop), stride_ratio=0.6667, short=short, long_ratio=4.0, window_batch=window_batch)


def plain_loop(model: WindowSegmenter, image: Tensor, crop: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """The published formula, literally, in float64."""
    images = model.prepare(image[None])
    height, width = images.shape[-2:]
    rows = max(height - crop[0] + stride[0] - 1, 0) // stride[0] + 1
    columns = max(width - crop[1] + stride[1] - 1, 0) // stride[1] + 1
    total, count = torch.zeros(1, 3, height, width, dtype=torch.float64), torch.zeros(height, width)
    for row in range(rows):
        for column in range(columns):
            bottom, right = min(row * stride[0] + crop[0], height), min(column * stride[1] + crop[1], width)
            top, left = max(bottom - crop[0], 0), max(right - crop[1], 0)
            logits = model(images[:, :, top:bottom, left:right]).double()
            total += pad(logits, (left, width - right, top, height - bottom))
            count[top:bottom, left:right] += 1
    return (total / count)[0]


@pytest.mark.parametrize("size", [(16, 16), (16, 29), (33, 16), (40, 57)])
@pytest.mark.parametrize("window_batch", [1, 3, 64])
def test_windows_in_batches_equal_one_window_at_a_time(size: tuple[int, int], window_batch: int) -> None:
    model, image = WindowSegmenter(CROP), picture(*size)
    scores = slide(window_batch).scores(model, image)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.double(), plain_loop(model, image, CROP, (10, 10)), rtol=1e-5, atol=1e-5)


def test_a_rectangular_crop_moves_by_its_own_sides() -> None:
    crop = (8, 24)
    model, image = WindowSegmenter(crop), picture(30, 50)
    expected = plain_loop(model, image, crop, (5, 16))
    torch.testing.assert_close(slide(crop=crop).scores(model, image).double(), expected, rtol=1e-5, atol=1e-5)


def test_pictures_of_different_sizes_share_batches_and_keep_their_results() -> None:
    model = WindowSegmenter(CROP)
    pictures = [picture(*size, seed=index) for index, size in enumerate([(16, 29), (40, 20), (9, 12), (50, 50)])]
    together = slide(window_batch=5).predict(model, pictures)
    assert model.batches[:-1] == [5] * (len(model.batches) - 1)
    for image, found in zip(pictures, together, strict=True):
        assert found.dtype == torch.uint8
        assert found.shape == image.shape[1:]
        assert torch.equal(found, slide(window_batch=1).scores(model, image).argmax(0).to(torch.uint8))


def test_pictures_are_drawn_and_handed_out_as_batches_fill_up() -> None:
    model, drawn = WindowSegmenter(CROP), []

    class Watched(Slide):
        def picture(self, model: SegmentationModel, image: Tensor) -> Picture:
            drawn.append(image)
            return super().picture(model, image)

    inference = Watched(crop=16, stride_ratio=0.6667, short=None, long_ratio=None, window_batch=3)
    strips = inference.strips(model, [picture(16, 26)] * 20)  # two windows each
    assert next(strips)[0] == 0
    assert len(drawn) == 2
    assert [number for number, _ in strips] == list(range(1, 20))


def test_a_small_picture_is_padded_with_the_mean_colour_and_the_padding_cut_off() -> None:
    model, image = WindowSegmenter(CROP), picture(9, 12)
    padded = torch.zeros(1, 3, *CROP)
    padded[0, :, :9, :12] = model.prepare(image[None])[0]
    torch.testing.assert_close(slide().scores(model, image), model(padded)[0, :, :9, :12])


def test_a_picture_is_resized_first_and_its_scores_resized_back() -> None:
    model, image = WindowSegmenter(CROP), picture(24, 33)
    small = as_opencv(image, (16, 22))
    expected = interpolate(plain_loop(model, small, CROP, (10, 10))[None], size=(24, 33), mode="bilinear")[0]
    found = slide(short=16).scores(model, image)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("long_ratio", "looked_at"), [(4.0, (8, 64)), (5.0, (10, 80)), (None, (16, 128))])
def test_the_long_side_of_a_long_picture_is_capped(long_ratio: float | None, looked_at: tuple[int, int]) -> None:
    model, image = WindowSegmenter((8, 16)), picture(20, 160)
    settings = {"crop": [8, 16], "stride_ratio": 0.6667, "short": 16, "long_ratio": long_ratio, "window_batch": 4}
    canvas = plain_loop(model, as_opencv(image, looked_at), (8, 16), (5, 10))
    expected = interpolate(canvas[None], size=(20, 160), mode="bilinear")[0]
    torch.testing.assert_close(Slide(**settings).scores(model, image).double(), expected, rtol=1e-5, atol=1e-5)
    several = MultiscaleFlip(ratios=[1.0], flip=False, **settings).scores(model, image)
    torch.testing.assert_close(several.double(), expected.softmax(0), rtol=1e-5, atol=1e-5)


def test_logits_are_averaged_not_probabilities() -> None:
    class Confident(WindowSegmenter):
        """The first window is sure of class 0 and the second slightly for class 1: the mean logit decides."""

        def forward(self, images: Tensor) -> Tensor:
            strength = torch.tensor([30.0, -1.0])[: len(images)].view(-1, 1, 1, 1)
            return torch.cat([strength, torch.zeros_like(strength)], 1).expand(-1, -1, *CROP)

    scores = Slide(crop=16, stride_ratio=0.5, short=None, long_ratio=None, window_batch=2).scores(
        Confident(CROP), picture(16, 24)
    )
    assert scores[0, 0].tolist() == [30.0] * 8 + [14.5] * 8 + [-1.0] * 8


def test_sums_are_kept_in_float32_when_the_model_answers_in_bfloat16() -> None:
    class Half(WindowSegmenter):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images).bfloat16()

    model, image = Half(CROP), picture(16, 60)
    scores = slide().scores(model, image)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.double(), plain_loop(model, image, CROP, (10, 10)), rtol=1e-6, atol=1e-6)


def test_what_a_model_keeps_during_inference_is_usable_in_training() -> None:
    class Caching(WindowSegmenter):
        def forward(self, images: Tensor) -> Tensor:
            self.kept = torch.ones(3, 1, 1)
            return super().forward(images) * self.kept

    model = Caching(CROP)
    assert not slide().scores(model, picture(16, 16)).requires_grad
    (model.mix.sum() * model.kept).sum().backward()


@pytest.mark.parametrize("setting", [{"stride_ratio": 0.0}, {"stride_ratio": 1.5}, {"window_batch": 0}, {"crop": 0}])
def test_impossible_settings_are_refused_by_name(setting: dict) -> None:
    settings = {"crop": 16, "stride_ratio": 0.6667, "short": None, "long_ratio": None, "window_batch": 4} | setting
    with pytest.raises(ValueError, match=f"{next(iter(setting))} must .*got {next(iter(setting.values()))}"):
        Slide(**settings)


def test_the_published_stride_follows_from_the_ratio() -> None:
    assert Slide(crop=512, stride_ratio=0.6667, short=512, long_ratio=4, window_batch=8).windows.stride == (341, 341)
    settings = {"short": None, "long_ratio": None, "window_batch": 8}
    assert Slide(crop=[16, 300], stride_ratio=0.01, **settings).windows.stride == (1, 3)
    assert Slide(crop=[16, 300], stride_ratio=1.0, **settings).windows.stride == (16, 300)


def test_windows_that_the_model_does_not_take_are_refused_beforehand() -> None:
    slide().check(WindowSegmenter((16, 16)), (200, 300))  # pictures may have any size
    with pytest.raises(UserError, match=r"inference.crop is 8x8, the model takes 16x16; use inference.crop=16"):
        slide(crop=(8, 8)).check(WindowSegmenter((16, 16)), (16, 16))
    with pytest.raises(UserError, match=r"inference.crop is 16x16, .* use inference.crop=\[16,24\]"):
        slide().check(WindowSegmenter((16, 24)), (16, 24))
