"""The parts of an audit: what counts as one picture, which reading stored values support, and files of any kind."""

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import pixels, save, smooth_picture
from PIL import Image

from mae_hydra.data.audit.duplicates import equal_groups, near_pairs
from mae_hydra.data.audit.labels import class_counts, ignored_share, label_findings
from mae_hydra.data.audit.listing import list_ade20k, list_imagenet
from mae_hydra.data.audit.look import FileSplit, Labels, Look, measure
from mae_hydra.data.audit.tally import Tally
from mae_hydra.data.label_table import Reading
from mae_hydra.data.scenes.dataset import render


@cache
def scene(number: int, size: int = 192) -> Image.Image:
    return Image.fromarray(render(0, "train", number, (size, size))[0].transpose(1, 2, 0).copy())


def again(picture: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).copy()


def alike(pictures: list[Image.Image]) -> set[tuple[int, int]]:
    looks = [measure(pixels(picture), b"") for picture in pictures]
    found = near_pairs(np.stack([look.thumb for look in looks]), np.array([look.size for look in looks]))
    return {(int(one), int(other)) for one, other in found}


CHANGES: dict[str, Any] = {
    "compressed": lambda picture: again(picture, 30),
    "smaller": lambda picture: picture.resize((96, 96)),
    "larger": lambda picture: picture.resize((400, 400)),
    "brighter": lambda picture: picture.point([min(255, value + 15) for value in range(256)] * 3),
    "paler": lambda picture: picture.point([64 + value // 2 for value in range(256)] * 3),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_picture_is_found_again_however_it_was_stored(change: str) -> None:
    originals = [scene(number) for number in range(20)]
    found = alike([*originals, *(CHANGES[change](picture) for picture in originals)])
    assert found <= {(number, number + 20) for number in range(20)}  # and no two scenes are taken for one
    assert len(found) >= 18


def test_a_stretched_picture_is_another_one_and_fog_is_like_nothing() -> None:
    assert alike([scene(0), scene(0).resize((192, 120))]) == set()
    assert alike([Image.new("RGB", (64, 64), (200, 200, 203))] * 2) == set()


def test_near_pairs_do_not_depend_on_how_many_are_compared_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    thumbs = np.random.default_rng(0).integers(0, 256, (6, 8, 9), dtype=np.uint8)[[0, 1, 0, 2, 0, 3, 1]]
    expected = [[0, 2], [0, 4], [1, 6], [2, 4]]
    sizes = np.full((7, 2), 64)
    assert near_pairs(thumbs, sizes).tolist() == expected
    monkeypatch.setattr("mae_hydra.data.audit.duplicates.BLOCK", 2)
    assert near_pairs(thumbs, sizes).tolist() == expected


def test_equal_digests_are_grouped_in_order_of_their_first_occurrence() -> None:
    digests = np.array([np.void(bytes([value]) * 16) for value in (5, 1, 9, 1, 5, 5, 2)])
    assert [group.tolist() for group in equal_groups(digests)] == [[0, 4, 5], [1, 3]]
    assert equal_groups(digests[:0]) == []


def tally_of(*maps: list[int]) -> Tally:
    """A split whose class maps hold the given stored values."""
    names = [f"{number}.jpg" for number in range(len(maps))]
    split = FileSplit(Path(), names, 3, maps=[f"{number}.png" for number in range(len(maps))])
    tally = Tally(split, range(len(maps)), 3)
    for row, values in enumerate(maps):
        stored = np.bincount(np.array(values), minlength=256)
        tally.add(row, Look(labels=Labels((1, len(values)), bytes(16), stored)))
    return tally


def told(reading: Reading, *maps: list[int]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(each.level, each.kind, each.files) for each in label_findings([tally_of(*maps)], reading)]


@pytest.mark.parametrize(
    ("reduce_zero_label", "maps", "expected"),
    [
        (True, [[0, 1, 2, 3, 255], [3]], ("note", "zero label confirmed")),
        (True, [[1, 2, 3], [3]], ("note", "zero label open")),
        (True, [[0, 1, 2], [0, 1], [3]], ("note", "zero label open")),  # hardly what is ignored, but not refuted
        (False, [[0, 1, 2, 3], [0, 1], [0], [1]], ("error", "zero label")),
        (True, [[0, 1, 2, 3], [3]], ("warning", "zero label open")),  # CamVid's convention: 3 is everywhere
        (False, [[0, 1, 2, 3], [3]], ("error", "zero label")),
        (False, [[0, 1, 2, 255]], ("note", "zero label open")),
        (True, [[0, 1, 2, 255]], ("error", "zero label")),  # 3 never occurs, and 255 is there to ignore
        (True, [[0, 1, 2]], ("warning", "zero label")),  # nothing is marked as ignored, so 0 may be
        (True, [[1, 2]], ("note", "zero label open")),
        (False, [[1, 2]], ("note", "zero label open")),
    ],
)
def test_the_stored_values_answer_whether_zero_is_a_class(
    reduce_zero_label: bool, maps: list[list[int]], expected: tuple[str, str]
) -> None:
    assert [each[:2] for each in told(Reading(3, 255, reduce_zero_label), *maps)] == [expected]


@pytest.mark.parametrize("share", [0.9, 0.8, 0.3])
def test_camvids_convention_is_never_confirmed_as_ade20ks(share: float) -> None:
    maps = [[*range(11), 11] if number < 100 * share else [*range(11)] for number in range(100)]
    [finding] = label_findings([tally_of(*maps)], Reading(11, 255, True))
    assert finding.kind == "zero label open"
    assert "and data.reduce_zero_label=false data.ignore_index=11 as well" in finding.sentence
    [finding] = label_findings([tally_of(*maps)], Reading(11, 255, False))
    assert "set data.reduce_zero_label=true (0 is no class) or data.ignore_index=11" in finding.sentence


def test_one_stray_value_does_not_decide_the_reading() -> None:
    maps = [[0, 3, 255], [1, 3], [200, 1]]
    assert told(Reading(3, 255, True), *maps) == [
        ("note", "zero label confirmed", ()),
        ("error", "label out of range", ("2.png",)),
    ]


def test_classes_are_counted_in_pixels_and_in_images() -> None:
    tally, reading = tally_of([0, 0, 1, 3, 3], [3, 255]), Reading(3, 255, True)
    counts = class_counts(tally, reading)
    assert counts["pixels"].tolist() == [1, 0, 3]
    assert counts["images"].tolist() == [1, 0, 2]
    assert ignored_share(tally, reading) == pytest.approx(3 / 7)


def test_more_classes_than_a_map_can_hold_are_an_error_and_no_crash() -> None:
    assert told(Reading(300, 255, False), [0, 1])[0][:2] == ("error", "number of classes")


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"no picture at all"])
def test_whatever_a_file_holds_it_is_a_finding_and_not_an_exception(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    (tmp_path / "a.png").write_bytes(content)
    look = FileSplit(tmp_path, ["a.jpg", "gone.jpg"], 3, maps=["a.png", "gone.png"]).look(0)
    assert set(look.problems) == {"unreadable image", "unreadable labels"}
    assert all("a.jpg" not in words and words for words in look.problems.values())


def test_a_file_that_has_gone_meanwhile_says_so(tmp_path: Path) -> None:
    look = FileSplit(tmp_path, ["gone.jpg"], 3).look(0)
    assert look.problems == {"unreadable image": "No such file or directory"}


def test_an_image_turned_by_exif_does_not_fit_its_map_and_the_reason_is_given(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(smooth_picture(20, 30), tmp_path / "a.jpg", exif=exif.tobytes())
    save(Image.new("L", (30, 20)), tmp_path / "a.png")
    look = FileSplit(tmp_path, ["a.jpg"], 3, maps=["a.png"]).look(0)
    assert look.problems["size"] == "image 20x30, map 30x20, because EXIF turns the image and not the map"


@pytest.mark.parametrize(
    ("turn", "size", "told"),
    [(1, (20, 30), False), (3, (20, 30), True), (6, (20, 20), True), (6, (30, 20), False)],
)
def test_a_photo_turned_beside_a_map_that_is_not_is_doubtful_where_no_size_decides(
    tmp_path: Path, turn: int, size: tuple[int, int], told: bool
) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    save(smooth_picture(*size), tmp_path / "a.jpg", exif=exif.tobytes())
    upright = size if turn == 6 else size[::-1]
    save(Image.new("L", upright), tmp_path / "a.png")
    look = FileSplit(tmp_path, ["a.jpg"], 3, maps=["a.png"]).look(0)
    assert look.problems == {}
    assert look.traits == (("turned by EXIF, its map not",) if told else ("turned by EXIF",) if turn != 1 else ())
    save(Image.new("L", size[::-1]), tmp_path / "a.png", exif=exif.tobytes())  # a map that is turned as well
    assert "turned by EXIF, its map not" not in FileSplit(tmp_path, ["a.jpg"], 3, maps=["a.png"]).look(0).traits


def test_every_convention_is_offered_where_the_configured_one_cannot_be() -> None:
    [finding] = label_findings([tally_of([0, 1, 2, 3], [0, 3])], Reading(3, 255, False))
    assert finding.sentence == (
        "data.reduce_zero_label=false is configured, but 2 of 2 class maps fit data.reduce_zero_label=false "
        "data.ignore_index=3 or data.reduce_zero_label=true only (stored are 0 to 3 for 3 classes); set "
        "data.ignore_index=3 (0 is a class, 3 is none) or data.reduce_zero_label=true (0 is no class), or "
        "data.num_classes=4 where 3 is a class"
    )


def test_mean_and_deviation_do_not_depend_on_where_the_images_were_cut() -> None:
    whole = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 40, 60), dtype=np.uint8))
    statistics = []
    for cut in (60, 20, 7):
        parts = whole.split(cut, dim=2)
        tally = Tally(FileSplit(Path(), ["a.jpg"] * len(parts), 3), range(len(parts)), 3)
        for row, part in enumerate(parts):
            tally.add(row, Look(pixels=measure(part, b"")))
        statistics.append(tally.statistics())
    assert statistics[0] == statistics[1] == statistics[2]  # to the bit: sums of whole numbers
    values = whole.flatten(1).double() / 255
    np.testing.assert_allclose(statistics[0][0], values.mean(1), rtol=1e-13)
    np.testing.assert_allclose(statistics[0][1], values.std(1, correction=0), rtol=1e-12)


