"""What workers leave to the device: the same pixels, whoever makes them."""

from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from pictures import labelled_set, save, smooth_picture

from mae_hydra.data import ClassifyAugment, PretrainAugment, SegmentAugment, TrainStream
from mae_hydra.data.augment import on_device
from mae_hydra.data.augment.on_device import Encoded, Finished, Undistorted
from mae_hydra.data.augment.photometric import Distortion, distort
from mae_hydra.data.decoding.decode import decode_image
from mae_hydra.data.readers.folder import Photos
from mae_hydra.errors import UserError
from mae_hydra.types import Batch

CROP: dict[str, Any] = {"size": 24, "scale": [0.2, 1.0], "ratio": [0.75, 1.33], "flip": 0.5}
SEGMENT: dict[str, Any] = {
    "size": 32, "ratio_range": [0.5, 2.0], "cat_max_ratio": 0.75, "flip": 0.5, "photometric": True, "ignore_index": 255,
    "fill": [0.5, 0.4, 0.3],
}  # fmt: skip


def batches(dataset: Any, augment: Any, count: int = 4, **changes: Any) -> list[Batch]:
    values = {"global_batch": 4, "micro_batch": 4, "rank": 0, "world_size": 1, "seed": 0, "num_workers": 0}
    made: Iterator[Batch] = TrainStream(dataset, augment, **values | {"device_is_cuda": False} | changes).batches(0)
    taken = [batch.to("cpu") for batch in islice(made, count)]
    made.close()  # type: ignore[attr-defined]
    return taken


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    for one, other in zip(first, second, strict=True):
        assert type(one) is type(other) is Batch
        assert torch.equal(one.images, other.images)
        assert one.images.dtype == torch.uint8
        assert torch.equal(one.index, other.index)  # type: ignore[arg-type]
        assert (one.labels is None) == (other.labels is None)
        if one.labels is not None:
            assert torch.equal(one.labels, other.labels)  # type: ignore[arg-type]


@pytest.fixture
def photos(tmp_path: Path) -> Any:
    root = tmp_path / "photos"
    root.mkdir()
    for number in range(6):
        save(smooth_picture(60 + 7 * number, 90, number), root / f"{number}.jpg")
    for number in (6, 7):
        save(smooth_picture(70, 50, number), root / f"{number}.png")
    return Photos(root, sorted(path.name for path in root.iterdir()), channels=3)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_files_decoded_on_the_device_give_the_pixels_of_those_decoded_whole(photos, num_workers) -> None:
    later = batches(photos, PretrainAugment(**CROP, decode="device"), num_workers=num_workers)
    assert_same(later, batches(photos, PretrainAugment(**CROP, decode="whole")))
    assert len({int(index) for batch in later for index in batch.index}) == 8  # type: ignore[union-attr]


def test_their_size_may_grow(photos) -> None:
    growing = {**CROP, "smaller": [16], "smaller_until": [1]}
    later = batches(photos, PretrainAugment(**growing, decode="device"))
    assert [batch.images.shape[-1] for batch in later] == [16, 16, 24, 24]
    assert_same(later, batches(photos, PretrainAugment(**growing, decode="whole")))


def test_the_length_of_a_batch_is_known_before_it_is_decoded(photos) -> None:
    augment = PretrainAugment(**CROP, decode="device")
    stream = TrainStream(
        photos, augment, global_batch=4, micro_batch=4, rank=0, world_size=1, seed=0, num_workers=0,
        device_is_cuda=False,
    )  # fmt: skip
    made = stream.batches(0)
    assert len(next(made)) == 4
    made.close()


def jpeg(number: int) -> bytes:
    smooth_picture(40, 30, number).save(file := BytesIO(), "JPEG", quality=95)
    return file.getvalue()


def test_a_batch_of_encoded_and_finished_pictures_keeps_their_places() -> None:
    files, pixels = [jpeg(0), jpeg(1)], torch.full((3, 8, 6), 9, dtype=torch.uint8)
    box, size = (10, 4, 8, 6), (8, 6)
    drafts = [
        Encoded(files[0], 3, "one", box, size, flip=False),
        Finished(pixels),
        Encoded(files[1], 3, "two", box, size, flip=True),
        Finished(pixels + 1),
    ]
    batch = drafts[1].batch(drafts, torch.tensor([5, 6, 7, 8]), torch.tensor([1, 2, 3, 4]))
    assert len(batch) == 4
    assert batch.pin_memory() is batch
    made = batch.to("cpu")
    cut = [decode_image(file, 3, "")[:, 10:18, 4:10] for file in files]
    assert torch.equal(made.images, torch.stack([cut[0], pixels, cut[1].flip(-1), pixels + 1]))
    assert (made.labels.tolist(), made.index.tolist()) == ([5, 6, 7, 8], [1, 2, 3, 4])  # type: ignore[union-attr]
    broken = Encoded(b"\xff\xd8\xff nothing", 3, "broken", box, size, flip=False)
    with pytest.raises(UserError, match="cannot read the image broken"):
        drafts[0].batch([drafts[0], broken], None, torch.tensor([0, 1])).to("cpu")
    only = Finished(pixels).batch([Finished(pixels)], None, torch.tensor([3]))
    assert (len(only), only.to("cpu").labels) == (1, None)
    assert torch.equal(only.to("cpu").images, pixels[None])


