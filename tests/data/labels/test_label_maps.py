"""Class maps in every form whose numbers are clear give those numbers; every other form is refused by name."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import deep_pictures
import numpy as np
import pytest
import torch
from pictures import save
from PIL import Image

from mae_hydra.data import read_image, read_labels
from mae_hydra.data.labels.maps import decode_colours, decode_labels, decode_numbers, first_clash, palette_of
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
    for turn in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        path = save(Image.fromarray(FOUR * 20), tmp_path / "map.png", exif=exif.tobytes())
        assert torch.equal(read_labels(path), read_image(path, 1)[0]), turn
    assert read_labels(path).tolist() == np.rot90(FOUR * 20).tolist()


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
    "other numbers": (Image.fromarray(np.array([[0, 255, 256]], np.uint16)), {}, r"holds the value 256; class maps"),
    "transparent colours": (
        Image.fromarray(np.array([[[1, 1, 1, 9], [1, 1, 1, 255]]], np.uint8)),
        {},
        r"holds RGBA pixels, some .* transpar",
    ),
    "blue": (Image.fromarray(np.array([[[1, 1, 2]]], np.uint8)), {}, r"holds RGB pixels, and its channels differ"),
    "lossy of the web": (
        Image.fromarray(ROWS),
        {"format": "WEBP"},
        r"holds WEBP pixels; WEBP changes values",
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


def test_brightness_is_what_a_viewer_shows() -> None:
    def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
        picture.save(file := io.BytesIO(), kind, **options)
        return file.getvalue()

    def read(content: bytes) -> Any:
        return decode_labels(content, "map", brightness=True).tolist()

    assert read(encoded(FORMS["1 bit"])) == (ROWS * 255).tolist()
    assert read(encoded(Image.fromarray(FOUR * 50))) == (FOUR * 50).tolist()
    gray = Image.fromarray(FOUR)
    gray.putpalette([level for number in range(4) for level in [7 * number] * 3])
    assert read(encoded(gray)) == (FOUR * 7).tolist()
    assert decode_labels(encoded(gray), "map").tolist() == FOUR.tolist()
    flat = Image.new("RGB", (8, 8), (200, 200, 200))
    assert set(np.ravel(read(encoded(flat, "JPEG", quality=100)))) == {200}
    assert read(encoded(Image.fromarray(np.array([[0, 255]], np.uint16)))) == [[0, 255]]
    gray.putpalette([1, 2, 3] * 4)
    with pytest.raises(UserError, match="its channels differ"):
        read(encoded(gray))
    netpbm = b"P5 2 1 15\n" + bytes([1, 15])
    assert (read(netpbm), decode_labels(netpbm, "map").tolist()) == ([[17, 255]], [[1, 15]])


def test_numbers_above_255_are_read_where_they_are_wanted() -> None:
    file = io.BytesIO()
    Image.fromarray(np.array([[0, 300, 65535]], np.uint16)).save(file, "PNG")
    found = decode_numbers(file.getvalue(), "map", most=65535, brightness=False)
    assert (found.dtype, found.to(torch.int32).tolist()) == (torch.uint16, [[0, 300, 65535]])
    with pytest.raises(UserError, match="holds the value 65535; class maps have whole numbers from 0 to 65534"):
        decode_numbers(file.getvalue(), "map", most=65534, brightness=False)
    np.save(array := io.BytesIO(), np.array([[2.0, 256.0]]))
    assert decode_numbers(array.getvalue(), "map", most=256, brightness=False).to(torch.int32).tolist() == [[2, 256]]
    with pytest.raises(UserError, match="holds the value 256; class maps"):
        decode_labels(array.getvalue(), "map")


def test_colors_are_8_bit_opaque_lossless_ones_of_a_single_page(tmp_path: Path) -> None:
    colors = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(Image.fromarray(colors), tmp_path / "a.png", exif=exif.tobytes())
    assert decode_colours(path.read_bytes(), "a").tolist() == [[[1, 2, 3]], [[4, 5, 6]]]
    half = np.dstack([colors, [[9, 9]]]).astype(np.uint8)
    assert decode_colours(save(Image.fromarray(half), tmp_path / "b.png").read_bytes(), "b").tolist() == colors.tolist()
    half[0, 1, 3] = 255
    film = {"format": "TIFF", "save_all": True, "append_images": [Image.fromarray(colors)]}
    for name, content, said in (
        ("deep", deep_pictures.png(colors.astype(np.uint16)), "holds more than 8 bits a channel"),
        ("lossy", save(Image.fromarray(colors), tmp_path / "c.webp").read_bytes(), "holds WEBP pixels; WEBP changes c"),
        ("clear", save(Image.fromarray(half), tmp_path / "d.png").read_bytes(), "some of them transparent"),
        ("pages", save(Image.fromarray(colors), tmp_path / "e.tif", **film).read_bytes(), "holds 2 pages"),
        ("none", b"nothing", "it is in no image format"),
    ):
        with pytest.raises(UserError, match=f"the class map {name}.*{said}"):
            decode_colours(content, name)


def test_palettes_are_those_of_pngs_and_clash_where_a_value_has_two_colors(tmp_path: Path) -> None:
    picture = Image.fromarray(FOUR)
    picture.putpalette([1, 2, 3, 4, 5, 6])
    path = save(picture, tmp_path / "a.png")
    assert palette_of(path, [1, 0]) == palette_of(path.read_bytes(), [1, 0]) == {1: (4, 5, 6), 0: (1, 2, 3)}
    assert palette_of(path, [256, 1]) == {1: (4, 5, 6)}
    others = [save(picture, tmp_path / "a.gif"), save(Image.fromarray(FOUR), tmp_path / "gray.png"), tmp_path / "gone"]
    assert [palette_of(each, [0]) for each in others] == [{}] * 3
    red, blue = (9, 0, 0), (0, 0, 9)
    assert first_clash([{1: red}, {2: blue}, {2: blue, 1: red}]) is None
    assert first_clash([{0: red}, {1: red}, {0: red, 1: blue}, {0: blue}]) == (1, 1, 2)


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
