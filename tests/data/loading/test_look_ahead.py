"""Validation files are looked at before the first step: what is bad is named, what was good is remembered."""

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deep_pictures import png, tiff
from pictures import save, smooth_picture
from PIL import Image

from mae_hydra.data import ade20k, folder, headers, imagenet, scenes
from mae_hydra.data.dataset import Header
from mae_hydra.data.decoding.decode import decode_image
from mae_hydra.data.headers import read_header
from mae_hydra.data.loading import look_ahead
from mae_hydra.data.loading.look_ahead import some_headers
from mae_hydra.errors import UserError

COMMON: dict[str, Any] = {
    "image_size": 16, "channels": 3, "mean": [0.5] * 3, "std": [0.2] * 3, "ignore_index": 255, "batch_size": 2,
    "num_workers": 0, "train_limit": None,
}  # fmt: skip


def write_pair(root: Path, split: str, number: int, labels: np.ndarray | None = None, **options: Any) -> None:
    save(smooth_picture(20, 30, seed=number), root / f"images/{split}/{number:03d}.jpg", **options)
    stored = np.full((20, 30), number % 3, np.uint8) if labels is None else labels
    save(Image.fromarray(stored), root / f"annotations/{split}/{number:03d}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two training pairs and six of validation, with classes 0 to 2."""
    for split, count in (("training", 2), ("validation", 6)):
        for number in range(count):
            write_pair(tmp_path / "set", split, number)
    return tmp_path / "set"


def look(root: Path, memory: Path | None = None, *, seconds: float = 10.0, **changes: Any) -> Any:
    settings = {"root": str(root), "num_classes": 3, "reduce_zero_label": False}
    data = ade20k(**COMMON | settings | changes)
    return look_ahead.look_ahead(data.validation, memory, seconds=seconds)


def test_a_good_set_gives_its_sizes(root: Path) -> None:
    for part, size in (("images", (24, 40)), ("annotations", (24, 40))):
        for path in (root / part / "validation").glob("002.*"):
            Image.open(path).resize(size[::-1], Image.Resampling.NEAREST).save(path)
    seen = look(root)
    assert seen.sizes == ((20, 30), (24, 40))
    assert (seen.num_labels, seen.num_images) == (6, 6)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: (root / "images/validation/004.jpg").write_bytes(b"no picture"), r"004\.jpg: it is in no image"),
        (lambda root: (root / "annotations/validation/004.png").write_bytes(b""), r"004\.png: the file is empty"),
        (
            lambda root: write_pair(root, "validation", 4, np.zeros((30, 20), np.uint8)),
            r"is 20x30 pixels but its image",
        ),
        (lambda root: write_pair(root, "validation", 4, np.full((20, 30), 9, np.uint8)), r"004\.png holds the value 9"),
        (lambda root: save(smooth_picture(20, 30), root / "annotations/validation/004.png"), r"004\.png holds RGB"),
    ],
)
def test_what_would_end_the_run_at_its_first_evaluation_is_named_before(root: Path, spoil: Any, words: str) -> None:
    spoil(root)
    with pytest.raises(UserError, match=rf"1 of 6 validation samples cannot be used.*{words}"):
        look(root)


