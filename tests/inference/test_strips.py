"""Strips: the same scores as the whole at once, with no more rows alive than the windows reach."""

import pytest
import torch
from torch.nn.functional import interpolate
from window_segmenter import WindowSegmenter, picture

from mae_hydra.inference import MultiscaleFlip, Slide, frame, strips
from mae_hydra.inference.resize import resize_scores
from mae_hydra.inference.resize_rows import num_ready, resized_rows, source_rows

MULTISCALE = {"ratios": [0.5, 1.0, 1.75], "flip": True, "crop": 16, "stride_ratio": 0.6667, "long_ratio": None}


@pytest.mark.parametrize("source", [(1, 1), (8, 9), (40, 23)])
@pytest.mark.parametrize("size", [(8, 9), (1, 5), (31, 47), (5, 60), (40, 23)])
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_rows_made_apart_are_those_of_the_whole(source, size, step):
    whole = torch.randn(4, *source, generator=torch.Generator().manual_seed(0))
    expected = resize_scores(whole, size)
    found, known, start = [], 0, 0
    while start < size[0]:
        known = min(known + step, source[0])
        stop = num_ready(source[0], size[0], known)
        if stop > start:
            first, last = source_rows(source[0], size[0], start, stop)
            assert last <= known
            found.append(resized_rows(whole[:, first:last], first, source[0], size, start, stop))
            start = stop
    torch.testing.assert_close(torch.cat(found, 1), expected, rtol=1e-5, atol=1e-5)


