"""Whole-picture inference, against the model itself."""

from functools import partial
from typing import Any

import pytest
import torch
from window_segmenter import WindowSegmenter, picture

from mae_hydra.errors import UserError
from mae_hydra.inference import MultiscaleFlip, Slide, Whole

SLIDE = {"stride_ratio": 0.5, "short": None, "long_ratio": None, "window_batch": 2}
WINDOW = {"crop": 16, "stride_ratio": 0.5, "window_batch": 2}


def test_a_picture_of_the_right_size_gets_the_models_own_logits() -> None:
    model, image = WindowSegmenter((16, 24)), picture(16, 24)
    expected = model(model.prepare(image[None]))[0]
    torch.testing.assert_close(Whole(short=None, long_ratio=4.0).scores(model, image), expected)


def test_pictures_of_different_sizes_go_through_in_one_batch_each_as_if_alone() -> None:
    model, whole = WindowSegmenter((16, 24)), Whole(short=None, long_ratio=4.0)
    pictures = [picture(16, 24), picture(9, 24, seed=1), picture(12, 11, seed=2)]
    found = whole.predict(model, pictures)
    assert model.batches == [3]
    for image, labels in zip(pictures, found, strict=True):
        height, width = image.shape[1:]
        padded = torch.zeros(1, 3, 16, 24)  # zero is the mean colour
        padded[0, :, :height, :width] = model.prepare(image[None])[0]
        assert torch.equal(labels, model(padded)[0, :, :height, :width].argmax(0).byte())


def test_a_model_of_any_size_is_shown_each_picture_at_its_own() -> None:
    class AnySize(WindowSegmenter):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.batches.append(len(images))
            return torch.conv2d(images, self.mix, padding=1)

    model, whole = AnySize((16, 24)), Whole(short=None, long_ratio=None)
    model.encoder.image_size = None
    sizes = [(16, 24), (16, 24), (24, 16), (24, 20), (9, 20)]
    pictures = [picture(*size, seed=seed) for seed, size in enumerate(sizes)]
    found = whole.predict(model, pictures)
    assert model.batches == [2, 1, 1, 1]
    for image, labels in zip(pictures, found, strict=True):
        assert torch.equal(labels, model(model.prepare(image[None]))[0].argmax(0).byte())


def test_logits_that_are_no_numbers_are_no_class() -> None:
    model = WindowSegmenter((16, 24))
    model.position.data[1, 2, 3] = float("nan")
    flipped = MultiscaleFlip(crop=[16, 24], ratios=[1.0], flip=True, **SLIDE)
    for inference in (Whole(short=None, long_ratio=None), Slide(crop=[16, 24], **SLIDE), flipped):
        with pytest.raises(UserError, match=r"the model's logits are no numbers \(NaN\): .* engine\.precision=fp32"):
            inference.predict(model, [picture(16, 24)])


@pytest.mark.parametrize(
    "kind", [Whole, partial(Slide, **WINDOW), partial(MultiscaleFlip, ratios=[1.0], flip=True, **WINDOW)]
)
def test_a_long_side_shorter_than_the_short_one_is_refused(kind: Any) -> None:
    for long_ratio in (0.99, 0.0, -4.0):
        with pytest.raises(ValueError, match=f"long_ratio must be at least 1 or null .*, got {long_ratio}"):
            kind(short=None, long_ratio=long_ratio)
    square, free = kind(short=[40, 30], long_ratio=1.0), kind(short=None, long_ratio=None)
    assert [(each.short, each.long_ratio) for each in (square, free)] == [(30, 1.0), (None, None)]


def test_a_larger_picture_is_refused_with_the_way_out() -> None:
    model, whole = WindowSegmenter((16, 24)), Whole(short=None, long_ratio=4.0)
    said = r"17x24 pixels does not fit the model, which takes 16x24: use inference=slide"
    with pytest.raises(UserError, match=said):
        whole.predict(model, [picture(17, 24)])
    with pytest.raises(UserError, match=said):
        whole.check(model, (17, 24))  # before there is a picture
    whole.check(model, (16, 24))
    Whole(short=16, long_ratio=1.5).check(model, (40, 80))


def test_a_larger_picture_fits_after_resizing_and_comes_back_at_its_size() -> None:
    model = WindowSegmenter((16, 24))
    assert Whole(short=16, long_ratio=1.5).predict(model, [picture(40, 80)])[0].shape == (40, 80)
