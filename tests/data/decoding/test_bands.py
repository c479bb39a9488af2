"""Any bands of any depth: which numbers reach the model, in which order, and what is said where they cannot."""

import io
import tracemalloc
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from raising import raising

from mae_hydra.data import FileSettings, decode_image, folder
from mae_hydra.data.augment.crops import resize_bicubic, resize_bilinear
from mae_hydra.data.augment.photometric import Distortion, distort
from mae_hydra.data.dataset import Header
from mae_hydra.data.decoding import opening
from mae_hydra.data.decoding.bands import (
    array_of,
    band_header,
    by_bands,
    endings_of,
    every_band,
    number_of,
    one_band,
    read_bands,
    with_nan,
)
from mae_hydra.data.decoding.measure_range import settle
from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.data.headers import read_header
from mae_hydra.data.labels.maps import decode_labels
from mae_hydra.errors import UserError
from mae_hydra.inference.resize import resize_image
from mae_hydra.models.pixels import normalise

KINDS = ["uint8", "uint16", "int16", "float32"]


def numbers(kind: str, bands: int, size: tuple[int, int] = (12, 16)) -> np.ndarray:
    """(H, W, B) of which every band is another multiple."""
    rows = np.arange(size[0] * size[1]).reshape(*size, 1) % 60
    return (rows * np.arange(1, bands + 1) - (30 if kind == "int16" else 0)).astype(kind)


def tiff(values: np.ndarray, **form) -> bytes:
    file = io.BytesIO()
    kept = {"planarconfig": "contig"} if values.shape[-1] > 1 else {}
    values = values[:, :, 0] if values.shape[-1] == 1 else values
    tifffile.imwrite(file, values, **{"photometric": "minisblack"} | kept | form)
    return file.getvalue()


def npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def png(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bands", [1, 2, 4, 7])
def test_a_tiff_gives_its_bands_in_the_order_that_is_wanted(kind, bands):
    values = numbers(kind, bands)
    wanted = tuple(range(bands, 0, -1))
    planes = tiff(values.transpose(2, 0, 1), planarconfig="separate") if bands > 1 else tiff(values)
    for encoded in (tiff(values), tiff(values, compression="zlib"), tiff(values, byteorder=">"), planes):
        found = read_bands(encoded, wanted)
        np.testing.assert_array_equal(found, values[:, :, ::-1])
        assert (found.dtype, band_header(encoded)) == (np.dtype(kind), ((12, 16), np.dtype(kind)))


def test_an_array_has_its_bands_first_or_last():
    values = numbers("float32", 5)
    for stored in (values, values.transpose(2, 0, 1)):
        np.testing.assert_array_equal(read_bands(npy(stored), 5), values)
        assert band_header(npy(stored)) == ((12, 16), np.dtype("float32"))
    np.testing.assert_array_equal(read_bands(npy(values[:, :, 1]), (1,)), values[:, :, 1:2])


def test_pictures_of_one_band_in_one_file_are_bands():
    values = numbers("uint16", 3)
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for band in range(3):
            writer.write(values[:, :, band], photometric="minisblack", metadata=None)
    np.testing.assert_array_equal(read_bands(file.getvalue(), (3, 1)), values[:, :, [2, 0]])


def test_bands_are_wanted_of_all_but_gray_and_color_pictures():
    assert [by_bands(each) for each in (1, 2, 3, 4, (1,), (3, 2, 1))] == [False, True, False, True, True, True]
    assert [number_of(each) for each in (5, (7,), (3, 2, 1))] == [5, 1, 3]
    assert [".npy" in endings_of(each) for each in (1, 3, 2, (1,))] == [False, False, True, True]


def test_truth_is_black_and_white_in_a_picture_and_0_and_1_in_a_map():
    truth = np.array([[False, True]])
    assert every_band(npy(truth)).tolist() == [[[0], [255]]]
    assert one_band(npy(truth)).tolist() == [[0, 1]]
    for wrong in (npy(np.zeros((4, 4), "M8[s]")), npy(np.zeros((4, 4), [("a", "u1")]))):
        with pytest.raises(ValueError, match="whole or floating-point numbers are read"):
            every_band(wrong)
    with pytest.raises(ValueError, match="an array of records"):
        array_of(b"\x93NUMPY\x03\x00" + npy(truth)[8:])


def test_pages_of_other_kinds_or_sizes_are_no_bands():
    for other in (numbers("uint8", 1), numbers("uint16", 1, (6, 8))):
        file = io.BytesIO()
        with tifffile.TiffWriter(file) as writer:
            for page in (numbers("uint16", 1), other):
                writer.write(page[:, :, 0], photometric="minisblack", metadata=None)
        np.testing.assert_array_equal(every_band(file.getvalue()), numbers("uint16", 1))


@pytest.mark.parametrize(("kind", "deep"), [("uint8", False), ("uint16", True), ("float32", True)])
def test_a_header_of_bands_tells_their_size_and_depth(tmp_path: Path, kind: str, deep: bool):
    for content in (npy(numbers(kind, 5)), tiff(numbers(kind, 5))):
        (tmp_path / "a.npy").write_bytes(content)
        for source in (tmp_path / "a.npy", content):
            assert read_header(source, "a") == Header((12, 16), "bands", deep, 1)
    assert band_header(b"nothing") is band_header(tiff(numbers(kind, 5))[:20]) is None


def test_bands_of_a_photograph_can_be_named_too():
    values = numbers("uint8", 4)
    np.testing.assert_array_equal(read_bands(png(values), (4, 2)), values[:, :, [3, 1]])
    found = decode_image(png(values[:, :, :3]), (3, 2, 1), "a", None)
    np.testing.assert_array_equal(found.permute(1, 2, 0), values[:, :, 2::-1])


def test_a_value_that_stands_for_no_data_is_no_number():
    values = numbers("float32", 2)
    values[3:6] = -9999
    found = read_bands(tiff(values, extratags=[(42113, "s", 0, "-9999", True)]), 2)
    assert np.isnan(found[3:6]).all()
    assert np.isfinite(found[:3]).all()
    pixels = decode_image(
        tiff(values, extratags=[(42113, "s", 0, "-9999", True)]), 2, "a", PixelRange((0, 0), (59, 118))
    )
    assert (pixels[:, 3:6] == 0).all()


@pytest.mark.parametrize(
    ("encoded", "channels", "said"),
    [
        (tiff(numbers("uint16", 6)), 4, r"has 6 bands and data.channels is 4; set data.channels=6, or name those"),
        (tiff(numbers("uint16", 6)), (1, 7), "has 6 bands, and data.bands asks for band 7"),
        (npy(np.zeros((2, 3, 4, 5))), 4, r"its shape is \(2, 3, 4, 5\)"),
        (npy(np.zeros((4, 0, 4))), 4, r"its shape is \(4, 0, 4\)"),
        (npy(np.zeros((8, 8, 4), complex)), 4, "numbers are complex128"),
        (tiff(numbers("uint16", 6))[:100], 6, "cannot read the image a.tif"),
        (tiff(numbers("uint16", 6)), 6, "more than 8 bits a channel, and no training picture"),
    ],
)
def test_a_file_that_lacks_them_is_named(encoded, channels, said):
    with pytest.raises(UserError, match=f"a.tif.*{said}" if "cannot" not in said else said):
        decode_image(encoded, channels, "a.tif", None)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_sixteen_bits_of_the_range_reach_the_model(kind):
    """Numbers that fall on one of 256 levels stay apart, to half of a 65,535th of the range."""
    values = np.linspace(-0.2, 0.9, 12 * 16 * 4).reshape(12, 16, 4) if kind == "float32" else numbers(kind, 4) + 5000
    values = values.astype(kind)
    low, high = float(values.min()), float(values.max())
    deep = decode_image(tiff(values), 4, "a", PixelRange((low,) * 4, (high,) * 4, bits=16))
    assert deep.dtype == torch.uint16
    exact = torch.from_numpy((values.astype(np.float64) - low) / (high - low)).permute(2, 0, 1)
    mean, std = torch.full((4,), 0.5, dtype=torch.float64), torch.full((4,), 0.25, dtype=torch.float64)
    assert (normalise(deep[None], mean, std)[0] - (exact - 0.5) / 0.25).abs().max() < 4 * 0.51 / 65535
    flat = decode_image(tiff(values), 4, "a", PixelRange((low,) * 4, (high,) * 4))
    assert len(flat.unique()) <= 256 < len(deep.to(torch.int32).unique()) or kind != "float32"


def test_eight_bits_beside_sixteen_are_spread_over_them():
    values = numbers("uint8", 4)
    found = decode_image(tiff(values), 4, "a", PixelRange((0.0,) * 4, (9.0,) * 4, bits=16))
    mean, std = torch.zeros(4), torch.ones(4)
    plain = decode_image(tiff(values), 4, "a", None)
    assert torch.equal(normalise(found[None], mean, std), normalise(plain[None], mean, std))


def test_what_is_resized_of_sixteen_bits_is_what_would_be_of_eight():
    eight = (128 + 90 * torch.sin(torch.arange(3 * 24 * 20) / 9)).to(torch.uint8).reshape(3, 24, 20)
    deep = (eight.to(torch.int32) * 257).to(torch.uint16)
    for resize in (resize_bicubic, resize_bilinear, resize_image):
        for size in ((12, 10), (17, 31)):
            one, other = resize(eight, size).float(), resize(deep, size).float() / 257
            assert (one - other).abs().max() <= 1.0, resize


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_other_pictures_than_photographs_get_brightness_and_contrast_alone(channels):
    deep = torch.linspace(10000, 30000, channels * 64).to(torch.int32).to(torch.uint16).reshape(channels, 8, 8)
    changed = distort(deep, Distortion(10.0, None, 1.5, 17, 0.5)).float()
    expected = (deep.float() + 2570) * 0.5
    assert (changed - expected).abs().max() <= 1


def settings(**told) -> dict:
    common = {
        "image_size": 8,
        "channels": 4,
        "mean": [0.5] * 4,
        "std": [0.3] * 4,
        "num_classes": 0,
        "ignore_index": 255,
    }
    return common | {"batch_size": 2, "num_workers": 0, "validation_fraction": 0.3} | told


def test_each_band_is_measured_by_itself_and_said(tmp_path: Path):
    for number in range(4):
        (tmp_path / f"{number}.npy").write_bytes(npy(numbers("uint16", 4) * 100))
    (tmp_path / "notes.txt").touch()
    data = folder(root=str(tmp_path), **settings(shown_bands=[3, 2, 1]))
    assert data.pixel_range == PixelRange((0.0,) * 4, tuple(5900.0 * band for band in range(1, 5)), bits=16)
    assert (len(data.train), len(data.validation), data.shown) == (3, 1, (2, 1, 0))
    first = data.train[0].image.to(torch.int32)
    assert int(first.max()) == 65535
    assert torch.equal(first[0], first[3])  # each is the same share of its own range
    assert any("[[0, 5900], [0, 11800], [0, 17700], [0, 23600]] becomes 0 to 65535" in note for note in data.notes)
    flat = folder(root=str(tmp_path), **settings(bands=[4, 1, 1, 1], bits=8))
    assert flat.train[0].image.dtype == torch.uint8


def test_sixteen_bits_are_to_be_had_of_photographs_as_well(tmp_path: Path):
    for number in range(3):
        Image.fromarray(numbers("uint16", 1)[:, :, 0] * 60).save(tmp_path / f"{number}.png")
        Image.fromarray(numbers("uint8", 3)).save(tmp_path / f"{number}.jpg")
    one = {"channels": 1, "mean": [0.5], "std": [0.3]}
    for bits, kind in (("auto", torch.uint8), (16, torch.uint16)):
        data = folder(root=str(tmp_path), **settings(**one, bits=bits))
        assert {data.train[place].image.dtype for place in range(len(data.train))} == {kind}
        undecoded = data.train.undecoded(0)
        assert bits == "auto" or undecoded.image.dtype == kind


def test_the_settings_say_what_is_read_of_a_file():
    told = {name: value for name, value in settings().items() if name != "validation_fraction"}
    assert FileSettings(**told).wanted == 4
    assert FileSettings(**told, bands=[8, 4, 3, 2]).wanted == (8, 4, 3, 2)


def test_what_a_file_says_of_missing_data_without_a_number_is_nothing():
    values = numbers("int16", 5)
    for told in ("none", "", "nan"):
        found = read_bands(tiff(values, extratags=[(42113, "s", 0, told, True)]), 5)
        assert (found.dtype, np.array_equal(found, values)) == (np.dtype("int16"), True)


def test_cmyk_of_16_bits_is_refused():
    encoded = tiff(numbers("uint16", 4), photometric="separated")
    with pytest.raises(UserError, match="it is CMYK of 16 bits; convert it to RGB"):
        decode_image(encoded, 3, "a")


def test_a_map_that_another_library_reads_is_a_map():
    values = numbers("float64", 1) % 7
    assert decode_labels(tiff(values), "a").tolist() == values[:, :, 0].tolist()
    with pytest.raises(UserError, match="it has 2 bands, and a class map has one"):
        decode_labels(tiff(numbers("float64", 2)), "a")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_with_rasterio_a_compression_is_read_in_the_order_of_the_file(monkeypatch):
    pytest.importorskip("rasterio")
    monkeypatch.setattr(tifffile.TiffPage, "asarray", raising(ValueError("LZW requires it")))
    values = numbers("uint16", 4)
    np.testing.assert_array_equal(every_band(tiff(values)), values)


def test_without_rasterio_a_compression_is_named_with_what_reads_it(monkeypatch):
    monkeypatch.setattr(tifffile.TiffPage, "asarray", raising(ValueError("LZW requires it")))
    monkeypatch.setitem(__import__("sys").modules, "rasterio.io", None)
    with warnings.catch_warnings(), pytest.raises(UserError, match=r"LZW requires it; pip install 'mae-hydra\[geo\]'"):
        decode_image(tiff(numbers("uint16", 4)), 4, "a", None)


def claimed_npy(shape: tuple[int, ...], kind: str) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
    return file.getvalue() + bytes(100)


def claimed_tiff(side: int) -> bytes:
    """Of 8x8 pixels, by its header of many more."""
    encoded = bytearray(tiff(numbers("uint16", 5, (8, 8)), compression="zlib", metadata=None))
    with tifffile.TiffFile(io.BytesIO(bytes(encoded))) as file:
        for name in ("ImageWidth", "ImageLength"):
            place = file.pages[0].tags[name].valueoffset
            encoded[place : place + 4] = side.to_bytes(4, "little")
    return bytes(encoded)


@pytest.mark.parametrize(
    ("encoded", "said"),
    [
        (claimed_npy((2**20, 2**20, 5), "<f4"), "cut short: 100 of 21990232555520 bytes are there"),
        (claimed_npy((5, 5, 5), "|O"), "an array of Python objects"),
        (claimed_npy((2, 2, 2, 2), "<f4"), r"its shape is \(2, 2, 2, 2\)"),
        (claimed_tiff(60_000), "it has 60000x60000 pixels, more than the 1073741824 that are read"),
        (claimed_tiff(32_000), "of 5 bands, more than the 4294967296 numbers read"),
    ],
)
def test_what_a_header_claims_is_refused_before_room_is_taken_for_it(encoded: bytes, said: str):
    tracemalloc.start()
    with pytest.raises(UserError, match=said):
        decode_image(encoded, 5, "a")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("shape", "read"), [((3, 4, 5), (4, 5, 3)), ((4, 4, 6), (4, 4, 6)), ((5, 4, 4), (5, 4, 4)), ((2, 2, 2), (2, 2, 2))]
)
@pytest.mark.parametrize("kind", [">u2", "<u2", ">f4", "|u1"])
def test_only_a_first_axis_that_is_shorter_than_both_others_is_that_of_the_bands(shape, read, kind):
    values = np.arange(np.prod(shape)).reshape(shape).astype(kind)
    np.save(file := io.BytesIO(), values)
    found = every_band(file.getvalue())
    assert (found.shape, found.dtype.isnative) == (read, True)
    np.testing.assert_array_equal(found, values if read == shape else np.moveaxis(values, 0, -1))


