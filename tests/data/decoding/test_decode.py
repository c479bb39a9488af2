import io
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pytest
import torch
from pictures import pixels, smooth_picture
from PIL import Image, UnidentifiedImageError

from mae_hydra.data import decode_image, listing, read_image
from mae_hydra.data.decoding import decode as decode_module
from mae_hydra.data.decoding import opening
from mae_hydra.data.headers import read_header
from mae_hydra.data.labels.maps import decode_labels
from mae_hydra.errors import UserError


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


PICTURE = smooth_picture(20, 30)
FORMATS = {
    "jpeg": encoded(PICTURE, "JPEG", quality=95),
    "progressive jpeg": encoded(PICTURE, "JPEG", progressive=True),
    "grey jpeg": encoded(PICTURE.convert("L"), "JPEG"),
    "cmyk jpeg": encoded(PICTURE.convert("CMYK"), "JPEG"),
    "png": encoded(PICTURE, "PNG"),
    "alpha png": encoded(PICTURE.convert("RGBA"), "PNG"),
    "grey png": encoded(PICTURE.convert("L"), "PNG"),
    "palette png": encoded(PICTURE.convert("P"), "PNG"),
    "black and white png": encoded(PICTURE.convert("1"), "PNG"),
    "webp": encoded(PICTURE, "WEBP"),
    "tiff": encoded(PICTURE, "TIFF"),
    "palette tiff": encoded(PICTURE.convert("P"), "TIFF"),
    "cmyk tiff": encoded(PICTURE.convert("CMYK"), "TIFF"),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (1, "L")])
def test_every_format_gives_the_pixels_that_pillow_gives(name: str, channels: int, mode: str) -> None:
    reference = pixels(Image.open(io.BytesIO(FORMATS[name])).convert(mode))
    image = decode_image(FORMATS[name], channels, name)
    assert image.shape == (channels, 20, 30)
    assert image.dtype == torch.uint8
    # Colour is the same to the bit. The grey of a colour JPEG is its stored luminance, not clipped to RGB first.
    assert (image.int() - reference.int()).abs().max() <= (0 if channels == 3 else 8)


@pytest.mark.parametrize("channels", [1, 3])
def test_torchcodec_comes_first_then_torchvision_then_pillow_with_the_same_pixels(
    monkeypatch: pytest.MonkeyPatch, channels: int
) -> None:
    asked: list[Any] = []
    vision, codec = decode_module.vision_decoder(channels), decode_module.jpeg_codec()
    assert vision is not None
    made = (lambda encoded, mode: vision(encoded)) if codec is None else codec  # where it is not installed

    def decoded(name: str, native: object) -> torch.Tensor:
        def choose(channels: int) -> object:
            return lambda *encoded, **words: (asked.append((name, words)), native(*encoded, **words))[1]  # type: ignore[operator]

        monkeypatch.setattr(decode_module, "jpeg_codec", lambda: choose(channels) if name == "torchcodec" else None)
        monkeypatch.setattr(decode_module, "vision_decoder", lambda count: choose(count) if name != "Pillow" else None)
        decode_module._native_decoder.cache_clear()
        return decode_image(FORMATS["jpeg"], channels, "jpeg")

    found = [decoded(name, each) for name, each in (("torchcodec", made), ("torchvision", vision), ("Pillow", None))]
    decode_module._native_decoder.cache_clear()
    assert asked == [("torchcodec", {"mode": {1: "GRAY", 3: "RGB"}[channels]}), ("torchvision", {})]
    assert torch.equal(found[0], found[1])
    assert (found[0].int() - found[2].int()).abs().max() <= (0 if channels == 3 else 8)


