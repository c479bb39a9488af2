"""What a set consists of by its names, each reader's, and what a look at a sample and an audit of the whole find."""

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import ListSet, save, smooth_picture
from PIL import Image

from mae_hydra.data import Sample, ade20k, folder, imagenet, scenes, segmentation
from mae_hydra.data.audit.dataset import Audit, audit, list_files
from mae_hydra.data.audit.listing import Listing, list_ade20k, list_folder, list_imagenet, list_samples
from mae_hydra.data.audit.listing_pairs import list_segmentation
from mae_hydra.data.audit.look import FileSplit, SampleSplit, count, measure
from mae_hydra.data.audit.statistics import statistics
from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.data.label_table import Reading
from mae_hydra.errors import UserError

SETTINGS: dict[str, Any] = {
    "channels": 3, "num_classes": 3, "ignore_index": 255, "image_size": (8, 12), "mean": [0.5] * 3, "std": [0.2] * 3,
    "reduce_zero_label": False,
}  # fmt: skip


def photo(path: Path, height: int = 16, width: int = 16, seed: int = 0, **options: Any) -> None:
    save(smooth_picture(height, width, seed), path, **options)


def label_map(path: Path, *values: int, size: tuple[int, int] = (16, 16)) -> None:
    save(Image.fromarray(np.resize(np.array(values, np.uint8), size)), path)


def names_of(listing: Listing) -> dict[str, list[tuple[str, str]]]:
    """Image and map of every sample, by split."""
    return {
        name: [(split.name(n), split.labels_name(n)) for n in range(len(split))]
        for name, split in listing.splits.items()
    }


def told_of(listing: Listing) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(each.level, each.kind, each.files) for each in listing.findings]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """3 and 2 photos with maps of 0 to 2, one of the latter too large; `b` has no photo, `c` no map."""
    for split, names in (("training", "adf"), ("validation", "ag")):
        for number, name in enumerate(names):
            photo(tmp_path / f"images/{split}/{name}.jpg", seed=number)
            label_map(tmp_path / f"annotations/{split}/{name}.png", 0, 1, 2)
    photo(tmp_path / "images/validation/c.jpg", seed=9)
    label_map(tmp_path / "annotations/training/b.png", 0)
    label_map(tmp_path / "annotations/validation/g.png", 0, 1, 7, size=(16, 20))
    return tmp_path


def audited(root: Path, **changes: Any) -> tuple[Audit, list[tuple[int, int]]]:
    settings = SETTINGS | {"root": str(root)}
    listing = list_files(ade20k, settings)
    assert listing is not None
    calls: list[tuple[int, int]] = []
    own: dict[str, Any] = {"limit": None, "num_workers": 0, "refusal": "no"}
    return audit(listing, settings, **own | {"advance": lambda *call: calls.append(call)} | changes), calls


def test_an_audit_tells_all_of_both_splits_errors_first(pairs: Path) -> None:
    (pairs / "images/training/f.jpg").write_bytes(b"")
    found, calls = audited(pairs)
    assert [(each.level, each.kind, each.files) for each in found.findings if each.level == "error"] == [
        ("error", "class map without image", ("annotations/training/b.png",)),
        ("error", "image without class map", ("images/validation/c.jpg",)),
        ("error", "unreadable image", ("images/training/f.jpg",)),
        ("error", "size", ("images/validation/g.jpg",)),
        ("error", "label out of range", ("annotations/validation/g.png",)),
    ]
    levels = [each.level for each in found.findings]
    assert levels == sorted(levels, key=["error", "warning", "note"].index)
    assert (found.num_errors, found.num_looked_at, len(levels) > 5) == (5, 6, True)
    assert calls == [(number, 6) for number in range(1, 7)]
    assert {name: (each["images"], each["ignored_share"]) for name, each in found.facts.items()} == {
        "training": (3, 0), "validation": (3, pytest.approx(106 / 576)),
    }  # fmt: skip
    assert [(row["name"], row["training_images"], row["validation_images"]) for row in found.classes] == [
        ("class 0", 3, 2), ("class 1", 3, 2), ("class 2", 3, 1),
    ]  # fmt: skip
    assert (found.reading, found.duplicates[0].kind) == (Reading(3, 255, False), "duplicate")
    assert found.statistics == found.tallies["training"].statistics()
    assert found.seconds > 0


