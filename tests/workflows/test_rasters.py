"""Georeferenced rasters: their maps lie where they do, and of large ones are those of one piece."""

import json
import resource
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mae_hydra.data import read_image
from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.errors import UserError
from mae_hydra.inference import MultiscaleFlip, Slide, frame, strips
from mae_hydra.weights import Checkpoint
from mae_hydra.workflows import predict_maps, rasters
from mae_hydra.workflows.predict_labels import LabelFiles
from mae_hydra.workflows.predict_maps import Segmentations
from mae_hydra.workflows.predict_options import Options

rasterio = pytest.importorskip("rasterio")

CROP, STRIDE = 16, 10
RATIOS = [0.5, 1.0, 1.75]
RANGE = PixelRange((0.0, 0.0), (1000.0, 1000.0), bits=16)
PLACE = rasterio.Affine(30, 0, 440280, 0, -30, 3159720)


class Blurred(nn.Module):
    """Three classes, whose logits depend on all of a window, so that windows at other places give others."""

    num_classes = 3

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layer = nn.Conv2d(2, 3, 9, padding=4)

    def prepare(self, images: Tensor) -> Tensor:
        return images.float() / 65535

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.layer(images - images.mean((2, 3), keepdim=True))
        return found


def looking(kind: str) -> Slide | MultiscaleFlip:
    words: dict[str, Any] = {"crop": CROP, "stride_ratio": STRIDE / CROP, "short": None, "long_ratio": None}
    words |= {"window_batch": 8, "shortcuts": []}
    return Slide(**words) if kind == "slide" else MultiscaleFlip(**words, ratios=RATIOS, flip=True)


def write(file: Path, size: tuple[int, int], *, nodata: float | None = None) -> np.ndarray:
    values = np.random.default_rng(0).integers(1, 1000, (2, *size)).astype(np.uint16)
    if nodata is not None:
        values[:, :5] = nodata
    form: dict[str, Any] = {"driver": "GTiff", "count": 2, "dtype": "uint16", "height": size[0], "width": size[1]}
    with rasterio.open(file, "w", **form, crs="EPSG:32614", transform=PLACE, nodata=nodata) as raster:
        raster.write(values)
    return values


def writer(out: Path, **options: Any) -> Any:
    found: Any = Segmentations.__new__(Segmentations)
    checkpoint = Checkpoint({}, {}, "", Path("a.pt"))
    found.options, found.notes = Options(out, **options), []
    found.model, found.inference = Blurred(), looking(options.get("inference", "slide"))
    found.class_names, found.palette = ("a", "b", "c"), np.array([[9, 0, 0], [0, 9, 0], [0, 0, 9]], np.uint8)
    found.labels = LabelFiles(checkpoint, found.class_names, found.palette, as_stored=False)
    found.owned = SimpleNamespace(claim=lambda file: file)
    found.shown, found._large, found._placed = (), {}, {}
    found._at_its_own_size = lambda: found.inference
    return found


@pytest.mark.parametrize("kind", ["slide", "multiscale_flip"])
def test_a_raster_in_parts_has_the_map_of_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    values = write(tmp_path / "a.tif", (45, 37))
    monkeypatch.setattr(rasters, "LARGE", 100)
    made = writer(tmp_path / "out", inference=kind)
    whole = torch.from_numpy(RANGE.scaled(values.transpose(1, 2, 0), 2).transpose(2, 0, 1).copy())
    expected = looking(kind).predict(made.model, [whole])[0].numpy()
    for name, value in (("HELD_BYTES", 1), ("BAND", 10), ("STRIP_BYTES", 1)):
        monkeypatch.setattr(strips, name, value)
    monkeypatch.setattr(frame, "KEPT", 0)
    assert made.look_at([(tmp_path / "a.tif", "a")]) == {"a": tmp_path / "a.tif"}
    looked: list[tuple[int, ...]] = []
    read = rasters.RasterPixels.read
    monkeypatch.setattr(rasters.RasterPixels, "read", lambda self, *sides: looked.append(sides) or read(self, *sides))
    files = made.write_large(tmp_path / "a.tif", "a", 2, RANGE)
    assert files == [tmp_path / "out/labels/a.tif", tmp_path / "out/overlays/a.png"]
    with rasterio.open(files[0]) as found:
        differ = found.read(1) != expected  # where two classes are equal but for rounding
        assert differ.mean() <= (0 if kind == "slide" else 1e-3)
        assert (found.crs, found.transform, found.nodata) == ("EPSG:32614", PLACE, None)
        assert found.colormap(1)[2][:3] == (0, 0, 9)
    most = CROP if kind == "slide" else 2 * CROP + 2  # a window at half the size
    assert all(bottom - top <= most and right - left <= most for top, bottom, left, right in looked)
    with Image.open(files[1]) as drawn:
        assert drawn.size[0] > 37
    assert json.loads((tmp_path / "out/labels/classes.json").read_text())["names"] == ["a", "b", "c"]