def test_weights_are_in_the_arithmetic_of_interpolate_far_down_a_large_picture_too():
    stripes = (torch.arange(2000) % 2).float()[None, :, None].expand(1, 2000, 2).contiguous()  # shows the weights
    expected = interpolate(stripes[None], size=(4999, 2), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(resized_rows(stripes, 0, 2000, (4999, 2), 0, 4999), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("short", [None, 16, 21])
@pytest.mark.parametrize("size", [(90, 33), (21, 70), (5, 40)])
def test_thin_strips_change_nothing(monkeypatch, short, size):
    model, image = WindowSegmenter((16, 16)), picture(*size)
    for inference in (
        Slide(crop=16, stride_ratio=0.6667, short=short, long_ratio=4.0, window_batch=2),
        MultiscaleFlip(**MULTISCALE, short=short, window_batch=5),
    ):
        monkeypatch.setattr(strips, "STRIP_BYTES", 2**26)
        expected, classes = inference.scores(model, image), inference.predict(model, [image])[0]
        monkeypatch.setattr(strips, "STRIP_BYTES", 1)
        thin = list(inference.strips(model, [image]))
        assert len(thin) == size[0]
        torch.testing.assert_close(torch.cat([rows for _, rows in thin], 1), expected, rtol=1e-6, atol=1e-6)
        assert torch.equal(inference.predict(model, [image])[0], classes)


@pytest.mark.parametrize("short", [None, 32])
def test_rows_are_handed_on_as_windows_reach_them_and_given_up(short):
    model, image = WindowSegmenter((16, 16)), picture(400, 20)
    opened = Slide(crop=16, stride_ratio=0.6667, short=short, long_ratio=None, window_batch=1).picture(model, image)
    done, [only] = 0, opened.passes
    for each, corner in opened.windows():
        each.add(corner, model(each.window(corner)[None])[0])
        assert only.held <= 18  # of 400 or 640
        assert done >= int(corner[0] * 400 / only.size[0]) - 1
        done += sum(rows.shape[1] for rows in opened.strips())
    assert done == 400
    assert only.held == 0


def test_the_passes_of_a_picture_move_down_side_by_side():
    model, image = WindowSegmenter((16, 16)), picture(300, 18)
    opened = MultiscaleFlip(**MULTISCALE, short=None, window_batch=1).picture(model, image)
    for each, corner in opened.windows():
        each.add(corner, model(each.window(corner)[None])[0])
        list(opened.strips())
        assert max(each.held for each in opened.passes) <= 3 * 16  # of 300 to 525
    assert not any(each.held for each in opened.passes)


def test_a_strip_has_as_many_rows_as_fit_into_its_bytes(monkeypatch):
    image, num_classes = picture(90, 33), len(Slide(
        crop=16, stride_ratio=0.6667, short=None, long_ratio=None, window_batch=1
    ).scores(WindowSegmenter((16, 16)), picture(16, 16)))  # fmt: skip
    slide = Slide(crop=16, stride_ratio=0.6667, short=None, long_ratio=None, window_batch=99)
    monkeypatch.setattr(strips, "STRIP_BYTES", 4 * num_classes * 33 * 3)  # of float32, three rows
    rows = [rows.shape[1] for _, rows in slide.strips(WindowSegmenter((16, 16)), [image])]
    assert sum(rows) == 90
    assert max(rows) == 3


@pytest.mark.parametrize("short", [None, 21])
@pytest.mark.parametrize("size", [(61, 90), (21, 47), (9, 40)])
@pytest.mark.parametrize("kept", [0, 2**22])
def test_bands_and_frames_that_are_not_kept_change_no_class(monkeypatch, short, size, kept):
    model, image = WindowSegmenter((16, 16)), picture(*size)
    model.num_classes = 3
    for inference in (
        Slide(crop=16, stride_ratio=0.6667, short=short, long_ratio=4.0, window_batch=3),
        MultiscaleFlip(**MULTISCALE, short=short, window_batch=5),
    ):
        with monkeypatch.context() as patch:
            expected = inference.scores(model, image)
            for name, value in (("HELD_BYTES", 1), ("BAND", 7)):
                patch.setattr(strips, name, value)
            patch.setattr(frame, "KEPT", kept)
            found = torch.full_like(expected, torch.nan)
            widths = set()
            for _, top, left, scores in inference.pieces(model, [image]):
                place = found[:, top : top + scores.shape[1], left : left + scores.shape[2]]
                assert place.isnan().all()
                place.copy_(scores)
                widths.add(scores.shape[2])
            assert max(widths) == 21 < size[1]
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
            near = expected.topk(2, 0).values.diff(dim=0).abs()[0] < 1e-4
            assert ((inference.predict(model, [image])[0] == expected.argmax(0)) | near).all()


def test_a_band_holds_what_it_may_and_at_least_a_window(monkeypatch):
    model, wide = WindowSegmenter((16, 16)), picture(40, 300)
    slide = Slide(crop=16, stride_ratio=0.6667, short=None, long_ratio=None, window_batch=1)
    monkeypatch.setattr(strips, "BAND", 8)
    for held, bands in ((4 * 3 * 18 * 300, 1), (4 * 3 * 18 * 160, 2), (4 * 3 * 18 * 104, 3), (1, 19)):
        monkeypatch.setattr(strips, "HELD_BYTES", held)
        found = slide.picture(model, wide).bands(3)
        assert len(found) == bands
        assert [first for first, _ in found] == [0, *(last for _, last in found[:-1])]
        assert found[-1][1] == 300
        widths = [last - first for first, last in found]
        assert max(widths) - widths[-1] < 8 * len(found)  # of one width: none is as wide as may be, and one a rest
        narrow = slide.picture(model, wide).narrowed(found[0])
        for each, corner in narrow.windows():
            each.add(corner, model(each.window(corner)[None])[0])
            columns = each._right - each._left - 8 - 1  # whole multiples of BAND, and the neighbor to interpolate with
            assert 4 * each.held * 3 * columns <= max(held, 4 * 3 * 18 * 16)
            list(narrow.strips())


class Elsewhere:
    """A picture of which nothing is read."""

    def __init__(self, *size):
        self.size = size

    def read(self, *sides):
        raise AssertionError


def test_a_gigabyte_of_sums_is_held_in_bands_of_256_columns():
    """514 rows of 150 classes in float32: 3481 columns are 2**30 bytes; two passes share them."""
    model = WindowSegmenter((512, 512))
    slide = {"crop": 512, "stride_ratio": 0.6667, "short": None, "long_ratio": None, "window_batch": 1}
    opened = [Slide(**slide).picture(model, Elsewhere(4000, width)) for width in (3481, 3482, 8000)]
    assert [each.bands(150) for each in opened] == [
        [(0, 3481)],
        [(0, 1792), (1792, 3482)],
        [(0, 2816), (2816, 5632), (5632, 8000)],
    ]
    both = MultiscaleFlip(ratios=[1.0], flip=True, **slide).picture(model, Elsewhere(4000, 3481))
    assert both.bands(150) == [(0, 1280), (1280, 2560), (2560, 3481)]


def test_as_many_classes_are_held_as_the_model_has(monkeypatch):
    model, image = WindowSegmenter((16, 16)), picture(40, 64)
    model.num_classes = 3
    slide = Slide(crop=16, stride_ratio=0.6667, short=None, long_ratio=None, window_batch=4)
    monkeypatch.setattr(strips, "BAND", 8)
    for classes, widths in ((2, {32}), (3, {64})):
        monkeypatch.setattr(strips, "HELD_BYTES", 4 * classes * 18 * 64)
        assert {piece.scores.shape[2] for piece in slide.pieces(model, [image])} == widths


def test_a_band_is_as_wide_as_a_window_that_is_wider_than_high(monkeypatch):
    monkeypatch.setattr(strips, "BAND", 8)
    monkeypatch.setattr(strips, "HELD_BYTES", 1)
    slide = Slide(crop=[16, 40], stride_ratio=0.6667, short=None, long_ratio=None, window_batch=1)
    found = slide.picture(WindowSegmenter((16, 40)), picture(40, 300)).bands(3)
    assert found == [(first, min(first + 40, 300)) for first in range(0, 300, 40)]