def test_two_images_for_one_map_are_named(tmp_path: Path) -> None:
    for split in ("training", "validation"):
        save(smooth_picture(8, 8), tmp_path / f"images/{split}/a.jpg")
        save(Image.new("L", (8, 8)), tmp_path / f"annotations/{split}/a.png")
    save(smooth_picture(8, 8), tmp_path / "images/training/a.png")
    [finding] = list_ade20k(tmp_path, channels=3, num_classes=2).findings
    assert (finding.level, finding.kind) == ("error", "one name twice")
    assert finding.files == ("images/training/a.jpg", "images/training/a.png")


def test_each_defect_of_a_set_has_its_weight(tmp_path: Path) -> None:
    """An error is what a run cannot start with, or would learn wrong numbers from; it fails the command."""
    for split in ("training", "validation"):
        save(smooth_picture(8, 8), tmp_path / f"images/{split}/a.jpg")
        save(Image.new("L", (8, 8)), tmp_path / f"annotations/{split}/a.png")
    images, maps = tmp_path / "images/training", tmp_path / "annotations/training"
    for path in (images / "alone.jpg", images / "drawn.svg", images / "read.me", maps / "nobody.png", maps / "a.tif"):
        path.touch()
    found = {(each.level, each.kind, each.files) for each in list_ade20k(tmp_path, channels=3, num_classes=2).findings}
    assert found == {
        ("error", "image without class map", ("images/training/alone.jpg",)),
        ("error", "class map without image", ("annotations/training/nobody.png",)),
        ("error", "one name twice", ("annotations/training/a.png", "annotations/training/a.tif")),
        ("warning", "unread pictures", ("images/training/drawn.svg",)),
        ("note", "ignored files", ("images/training/read.me",)),
    }
    for kind in ("cat", "dog", "eel"):
        save(smooth_picture(8, 8), tmp_path / f"classes/train/{kind}/a.jpg")
    save(smooth_picture(8, 8), tmp_path / "classes/val/cat/a.jpg")
    save(smooth_picture(8, 8), tmp_path / "classes/val/fox/a.jpg")
    save(smooth_picture(8, 8), tmp_path / "classes/train/b.jpg")
    (tmp_path / "classes/val/dog").mkdir()
    classes = list_imagenet(tmp_path / "classes", channels=3, num_classes=4).findings
    assert {(each.level, each.kind) for each in classes} == {
        ("error", "number of classes"), ("error", "no class folder"), ("error", "unknown class"),
        ("warning", "empty class folder"),
    }  # fmt: skip