@pytest.mark.parametrize(("kind", "large"), [("uint32", 2**24 + 1), ("int32", -(2**31)), ("uint16", 2**16 - 1)])
def test_numbers_beside_those_that_are_missing_stay_exact(kind, large):
    found = with_nan(np.array([[large, 7]], kind), 7)
    assert (float(found[0, 0]), np.isnan(found[0, 1])) == (large, True)


def test_a_missing_number_is_met_as_its_kind_holds_it():
    assert np.isnan(with_nan(np.array([[-9999.9, 1]], np.float32), -9999.9)).tolist() == [[True, False]]
    for kept in (None, float("nan"), 7.0):
        values = np.array([[1, 2]], np.uint16)
        assert with_nan(values, kept) is values


def test_an_array_has_no_more_pixels_and_numbers_than_are_read(monkeypatch):
    file = io.BytesIO()
    np.save(file, np.zeros((4, 6, 3), np.uint8))
    monkeypatch.setattr(opening, "MOST_PIXELS", 24)
    assert every_band(file.getvalue()).shape == (4, 6, 3)
    monkeypatch.setattr(opening, "MOST_NUMBERS", 71)
    with pytest.raises(ValueError, match="6x4 pixels of 3 bands, more than the 71 numbers"):
        every_band(file.getvalue())
    monkeypatch.setattr(opening, "MOST_PIXELS", 23)
    with pytest.raises(ValueError, match="6x4 pixels, more than the 23"):
        every_band(file.getvalue())


