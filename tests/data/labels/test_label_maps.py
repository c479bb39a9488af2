"""Class maps in every form whose numbers are clear give those numbers; every other form is refused by name."""

import struct
import zlib
from pathlib import Path

import deep_pictures
import numpy as np
import pytest
import torch
from pictures import save
from PIL import Image

from mae_hydra.data import read_labels
from mae_hydra.errors import UserError

ROWS = np.array([[0, 1, 1, 0, 1], [1, 0, 1, 1, 0]], np.uint8)  # 5 wide: rows of few bits end within a byte
FOUR = np.array([[0, 1, 2, 3, 2], [3, 2, 1, 0, 1]], np.uint8)


def few_bits(path: Path, values: np.ndarray, bits: int, *, palette: bool = False) -> Path:
    """A PNG whose samples have 1, 2 or 4 bits, written by hand: Pillow writes no grey ones of 2 and 4."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b""
    for row in values:
        digits = "".join(f"{value:0{bits}b}" for value in row)
        digits += "0" * (-len(digits) % 8)
        rows += b"\0" + int(digits, 2).to_bytes(len(digits) // 8, "big")
    head = struct.pack(">IIBBBBB", values.shape[1], len(values), bits, 3 if palette else 0, 0, 0, 0)
    colours = chunk(b"PLTE", bytes(range(3, 3 + 3 * 2**bits))) if palette else b""
    body = chunk(b"IHDR", head) + colours + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def test_class_maps_keep_grey_values_and_palette_indices(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (9, 7), dtype=np.uint8)
    grey = Image.fromarray(values)
    coloured = grey.copy()
    coloured.putpalette(list(np.random.default_rng(1).integers(0, 256, 768)))
    assert coloured.mode == "P"
    for name, picture in (("grey", grey), ("coloured", coloured)):
        labels = read_labels(save(picture, tmp_path / f"{name}.png"))
        assert labels.dtype == torch.uint8
        assert np.array_equal(labels.numpy(), values)


@pytest.mark.parametrize("palette", [False, True])
@pytest.mark.parametrize(("bits", "values"), [(1, ROWS), (2, FOUR), (4, FOUR * 5)])
def test_samples_of_few_bits_are_the_numbers_that_were_written(
    tmp_path: Path, bits: int, values: np.ndarray, palette: bool
) -> None:
    found = read_labels(few_bits(tmp_path / "map.png", values, bits, palette=palette))
    assert (found.dtype, found.tolist()) == (torch.uint8, values.tolist())


FORMS = {
    "1 bit": Image.fromarray(ROWS.astype(bool)),
    "8 bits": Image.fromarray(ROWS),
    "16 bits": Image.fromarray(ROWS.astype(np.uint16)),
    "32 bits": Image.fromarray(ROWS.astype(np.int32)),
    "float": Image.fromarray(ROWS.astype(np.float32)),
    "equal channels": Image.merge("RGB", [Image.fromarray(ROWS)] * 3),
    "equal channels, opaque": Image.merge("RGBA", [*[Image.fromarray(ROWS)] * 3, Image.new("L", (5, 2), 255)]),
    "grey, opaque": Image.merge("LA", [Image.fromarray(ROWS), Image.new("L", (5, 2), 255)]),
}


WRITTEN = [
    *((form, ending) for form in ("1 bit", "8 bits", "equal channels") for ending in (".png", ".tif", ".bmp")),
    *((form, ".png") for form in ("16 bits", "equal channels, opaque", "grey, opaque")),
    *((form, ".tif") for form in ("16 bits", "32 bits", "float", "equal channels, opaque", "grey, opaque")),
    ("8 bits", ".gif"),
]


@pytest.mark.parametrize(("form", "ending"), WRITTEN)
def test_a_map_means_the_same_in_whatever_form_it_was_written(tmp_path: Path, form: str, ending: str) -> None:
    path = save(FORMS[form], tmp_path / f"map{ending}")
    assert read_labels(path).tolist() == ROWS.tolist()


def test_a_gif_of_0_and_255_keeps_them(tmp_path: Path) -> None:
    path = save(Image.fromarray(ROWS * 255), tmp_path / "map.gif")
    assert sorted(read_labels(path).unique().tolist()) == [0, 255]


def test_a_gif_in_colours_is_refused_because_its_writers_number_them_anew(tmp_path: Path) -> None:
    coloured = Image.fromarray(FOUR)
    coloured.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 9, 8, 7])
    with pytest.raises(UserError, match=r"holds RGB pixels, and its channels differ"):
        read_labels(save(coloured, tmp_path / "map.gif"))


def test_a_map_with_an_orientation_of_its_own_is_turned_as_its_picture_is(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(Image.fromarray(FOUR), tmp_path / "map.png", exif=exif.tobytes())
    assert read_labels(path).tolist() == np.rot90(FOUR, -1).tolist()


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_a_map_of_16_bits_in_equal_channels_keeps_its_lower_byte(tmp_path: Path, channels: int) -> None:
    stored = np.repeat(ROWS[..., None].astype(np.uint16), channels, axis=2)
    if channels in (2, 4):
        stored[..., -1] = 65535  # opaque
    path = tmp_path / "map.png"
    path.write_bytes(deep_pictures.png(stored))
    assert read_labels(path).tolist() == ROWS.tolist()
    stored[0, 0, 0] += 1 if channels > 2 else 256
    path.write_bytes(deep_pictures.png(stored))
    with pytest.raises(UserError, match="its channels differ" if channels > 2 else "holds the value 25"):
        read_labels(path)
    stored[...] = 1
    stored[0, 0, -1] = 65535
    path.write_bytes(deep_pictures.png(stored))
    with pytest.raises(UserError, match="its channels differ" if channels == 3 else "some of them transparent"):
        read_labels(path)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("bands", [1, 3])
def test_a_map_of_16_bits_keeps_its_numbers_in_every_byte_order(tmp_path: Path, bands: int, compressed: bool) -> None:
    path = tmp_path / "map.tif"
    for big_endian in (False, True):
        stored = np.repeat(ROWS[..., None].astype(np.uint16), bands, axis=2)
        path.write_bytes(deep_pictures.tiff(stored, colours=bands == 3, big_endian=big_endian, compressed=compressed))
        assert read_labels(path).tolist() == ROWS.tolist()


def test_a_bitmap_of_15_bits_is_refused_because_its_levels_are_spread(tmp_path: Path) -> None:
    """Four pixels of 1, 2, 3, 4 in each of its colours, written from the format's definition."""
    pixels = struct.pack("<4H", *(level * (1 + 32 + 1024) for level in (1, 2, 3, 4)))
    header = struct.pack("<IiiHHIIiiII", 40, 4, 1, 1, 16, 0, len(pixels), 0, 0, 0, 0)
    path = tmp_path / "map.bmp"
    path.write_bytes(b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54) + header + pixels)
    with pytest.raises(UserError, match=r"the class map .*map\.bmp holds colors of 5 bits"):
        read_labels(path)


