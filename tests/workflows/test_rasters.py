"""Georeferenced rasters: their maps lie where they do, and of large ones are those of one piece."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

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
    values = write(tmp_path / "a.tif", (131, 97))
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
        assert drawn.size[0] > 97
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
    made._write_overlay = lambda file, rgb, classes, name: drawn.append(classes)
    made.look_at([(tmp_path / "a.tif", "a")])
    [labels, _] = made.write_large(tmp_path / "a.tif", "a", 2, RANGE)
    with rasterio.open(labels) as found:
        values = found.read(1)
        assert [found.colormap(1)[number][:3] for number in (7, 2, 5)] == [(9, 0, 0), (0, 9, 0), (0, 0, 9)]
    expected = np.repeat([255, 7, 5], [5, 15, 20])
    assert (values == expected[:, None]).all()
    assert (drawn[0][:, 0] == np.repeat([3, 0, 2], [5, 15, 20])).all()  # 3: what is no class


def test_numbers_sizes_and_places_of_rasters_by_hand(tmp_path: Path) -> None:
    raster = SimpleNamespace(nodata=None, height=100, width=50, crs=None, transform=rasterio.Affine.identity())
    assert not rasters.is_placed(raster)
    raster.transform = PLACE
    assert rasters.is_placed(raster)
    eight = np.array([[[0, 1, 255]]], np.uint8)
    assert rasters.as_pixels(eight, raster, RANGE, "a").tolist() == [[[0, 257, 65535]]]
    assert rasters.as_pixels(eight, raster, None, "a").tolist() == eight.tolist()
    kinds = [(rasters.profile_of(raster, most)["dtype"], rasters.nowhere(most)) for most in (254, 255, 256)]
    assert kinds == [("uint8", 255), ("uint16", 65535), ("uint16", 65535)]
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
