"""Where windows lie, against the counts and coordinates of the published protocol."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mae_hydra.inference import frame
from mae_hydra.inference.windows import as_size, as_written, window_corners, window_counts, window_starts

CROP, STRIDE = (512, 512), (341, 341)


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ((512, 512), 1),
        ((512, 683), 2),
        ((512, 910), 3),
        ((512, 1024), 3),
        ((512, 2048), 6),  # 307x2048 after padding its short side
        ((640, 854), 6),
        ((768, 1025), 6),
        ((896, 1195), 12),
    ],
)
def test_the_number_of_windows_is_that_of_the_published_protocol(size: tuple[int, int], count: int) -> None:
    assert len(window_corners(size, CROP, STRIDE)) == count
    assert len(window_corners(size[::-1], CROP, STRIDE)) == count


def test_the_last_window_is_shifted_back_to_the_border() -> None:
    assert window_starts(683, 512, 341) == [0, 171]
    assert window_starts(1024, 512, 341) == [0, 341, 512]
    assert window_corners((640, 854), CROP, STRIDE) == [(0, 0), (0, 341), (0, 342), (128, 0), (128, 341), (128, 342)]


def test_windows_of_a_rectangular_crop_run_row_by_row() -> None:
    assert window_corners((6, 10), (4, 8), (2, 5)) == [(0, 0), (0, 2), (2, 0), (2, 2)]


@pytest.mark.parametrize("length", range(1, 60, 7))
@pytest.mark.parametrize(("crop", "stride"), [(8, 5), (8, 8), (10, 1)])
def test_every_pixel_is_covered_and_no_window_sticks_out(length: int, crop: int, stride: int) -> None:
    starts = window_starts(length, crop, stride)
    covered = np.zeros(length, int)
    for start in starts:
        covered[start : start + crop] += 1
    assert covered.min() >= 1
    assert covered.tolist() == window_counts(length, crop, stride)
    assert starts[0] == 0
    assert starts[-1] == max(length - crop, 0)


def test_a_size_is_written_as_a_configuration_has_it():
    assert [as_written(size) for size in ((64, 64), (64, 32), (32, 64))] == ["64", "[64,32]", "[32,64]"]


@pytest.mark.parametrize("value", [0, -4, [4], [4, 0], [4, 4, 4], [4.0, 4]])
def test_an_impossible_crop_is_refused_by_name(value: object) -> None:
    with pytest.raises(ValueError, match="crop must be a number of pixels or"):
        as_size("crop", value)  # type: ignore[arg-type]


@pytest.mark.parametrize("kept", [0, 2**22])
def test_a_window_of_the_mirror_image_is_that_of_the_mirrored_picture(
    kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the picture is narrower than a window: the padding stays on the right."""
    monkeypatch.setattr(frame, "KEPT", kept)
    model: Any = SimpleNamespace(prepare=lambda images: images.float() + 1, parameters=lambda: iter([torch.zeros(1)]))
    picture = torch.arange(3 * 5 * 7, dtype=torch.uint8).view(3, 5, 7)
    mirrored = picture.flip(-1).contiguous()
    asked: list[tuple[int, ...]] = []
    for top, left, crop in ((0, 0, (8, 9)), (0, 0, (5, 7)), (1, 2, (3, 4)), (2, 3, (3, 4)), (0, 1, (8, 6))):
        plain = frame.Frame(model, mirrored, (5, 7)).window(top, left, crop)
        found = frame.Frame(model, Noted(picture, asked), (5, 7)).window(top, left, crop, mirrored=True)
        expected = torch.zeros(3, *crop)  # outside is the mean color
        inside = mirrored[:, top : top + crop[0], left : left + crop[1]]
        expected[:, : inside.shape[1], : inside.shape[2]] = inside + 1
        assert torch.equal(plain, expected)
        assert torch.equal(found, expected)
    assert (asked == [(0, 5, 0, 7)] * 5) is (kept > 0)  # a small picture is made whole, of a large one what is needed
    assert kept or asked[2:4] == [(1, 4, 1, 5), (2, 5, 0, 4)]


class Noted(frame.Pixels):
    """Pixels that keep what was asked for."""

    def __init__(self, image: torch.Tensor, asked: list[tuple[int, ...]]) -> None:
        super().__init__(image)
        self.asked = asked

    def read(self, top: int, bottom: int, left: int, right: int) -> torch.Tensor:
        self.asked.append((top, bottom, left, right))
        return super().read(top, bottom, left, right)