def test_an_audit_of_a_few_spreads_them_and_tells_a_refusal_that_no_error_explains(pairs: Path) -> None:
    (pairs / "annotations/training/b.png").unlink()
    (pairs / "images/validation/c.jpg").unlink()
    label_map(pairs / "annotations/validation/g.png", 0, 1, 2)
    photo(pairs / "images/training/x.jpg", 20, 24)
    label_map(pairs / "annotations/training/x.png", 0, 1, 2, size=(20, 24))
    photo(pairs / "images/training/f.jpg", 16, 18)
    label_map(pairs / "annotations/training/f.png", 0, 1, 2, size=(16, 18))
    found, calls = audited(pairs, limit=2)
    assert found.tallies["training"].sizes.tolist() == [[16, 16], [16, 18]]
    assert {name: list(map(tally.name, range(len(tally)))) for name, tally in found.tallies.items()} == {
        "training": ["images/training/a.jpg", "images/training/f.jpg"],
        "validation": ["images/validation/a.jpg", "images/validation/g.jpg"],
    }
    assert calls[-1] == (4, 4)
    assert [(each.kind, each.sentence) for each in found.findings if each.level == "error"] == [("refused", "no")]
    assert "refused" not in [each.kind for each in audited(pairs, refusal=None)[0].findings]
    assert "warning" in {each.level for each in found.findings}  # which does not explain it


def test_an_audit_judges_by_both_splits_and_by_whether_the_set_names_its_classes(pairs: Path) -> None:
    label_map(pairs / "annotations/validation/g.png", 0, 1, 3)
    assert audited(pairs)[0].alternatives == [Reading(3, 255, True), Reading(3, 3, False)]  # by the 3 of validation
    kinds = {}
    for names in (None, "abcdefghi"):
        if names:
            (pairs / "classes.json").write_text(json.dumps({"names": [*names]}))
        settings = SETTINGS | {"root": str(pairs), "num_classes": 9}
        listing = list_files(ade20k, settings | {"num_classes": len(names) if names else 9})
        assert listing is not None
        own: dict[str, Any] = {"limit": None, "num_workers": 0, "refusal": None, "advance": lambda *call: None}
        kinds[names] = {each.kind for each in audit(listing, settings, **own).findings}
    assert ["number of classes" in kinds[names] for names in (None, "abcdefghi")] == [True, False]


def test_an_audit_judges_a_set_that_is_only_evaluated_on(pairs: Path) -> None:
    told: dict[str, Any] = {"images": "images/{split}", "maps": "annotations/{split}", "ignore_index": 255}
    told |= {"splits": {"validation": "validation"}, "num_classes": 2, "validation_fraction": 0.5}
    listing = list_segmentation(pairs, channels=3, **told)
    found = audit(listing, SETTINGS, limit=None, num_workers=0, refusal=None, advance=lambda *call: None)
    assert "label out of range" in {each.kind for each in found.findings}


def test_a_class_of_number_0_alone_is_a_label(tmp_path: Path) -> None:
    photo(tmp_path / "train/cat/a.jpg")
    listing = list_imagenet(tmp_path, channels=3, num_classes=1)
    found = audit(listing, SETTINGS, limit=None, num_workers=0, refusal=None, advance=lambda *call: None)
    assert found.classes == [{"class": 0, "name": "cat", "train_images": 1, "val_images": 0}]


def test_the_side_that_training_shows_is_the_shorter_one_of_the_crop(tmp_path: Path) -> None:
    for split in ("training", "validation"):
        photo(tmp_path / f"images/{split}/{split}.jpg", 40, 40, seed=len(split))
        label_map(tmp_path / f"annotations/{split}/{split}.png", 0, 1, 2, size=(40, 40))
    for short, large in (("size", True), (10, False)):
        kinds = [each.kind for each in audited(tmp_path, short=short)[0].findings]
        assert ("much larger than the crop" in kinds) is large, short