def test_a_torchcodec_that_cannot_be_imported_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    assert decode_module.jpeg_codec.__wrapped__() is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_are_turned_upright(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees clockwise"
    finest: dict[str, Any] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
    image = decode_image(encoded(PICTURE, kind, exif=exif.tobytes(), **finest), 3, kind)
    turned = pixels(PICTURE.transpose(Image.Transpose.ROTATE_270))
    assert image.shape == turned.shape
    assert (image.int() - turned.int()).abs().max() <= 8


def test_each_orientation_turns_the_picture_that_a_header_foretells() -> None:
    """An image of two by three levels, as EXIF's eight orientations would have it seen."""
    stored = np.array([[0, 50, 100], [150, 200, 250]], np.uint8)
    flipped, upside = stored[:, ::-1], stored[::-1, ::-1]
    seen = [
        stored, stored, flipped, upside, stored[::-1], stored.T, np.rot90(stored, -1), np.rot90(stored.T, 2),
        np.rot90(stored), stored,
    ]  # fmt: skip
    for turn, wanted in enumerate(seen):
        exif = Image.Exif()
        exif[0x0112] = turn
        content = encoded(Image.fromarray(stored), "PNG", exif=exif.tobytes())
        assert decode_image(content, 1, "a")[0].tolist() == wanted.tolist(), turn
        assert decode_image(content, (1, 1), "a")[1].tolist() == wanted.tolist(), turn
        header = read_header(content, "a")
        assert (header.size, header.orientation) == (wanted.shape, turn if 2 <= turn <= 8 else 1)


def test_a_palette_with_a_transparent_color_keeps_its_colors() -> None:
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    picture.putpalette([9, 8, 7, 60, 50, 40, 200, 100, 0])
    found = decode_image(encoded(picture, "PNG", transparency=b"\0\x80\xff"), 3, "a")
    assert found.permute(1, 2, 0).tolist() == [[[9, 8, 7], [60, 50, 40], [200, 100, 0]]]


def test_an_array_of_pixels_is_taken_as_make_shards_writes_it() -> None:
    def array(values: np.ndarray) -> bytes:
        np.save(file := io.BytesIO(), values)
        return file.getvalue()

    values = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert decode_image(array(values), 3, "a").permute(1, 2, 0).tolist() == values.tolist()
    for wrong in (values.astype(np.uint16), values[..., :1], values[..., 0]):
        with pytest.raises(UserError, match=r"its pixels are uint.*, wanted are uint8 \(height, width, 3\)"):
            decode_image(array(wrong), 3, "a")


def test_gray_is_weighed_as_pillow_does_at_8_and_16_bits() -> None:
    colors = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]]], np.uint8)
    assert decode_module.grey_of(colors).tolist() == [[76, 150, 29, 18]]
    wide = decode_module.grey_of(colors.astype(np.uint16) * 257)
    assert wide.tolist() == [[19595, 38469, 7471, 4665]]
    assert wide.dtype == np.uint16


def test_numbers_are_those_of_pictures_of_more_than_8_bits_and_of_all_where_bands_are_wanted() -> None:
    png, deep = FORMATS["png"], encoded(Image.fromarray(np.array([[7, 500]], np.uint16)), "PNG")
    assert [decode_module.deep_values(content) for content in (png, FORMATS["jpeg"], b"nothing")] == [None] * 3
    assert decode_module.deep_values(deep).tolist() == [[[7], [500]]]  # type: ignore[union-attr]
    found = decode_module.deep_values(png, (3, 1))
    assert np.array_equal(found, np.array(PICTURE)[..., [2, 0]])  # type: ignore[arg-type]
    assert decode_module.deep_values(deep, (2,)) is None
    assert [decode_module.reason_of(ValueError(text), png) for text in (" a\n  b ", "")] == ["a b", "ValueError"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_truncated_file_is_one_sentence_that_names_it(tmp_path: Path, kind: str, share: float) -> None:
    whole = encoded(smooth_picture(60, 80), kind)
    path = tmp_path / "photo.img"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match=r"cannot read the image .*photo\.img: .+; replace the file or remove it"):
        read_image(path, 3)