@pytest.mark.parametrize(("kind", "missing"), [("int16", -9999), ("uint16", 65535), ("float32", -9999), ("uint32", 0)])
def test_what_a_file_declares_missing_is_black_and_not_measured(kind: str, missing: int):
    values = numbers(kind, 5) + np.asarray(100, kind)
    values[:3] = missing
    form = {"extratags": [(42113, "s", 0, str(missing), False)]}
    for wanted, stored in ((5, values), (3, values[:, :, 0])):
        encoded = tiff(stored if stored.ndim == 3 else stored[:, :, None], **form)
        settled = settle("auto", wanted, 1, lambda _, encoded=encoded: encoded)
        assert settled.pixel_range.low[0] == pytest.approx(stored[3:].reshape(9, 16, -1)[..., 0].min(), abs=1)
        pixels = decode_image(encoded, wanted, "a", settled.pixel_range).numpy()
        assert pixels[:, :3].max() == 0
        assert pixels[0, 3:].max() == (65535 if wanted == 5 else 255)
    with pytest.raises(UserError, match=f"holds the value {missing}|holds the value") if missing else nullcontext():
        decode_labels(tiff(values[:, :, :1], **form), "a")  # of class maps it is a number like any other


def test_pictures_whose_numbers_are_different_things_have_no_common_range():
    reflectance, scaled = numbers("float32", 5) / 7000, numbers("uint16", 5)
    both = [tiff(reflectance), tiff(scaled), tiff(scaled)]
    with pytest.raises(UserError, match=r"of 3 pictures that were looked at 1 holds fractions .* write them alike"):
        settle("auto", 5, 3, both.__getitem__)
    assert settle([0, 300], 5, 3, both.__getitem__).pixel_range.high == (300.0,)
    whole = [tiff(scaled.astype("float32")), tiff(scaled)]  # the same quantity
    assert (
        settle("auto", 5, 2, whole.__getitem__).pixel_range
        == settle("auto", 5, 2, ([whole[1]] * 2).__getitem__).pixel_range
    )
    note = settle("auto", 5, 2, [tiff(numbers("uint8", 5)), tiff(scaled)].__getitem__).notes[1]
    assert note.startswith("warning: 1 of 2 pictures looked at have 8 bits")


def test_bands_that_another_library_does_not_read_are_read_without_a_word(capfd):
    decode_image(tiff(numbers("uint16", 13)), 13, "a")
    read_header(tiff(numbers("uint16", 13)), "a")
    assert capfd.readouterr().err == ""


def test_an_array_that_is_stored_by_columns_is_read_as_it_was_and_one_that_is_cut_short_is_refused():
    values = np.asfortranarray(np.arange(12).reshape(3, 4))
    file = io.BytesIO()
    np.save(file, values)
    np.testing.assert_array_equal(array_of(file.getvalue()), values)
    with pytest.raises(ValueError, match="it is cut short: 88 of 96 bytes are there"):
        array_of(file.getvalue()[:-8])