@pytest.mark.parametrize(("reader", "key"), [(ade20k, "images/training"), (imagenet, "train/x"), (folder, "x")])
def test_every_reader_is_told_which_range_the_pictures_have(tmp_path: Path, reader: Any, key: str) -> None:
    values = np.linspace(0, 4000, 400).astype(np.uint16).reshape(20, 20)
    save(Image.fromarray(values), tmp_path / key / "a.png")
    settings = SETTINGS | {"root": str(tmp_path), "range": [0, 10_200], "validation_fraction": 0.5}
    listing = list_files(reader, settings)
    assert listing is not None
    image, _ = next(iter(listing.splits.values())).sample(0)
    assert (image.min(), image.max()) == (0, 100)
    assert list_files(scenes, settings) is None


def test_bands_and_those_that_are_shown_reach_the_splits_and_are_checked(tmp_path: Path) -> None:
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", np.arange(8 * 8 * 5, dtype=np.uint8).reshape(8, 8, 5))
    settings = SETTINGS | {"root": str(tmp_path), "validation_fraction": 0.5, "bands": [5, 1, 2]}
    listing = list_files(folder, settings | {"shown_bands": [2, 1, 5]})
    assert listing is not None
    assert [split.shown for split in listing.splits.values()] == [(2, 1, 0), (2, 1, 0)]
    with pytest.raises(ValueError, match=r"data\.shown_bands must be three of the bands 5, 1, 2"):
        list_files(folder, settings | {"shown_bands": [3, 1, 5]})
    with pytest.raises(UserError, match="is not there"):
        list_files(folder, settings | {"root": str(tmp_path / "nowhere")})


def test_folders_of_classes_give_numbers_by_the_names_of_training(tmp_path: Path) -> None:
    for name in ("train/dog/a", "train/cat/b", "train/dog/c", "val/dog/d", "val/cats/e", "val/f"):
        photo(tmp_path / f"{name}.jpg")
    (tmp_path / "train/.cache").mkdir()
    (tmp_path / "train/eel").mkdir()
    (tmp_path / "val/cat").mkdir()
    listing = list_imagenet(tmp_path, channels=3, num_classes=2)
    assert (listing.class_names, listing.num_classes, listing.palette.shape) == (("cat", "dog"), 2, (2, 3))
    assert {name: [split.look(n).class_id for n in range(len(split))] for name, split in listing.splits.items()} == {
        "train": [0, 1, 1], "val": [-1, 1, -1],
    }  # fmt: skip
    assert told_of(listing) == [
        ("warning", "empty class folder", ("train/eel",)), ("error", "no class folder", ("val/f.jpg",)),
        ("error", "unknown class", ("val/cats/e.jpg",)), ("warning", "empty class folder", ("val/cat",)),
    ]  # fmt: skip
    assert "move into the folder of its class, val/<class>/f.jpg" in listing.findings[1].sentence
    assert "in 1 class folder that train/ does not have: val/cats/e.jpg; both" in listing.findings[2].sentence
    assert listing.findings[2].sentence.endswith("(cat?)")


def test_photos_of_a_folder_are_split_by_name_and_one_alone_is_no_validation(tmp_path: Path) -> None:
    empty = list_folder(tmp_path, channels=3, validation_fraction=0.2)
    assert (told_of(empty), names_of(empty)) == ([("error", "no images", ())], {"training": [], "validation": []})
    photo(tmp_path / "a/one.jpg")
    (tmp_path / "a/notes.txt").touch()
    one = list_folder(tmp_path, channels=3, validation_fraction=0.2)
    assert (told_of(one), names_of(one)) == (
        [("note", "ignored files", ("a/notes.txt",))], {"training": [("a/one.jpg", "")], "validation": []},
    )  # fmt: skip
    for number in range(9):
        photo(tmp_path / f"{number}.jpg", seed=number)
    ten = list_folder(tmp_path, channels=3, validation_fraction=0.3)
    assert {name: len(split) for name, split in ten.splits.items()} == {"training": 7, "validation": 3}
    for number in range(9):
        label_map(tmp_path / f"{number}.png", 0, 1)
    assert ("warning", "label maps", ()) in told_of(list_folder(tmp_path, channels=3, validation_fraction=0.3))