def test_an_accelerator_is_asked_for_the_files_colors_and_a_file_that_it_declines_is_named(monkeypatch) -> None:
    asked: list[Any] = []

    def codec(files: Any, *, mode: str, device: torch.device) -> Any:
        asked.append((len(files), mode, device.type))
        if mode == "GRAY":
            raise RuntimeError("one of them")
        return tuple(files)

    monkeypatch.setattr(on_device, "jpeg_codec", lambda: codec)
    files = [torch.zeros(3, dtype=torch.uint8), torch.ones(4, dtype=torch.uint8)]
    colors, gray = (
        [Encoded(b"", channels, name, (0, 0, 1, 1), (1, 1), flip=False) for name in ("first", "second")]
        for channels in (3, 1)
    )
    assert on_device._decode(files, colors, torch.device("cuda")) == files
    with pytest.raises(UserError, match="cannot read the image first"):
        on_device._decode(files, gray, torch.device("cuda"))
    assert asked == [(2, "RGB", "cuda"), (2, "GRAY", "cuda")]
    assert on_device._decode([], [], torch.device("cuda")) == []


def test_pinned_memory_keeps_what_is_left_to_do(monkeypatch) -> None:
    monkeypatch.setattr(Batch, "pin_memory", lambda self: Batch(self.images.clone(), self.labels, self.index))
    images = torch.randint(0, 256, (2, 3, 6, 8), dtype=torch.uint8)
    drafts = [
        Undistorted(images[0], Distortion(20.0, None, None, None, None), (4, 8)),
        Undistorted(images[1], Distortion(None, None, 0.5, 3, None), (6, 5)),
    ]
    batch = drafts[0].batch(drafts, torch.tensor([5, 6]), torch.tensor([1, 2]))
    expected = images.clone()
    expected[0, :, :4] = distort(images[0], drafts[0].distortion)[:, :4]
    expected[1, :, :, :5] = distort(images[1], drafts[1].distortion)[:, :, :5]
    for each in (batch, batch.pin_memory()):
        made = each.to("cpu")
        assert torch.equal(made.images, expected)
        assert (made.labels.tolist(), made.index.tolist()) == ([5, 6], [1, 2])  # type: ignore[union-attr]


def test_damage_behind_the_header_names_the_file(photos, tmp_path) -> None:
    for path in (tmp_path / "photos").glob("*.jpg"):
        content = path.read_bytes()
        path.write_bytes(content[: content.find(b"\xff\xda") + 14])  # nothing is left of the pixels
    with pytest.raises(UserError, match=r"cannot read the image .*\.jpg"):
        batches(photos, PretrainAugment(**CROP, decode="device"))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_distortion_on_the_device_gives_the_pixels_of_the_workers(num_workers) -> None:
    data = labelled_set(10, 3)
    later = batches(data, SegmentAugment(**SEGMENT, photometric_on="device"), num_workers=num_workers)
    expected = batches(data, SegmentAugment(**SEGMENT))
    assert_same(later, expected)
    padding = torch.tensor([round(255 * value) for value in SEGMENT["fill"]], dtype=torch.uint8)[:, None]
    padded = [batch.images[number][:, where] for batch in later for number, where in enumerate(batch.labels == 255)]  # type: ignore[arg-type]
    assert sum(each.shape[1] for each in padded) > 100
    assert any(torch.equal(each, padding.expand_as(each)) for each in padded)


def test_without_distortion_nothing_is_left_to_do() -> None:
    data = labelled_set(10, 3)
    plain = {**SEGMENT, "photometric": False}
    assert_same(batches(data, SegmentAugment(**plain, photometric_on="device")), batches(data, SegmentAugment(**plain)))


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (PretrainAugment, {"decode": "device", "crops_per_image": 2}, "augment.decode=device decodes an image for one"),
        (PretrainAugment, {"decode": "gpu"}, "augment.decode must be one of whole, crop, reduced, device, got 'gpu'"),
        (
            ClassifyAugment,
            {"decode": "device", "randaugment": "rand-m9", "fill": [0.5] * 3},
            "augment.randaugment changes decoded pixels",
        ),
    ],
)
def test_what_cannot_be_is_refused(kind, changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**CROP, **changes)


def test_another_place_for_the_distortion_is_refused() -> None:
    with pytest.raises(ValueError, match=r"augment\.photometric_on must be workers or device, got 'cpu'"):
        SegmentAugment(**SEGMENT, photometric_on="cpu")
