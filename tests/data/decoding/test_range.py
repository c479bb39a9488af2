"""Pictures of more than 8 bits: every stored number counts, and one range holds for a whole set."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deep_pictures import png, tiff
from pictures import save
from PIL import Image

from mae_hydra.data import ImageData, ade20k, decode_image, folder, imagenet, shards
from mae_hydra.data.decoding import measure_range
from mae_hydra.data.decoding.decode import deep_values
from mae_hydra.data.decoding.measure_range import settle, settle_files
from mae_hydra.data.decoding.opening import check_size
from mae_hydra.data.decoding.pixel_range import PixelRange, checked, measured
from mae_hydra.data.shards.write import write_shards
from mae_hydra.errors import UserError

COMMON: dict[str, Any] = {
    "image_size": 8, "channels": 3, "mean": [0.5] * 3, "std": [0.2] * 3, "ignore_index": 255, "batch_size": 2,
    "num_workers": 0, "train_limit": None,
}  # fmt: skip
RNG = np.random.default_rng(0)


def numbers(bands: int, kind: str = "u2", height: int = 9, width: int = 7) -> np.ndarray:
    return RNG.integers(0, 65536, (height, width, bands)).astype("u2").astype(kind)


def photos(root: Path, **changes: Any) -> ImageData:
    return folder(**COMMON | {"root": str(root), "validation_fraction": 0.25, "num_classes": 0} | changes)


def twelve_bits(number: int) -> np.ndarray:
    """A slope from `number` to 4095 - `number` with noise."""
    return np.linspace(number, 4095 - number, 40 * 50).reshape(40, 50).astype(np.uint16)


def write_twelve_bits(root: Path, count: int = 8) -> Path:
    for number in range(count):
        save(Image.fromarray(twelve_bits(number)), root / f"{number}.png")
    return root


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_both_bytes_of_a_png_of_16_bits_are_read(bands: int) -> None:
    values = numbers(bands)
    found = deep_values(png(values))
    assert found is not None
    assert np.array_equal(found, values[:, :, : 1 if bands < 3 else 3])  # without alpha


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize(
    ("bands", "kind", "options"),
    [
        (1, "u2", {}), (1, "i2", {}), (1, "i4", {}), (1, "f4", {}), (3, "u2", {"colours": True}),
        (3, "u2", {"extra": (0, 0)}), (4, "u2", {"extra": (0, 0, 0)}), (4, "u2", {"extra": (0, 0, 2)}),
        (4, "u2", {"colours": True, "extra": (0,)}), (4, "u2", {"colours": True, "extra": (2,)}),
        (4, "u2", {"colours": True, "extra": (1,)}),
        (3, "i2", {"extra": (0, 0)}), (4, "i2", {"extra": (0, 0, 0)}),
    ],
)  # fmt: skip
def test_every_number_of_a_tiff_is_read(
    bands: int, kind: str, options: dict[str, Any], big_endian: bool, compressed: bool
) -> None:
    values = numbers(bands, kind)
    found = deep_values(tiff(values, big_endian=big_endian, compressed=compressed, **options))
    assert found is not None
    assert np.array_equal(found, values[:, :, :3])


def test_numbers_of_32_bits_without_a_sign_stay_positive() -> None:
    values = np.array([[[3_000_000_000], [7]]], "u4")
    assert np.array_equal(deep_values(tiff(values)), values)


def test_a_few_pixels_among_equal_ones_are_the_range() -> None:
    values = np.full((1, 5000, 1), 7, np.uint16)
    values[0, 0] = 100
    assert measured([values]) == PixelRange((7.0,), (100.0,))


def test_of_a_large_picture_pixels_from_everywhere_are_counted() -> None:
    values = np.zeros((1024, 256, 1), np.uint16)
    values[512:] = 1000
    assert measured([values]) == PixelRange((0.0,), (1000.0,))


def test_numbers_are_rounded_and_not_cut() -> None:
    levels = PixelRange((0.0,), (1000.0,)).scaled(np.array([[[3], [500], [998], [2000]]], np.uint16), 1)
    assert levels.ravel().tolist() == [1, 128, 254, 255]  # 0.765, 127.5, 254.49


def test_four_bands_of_8_bits_are_read_by_their_first_three() -> None:
    values = numbers(4, "u1")
    image = decode_image(tiff(values, extra=(0, 0, 0)), 3, "bands.tif")
    assert np.array_equal(image.permute(1, 2, 0).numpy(), values[:, :, :3])


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("colours", [False, True])
def test_bands_one_behind_the_other_are_refused_where_they_would_be_mixed_up(kind: str, colours: bool) -> None:
    values = numbers(3, kind)
    content = tiff(values, planes=True, colours=colours, compressed=True, extra=() if colours else (0, 0))
    if colours and kind == "u1":
        assert np.array_equal(decode_image(content, 3, "").permute(1, 2, 0).numpy(), values)
    else:
        with pytest.raises(UserError, match=r"a\.tif: its 3 bands lie one behind the other; .*INTERLEAVE=PIXEL"):
            decode_image(content, 3, "a.tif")


def test_a_tiff_of_more_bands_says_what_it_is() -> None:
    with pytest.raises(UserError, match=r"six\.tif: it is a TIFF of 6 bands of 16 bits"):
        decode_image(tiff(numbers(6), extra=(0,) * 5), 3, "six.tif")


def test_a_told_range_maps_numbers_to_grey_levels() -> None:
    values = np.array([[-2000.0, -1000.0, 0.0, 1000.0, 3000.0, np.nan, np.inf, -np.inf]], np.float32)
    image = decode_image(tiff(values[:, :, None]), 1, "", PixelRange((-1000.0,), (1000.0,)))
    assert image.flatten().tolist() == [0, 0, 128, 255, 255, 0, 255, 0]
    colours = np.array([[[10, 200, 3000], [20, 300, 4000]]], np.uint16)
    each = PixelRange((10.0, 100.0, 0.0), (20.0, 300.0, 4000.0))
    assert decode_image(png(colours), 3, "", each).permute(1, 2, 0).tolist() == [[[0, 128, 191], [255, 255, 255]]]
    grey = np.array([[[0], [200]]], np.uint16)
    assert decode_image(png(grey), 3, "", each)[:, 0].tolist() == [[0, 255], [0, 128], [0, 13]]


def test_a_picture_alone_has_its_own_range() -> None:
    image = decode_image(png(twelve_bits(0)[:, :, None]), 3, "alone.png")
    assert (image.min(), image.max(), len(image.unique())) == (0, 255, 256)


def test_twelve_bits_keep_their_grey_levels_and_all_pictures_share_one_range(tmp_path: Path) -> None:
    data = photos(write_twelve_bits(tmp_path))
    assert data.pixel_range is not None
    low, high = data.pixel_range.low[0], data.pixel_range.high[0]
    assert 0 <= low <= 10
    assert 4085 <= high <= 4095
    assert len(data.train[0].image.unique()) == 256
    for of_split in (data.train, data.validation):
        for index in range(len(of_split)):
            sample = of_split[index]
            stored = twelve_bits(int(Path(sample.name).stem)).astype(float)
            expected = np.rint((stored - low) * 255 / (high - low)).clip(0, 255)
            assert np.abs(sample.image[0].numpy() - expected).max() <= 1  # of rounding
    [note] = data.notes
    assert note.startswith(f"note: pictures of more than 8 bits a channel: {data.pixel_range} becomes 0 to 255")


def test_the_same_range_is_measured_in_every_process_and_held_by_every_reader(tmp_path: Path) -> None:
    files = write_twelve_bits(tmp_path / "photos")
    again = photos(files)
    assert photos(files).pixel_range == again.pixel_range
    for split, part in (("train", "training"), ("val", "validation")):
        for number in range(4):
            picture = Image.fromarray(twelve_bits(number))
            save(picture, tmp_path / f"classes/{split}/a/{number}.tif")
            save(picture, tmp_path / f"ade/images/{part}/{number}.tif")
            save(Image.fromarray(np.ones((40, 50), np.uint8)), tmp_path / f"ade/annotations/{part}/{number}.png")
    of_classes = imagenet(**COMMON | {"root": str(tmp_path / "classes"), "num_classes": 1})
    of_maps = ade20k(**COMMON | {"root": str(tmp_path / "ade"), "num_classes": 2, "reduce_zero_label": False})
    sets: Any = {"train": again.train, "validation": again.validation}
    write_shards(sets, tmp_path / "shards", classes=None, samples_per_shard=4, num_workers=0)
    own = {"validation": None, "validation_fraction": 0.2, "window": 8, "cache": str(tmp_path / "c"), "cache_gb": 1.0}
    of_shards = shards(**COMMON | own | {"root": str(tmp_path / "shards"), "num_classes": 0})
    for data in (of_classes, of_maps, of_shards):
        assert data.pixel_range is not None
        assert data.pixel_range.high[0] > 4080
        assert len(data.train[0].image.unique()) > 250
        assert len(data.validation[0].image.unique()) > 250


def test_pictures_of_8_bits_stay_as_they_are(tmp_path: Path) -> None:
    stored = RNG.integers(0, 256, (20, 20, 3)).astype(np.uint8)
    for number in range(4):
        save(Image.fromarray(stored), tmp_path / f"{number}.png")
    told = photos(tmp_path, range=[0, 4095])
    for data in (photos(tmp_path), told):
        assert np.array_equal(data.train[0].image.permute(1, 2, 0).numpy(), stored)
        assert data.notes == ()
    assert told.pixel_range == PixelRange((0.0,), (4095.0,))


def test_one_hot_pixel_takes_no_grey_levels_from_the_others(tmp_path: Path) -> None:
    values = twelve_bits(0)
    values[3, 3] = 65535
    for number in range(4):
        save(Image.fromarray(values), tmp_path / f"{number}.tif")
    data = photos(tmp_path)
    assert data.pixel_range is not None
    assert data.pixel_range.high[0] < 4200


def test_fewer_than_32_grey_levels_are_a_warning_with_the_way_out(tmp_path: Path) -> None:
    data = photos(write_twelve_bits(tmp_path), range=[0, 65535])
    warning = next(note for note in data.notes if note.startswith("warning:"))
    assert "only 17 of 256 gray levels are used with data.range=[0, 65535]" in warning
    assert "they hold about [" in warning
    assert not [note for note in photos(tmp_path, range=[0, 4095]).notes if note.startswith("warning:")]


def test_a_deep_picture_that_no_range_was_measured_for_is_refused_and_not_guessed() -> None:
    with pytest.raises(UserError, match=r"rare\.png: it has more than 8 bits a channel.* data\.range to \[low, high\]"):
        decode_image(png(twelve_bits(0)[:, :, None]), 3, "rare.png", None)


def test_a_measured_range_leaves_out_what_is_no_number_and_survives_a_single_value() -> None:
    values = np.array([[[np.nan], [1.0], [2.0], [np.inf]]], np.float32)
    assert measured([values]).high[0] == pytest.approx(2.0, abs=0.01)
    assert measured([np.full((4, 4, 1), 7, np.uint16)]) == PixelRange((7.0,), (8.0,))
    # 0.1 percent of 0..499 lie below 0.499: whole numbers go outwards, so that none is cut that was counted.
    assert measured([np.arange(500, dtype=np.uint16).reshape(1, 500, 1)]) == PixelRange((0.0,), (499.0,))
    with pytest.raises(UserError, match=r"holds a number; set data\.range"):
        measured([np.full((4, 4, 1), np.nan, np.float32)])


@pytest.mark.parametrize("told", ["own", [3, 3], [5, 2], [1, 2, 3], [[0, 1], [0, 1]], [[0, 1], [0, 1], [2, 2]], []])
def test_a_range_that_is_none_is_named(told: Any) -> None:
    with pytest.raises(ValueError, match=r"data\.range must be auto, \[low, high\] with low < high"):
        checked(told, 3)


def test_a_thousandth_on_either_side_is_cut_off_and_each_band_is_measured_by_itself() -> None:
    values = np.arange(10_501, dtype=np.uint16).reshape(1, -1, 1)
    assert measured([values]) == PixelRange((10.0,), (10490.0,))
    both = [np.concatenate([values + 100, values * 2], axis=2), np.concatenate([values[:, :1], values[:, :1]], axis=2)]
    assert measured(both, each=True) == PixelRange((109.0, 19.0), (10590.0, 20979.0))
    assert measured([np.array([[[0.25], [0.75]]])]).high[0] < 0.75  # fractions stay


def test_large_numbers_are_scaled_and_told_to_the_last_of_their_digits() -> None:
    low = 2.0**31
    stored = (np.array([[[0], [1], [2]]]) + int(low)).astype(np.uint32)
    assert PixelRange((low,), (low + 2,)).scaled(stored, 1).ravel().tolist() == [0, 128, 255]
    told = [str(PixelRange((0.0,), (high,))) for high in (999_999.0, 1_234_567.0)]
    assert told == ["[0, 999999]", "[0.0, 1234567.0]"]
    assert str(PixelRange((0.0, -1.5), (1.0, 2.0))) == "[[0, 1], [-1.5, 2]]"
    assert PixelRange((0.0, -1.5), (1.0, 2.0)).pairs() == [[0.0, 1.0], [-1.5, 2.0]]


def test_a_sample_of_a_set_is_spread_mixed_and_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def encoded(position: int) -> bytes:
        asked.append(position)
        if position % 4 == 2:
            raise UserError("it cannot be read")
        return png(np.arange(1000, dtype=np.uint16).reshape(10, 100, 1) + position)

    note = settle("auto", 3, 128, encoded).notes[0]
    assert sorted(asked) == list(range(0, 128, 2)) != asked
    assert note.endswith("becomes 0 to 255 (measured from 32 pictures; set data.range for another range)")
    monkeypatch.setattr(measure_range, "MOST_BYTES", 1)
    settled = settle("auto", 3, 6, lambda position: encoded(4 * position))
    assert "(measured from 4 pictures;" in settled.notes[0]


def test_what_a_range_is_from_and_whether_it_fits_is_said(tmp_path: Path) -> None:
    def notes(levels: int, told: Any = (0, 255), **more: Any) -> tuple[str, ...]:
        values = np.arange(levels, dtype=np.uint16).reshape(1, -1, 1)
        (tmp_path / "a.png").write_bytes(png(values))
        return settle_files(told, 1, tmp_path, ["a.png", "b.JPG"], **more).notes

    assert notes(32, told_by="the run") == (
        "note: pictures of more than 8 bits a channel: [0, 255] becomes 0 to 255 (the run)",
    )
    assert notes(31)[1] == (
        "warning: only 31 of 256 gray levels are used with data.range=[0, 255], of 1 picture looked at; they hold "
        "about [0, 30], which data.range should be"
    )
    assert notes(9, "auto")[1].endswith("if one value stretches the range, set data.range to what the others hold")
    assert notes(300, bits=16)[0].endswith("[0, 255] becomes 0 to 65535 (data.range)")


def test_fractions_are_looked_for_in_all_parts_of_a_picture() -> None:
    whole, odd = np.full((20, 20, 1), 4000, np.float32), np.full((20, 20, 1), 1, np.float32)
    odd[16, 8] = 0.5
    with pytest.raises(UserError, match=r"of 3 .* 2 hold fractions \(about 0\.\d+ to 1\) .* \(about 4000 to 4001\)"):
        settle("auto", 3, 3, [tiff(whole), tiff(odd), tiff(odd)].__getitem__)


@pytest.mark.parametrize(("size", "bands"), [((2**15, 2**15), 4), ((1, 2**30), 1)])
def test_as_many_pixels_and_numbers_as_are_read_are_read(size: tuple[int, int], bands: int) -> None:
    check_size(*size, bands)
    with pytest.raises(ValueError, match=r"more than the 1073741824 that are read"):
        check_size(size[0], size[1] + 1)
    with pytest.raises(ValueError, match=r"of 5 bands, more than the 4294967296 numbers read"):
        check_size(*size, 5)


def test_a_range_for_each_channel_is_taken() -> None:
    assert checked([[0, 1], [0, 2], [-1, 3]], 3) == PixelRange((0.0, 0.0, -1.0), (1.0, 2.0, 3.0))
    assert checked([-0.5, 2], 1) == PixelRange((-0.5,), (2.0,))


def test_a_deep_picture_is_turned_upright_and_becomes_grey_where_one_channel_is_wanted() -> None:
    values = numbers(3)
    exif = Image.Exif()
    exif[0x0112] = 6
    for bands in (1, 3):
        stored = values[:, :, :bands]
        turned = deep_values(png(stored, exif.tobytes().removeprefix(b"Exif\0\0")))
        assert np.array_equal(turned, np.rot90(stored, -1)), bands
    grey = decode_image(png(values), 1, "", PixelRange((0.0,), (65535.0,)))
    assert grey.shape == (1, 9, 7)
    expected = (values / 65535 * 255) @ [0.299, 0.587, 0.114]
    assert np.abs(grey[0].numpy() - expected).max() <= 1
    assert grey.dtype == torch.uint8


def test_a_deep_picture_keeps_its_16_bits_as_many_times_as_there_are_channels() -> None:
    values = numbers(3)
    whole = PixelRange((0.0,), (65535.0,), bits=16)
    for bands, channels in ((3, 3), (1, 3), (1, 1)):
        stored = values[:, :, :bands]
        found = decode_image(png(stored), channels, "", whole)
        expected = np.broadcast_to(stored, (*values.shape[:2], channels)).transpose(2, 0, 1)
        assert (found.dtype, found.tolist()) == (torch.uint16, expected.tolist())