SEGMENTATION: dict[str, Any] = {
    "images": "photos/{split}", "maps": "maps/{split}", "splits": {"train": "a", "validation": "b"}, "num_classes": 3,
    "ignore_index": 255, "validation_fraction": 0.5,
}  # fmt: skip


def test_defects_of_any_layout_are_told_by_side_with_their_weight(tmp_path: Path) -> None:
    for split, names in (("a", "123"), ("b", "4")):
        for name in names:
            photo(tmp_path / f"photos/{split}/{name}.jpg")
            label_map(tmp_path / f"maps/{split}/{name}.png", 0, 1, 2)
    clean = list_segmentation(tmp_path, channels=3, **SEGMENTATION, classes=["x", "y", "z"])
    assert (told_of(clean), clean.named, clean.class_names) == ([], True, ("x", "y", "z"))
    assert names_of(clean) == {
        "training": [(f"photos/a/{n}.jpg", f"maps/a/{n}.png") for n in "123"],
        "validation": [("photos/b/4.jpg", "maps/b/4.png")],
    }
    photo(tmp_path / "photos/a/alone.jpg")
    label_map(tmp_path / "maps/a/orphan.png", 0)
    photo(tmp_path / "photos/a/2.png")
    (tmp_path / "photos/a/5.heix").touch()
    (tmp_path / "photos/b/4.jpg").rename(tmp_path / "photos/b/5.jpg")
    found = list_segmentation(tmp_path, channels=3, **SEGMENTATION)
    assert told_of(found) == [
        ("warning", "image without class map", ("photos/a/alone.jpg",)),
        ("note", "class map without image", ("maps/a/orphan.png",)),
        ("error", "one name twice", ("photos/a/2.jpg", "photos/a/2.png")),
        ("note", "ignored files", ()),
        ("error", "image without class map", ("photos/b/5.jpg",)),
        ("note", "class map without image", ("maps/b/4.png",)),
        ("error", "no images", ()),
    ]
    assert (found.named, found.num_classes, len(found.palette)) == (False, 3, 3)
    assert "of validation with a class map" in found.findings[-1].sentence
    (tmp_path / "train.txt").write_text("1\nalone\ngone\n")
    listed = list_segmentation(tmp_path, channels=3, **SEGMENTATION | {"lists": {"train": "train.txt"}})
    assert [each for each in told_of(listed) if each[0] == "error"][:3] == [
        ("error", "image without class map", ("alone",)),
        ("error", "one name twice", ("photos/a/2.jpg", "photos/a/2.png")),
        ("error", "listed and not there", ("gone",)),
    ]


def test_what_any_layout_says_wrong_of_classes_or_folders_leaves_the_rest_to_be_looked_at(tmp_path: Path) -> None:
    photo(tmp_path / "photos/b/4.jpg")
    label_map(tmp_path / "maps/b/4.png", 0, 1)
    only = list_segmentation(tmp_path, channels=3, **SEGMENTATION | {"splits": {"validation": "b"}})
    assert (told_of(only), {name: len(split) for name, split in only.splits.items()}) == (
        [("note", "no training", ())], {"training": 0, "validation": 1},
    )  # fmt: skip
    found = list_segmentation(
        tmp_path, channels=3, **SEGMENTATION | {"splits": {"train": "b"}, "classes": ["x", "y"], "images": "gone"}
    )
    assert [each[:2] for each in told_of(found)] == [("error", "classes"), ("error", "missing folder")] + [
        ("error", "no images")
    ] * 2
    assert (found.num_classes, found.class_names) == (2, ("x", "y"))
    assert {name: len(split) for name, split in found.splits.items()} == {"training": 0, "validation": 0}
    photos = list_segmentation(tmp_path, channels=3, **SEGMENTATION | {"maps": None, "splits": {"train": "b"}})
    assert names_of(photos)["training"] == [("photos/b/4.jpg", "")]
    with pytest.raises(UserError, match=r"^data: data\.values: 0 is said to be 9"):
        list_segmentation(tmp_path, channels=3, **SEGMENTATION | {"values": {0: 9}})
    named = list_files(segmentation, SETTINGS | SEGMENTATION | {"root": str(tmp_path), "classes": ["x", "y", "z"]})
    assert named is not None
    assert named.class_names == ("x", "y", "z")