def test_all_bad_files_are_counted(root: Path) -> None:
    for number in (1, 3, 5):
        (root / f"images/validation/{number:03d}.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match=r"3 of 6 validation samples cannot be used.*001\.jpg"):
        look(root)


def test_all_bad_maps_are_counted(root: Path) -> None:
    for number in (1, 4):
        write_pair(root, "validation", number, np.full((20, 30), 9, np.uint8))
    with pytest.raises(UserError, match=r"2 of 6 validation samples cannot be used.*001\.png holds the value 9"):
        look(root)


def test_what_was_good_is_remembered_until_a_file_or_its_meaning_changes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "memory"
    first = look(root, memory)
    opened: list[Any] = []
    monkeypatch.setattr(look_ahead, "_in_threads", lambda look, positions: opened.append(look) or [])
    assert look(root, memory) == first
    assert not opened
    monkeypatch.undo()
    with pytest.raises(UserError, match="holds the value 2"):
        look(root, memory, num_classes=2)
    write_pair(root, "validation", 4, np.full((20, 30), 9, np.uint8))
    with pytest.raises(UserError, match="holds the value 9"):
        look(root, memory)
    (memory / next(memory.iterdir()).name).write_text("{}")  # a damaged memory is none
    write_pair(root, "validation", 4)
    assert look(root, memory).sizes == first.sizes


def test_a_folder_remembers_the_sets_that_were_looked_at_last(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look_ahead, "KEPT", 2)
    memory = tmp_path / "memory"
    memory.mkdir()
    (memory / "notes.json").write_text("somebody's")
    last: list[Path] = []
    for number in range(4):
        write_pair(root, "validation", 0, np.full((20, 30), number % 3, np.uint8))
        os.utime(root / "annotations/validation/000.png", (number, number))
        look(root, memory)
        [new] = set(memory.glob("*.json")) - {*last, memory / "notes.json"}
        os.utime(new, (1000 + number, 1000 + number))
        last = [*last, new][-2:]
    assert set(memory.iterdir()) == {*last, memory / "notes.json"}


def test_values_are_looked_at_as_long_as_time_allows_and_the_next_start_goes_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look_ahead, "THREADS", 1)  # four maps at a time
    memory = tmp_path / "memory"
    assert look(root, memory, seconds=0).num_labels == 0
    clock = iter([0.0, 0.5, 2.0])
    monkeypatch.setattr(look_ahead.time, "monotonic", lambda: next(clock))
    assert look(root, memory, seconds=1).num_labels == 4
    monkeypatch.undo()
    assert look(root, memory).num_labels == 6


def test_one_map_of_each_kind_is_looked_at_first(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_ahead, "THREADS", 1)
    odd = Image.fromarray(np.full((20, 30), 9, np.uint8)).convert("P")
    odd.putdata([9] * 600)
    save(odd, root / "annotations/validation/005.png")
    clock = iter([0.0, 0.5, 2.0])
    monkeypatch.setattr(look_ahead.time, "monotonic", lambda: next(clock))
    with pytest.raises(UserError, match=r"005\.png holds the value 9"):
        look(root, seconds=1)


def test_what_is_looked_at_first_and_how_far_it_has_come_is_told(root: Path, tmp_path: Path, monkeypatch) -> None:
    assert look_ahead._first_of_each(["P", "L", "P", "1", "L"]) == [0, 1, 3]
    assert look_ahead._order([5, 0], 130) == [5, 0, *range(2, 130, 2), 1, 3, *range(7, 130, 2)]
    assert look_ahead._order([], 3) == [0, 1, 2]
    monkeypatch.setattr(look_ahead, "THREADS", 1)
    told: list[Any] = []
    data = ade20k(**COMMON | {"root": str(root), "num_classes": 3, "reduce_zero_label": False})
    look_ahead.look_ahead(data.validation, tmp_path, lambda *words: told.append(words))
    files = [(done, 6, "validation files") for done in range(1, 7)]
    assert told == [*files, (4, 6, "validation maps"), (6, 6, "validation maps")]
    [memory] = tmp_path.glob("*.json")
    known = json.loads(memory.read_text())
    assert known == {"sizes": [[20, 30]], "rare": [0], "labels": 6, "images": 6}
    for wrong in ({"images": 5}, {"sizes": []}, {"labels": None}, {"rare": ...}):
        changed = {key: value for key, value in (known | wrong).items() if value is not ...}
        memory.write_text(json.dumps(changed))
        assert look_ahead._remembered(memory, 6) is None, wrong
    memory.write_text(json.dumps(known))
    assert look_ahead._remembered(memory, 6) == {"sizes": [[20, 30]], "rare": [0], "labels": 6}


def test_sixty_four_headers_are_read_from_everywhere_of_a_set() -> None:
    asked: list[int] = []

    class Many:
        def __len__(self) -> int:
            return 128

        def header(self, index: int) -> Header:
            asked.append(index)
            return Header((index, 1), "L", False, 1)

        def digest(self) -> str:
            return ""

    found = some_headers(Many())  # type: ignore[arg-type]
    assert [header.size[0] for header in found] == asked == list(range(0, 128, 2))