@pytest.mark.slow
def test_a_damaged_png_is_an_error_and_not_the_end_of_the_process(tmp_path: Path) -> None:
    damaged = bytearray(encoded(smooth_picture(240, 320), "PNG"))
    middle = len(damaged) // 2
    damaged[middle : middle + 20] = bytes(value ^ 0x55 for value in damaged[middle : middle + 20])
    path = tmp_path / "photo.png"
    path.write_bytes(damaged)
    code = f"from pathlib import Path; from mae_hydra.data import read_image; read_image(Path({str(path)!r}), 3)"
    done = forked.run(tmp_path, "-c", code)
    assert done.returncode == 1, done.returncode  # a negative one would be a signal
    assert "UserError: cannot read the image" in done.stderr


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the file is empty"), (b"not a picture", "no image format"), (b"\xff\xd8\xff", "image")],
)
def test_a_file_that_is_no_picture_says_so(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"photo\.jpg: .*{reason}") as caught:
        read_image(path, 3)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*gone\.jpg: No such file"):
        read_image(tmp_path / "gone.jpg", 3)


def test_a_picture_of_too_many_pixels_is_refused_by_its_size(monkeypatch):
    monkeypatch.setattr(opening, "MOST_PIXELS", 100)
    with pytest.raises(UserError, match=r"cannot read the image big.png: it has 20x6 pixels, more than the 100"):
        decode_image(encoded(Image.new("L", (20, 6)), "png"), 3, "big.png")


@pytest.mark.parametrize("turn", [1, 6])
def test_pictures_of_telephones_are_read_upright_and_are_no_class_maps(turn: int) -> None:
    pytest.importorskip("pillow_heif")
    values = np.zeros((40, 64, 3), np.uint8)
    values[:20, :32] = 250, 10, 10
    exif = Image.Exif()
    exif[0x0112] = turn
    file = io.BytesIO()
    Image.fromarray(values).save(file, "HEIF", quality=90, exif=exif.tobytes())
    pixels = decode_image(file.getvalue(), 3, "a").permute(1, 2, 0).numpy()
    upright = values if turn == 1 else np.rot90(values, -1)
    assert np.abs(pixels.astype(int) - upright).mean() < 3
    header = read_header(file.getvalue(), "a")
    assert (header.size, header.orientation) == (upright.shape[:2], turn)
    with pytest.raises(UserError, match="HEIF changes values"):
        decode_labels(file.getvalue(), "a")


def test_without_its_reader_a_picture_of_a_telephone_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for brand in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        reason = decode_module.reason_of(UnidentifiedImageError(), b"\0\0\0\x18ftyp" + brand + bytes(50))
        assert reason == "it is HEIC, which pip install 'mae-hydra[heif]' reads"
    with pytest.raises(UserError, match=r"pip install 'mae-hydra\[heif\]' reads"):
        decode_image(b"\0\0\0\x18ftyphevc" + bytes(50), 3, "a")
    monkeypatch.setattr(listing, "READS_HEIF", False)
    assert "reads .heic" in listing.passed_over_note("a", Counter({".heic": 2}))[0]


@pytest.mark.parametrize(
    ("allowed", "used"),
    [(("torchcodec", "torchvision"), "torchcodec"), (("torchvision",), "torchvision"), (("torchcodec",), "torchcodec"),
     ((), "Pillow")],
)  # fmt: skip
def test_only_decoders_that_are_allowed_are_taken(
    monkeypatch: pytest.MonkeyPatch, allowed: tuple[str, ...], used: str
) -> None:
    vision = decode_module.vision_decoder(3)
    assert vision is not None
    asked: list[str] = []
    monkeypatch.setattr(decode_module, "NATIVE", allowed)
    monkeypatch.setattr(
        decode_module, "jpeg_codec", lambda: lambda encoded, mode: (asked.append("torchcodec"), vision(encoded))[1]
    )
    monkeypatch.setattr(
        decode_module, "vision_decoder", lambda _: lambda encoded: (asked.append("torchvision"), vision(encoded))[1]
    )
    decode_module._native_decoder.cache_clear()
    image = decode_image(FORMATS["jpeg"], 3, "jpeg")
    decode_module._native_decoder.cache_clear()
    assert asked == [used] * (used != "Pillow")
    assert torch.equal(image, pixels(Image.open(io.BytesIO(FORMATS["jpeg"])).convert("RGB")))