def test_maps_are_looked_at_by_their_coding_and_what_it_does_not_know_is_told_apart(tmp_path: Path) -> None:
    """A list of values, of which one map lacks one; a list of colors; a map of no form at all, and one of colors."""
    for split, value in (("a", 1000), ("b", 500)):
        for name in "12":
            save(
                Image.fromarray(np.linspace(0, value, 16).astype(np.uint16).reshape(4, 4)),
                tmp_path / f"photos/{split}/{name}.png",
            )
            label_map(tmp_path / f"maps/{split}/{name}.png", 0, 7, size=(4, 4))
    label_map(tmp_path / "maps/a/2.png", 0, 8, size=(4, 4))
    told: dict[str, Any] = SEGMENTATION | {"values": {0: 0, 7: 2, 9: 1}}
    found = list_segmentation(tmp_path, channels=1, **told)
    assert found.reading is not None
    assert found.reading.table().class_of[[0, 7, 9]].tolist() == [0, 2, 1]
    assert [found.splits[name].sample(0)[0].max() for name in ("training", "validation")] == [255, 128]
    wide = list_segmentation(tmp_path, channels=1, **SEGMENTATION | {"values": {0: 0, 7: 2, 3000: 1}})
    assert set(wide.splits["training"].look(1).problems) == {"labels without a class"}
    colors = list_segmentation(tmp_path, channels=1, **SEGMENTATION | {"colours": {"0 0 0": 0, "7 7 7": 2, "9 9 9": 1}})
    assert [set(colors.splits["training"].look(n).problems) for n in range(2)] == [set(), {"labels without a class"}]
    (tmp_path / "maps/b/1.png").write_bytes(b"x")
    save(smooth_picture(4, 4), tmp_path / "maps/b/2.png")
    looks = [found.splits["validation"].look(n) for n in range(2)]
    assert [set(look.problems) for look in looks] == [{"unreadable labels"}, {"labels in colours"}]
    (tmp_path / "train.txt").write_text("1\n")
    photo(tmp_path / "photos/b/alone.png")
    some = list_segmentation(tmp_path, channels=1, **told | {"lists": {"train": "train.txt"}})
    assert ("warning", "image without class map", ("photos/b/alone.png",)) in told_of(some)


def test_ade20ks_classes_are_those_of_its_file_where_the_configuration_says_other_ones(pairs: Path) -> None:
    (pairs / "classes.json").write_text(json.dumps({"names": [*"abcdefghijkl"]}))
    (pairs / "annotations/validation/drawn.svg").touch()
    listing = list_ade20k(pairs, channels=3, num_classes=3)
    assert (listing.num_classes, listing.class_names) == (12, tuple("abcdefghijkl"))
    assert ("error", "classes", ("classes.json",)) in told_of(listing)
    assert ("warning", "unread pictures", ("annotations/validation/drawn.svg",)) in told_of(listing)
    (pairs / "classes.json").write_text("{")
    broken = list_ade20k(pairs, channels=3, num_classes=3)
    assert (broken.num_classes, broken.class_names) == (3, ("class 0", "class 1", "class 2"))
    for path in (pairs / "images/training").iterdir():
        path.unlink()
    (pairs / "images/validation").rename(pairs / "images/held_out")
    (pairs / "images/more").mkdir()
    missing = [each for each in list_ade20k(pairs, channels=3, num_classes=3).findings if each.level == "error"]
    assert [(each.kind, each.files) for each in missing if each.kind in ("missing folder", "no images")] == [
        ("missing folder", ("images/validation",)), ("no images", ("images/training",)),
    ]  # fmt: skip
    assert "(there is images/held_out/, images/more/, images/training/)" in missing[1].sentence