COLOURED = np.array([[[0, 1, 2], [3, 4, 5]]], np.uint8)
REFUSED = {
    "colours": (Image.fromarray(COLOURED), {}, r"holds RGB pixels, and its channels differ; a class map is an 8-bit"),
    "transparent": (
        Image.fromarray(np.array([[[1, 0], [1, 255]]], np.uint8)),
        {},
        r"holds LA pixels, some .* transpar",
    ),
    "instances": (
        Image.fromarray(np.array([[1, 26001]], np.uint16)),
        {},
        r"holds the value 26001; class maps have whole",
    ),
    "negative": (Image.fromarray(np.array([[-1, 3]], np.int32)), {"format": "TIFF"}, r"holds the value -1; class maps"),
    "fractions": (Image.fromarray(np.array([[0.5]], np.float32)), {"format": "TIFF"}, r"holds fractions; class maps"),
    "no number": (Image.fromarray(np.array([[np.nan, 1]], np.float32)), {"format": "TIFF"}, r"holds the value nan; cl"),
    "lossy": (Image.fromarray(ROWS), {"format": "JPEG"}, r"holds JPEG pixels; JPEG changes values, so write PNGs"),
    "pages": (
        Image.fromarray(ROWS),
        {"format": "TIFF", "save_all": True, "append_images": [Image.fromarray(ROWS)]},
        r"holds 2 pages; keep the one with the class numbers",
    ),
    "inverted": (Image.fromarray(ROWS), {"format": "TIFF", "tiffinfo": {262: 0}}, r"holds inverted gray levels"),
    "CMYK": (Image.new("CMYK", (2, 2)), {"format": "TIFF"}, r"holds CMYK pixels; a class map is an 8-bit PNG"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_holds_no_class_numbers_is_refused_with_the_way_out(tmp_path: Path, kind: str) -> None:
    picture, options, message = REFUSED[kind]
    path = save(picture, tmp_path / "map.png", **options)
    with pytest.raises(UserError, match=rf"the class map .*map\.png {message}") as caught:
        read_labels(path)
    assert caught.value.__cause__ is None  # the file itself is whole


def test_a_broken_class_map_is_named(tmp_path: Path) -> None:
    path = save(Image.fromarray(np.zeros((64, 64), np.uint8)), tmp_path / "map.png")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match=r"cannot read the class map .*map\.png"):
        read_labels(path)


def test_numbers_of_netpbm_are_as_stored_whatever_is_white(tmp_path: Path) -> None:
    values = np.array([[0, 1, 2, 100], [200, 250, 3, 0]])
    size = b"4 2"
    for white, kind in ((250, ">u1"), (255, ">u1"), (1023, ">u2"), (65535, ">u2")):
        content = b"P5\n" + size + f"\n{white}\n".encode() + values.astype(kind).tobytes()
        (tmp_path / "a.pgm").write_bytes(content)
        assert np.array_equal(read_labels(tmp_path / "a.pgm"), values), white
    (tmp_path / "a.ppm").write_text("P3\n4 2\n250\n" + " ".join(f"{value} {value} {value}" for value in values.flat))
    assert np.array_equal(read_labels(tmp_path / "a.ppm"), values)


@pytest.mark.parametrize("kind", ["bool", "uint8", "int64", ">u2", "float64"])
def test_arrays_are_class_maps(tmp_path: Path, kind: str) -> None:
    values = np.array([[0, 1, 1], [1, 0, 1]]).astype(kind)
    for stored in (values, np.asfortranarray(values), values[None], values[:, :, None]):
        np.save(tmp_path / "a.npy", stored)
        assert np.array_equal(read_labels(tmp_path / "a.npy"), values.astype(np.uint8))
    np.save(tmp_path / "a.npy", np.zeros((4, 4, 3)))
    with pytest.raises(UserError, match="it has 3 bands, and a class map has one"):
        read_labels(tmp_path / "a.npy")