def test_a_small_raster_has_a_map_beside_its_picture(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", (20, 24), nodata=0)
    made = writer(tmp_path / "out")
    assert made.look_at([(tmp_path / "a.tif", "a")]) == {}
    classes = (np.arange(480).reshape(20, 24) % 3).astype(np.uint8)
    files = made._write_pictures(torch.zeros(2, 20, 24, dtype=torch.uint16), "a", classes)
    assert [file.suffix for file in files] == [".png", ".tif", ".png"]
    with rasterio.open(files[1]) as found:
        assert (found.crs, found.transform, found.nodata) == ("EPSG:32614", PLACE, 255)
        np.testing.assert_array_equal(found.read(1)[5:], classes[5:])
        assert (found.read(1)[:5] == 255).all()  # where the raster has no data


def test_a_raster_is_large_by_its_pixels_whatever_its_bands() -> None:
    side = 4096
    assert not rasters.is_large(SimpleNamespace(height=side, width=side, count=12))
    assert rasters.is_large(SimpleNamespace(height=side + 1, width=side, count=1))
    assert not rasters.is_large(SimpleNamespace(height=4 * side, width=side // 4, count=1))


@pytest.mark.parametrize("count", [2, 256, 257])
def test_a_map_has_its_colours_as_far_as_a_table_of_them_goes(tmp_path: Path, count: int) -> None:
    palette = np.stack([np.arange(count) % 256, np.arange(count) // 2 % 256, np.full(count, 7)], 1).astype(np.uint8)
    classes = np.array([[0, count - 1]])
    profile: dict[str, Any] = {"driver": "GTiff", "height": 1, "width": 2, "count": 1}
    profile |= {"dtype": "uint16" if count > 256 else "uint8", "transform": PLACE}
    rasters.write(tmp_path / "a.tif", profile, iter([(None, classes)]), palette)
    with rasterio.open(tmp_path / "a.tif") as found:
        np.testing.assert_array_equal(found.read(1), classes)
        if count > 256:
            with pytest.raises(ValueError, match="color table"):
                found.colormap(1)
        else:
            assert [found.colormap(1)[number][:3] for number in range(count)] == list(map(tuple, palette.tolist()))


def test_what_cannot_be_had_of_a_large_raster_is_said_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.tif", (20, 24))
    monkeypatch.setattr(rasters, "LARGE", 100)
    for options in ({"probabilities": True}, {"inference": "whole"}):
        with pytest.raises(UserError, match=r"a.tif has more than 100 pixels and is looked at window by window"):
            writer(tmp_path / "out", **options).look_at([(tmp_path / "a.tif", "a")])
    with rasters.opened(tmp_path / "a.tif") as raster:
        with pytest.raises(UserError, match="has 2 bands, and the model takes 6"):
            rasters.bands_of(raster, 6, "a.tif")
        with pytest.raises(UserError, match="more than 8 bits a channel; say what is black and white with --range"):
            rasters.as_pixels(raster.read(), raster, None, "a.tif")


def photograph(file: Path, bands: int, **facts: Any) -> np.ndarray:
    values = np.random.default_rng(1).integers(0, 255, (bands, 512, 512)).astype(np.uint8)
    form: dict[str, Any] = {"driver": "GTiff", "count": bands, "dtype": "uint8", "height": 512, "width": 512}
    form |= {"tiled": True, "blockxsize": 256, "blockysize": 256, "crs": "EPSG:32614", "transform": PLACE}
    with rasterio.open(file, "w", **form | facts) as raster:
        raster.write(values)
    return values


def test_a_damaged_block_of_a_raster_is_one_sentence(tmp_path: Path) -> None:
    """Not a traceback, which would keep all other pictures from being predicted."""
    photograph(tmp_path / "a.tif", 3, compress="deflate")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 20000] = bytes(20000)
    (tmp_path / "a.tif").write_bytes(content)
    with rasters.opened(tmp_path / "a.tif") as raster, pytest.raises(UserError, match=r"cannot read the raster a\.tif"):
        rasters.RasterPixels(raster, 3, None, "a.tif").read(0, 512, 0, 512)


def test_a_map_that_does_not_fit_on_the_disk_is_one_sentence(tmp_path: Path) -> None:
    photograph(tmp_path / "a.tif", 3)
    with rasters.opened(tmp_path / "a.tif") as raster:
        profile = rasters.profile_of(raster, 3)
    noise = np.random.default_rng(0).integers(0, 255, (512, 512)).astype(np.uint8)
    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write a map in .*; make room, or give another --out"):
            rasters.write(tmp_path / "full.tif", profile, iter([(None, noise)]), np.zeros((3, 3), np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize(("bands", "channels"), [(3, 1), (4, 1), (1, 3), (1, 1), (4, 3)])
def test_a_large_photograph_has_the_pixels_of_a_small_one(tmp_path: Path, bands: int, channels: int) -> None:
    facts = {"photometric": "RGB"} if bands > 1 else {}
    photograph(tmp_path / "a.tif", bands, **facts)
    with rasters.opened(tmp_path / "a.tif") as raster:
        found = rasters.RasterPixels(raster, channels, None, "a.tif").read(0, 512, 0, 512)
    np.testing.assert_array_equal(found, read_image(tmp_path / "a.tif", channels))


def test_bands_that_are_no_photograph_are_not_taken_for_one(tmp_path: Path) -> None:
    photograph(tmp_path / "a.tif", 6)
    photograph(tmp_path / "b.tif", 1, photometric="palette")
    for name, said in (("a.tif", "a.tif has 6 bands, and the model takes 3"), ("b.tif", "b.tif holds numbers of a")):
        with rasters.opened(tmp_path / name) as raster, pytest.raises(UserError, match=said):
            rasters.bands_of(raster, 3, name)
    with rasters.opened(tmp_path / "a.tif") as raster:
        assert [rasters.bands_of(raster, wanted, "a") for wanted in (6, (6, 1), (2,))] == [
            [1, 2, 3, 4, 5, 6], [6, 1], [2],
        ]  # fmt: skip
        for wanted in (5, (1, 7)):  # there is no seventh, and of six channels none is left out unasked
            with pytest.raises(UserError, match=r"a has 6 bands, and the model takes [25]"):
                rasters.bands_of(raster, wanted, "a")
        small = rasters.RasterPixels(raster, (3, 1), None, "a").reduced(512)
        assert np.array_equal(small.numpy(), raster.read([3, 1]))


def test_a_raster_is_told_by_its_ending_and_read_with_a_bounded_memory(tmp_path: Path) -> None:
    write(tmp_path / "a.TIFF", (20, 24))
    (tmp_path / "b.tif").write_bytes(b"nothing")
    Image.new("RGB", (8, 8)).save(tmp_path / "c.png")
    Image.new("L", (8, 9)).save(tmp_path / "e.tif")  # which lies nowhere, and nobody is warned of it
    found = []
    for name in ("a.TIFF", "b.tif", "c.png", "e.tif"):
        with rasters.opened(tmp_path / name) as raster:
            found.append(None if raster is None else (raster.height, raster.width, raster.count))
            if raster is not None:
                assert rasterio.env.getenv()["GDAL_CACHEMAX"] == 256  # megabytes
    assert found == [(20, 24, 2), None, None, (9, 8, 1)]
    photograph(tmp_path / "d.tif", 1)
    with rasters.opened(tmp_path / "d.tif") as raster:
        pixels = rasters.RasterPixels(raster, 1, None, "d")
        assert pixels.size == (512, 512)
        assert torch.equal(pixels.read(3, 9, 100, 104), torch.from_numpy(raster.read([1])[:, 3:9, 100:104]))
    scores = torch.zeros(3, 4, 6)
    scores[1, :, 3:] = 1
    inference = SimpleNamespace(pieces=lambda model, pictures: [SimpleNamespace(left=7, top=2, scores=scores)])
    [(window, classes)] = rasters.maps_of(inference, None, pixels)
    assert (window.col_off, window.row_off, window.width, window.height) == (7, 2, 6, 4)
    assert (classes == [0, 0, 0, 1, 1, 1]).all()


def test_where_a_raster_is_transparent_its_map_has_no_data(tmp_path: Path) -> None:
    values = photograph(tmp_path / "a.tif", 4, photometric="RGB", alpha="yes")
    made = writer(tmp_path / "out")
    made.look_at([(tmp_path / "a.tif", "a")])
    files = made._write_pictures(torch.zeros(3, 512, 512, dtype=torch.uint8), "a", np.zeros((512, 512), np.uint8))
    with rasterio.open(files[1]) as found:
        assert found.nodata == 255
        np.testing.assert_array_equal(found.read(1) == 255, values[3] == 0)


def test_a_large_raster_without_data_in_parts_has_none_in_its_map_and_colours_by_stored_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.tif", (40, 24), nodata=0)
    monkeypatch.setattr(rasters, "LARGE", 100)
    made = writer(tmp_path / "out")
    made.labels.stored = np.array([7, 2, 5], np.uint8)
    made.labels.colours = np.zeros((256, 3), np.uint8)
    made.labels.colours[[7, 2, 5]] = made.palette
    monkeypatch.setattr(
        rasters,
        "maps_of",
        lambda *_: (
            (rasterio.windows.Window(0, top, 24, 20), np.full((20, 24), top // 10, np.uint8)) for top in (0, 20)
        ),
    )
    drawn: list[np.ndarray] = []
    made._write_overlay = lambda file, rgb, classes, name: drawn.append(classes) or shown.append(rgb)
    shown: list[np.ndarray] = []
    made.shown = (1,)
    made.look_at([(tmp_path / "a.tif", "a")])
    [labels, _] = made.write_large(tmp_path / "a.tif", "a", 2, RANGE)
    with rasterio.open(labels) as found:
        values = found.read(1)
        assert [found.colormap(1)[number][:3] for number in (7, 2, 5)] == [(9, 0, 0), (0, 9, 0), (0, 0, 9)]
    expected = np.repeat([255, 7, 5], [5, 15, 20])
    assert (values == expected[:, None]).all()
    assert (drawn[0][:, 0] == np.repeat([3, 0, 2], [5, 15, 20])).all()  # 3: what is no class
    with rasters.opened(tmp_path / "a.tif") as raster:
        pixels = rasters.RasterPixels(raster, 2, RANGE, "a").read(0, 40, 0, 24)
    assert np.array_equal(shown[0], np.repeat((pixels[1].numpy() // 257)[..., None], 3, 2))  # in gray, as in training


def test_numbers_sizes_and_places_of_rasters_by_hand(tmp_path: Path) -> None:
    raster = SimpleNamespace(nodata=None, height=100, width=50, crs=None, transform=rasterio.Affine.identity())
    raster.mask_flag_enums = [[rasterio.enums.MaskFlags.all_valid]]
    assert not rasters.is_placed(raster)
    raster.transform = PLACE
    assert rasters.is_placed(raster)
    raster.transform, raster.crs = rasterio.Affine.identity(), "EPSG:32614"
    assert rasters.is_placed(raster)
    raster.transform, raster.crs = PLACE, None
    eight = np.array([[[0, 1, 255]]], np.uint8)
    assert rasters.as_pixels(eight, raster, RANGE, "a").tolist() == [[[0, 257, 65535]]]
    assert rasters.as_pixels(eight, raster, None, "a").tolist() == eight.tolist()
    kinds = [(rasters.profile_of(raster, most)["dtype"], rasters.nowhere(most)) for most in (254, 255, 256)]
    assert kinds == [("uint8", 255), ("uint16", 65535), ("uint16", 65535)]
    made = rasters.profile_of(raster, 1)
    assert {name: made[name] for name in ("height", "width", "count", "crs", "transform", "compress", "BIGTIFF")} == {
        "height": 100, "width": 50, "count": 1, "crs": None, "transform": PLACE, "compress": "deflate",
        "BIGTIFF": "IF_SAFER",
    }  # fmt: skip
    assert "nodata" not in made
    for raster.height, raster.width, tiled in ((256, 256, True), (255, 256, False), (256, 255, False)):
        assert ("tiled" in rasters.profile_of(raster, 1)) is tiled
    raster.height, raster.width = 100, 50
    with pytest.raises(UserError, match="has more than 8 bits a channel"):
        rasters.as_pixels(np.zeros((1, 2, 2), np.float32), raster, None, "a")
    deep = np.array([[[0, 500, 1000]]], np.uint16)
    told = PixelRange((0.0,), (1000.0,), bits=16)
    without, with_none = (
        rasters.as_pixels(deep, SimpleNamespace(nodata=missing), told, "a")[0, 0].int().tolist()
        for missing in (None, 1000)
    )
    assert (without, with_none[:2]) == ([0, 32768, 65535], [0, 32768])
    nothing = told.scaled(np.array([[[np.nan]]], np.float32), 1)
    assert with_none[2] == nothing.flat[0] < 65535
    with pytest.raises(UserError, match="the numbers of a are complex64"):
        rasters.as_pixels(np.zeros((1, 2, 2), np.complex64), raster, None, "a")
    raster.read = lambda bands, out_shape: np.zeros(out_shape)
    shapes = [rasters.reduced(raster, [2, 1], side).shape for side in (20, 1000, 1)]
    assert shapes == [(2, 20, 10), (2, 100, 50), (2, 1, 1)]


def test_what_is_not_read_whole_is_looked_at_in_pixels_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    found = SimpleNamespace(config=SimpleNamespace(inference=None), origin=lambda part: "file")
    monkeypatch.setattr(predict_maps, "recorded", lambda checkpoint, words, parts: (asked.append(words), found)[1])
    monkeypatch.setattr(predict_maps, "build", lambda *_, **__: None)
    made: Any = Segmentations.__new__(Segmentations)
    made._checkpoint = None
    for told in (None, "multiscale_flip"):
        made.options = Options(Path("out"), inference=told)
        made._at_its_own_size()
    assert asked == [["inference=slide", "inference.short=null"], ["inference=multiscale_flip", "inference.short=null"]]
