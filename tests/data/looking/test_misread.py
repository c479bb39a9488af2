"""Folders that a look once took for something else without a word: what it says of them now."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from test_looking import label_map, labelled, photo

from mae_hydra.commands.check_data.look import _with_its_root, known_sets
from mae_hydra.data.looking import look
from mae_hydra.data.looking.advice import Advice, advise
from mae_hydra.data.readers.class_list import class_list

HEIGHT, WIDTH = 48, 64
RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 255, 0)


def blocks(seed: int, count: int) -> np.ndarray:
    """Numbers below `count` in blocks of 8x8 pixels, all of which occur."""
    coarse = np.random.default_rng(seed).permutation(np.arange(48) % count)
    return np.kron(coarse.reshape(6, 8), np.ones((8, 8), int))


def pairs(root: Path, write: Callable[[int, Path], Any], ending: str = ".png") -> Path:
    for each in range(6):
        photo(root / f"images/{each}.jpg", each)
        (root / "masks").mkdir(exist_ok=True)
        write(each, root / f"masks/{each}{ending}")
    return root


def advice_of(root: Path) -> Advice:
    return advise(look(root), known_sets())


def levels(*values: int) -> Callable[[int, Path], Any]:
    known = np.array(values, np.uint8)
    return lambda seed, path: Image.fromarray(known[blocks(seed, len(values))]).save(path)


def resized(seed: int, path: Path) -> None:
    """A triangle of white, drawn four times as large."""
    mask = Image.new("L", (4 * WIDTH, 4 * HEIGHT))
    ImageDraw.Draw(mask).polygon([(5, 9 + seed), (240, 30), (120, 180 - seed)], fill=255)
    mask.resize((WIDTH, HEIGHT), Image.Resampling.BOX).save(path)


def quantized(seed: int, path: Path) -> None:
    """Two of three colors, numbered as they come."""
    colours = np.array([RED, BLUE, GREEN], np.uint8)[[seed % 3, (seed + 1) % 3]]
    Image.fromarray(colours[blocks(seed, 2)]).quantize(4).save(path)


BRIGHT = {"0-127": 0, "128-255": 1}
MEANINGS: dict[str, tuple[Callable[[int, Path], Any], str, dict[str, Any] | str]] = {
    # how maps are written -> data.values or data.colours of what is typed, or why nothing is
    "jpeg of two tones": (levels(0, 255), ".jpg", {"num_classes": 2, "values": BRIGHT}),
    "jpeg of more": (levels(0, 60, 120, 180, 240), ".jpg", "a class map holds JPEG pixels; JPEG changes values"),
    "jpeg of numbers": (levels(0, 1, 2, 3), ".jpg", "a class map holds JPEG pixels; JPEG changes values"),
    "a resized mask": (resized, ".png", {"num_classes": 2, "values": BRIGHT}),
    "bits beside bytes": (
        lambda seed, path: levels(0, 255 if seed % 2 else 1)(seed, path),
        ".png",
        {"num_classes": 2, "values": {0: 0, 1: 1, 255: 1}},
    ),
    "an ignored border": (levels(0, 1, 255), ".png", {"num_classes": 2}),
    "palettes of their own": (
        quantized,
        ".png",
        {"num_classes": 3, "colours": {"0 0 255": 0, "0 255 0": 1, "255 0 0": 2}},
    ),
    "scores": (
        lambda seed, path: np.save(path, np.eye(3, dtype=np.uint8)[blocks(seed, 3)]),
        ".npy",
        "a class map has 3 bands; a class map has one",
    ),
}


@pytest.mark.parametrize("form", MEANINGS)
def test_what_class_maps_mean_is_right_or_is_said(tmp_path, form):
    write, ending, wanted = MEANINGS[form]
    advice = advice_of(pairs(tmp_path, write, ending))
    if isinstance(wanted, str):
        assert [way.model for way in advice.ways] == ["mae_vitt"]
        assert any(wanted in sentence for sentence in advice.said)
        return
    keys = advice.ways[0].keys
    assert {key: keys[key] for key in ("num_classes", "values", "colours") if key in keys} == wanted
    assert any("different colours" in sentence for sentence in advice.said) == ("colours" in wanted)


def test_pure_colours_are_everybodys(tmp_path):
    colours = np.array([RED, BLUE, GREEN, (0, 255, 255), (255, 255, 0)], np.uint8)
    advice = advice_of(pairs(tmp_path, lambda seed, path: Image.fromarray(colours[blocks(seed, 5)]).save(path)))
    assert advice.ways[0].data == "segmentation"
    assert advice.ways[0].keys["num_classes"] == 5
    assert [way.means for way in advice.ways[1:]] == ["the classes of the public set potsdam"]


def test_a_suffix_is_shared_though_names_end_in_words_of_their_own(tmp_path):
    for split, names in (("train", ("a1", "b2", "c3")), ("valid", ("d4", "e5", "f6"))):
        for number, name in enumerate(names):
            photo(tmp_path / f"{split}/{name}_jpg.rf.{name}f.jpg", number)
            label_map(tmp_path / f"{split}/{name}_jpg.rf.{name}f_mask.png", seed=number)
    found = look(tmp_path)
    assert found.pairs is not None
    assert (found.pairs.maps.suffix, found.pairs.maps.total, found.pairs.others) == ("_mask", 6, ())


def test_lists_of_windows_are_known(tmp_path):
    labelled(tmp_path, "images/{n}.jpg", "masks/{n}.png", ("all",), each=4)
    (tmp_path / "train.txt").write_bytes("\ufeffimages\\000.jpg\r\nimages\\001.jpg\r\nimages\\002.jpg\r\n".encode())
    (tmp_path / "val.txt").write_bytes(b"images\\003.jpg\r\n")
    assert advice_of(tmp_path).ways[0].keys["lists"] == {"train": "train.txt", "validation": "val.txt"}


def test_a_line_that_is_cut_says_nothing_of_a_long_list(tmp_path):
    for number in range(4):
        photo(tmp_path / f"{number}.jpg", number)
    cell = "x" * 900
    (tmp_path / "list.csv").write_text("".join(f"{number % 4}.jpg;{number % 2};{cell}\n" for number in range(100)))
    assert look(tmp_path).class_lists == {"list.csv": (0, 1)}


def test_photos_beside_masks_of_objects_are_told_apart(tmp_path):
    for name in ("a1", "b2", "c3"):
        photo(tmp_path / f"stage1_train/{name}/images/{name}.png")
        for number in range(2):
            label_map(tmp_path / f"stage1_train/{name}/masks/{name}{number}ff.png", (0, 255), number)
    advice = advice_of(tmp_path)
    [way] = advice.ways
    assert (way.model, way.data, way.keys["maps"]) == ("mae_vitt", "segmentation", None)
    assert way.keys["images"] == "stage1_{split}/*/images"
    assert any("pair with no photo by their names" in sentence for sentence in advice.said)


FOREIGN = {  # a file, what is in it, what is said
    "coco": ("train/_annotations.coco.json", '{"info": {}, "licenses": [], "images": [', "outlines .*COCO"),
    "labelme": ("a.json", '{"version": "5", "shapes": [], "imagePath": "a.jpg"}', "outlines .*LabelMe"),
    "supervisely": ("ann/a.jpg.json", '{"objects": [{"classTitle": "car"}]}', "outlines .*Supervisely"),
    "yolo": ("labels/a.txt", "0 0.5 0.25 0.1 1\n12 .5 .5 0.25 0.125 0.5 1\n", "boxes or outlines .*YOLO"),
    "run lengths": ("train.csv", "ImageId,EncodedPixels\na,1 2 9 4\n", "masks in run lengths.*: draw class maps"),
    "matlab": ("cls/a.mat", "MATLAB 5.0", "arrays of MATLAB.*: write their maps as PNGs"),
    "volumes": ("label/label0001.nii.gz", "\x1f", "volumes.*: write their slices"),
    "outlines": ("buildings/a.geojson", "{}", "outlines on the ground.*: burn"),
    "packed": ("masks.zip", "PK", "packed files.*: unpack"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_labels_in_other_forms_are_said_with_what_to_do(tmp_path, kind):
    file, text, said = FOREIGN[kind]
    photo(tmp_path / "train/a.jpg")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    [note] = [note for note in look(tmp_path).notes if "not read" in note]
    assert note.startswith(f"{file} holds ")
    assert re.search(said, note)


def test_numbers_in_rows_are_not_outlines(tmp_path):
    photo(tmp_path / "images/1.jpg")
    (tmp_path / "poses.txt").write_text("5 128 64 128 255\n7 128 64 128 255\n")
    assert not look(tmp_path).notes


@pytest.mark.parametrize(("images", "maps", "plain"), [("X", "y", "classification"), ("{}/b", "{}/a", "imagenet")])
def test_photos_and_maps_in_folders_that_say_nothing_are_pairs_or_else_classes(tmp_path, images, maps, plain):
    for split in ("train", "val"):
        for number in range(3):
            photo(tmp_path / f"{images.format(split)}/{split}{number}.png", number)
            label_map(tmp_path / f"{maps.format(split)}/{split}{number}.png", seed=number)
    ways = advice_of(tmp_path).ways
    assert [way.data for way in ways[:3]] == ["segmentation", "segmentation", plain]
    assert (ways[0].keys["images"], ways[0].keys["maps"]) == (images.format("{split}"), maps.format("{split}"))


@pytest.mark.parametrize("write", [photo, lambda path, seed: label_map(path, (0, 255), seed)])
def test_classes_whose_files_have_the_same_names_stay_classes(tmp_path, write):
    for folder in ("cat", "dog"):
        for number in range(3):
            write(tmp_path / folder / f"{number}.png", number + len(folder))
    assert advice_of(tmp_path).ways[0].data == "classification"


def test_the_gaps_in_the_numbers_of_a_public_set_tell_it_wherever_it_lies(tmp_path):
    gaps = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)  # of COCO's ids that are not used, less 1
    known = [value for value in range(182) if value not in gaps]
    for number in range(8):
        split = "train2017" if number < 6 else "val2017"
        photo(tmp_path / split / f"{number}.jpg", number)
        label_map(tmp_path / f"stuffthingmaps_trainval2017/{split}/{number}.png", [*known[number::8], 255], number)
    best, other = advice_of(tmp_path).ways[:2]
    assert (best.data, best.keys["maps"]) == ("coco_stuff164k", "stuffthingmaps_trainval2017/{split}2017")
    assert other.keys["num_classes"] == 182
    label_map(tmp_path / "stuffthingmaps_trainval2017/train2017/0.png", (0, 11, 181))
    assert advice_of(tmp_path).ways[0].data == "segmentation"


def test_numbers_of_16_bits_have_no_gaps_of_a_public_set(tmp_path):
    known = np.arange(0, 5000, 1000, dtype=np.uint16)
    root = pairs(tmp_path, lambda seed, path: Image.fromarray(known[blocks(seed, 5)]).save(path))
    assert [way.keys["num_classes"] for way in advice_of(root).ways] == [5]


def test_two_versions_of_maps_are_no_folders_of_one_kind(tmp_path):
    for split in ("training", "validation"):
        for number in range(3):
            photo(tmp_path / f"mapillary/{split}/images/{split}{number}.jpg", number)
            for place in ("v1.2/labels", "v1.2/instances", "v2.0/labels", "v2.0/instances"):
                label_map(tmp_path / f"mapillary/{split}/{place}/{split}{number}.png", (0, 1, 2, 65), number)
    ways = advice_of(tmp_path / "mapillary").ways
    assert [way.data for way in ways[:3]] == ["mapillary", "mapillary_v2", "segmentation"]
    assert ways[2].keys["maps"] == "{split}/v1.2/labels"


def test_a_set_is_known_by_the_name_of_its_published_folder_or_of_one_in_it(tmp_path):
    folder = tmp_path / "VOCdevkit/VOC2012"
    for number in range(4):
        photo(folder / f"JPEGImages/{number}.jpg", number)
        label_map(folder / f"SegmentationClass/{number}.png", (0, 1, 20, 255), number)
    (folder / "ImageSets/Segmentation").mkdir(parents=True)
    (folder / "ImageSets/Segmentation/train.txt").write_text("0\n1\n2\n")
    (folder / "ImageSets/Segmentation/val.txt").write_text("3\n")
    best = advice_of(tmp_path / "VOCdevkit").ways[0]
    assert (best.data, best.keys["root"]) == ("voc2012", folder)


def test_a_set_that_does_not_lie_as_published_is_pointed_to_its_options(tmp_path):
    photo(tmp_path / "STARE/im0001.png")
    (tmp_path / "STARE/im0001.ah.ppm.gz").write_bytes(b"")
    assert any("conf/data/stare.yaml says how it is published" in each for each in advice_of(tmp_path / "STARE").said)


def test_names_and_colours_come_from_the_table_that_lies_beside(tmp_path):
    write = levels(0, 1, 2)
    (pairs(tmp_path / "numbers", write) / "_classes.csv").write_text(
        "Pixel Value, Class\n1, car\n0, none\n2, a tree\n3, lake\n"
    )
    way = advice_of(tmp_path / "numbers").ways[0]
    assert (way.keys["num_classes"], way.keys["classes"]) == (4, "_classes.csv")
    assert class_list(tmp_path / "numbers", "_classes.csv", None).names == ("none", "car", "a tree", "lake")
    colours = np.array([RED, BLUE], np.uint8)
    root = pairs(tmp_path / "colours", lambda seed, path: Image.fromarray(colours[blocks(seed, 2)]).save(path))
    (root / "class_dict.csv").write_text("name,r,g,b\nroad,255,0,0\nmoss,0,90,0\nlake,0,0,255\n")
    keys = advice_of(root).ways[0].keys
    assert (keys["num_classes"], keys["colours"]) == (3, {"255 0 0": 0, "0 90 0": 1, "0 0 255": 2})


def test_masks_without_a_photo_of_their_name_are_not_taken_for_photos(tmp_path):
    for number in range(4):
        photo(tmp_path / f"images/{number}.jpg", number)
        label_map(tmp_path / f"task-{number}-tag-car-0.png", (0, 255), number)
    advice = advice_of(tmp_path)
    assert [(way.data, way.keys["root"]) for way in advice.ways] == [("folder", tmp_path / "images")]
    assert "4 class maps lie there that pair with no photo by their names" in advice.said


def test_what_is_said_of_links_to_shards_names_the_shards_themselves() -> None:
    way: Any = SimpleNamespace(keys={"root": "/my/set"})
    said = "/tmp/x/a.tar is broken, /tmp/x/b.tar too"
    assert _with_its_root(said, {"root": "/tmp/x"}, way) == "/my/set/a.tar is broken, /my/set/b.tar too"
    assert _with_its_root(said, {}, way) == said