def test_more_class_folders_than_are_configured_are_told_and_every_note_of_a_reader(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        photo(tmp_path / f"train/{name}/a.jpg")
    photo(tmp_path / "val/cat/a.jpg")
    assert [each.kind for each in list_imagenet(tmp_path, channels=3, num_classes=1).findings] == ["number of classes"]
    data = imagenet(root=str(tmp_path), batch_size=1, num_workers=0, train_limit=None, **{
        key: SETTINGS[key] for key in ("channels", "image_size", "mean", "std", "ignore_index")
    }, num_classes=2)  # fmt: skip
    noted = list_samples(replace(data, notes=("note: one", "warning: two")))
    assert told_of(noted) == [("note", "reader", ()), ("warning", "reader", ())]


TRAITS: dict[str, tuple[Image.Image, str, dict[str, Any], tuple[str, ...]]] = {
    "plain": (smooth_picture(8, 8), "a.jpg", {}, ()),
    "alpha": (smooth_picture(8, 8).convert("RGBA"), "a.png", {}, ("alpha",)),
    "grey with alpha": (smooth_picture(8, 8).convert("LA"), "a.png", {}, ("alpha", "grey")),
    "palette": (smooth_picture(8, 8).convert("P"), "a.png", {}, ("palette",)),
    "transparent color": (smooth_picture(8, 8).convert("P"), "a.png", {"transparency": 1}, ("alpha", "palette")),
    "16 bits": (
        Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 999), "a.png", {}, ("16 bits", "grey"),
    ),
    "CMYK": (smooth_picture(8, 8).convert("CMYK"), "a.jpg", {}, ("CMYK",)),
    "pages": (smooth_picture(8, 8), "a.tif", {"save_all": True, "append_images": [smooth_picture(8, 8)]},
              ("several pages",)),
    "another name": (smooth_picture(8, 8), "a.png", {"format": "JPEG"}, ("named as another format",)),
    "a usual name": (smooth_picture(8, 8), "a.JPEG", {"format": "JPEG"}, ()),
    "one color": (Image.new("RGB", (8, 8), (9, 8, 7)), "a.png", {}, ("blank",)),
    "gray": (smooth_picture(8, 8).convert("L"), "a.png", {}, ("grey",)),
}  # fmt: skip


