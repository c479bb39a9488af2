import io
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pictures import save, smooth_picture
from PIL import Image

from mae_hydra.data import PretrainAugment, Sample
from mae_hydra.data.augment import crops, encoded
from mae_hydra.data.augment.encoded import EncodedImage, Unread, encoded_image, undecoded
from mae_hydra.data.dataset import Stored, limited, read_undecoded
from mae_hydra.data.decoding import turbojpeg
from mae_hydra.data.decoding.decode import decode_image
from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.data.readers.folder import Photos
from mae_hydra.errors import UserError
from mae_hydra.seeds import generator

ANYWHERE = {"size": 24, "scale": [0.05, 1.0], "ratio": [0.75, 1.33], "flip": 0.5}


def jpeg(height: int, width: int, mode: str = "RGB", seed: int = 0, **options: object) -> bytes:
    file = io.BytesIO()
    smooth_picture(height, width, seed).convert(mode).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def encoded_or_fail(content: bytes, channels: int = 3) -> EncodedImage:
    image = encoded_image(content, channels, "photo")
    assert image is not None
    return image


@pytest.fixture(params=["TurboJPEG", "Pillow alone"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With libjpeg-turbo 3, and as it is where that is not installed."""
    if request.param == "TurboJPEG":
        if turbojpeg.region_decoder() is None:
            pytest.skip("no TurboJPEG 3 here; pip install 'mae-hydra[fast]'")
    else:
        monkeypatch.setattr(encoded, "region_decoder", lambda: None)
    return request.param


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_crop_has_the_pixels_of_the_whole_picture(subsampling: int, progressive: bool, channels: int) -> None:
    for seed, (height, width) in enumerate([(97, 131), (160, 64), (33, 250)]):
        content = jpeg(height, width, seed=seed, subsampling=subsampling, progressive=progressive)
        whole, image = decode_image(content, channels, ""), encoded_or_fail(content, channels)
        assert image.shape == whole.shape
        for number in range(20):
            box = crops.random_resized_box(height, width, [0.02, 1.0], [0.5, 2.0], generator(seed, number))
            expected = crops.resize_bicubic(crops.cut(whole, box), (16, 20))
            for decode in ("whole", "crop"):
                assert torch.equal(image.cropped(box, (16, 20), decode), expected), (box, decode)


@pytest.mark.usefixtures("backend")
def test_a_reduced_crop_differs_by_less_than_a_grey_level() -> None:
    content = jpeg(700, 900)
    whole, image = decode_image(content, 3, ""), encoded_or_fail(content)
    for number, reduction in enumerate([2, 4, 8] * 4):
        side = 224 // reduction
        box = crops.random_box(700, 900, (240 + number, 260 - number), generator("boxes", number))
        snapped = tuple(value // reduction * reduction for value in box)
        expected = crops.resize_bicubic(crops.cut(whole, snapped), (side, side))  # type: ignore[arg-type]
        difference = (image.cropped(box, (side, side), "reduced").float() - expected.float()).abs()
        assert difference.mean() < 1
        assert difference.max() < 16


def test_both_backends_reduce_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    if turbojpeg.region_decoder() is None:
        pytest.skip("no TurboJPEG 3 here; pip install 'mae-hydra[fast]'")
    image, box = encoded_or_fail(jpeg(700, 900)), (101, 203, 450, 520)
    turbo = image.cropped(box, (64, 64), "reduced")
    monkeypatch.setattr(encoded, "region_decoder", lambda: None)
    assert (turbo.int() - image.cropped(box, (64, 64), "reduced").int()).abs().max() <= 1


def test_only_as_far_as_enough_pixels_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[crops.Box, int]] = []

    def note(image: EncodedImage, box: crops.Box, reduction: int) -> None:
        asked.append((box, reduction))

    monkeypatch.setattr(EncodedImage, "_part", note)
    image = encoded_or_fail(jpeg(700, 900))
    for box in [(8, 16, 447, 600), (8, 16, 448, 600), (9, 17, 600, 896), (0, 0, 700, 100)]:
        image.cropped(box, (224, 224), "reduced")
    image.cropped((9, 17, 600, 896), (50, 50), "reduced")
    image.cropped((9, 17, 600, 896), (50, 50), "crop")
    image.cropped((9, 17, 600, 896), (50, 50), "whole")
    assert [reduction for _, reduction in asked] == [1, 2, 2, 1, 8, 1]
    assert asked[2][0] == (4, 8, 300, 448)


@pytest.mark.usefixtures("backend")
def test_what_is_not_an_upright_jpeg_is_decoded_whole() -> None:
    turned = Image.Exif()
    for turn in range(2, 9):
        turned[0x0112] = turn
        assert encoded_image(jpeg(30, 40, exif=turned), 3, "") is None, turn
    turned[0x0112] = 6
    upright = Image.Exif()
    upright[0x0112] = 1
    image = encoded_or_fail(jpeg(30, 40, exif=upright))
    assert image.shape == (3, 30, 40)
    sample = undecoded(Stored("turned", jpeg(30, 40, exif=turned), 4), 3, "turned")
    assert isinstance(sample, Sample)
    assert sample.image.shape == (3, 40, 30)
    assert (sample.label, sample.name) == (4, "turned")
    file = io.BytesIO()
    smooth_picture(30, 40).save(file, "PNG")
    assert encoded_image(file.getvalue(), 3, "") is None


@pytest.mark.usefixtures("backend")
def test_a_jpeg_waits_to_be_decoded_unless_it_is_wanted_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    content = jpeg(30, 40)
    for told in ("own", None, PixelRange((0.0,), (9.0,))):
        waiting = undecoded(Stored("a", content, 4), 3, "p/a", told)
        assert isinstance(waiting, Unread)
        assert (waiting.image.shape, waiting.label, waiting.name) == ((3, 30, 40), 4, "a")
    wide = undecoded(Stored("a", content, 4), 3, "p/a", PixelRange((0.0,), (9.0,), bits=16))
    assert isinstance(wide, Sample)
    assert (wide.image.dtype, wide.label) == (torch.uint16, 4)
    assert encoded_image(content, 4, "") is encoded_image(content, (1, 2, 3), "") is None
    monkeypatch.setattr(encoded, "MOST_PIXELS", 1200)
    assert encoded_image(content, 3, "") is not None
    monkeypatch.setattr(encoded, "MOST_PIXELS", 1199)
    assert encoded_image(content, 3, "") is None


@pytest.mark.usefixtures("backend")
def test_cmyk_is_read_by_what_can_read_it() -> None:
    content = jpeg(40, 50, mode="CMYK")
    box = (3, 5, 30, 40)
    image = encoded_or_fail(content)
    expected = crops.resize_bicubic(crops.cut(decode_image(content, 3, ""), box), (8, 8))
    for decode in ("whole", "crop", "reduced"):
        assert torch.equal(image.cropped(box, (8, 8), decode), expected) or decode == "reduced"


@pytest.mark.usefixtures("backend")
def test_damage_is_said_with_the_name_of_the_file() -> None:
    content = jpeg(200, 300)

    def crop_of(broken: bytes) -> None:
        sample = undecoded(Stored("damaged.jpg", broken, None), 3, "photos/damaged.jpg")
        assert isinstance(sample, Unread)
        sample.image.cropped((100, 100, 100, 100), (16, 16), "crop")

    for broken in (content[: len(content) // 3], content[:200], content[:3] + b"nothing"):
        with pytest.raises(UserError, match=r"cannot read the image photos/damaged\.jpg"):
            crop_of(broken)
        crop_of(content)  # nothing is left of the damage


@pytest.mark.usefixtures("backend")
def test_training_on_files_gives_the_same_crops_however_they_are_decoded(tmp_path: Path) -> None:
    for number in range(6):
        save(smooth_picture(60 + number, 80, number), tmp_path / f"{number}.{'png' if number == 3 else 'jpg'}")
    photos = Photos(tmp_path, sorted(path.name for path in tmp_path.iterdir()), 3)
    some = limited(photos, 3)
    for index in range(6):
        crop, plain = PretrainAugment(**ANYWHERE, decode="crop"), PretrainAugment(**ANYWHERE)
        found, _ = crop(read_undecoded(photos, index), generator(index))
        assert torch.equal(found, plain(photos[index], generator(index))[0])
    assert isinstance(read_undecoded(some, 0), Unread)
    assert read_undecoded(some, 1).name == some[1].name


@pytest.mark.usefixtures("backend")
def test_a_damaged_picture_is_named_however_much_of_it_is_wanted() -> None:
    image = encoded_or_fail(jpeg(400, 600))
    image._encoded = image._encoded[:-2000]  # the end of its pixels
    with pytest.raises(UserError, match="cannot read the image photo"):
        image.cropped((0, 0, 400, 600), (50, 50), "reduced")


def test_the_library_declines_what_is_no_jpeg_and_goes_on() -> None:
    decoder = turbojpeg.region_decoder()
    if decoder is None:
        pytest.skip("no TurboJPEG 3 here; pip install 'mae-hydra[fast]'")
    content = jpeg(40, 50)
    assert (decoder.decode(b"nothing", 3, (0, 0, 4, 4), 1), decoder.size(b"nothing")) == (None, None)
    last = decoder.decode(jpeg(41, 51), 3, (0, 0, 6, 7), 8)  # what is left over counts as a pixel
    assert last is not None
    assert last.shape == (3, 6, 7)
    found = decoder.decode(content, 3, (33, 40, 7, 10), 1)
    assert found is not None
    assert torch.equal(found, decode_image(content, 3, "")[:, 33:, 40:])


def test_the_library_is_looked_for_in_the_system_and_in_a_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    def file(name: str) -> SimpleNamespace:
        return SimpleNamespace(name=name, locate=lambda: f"/wheel/{name}")

    def gone(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    usual = ["libturbojpeg.so.0", "/opt/homebrew/lib/libturbojpeg.dylib"]
    for found, files, wanted in (
        ("system", gone, ["system", *usual]),
        (None, lambda name: None, usual),
        (None, lambda name: [file("turbojpeg.py"), file("libturbojpeg.so")], [*usual, "/wheel/libturbojpeg.so"]),
    ):
        monkeypatch.setattr(turbojpeg.ctypes.util, "find_library", lambda name, found=found: found)
        monkeypatch.setattr(metadata, "files", files)
        assert list(turbojpeg._libraries()) == wanted


def test_an_unknown_way_of_decoding_is_refused() -> None:
    with pytest.raises(ValueError, match=r"augment\.decode must be one of whole, crop, reduced, device, got 'half'"):
        PretrainAugment(**ANYWHERE, decode="half")


def test_a_library_that_is_too_old_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turbojpeg, "_libraries", lambda: ["libc.so.6", "no-such-library.so"])
    assert turbojpeg.region_decoder.__wrapped__() is None