def test_only_a_png_with_a_mark_of_it_may_be_turned(tmp_path: Path) -> None:
    path = save(smooth_picture(20, 30), tmp_path / "a.png")
    content = path.read_bytes()
    with Image.open(path) as picture, Image.open(save(smooth_picture(8, 8), tmp_path / "a.jpg")) as photo:
        assert not headers._may_be_turned(picture, path)
        for mark in (b"eXIf", b"tiff:Orientation", b"Raw profile type exif"):
            assert headers._may_be_turned(picture, content + mark)
        assert headers._may_be_turned(photo, b"")


def test_a_digest_is_of_names_times_and_facts_and_of_files_that_are_gone_of_names(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a", "b")]
    digests = {headers.digest_of(files), headers.digest_of(files[:1]), headers.digest_of([files[0], tmp_path / "c"])}
    digests |= {headers.digest_of(files, 1), headers.digest_of(files, 2), headers.digest_of(files, 1, 2)}
    files[1].write_text("x")
    digests.add(headers.digest_of(files))
    os.utime(files[1], ns=(1, 1))
    digests.add(headers.digest_of(files))
    assert len(digests) == 8


def test_a_folder_that_cannot_be_written_is_gone_without(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert look(root, tmp_path / "file").num_labels == 6


def test_pillows_limit_is_back_in_its_place_whatever_threads_did(root: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    look(root)
    assert before == Image.MAX_IMAGE_PIXELS
    assert threading.active_count() < 50


def test_classes_and_photos_are_looked_at_too_and_scenes_have_no_files(tmp_path: Path) -> None:
    for number in range(8):
        save(smooth_picture(20, 30, seed=number), tmp_path / f"photos/{number}.jpg")
        save(
            smooth_picture(20, 30, seed=number), tmp_path / f"classes/{'train' if number < 4 else 'val'}/a/{number}.png"
        )
    photos = folder(**COMMON | {"root": str(tmp_path / "photos"), "validation_fraction": 0.5, "num_classes": 0})
    classes = imagenet(**COMMON | {"root": str(tmp_path / "classes"), "num_classes": 1})
    for data in (photos, classes):
        seen = look_ahead.look_ahead(data.validation, None)
        assert seen is not None
        assert (seen.sizes, seen.num_images) == (((20, 30),), 4)
    (tmp_path / "classes/val/a/5.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"1 of 4 validation samples .*5\.png"):
        look_ahead.look_ahead(
            imagenet(**COMMON | {"root": str(tmp_path / "classes"), "num_classes": 1}).validation, None
        )
    shown = scenes(
        **COMMON
        | {"num_train": 2, "num_validation": 2, "seed": 0, "target": "map", "num_classes": 12, "image_size": 32}
    )
    assert look_ahead.look_ahead(shown.validation, None) is None
    assert some_headers(shown.train) == []


def test_a_deep_validation_picture_among_8_bit_training_pictures_is_said_before(tmp_path: Path) -> None:
    for number in range(3):
        save(smooth_picture(20, 30, seed=number), tmp_path / f"train/a/{number}.png")
        save(smooth_picture(20, 30, seed=number), tmp_path / f"val/a/{number}.png")
    (tmp_path / "val/a/1.png").write_bytes(png(np.zeros((20, 30, 3), np.uint16)))
    data = imagenet(**COMMON | {"root": str(tmp_path), "num_classes": 1})
    with pytest.raises(UserError, match=r"1\.png: it has more than 8 bits a channel.*data\.range"):
        look_ahead.look_ahead(data.validation, None)


def test_a_header_tells_the_upright_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = read_header(save(smooth_picture(20, 30), tmp_path / "a.jpg", exif=exif))
    assert (turned.size, turned.mode, turned.turned, turned.deep) == ((30, 20), "RGB", True, False)
    assert not read_header(save(smooth_picture(20, 30), tmp_path / "b.png")).turned
    with pytest.raises(UserError, match=r"cannot read .*gone\.png: No such file"):
        read_header(tmp_path / "gone.png")


def xmp(turn: int) -> bytes:
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="{turn}"/></x:xmpmeta>'.encode()


BY_XMP = ["JPEG by XMP alone", "CMYK by XMP alone"]
FORMS_OF_TURNED = [*BY_XMP, "JPEG", "PNG", "WEBP", "TIFF", "TIFF, compressed", "deep TIFF"]


@pytest.mark.parametrize("turn", [0, 1, 3, 6, 7])
@pytest.mark.parametrize("form", FORMS_OF_TURNED)
def test_a_header_tells_the_size_that_decoding_gives(tmp_path: Path, form: str, turn: int) -> None:
    exif, path = Image.Exif(), tmp_path / "picture"
    exif[0x0112] = turn
    picture, kind = smooth_picture(20, 30), form.split()[0].rstrip(",")
    if form.endswith("by XMP alone"):
        save(picture.convert("CMYK" if kind == "CMYK" else "RGB"), path, format="JPEG", xmp=xmp(turn))
    elif form == "deep TIFF":
        path.write_bytes(tiff(np.zeros((20, 30, 3), np.uint16), colours=True, orientation=turn))
    elif kind == "TIFF":
        compression = "tiff_lzw" if "compressed" in form and turn else None  # libtiff writes no 0
        save(picture, path, format="TIFF", tiffinfo={0x0112: turn}, compression=compression)
    else:
        save(picture, path, format=kind, exif=exif)
    decoded = decode_image(path.read_bytes(), 3, form)
    header = read_header(path)
    assert header.size == tuple(decoded.shape[1:])
    by_exif = turn not in (0, 1) and not form.endswith("by XMP alone")
    assert (header.turned, header.size) == (by_exif, (30, 20) if by_exif and turn >= 5 else (20, 30))


@pytest.mark.parametrize("form", ["TIFF", "JPEG by XMP alone"])
def test_a_photo_on_its_side_is_compared_with_its_map_as_it_is_decoded(tmp_path: Path, form: str) -> None:
    """Orientation in a TIFF turns the pixels; in the XMP of a JPEG alone it does not."""
    by_exif = form == "TIFF"
    options = {"format": "TIFF", "tiffinfo": {0x0112: 6}} if by_exif else {"format": "JPEG", "xmp": xmp(6)}
    for split in ("training", "validation"):
        save(smooth_picture(20, 30), tmp_path / f"images/{split}/0.{'tif' if by_exif else 'jpg'}", **options)
        size = (20, 30) if by_exif else (30, 20)
        save(Image.new("L", size), tmp_path / f"annotations/{split}/0.png")
    assert look(tmp_path).sizes == ((30, 20) if by_exif else (20, 30),)
    save(Image.new("L", size[::-1]), tmp_path / "annotations/validation/0.png")
    with pytest.raises(UserError, match="1 of 1 validation samples cannot be used"):
        look(tmp_path)


def test_files_are_opened_at_the_same_time_and_the_limit_of_pillow_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that answers when both have been asked."""
    path, both = save(smooth_picture(20, 30), tmp_path / "a.png"), threading.Barrier(2, timeout=5)
    limit, opening = Image.MAX_IMAGE_PIXELS, Image.open

    def slow(source: Any) -> Image.Image:
        both.wait()
        return opening(source)

    monkeypatch.setattr(Image, "open", slow)
    with ThreadPoolExecutor(2) as pool:
        assert [header.size for header in pool.map(read_header, [path, path])] == [(20, 30)] * 2
    assert limit == Image.MAX_IMAGE_PIXELS


def test_some_headers_are_of_a_limited_set_as_well(root: Path) -> None:
    data = ade20k(**COMMON | {"root": str(root), "num_classes": 3, "reduce_zero_label": False, "train_limit": 1})
    assert [header.size for header in some_headers(data.train)] == [(20, 30)]


def test_some_headers_are_without_those_that_cannot_be_read(root: Path) -> None:
    (root / "images/training/000.jpg").write_bytes(b"no picture")
    data = ade20k(**COMMON | {"root": str(root), "num_classes": 3, "reduce_zero_label": False})
    assert [header.size for header in some_headers(data.train)] == [(20, 30)]