@pytest.mark.parametrize("kind", TRAITS)
def test_what_is_peculiar_about_a_file_is_told(tmp_path: Path, kind: str) -> None:
    picture, name, options, traits = TRAITS[kind]
    save(picture, tmp_path / name, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        look = FileSplit(tmp_path, [name], 3, pixel_range=PixelRange((0,), (65535,))).look(0)
    assert (look.traits, look.problems) == (traits, {})


def test_a_turned_photo_keeps_its_other_traits_and_a_size_is_explained_by_turning_alone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(smooth_picture(16, 16).convert("L"), tmp_path / "a.png", format="JPEG", exif=exif.tobytes())
    label_map(tmp_path / "m.png", 0, 1)
    look = FileSplit(tmp_path, ["a.png"], 3, maps=["m.png"]).look(0)
    assert look.traits == ("turned by EXIF, its map not", "named as another format", "grey")
    label_map(tmp_path / "m.png", 0, 1, size=(9, 16))
    assert FileSplit(tmp_path, ["a.png"], 3, maps=["m.png"]).look(0).problems == {"size": "image 16x16, map 16x9"}
    save(smooth_picture(8, 12), tmp_path / "b.gif", save_all=True, append_images=[smooth_picture(8, 12, 1)])
    assert "several pages" in FileSplit(tmp_path, ["b.gif"], 3).look(0).traits
    assert FileSplit(tmp_path, ["b.gif"], (1, 2)).look(0).traits == ()  # of bands as they are stored
    assert FileSplit(tmp_path, ["b.gif"], 3).sample(0)[0].shape == (8, 12, 3)


def test_a_picture_is_measured_by_its_own_pixels_of_8_or_of_16_bits() -> None:
    values = np.zeros((2, 8, 18), np.uint8)
    values[0, :, 9:], values[1] = 200, 10
    found = measure(torch.from_numpy(values), b"x")
    assert (found.size, found.total.tolist(), found.squares.tolist()) == (
        (8, 18), [72 * 200, 144 * 10], [72 * 200**2, 144 * 10**2],
    )  # fmt: skip
    assert found.thumb.tolist() == [[5] * 4 + [55] + [105] * 4] * 8
    deep = measure(torch.from_numpy(values.astype(np.uint16) * 257), b"y")
    assert (deep.total.tolist(), deep.squares.tolist()) == (found.total.tolist(), found.squares.tolist())
    assert (deep.thumb == found.thumb).all()
    assert deep.content != found.content == measure(torch.from_numpy(values), b"x").content
    labels = count(np.array([[0, 3, 3], [255, 3, 0]], np.uint8), b"z")
    assert (labels.size, {n: c for n, c in enumerate(labels.stored.tolist()) if c}) == ((2, 3), {0: 2, 3: 3, 255: 1})


class Some(ListSet):
    """Whose last sample cannot be read."""

    def __getitem__(self, index: int) -> Sample:
        if index == len(self) - 1:
            raise UserError("it is gone")
        return super().__getitem__(index)


def test_samples_of_any_set_are_looked_at_with_their_maps_or_classes() -> None:
    image = torch.arange(3 * 4 * 5, dtype=torch.uint8).reshape(3, 4, 5)
    small = torch.tensor([[0, 1], [1, 255]], dtype=torch.uint8)
    samples = [Sample(image, small, "a"), Sample(image, 7, "b"), Sample(image * 0 + 9, None, "c")]
    split = SampleSplit(Some([*samples, samples[0]]))
    looks = [split.look(number) for number in range(4)]
    assert [look.class_id for look in looks] == [None, 7, None, None]
    assert [look.problems for look in looks] == [
        {"size": "image 5x4, map 2x2"}, {}, {}, {"unreadable image": "it is gone"},
    ]  # fmt: skip
    assert [look.labels is None for look in looks] == [False, True, True, True]
    assert [look.traits for look in looks] == [(), (), ("blank",), ()]
    assert [split.name(number) for number in (1, 3)] == ["b", "sample 3"]
    drawn, stored = split.sample(0)
    assert (drawn.shape, drawn[0, 1].tolist()) == ((4, 5, 3), [1, 21, 41])
    assert np.array_equal(stored, small)
    assert split.sample(1)[1] is None


def test_statistics_are_those_of_pictures_spread_over_the_set_without_those_that_cannot_be_read() -> None:
    def plain(value: int, height: int = 2) -> Sample:
        return Sample(torch.full((3, height, 3), value, dtype=torch.uint8), None, "")

    images = ListSet([plain(0), plain(90), plain(30, 6), plain(90)])
    assert statistics(images, 2) == ([0.088] * 3, [0.051] * 3)  # 6 pixels of 0, 18 of 30: mean 22.5, deviation 12.99
    assert statistics(Some([plain(51), plain(0), plain(0)]), 1) == ([0.2] * 3, [0.001] * 3)

    class First(ListSet):
        def __getitem__(self, index: int) -> Sample:
            if index == 0:
                raise UserError("damaged")
            return super().__getitem__(index)

    assert statistics(First([plain(0), plain(255)]), 9) == ([1.0] * 3, [0.001] * 3)
