"""`data=segmentation`: which files belong together, what is stored in them, and what is refused in one sentence."""

import json
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest
import torch
from PIL import Image

from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build
from mae_hydra.data import ImageData, segmentation
from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.data.label_table import Reading
from mae_hydra.data.labels.coding import Coding
from mae_hydra.data.readers.folder import split_by_name
from mae_hydra.data.readers.labelled_photos import LabelledPhotos
from mae_hydra.data.readers.map_settings import MapSettings
from mae_hydra.errors import UserError

SIZE = (4, 6)
PLAIN: dict[str, Any] = {
    "images": "img", "maps": "ann", "image_suffix": None, "map_suffix": None, "splits": None, "lists": None,
    "validation_fraction": 0.5, "image_size": 8, "channels": 3, "mean": [0.5] * 3, "std": [0.2] * 3,
    "ignore_index": 255, "batch_size": 1, "num_workers": 0, "num_classes": 2,
}  # fmt: skip


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(path)
    return path


def stored(path: Path, values, dtype=np.uint8) -> Path:
    """A map that holds `values` from its beginning on, and the first of them elsewhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.full(SIZE[0] * SIZE[1], values[0], dtype)
    array[: len(values)] = values
    Image.fromarray(array.reshape(SIZE)).save(path)
    return path


def read(root: Path, *words: str) -> ImageData:
    plain = ["data=segmentation", f"data.root='{root}'", "data.images=img", "data.maps=ann", "data.batch_size=2"]
    return build(compose_config([*plain, *words]).data, "data")


def classes_in(data: ImageData) -> list[list[int]]:
    """Of every map the classes at its beginning, over both splits, in the order of the photos' names."""
    found = {}
    for part in (data.train, data.validation):
        for index in range(len(part)):
            found[part[index].name] = part[index].label.flatten()[:4].tolist()
    return [found[name] for name in sorted(found)]


def two(root: Path, values=(0, 1, 2, 255), ending=".png") -> Path:
    for name in ("a", "b"):
        photo(root / f"img/{name}.jpg")
        stored(root / f"ann/{name}{ending}", values)
    return root


@pytest.mark.parametrize(
    ("values", "words", "wanted"),
    [
        ((0, 1, 2, 255), ["data.num_classes=3"], [0, 1, 2, 255]),
        ((0, 1, 2, 3), ["data.num_classes=3", "data.reduce_zero_label=true"], [255, 0, 1, 2]),
        ((0, 1, 2, 3), ["data.num_classes=2", "data.ignore_values=[2,3]"], [0, 1, 255, 255]),
        (
            (0, 1, 2, 3),
            ["data.num_classes=3", "data.reduce_zero_label=true", "data.ignore_values=[2]"],
            [255, 0, 255, 2],
        ),
        ((7, 8, 9, 200), ["data.num_classes=2", "data.values={7: 1, 8-9: 0, 100-255: ignore}"], [1, 0, 0, 255]),
        ((10, 11, 12, 40), ["data.num_classes=4", "data.values={10-12: 1-3, 40: 0}"], [1, 2, 3, 0]),
        (
            (0, 1, 2, 3),
            ["data.num_classes=2", "data.classes=[sea, dry land]", "data.values={0: sea, 1-2: dry land, 3: ignore}"],
            [0, 1, 1, 255],
        ),
    ],
)  # fmt: skip
def test_stored_values_mean_what_is_told(tmp_path, values, words, wanted):
    assert classes_in(read(two(tmp_path, values), *words)) == [wanted, wanted]


def test_numbers_above_255_have_a_class(tmp_path):
    for name in ("a", "b"):
        photo(tmp_path / f"img/{name}.jpg")
        stored(tmp_path / f"ann/{name}.png", (3, 894, 65535, 300), np.uint16)
    words = ["data.num_classes=2", "data.values={0-299: 0, 300-894: 1, 65535: ignore}"]
    data = read(tmp_path, *words)
    assert classes_in(data) == [[0, 1, 255, 1]] * 2
    stored(tmp_path / "ann/a.png", (3, 900), np.uint16)
    with pytest.raises(UserError, match=r"a\.png holds the value 900, 1 pixels have one that data.values does"):
        classes_in(data)


def test_maps_of_one_bit_and_jpegs_are_read_by_brightness_where_every_value_has_a_meaning(tmp_path):
    for name in ("a", "b", "c"):
        photo(tmp_path / f"img/{name}.jpg")
    stored(tmp_path / "ann/a.png", (0, 254, 1, 255))
    Image.fromarray(np.kron([[0, 255]], np.ones((4, 3))).astype(bool)).save(tmp_path / "ann/b.png")
    Image.fromarray(np.kron([[0, 255]], np.ones((4, 3))).astype(np.uint8)).convert("RGB").save(
        tmp_path / "ann/c.jpg", quality=100
    )
    found = classes_in(read(tmp_path, "data.num_classes=2", "data.values={0-127: 0, 128-255: 1}"))
    assert found == [[0, 1, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1]]


def test_photos_and_maps_pair_by_path_and_stem_at_any_depth(tmp_path):
    for city, number in (("x", 1), ("x", 2), ("y", 1)):
        photo(tmp_path / f"img/{city}/{number}_left.jpg")
        stored(tmp_path / f"ann/{city}/{number}_gt_ids.png", (number,))
    stored(tmp_path / "ann/x/1_gt_colours.png", (9,))
    data = read(tmp_path, "data.num_classes=3", "data.image_suffix=_left", "data.map_suffix=_gt_ids.png")
    assert [each[0] for each in classes_in(data)] == [1, 2, 1]
    assert {data.train[0].name, data.train[1].name, data.validation[0].name} == {"x/1", "x/2", "y/1"}


def test_splits_and_stars_are_filled_in_as_typed_in_a_shell(tmp_path):
    for split in ("train", "val", "test"):
        for scene in ("town", "wood"):
            photo(tmp_path / f"{split}/{scene}/pictures/1.jpg")
            stored(tmp_path / f"{split}/{scene}/truth/1.png", (0 if scene == "town" else 1,))
    data = read(tmp_path, "data.images={split}/*/pictures", "data.maps={split}/*/truth", "data.num_classes=2")
    assert [data.train[index].name for index in range(2)] == ["town/1", "wood/1"]
    assert [int(part[1].label[0, 0]) for part in (data.train, data.validation, data.test())] == [1, 1, 1]


def test_lists_may_hold_stems_or_pairs_of_paths_of_another_machine(tmp_path):
    for name in "abcd":
        photo(tmp_path / f"img/{name}.jpg")
        stored(tmp_path / f"ann/{name}.png", (0, 1))
    (tmp_path / "train.txt").write_text("# stems\nb\nimg/a.jpg\n")
    (tmp_path / "val.txt").write_text("/SegNet/set/img/c.jpg /SegNet/set/ann/d.png\n")
    data = read(tmp_path, "data.num_classes=2", "data.lists={split}.txt")
    assert [part.paths(index)[1].name for part in (data.train, data.validation) for index in range(len(part))] == [
        "a.png", "b.png", "d.png",
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"data.lists.test"):
        data.test()
    (tmp_path / "val.txt").write_text("c\nnowhere\n")
    with pytest.raises(UserError, match=r"the list of validation names 1 pictures that are not in .*, nowhere for one"):
        read(tmp_path, "data.num_classes=2", "data.lists={split}.txt")


def test_what_no_list_of_another_split_names_is_for_training(tmp_path):
    for name in "abcd":
        photo(tmp_path / f"img/{name}.jpg")
        stored(tmp_path / f"ann/{name}.png", (0, 1))
    data = read(tmp_path, "data.num_classes=2", "data.lists={validation: [b], test: [d]}")
    assert [data.train[index].name for index in range(2)] == ["a", "c"]
    assert (data.validation[0].name, data.test()[0].name) == ("b", "d")


def test_a_share_chosen_by_names_is_held_out_where_nothing_tells_the_split(tmp_path):
    for number in range(20):
        photo(tmp_path / f"img/{number}.jpg")
        stored(tmp_path / f"ann/{number}.png", (0, 1))
    first, again = (read(tmp_path, "data.num_classes=2", "data.validation_fraction=0.2") for _ in range(2))
    assert (len(first.train), len(first.validation)) == (16, 4)
    assert first.validation.listing() == again.validation.listing()
    assert not {each.name for each in first.train} & {each.name for each in first.validation}


@pytest.mark.parametrize("form", ["list", "text", "json", "csv"])
def test_names_and_colours_come_from_a_list_or_a_file(tmp_path, form):
    two(tmp_path, (0, 1))
    (tmp_path / "names.txt").write_text("sea\nland\n")
    (tmp_path / "names.json").write_text(json.dumps({"names": ["sea", "land"], "palette": [[0, 0, 255], [0, 99, 0]]}))
    (tmp_path / "names.csv").write_text("name,r,g,b\nsea,0,0,255\nland,0,99,0\n")
    told = {"list": "[sea,land]", "text": "names.txt", "json": "names.json", "csv": "names.csv"}[form]
    data = read(tmp_path, "data.num_classes=2", f"data.classes={told}")
    assert data.class_names == ("sea", "land")
    assert not data.assumed_names
    if form in ("json", "csv"):
        assert data.palette.tolist() == [[0, 0, 255], [0, 99, 0]]
    assert read(tmp_path, "data.num_classes=2", "data.palette='0000ff 006300'").palette.tolist() == [
        [0, 0, 255],
        [0, 99, 0],
    ]
    with pytest.raises(UserError, match=r"names 2 classes and data.num_classes is 3; set data.num_classes=2"):
        read(tmp_path, "data.num_classes=3", f"data.classes={told}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], r"hold 0 to 2 and 255: set data.num_classes=3 data.reduce_zero_label=false"),
        (["data.classes=[a,b,c]"], r"data.classes names 3: set data.num_classes=3"),
        (["data.num_classes=3", "data.images=pictures"], r"no folder pictures in .*there is ann/, img/"),
        (["data.num_classes=3", "data.map_suffix=_x"], r"2 of 2 photos of train have no class map, img/a.jpg for one"),
        (["data.num_classes=3", "data.values={0: water}"], r"wanted is a class 0..2, or ignore"),
        (["data.num_classes=3", "data.values={5-2: 0}"], r"5-2 is no stored value"),
        (["data.num_classes=3", "data.values={1: 0, 0-3: 1}"], r"says two things of the stored value 1"),
        (["data.num_classes=3", "data.colours={0 0 256: 0}"], r"0 0 256 is no color"),
        (["data.num_classes=3", "data.colours={0 0 0: 0, 0-9 0 0: 1}"], r"are one color"),
        (["data.num_classes=3", "data.maps=img"], r"give two folders"),
        (["data.num_classes=3", "data.lists=lists.txt"], r"cannot read the list .*lists.txt"),
        (["data.num_classes=3", "data.classes=gone.txt"], r"cannot read the class names in .*gone.txt"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence(tmp_path, words, said):
    with pytest.raises(UserError, match=said):
        read(two(tmp_path), *words)


def test_what_has_no_partner_is_left_out_and_said(tmp_path):
    two(tmp_path)
    photo(tmp_path / "img/c.jpg")
    stored(tmp_path / "ann/d.png", (0,))
    data = read(tmp_path, "data.num_classes=3")
    assert len(data.train) + len(data.validation) == 2
    assert any(note == "warning: 1 photo of train without a class map left out, img/c.jpg" for note in data.notes)
    assert any("1 class map of train without a photo" in note for note in data.notes)


def test_two_files_of_one_name_are_refused(tmp_path):
    photo(two(tmp_path) / "img/a.png")
    with pytest.raises(UserError, match=r"img/a\.(jpg|png) and img/a\.(png|jpg) .* told apart by their ending alone"):
        read(tmp_path, "data.num_classes=3")


def test_colours_are_read_whatever_form_they_have(tmp_path):
    colours = np.array([[[255, 0, 0], [0, 0, 255]]] * 2, np.uint8).repeat(2, 0).repeat(3, 1)
    pictures = [
        Image.fromarray(colours),
        Image.fromarray(colours).convert("RGBA"),
        Image.fromarray(colours).quantize(2),
    ]
    for number, picture in enumerate(pictures):
        photo(tmp_path / f"img/{number}.jpg")
        (tmp_path / "ann").mkdir(exist_ok=True)
        picture.save(tmp_path / f"ann/{number}.png")
    data = read(tmp_path, "data.num_classes=2", "data.colours={255 0 0: 1, 0 0 255: 0}")
    for part in (data.train, data.validation):
        for index in range(len(part)):
            assert torch.equal(part[index].label, torch.tensor([[1, 1, 1, 0, 0, 0]] * 4, dtype=torch.uint8))


def test_other_words_about_labels_are_another_digest(tmp_path):
    two(tmp_path, (0, 1))
    digests = {
        read(tmp_path, "data.num_classes=2", *words).train.digest()
        for words in (
            [],
            ["data.ignore_values=[1]"],
            ["data.colours={0 0 0: 0, 1 1 1: 1}"],
            ["data.values={0: 1, 1: 0}"],
        )
    }
    assert len(digests) == 4


def test_arrays_are_maps_of_photos_where_no_picture_is(tmp_path):
    two(tmp_path)
    (tmp_path / "ann/a.png").unlink()
    for name in ("a", "b"):
        np.save(tmp_path / f"ann/{name}.npy", np.full(SIZE, 2, np.int64))
    assert classes_in(read(tmp_path, "data.num_classes=3")) == [[2, 2, 2, 2], [0, 1, 2, 255]]


def test_photos_of_both_sides_are_said(tmp_path):
    two(tmp_path)
    lists = "data.lists={train: [a, b], validation: [b]}"
    notes = read(tmp_path, "data.num_classes=3", lists).notes
    assert notes[0].startswith("warning: 1 of 1 photos of validation are trained on too, img/b.jpg for one")


def test_names_pair_in_either_normal_form(tmp_path):
    two(tmp_path)
    photo(tmp_path / f"img/{normalize('NFC', 'é')}.jpg")
    stored(tmp_path / f"ann/{normalize('NFD', 'é')}.png", (1,))
    assert len(classes_in(read(tmp_path, "data.num_classes=3"))) == 3


def opened(root: Path, **changes: Any) -> ImageData:
    return segmentation(**{**PLAIN, "root": str(root), **changes})


def test_the_values_of_many_maps_tell_how_many_classes_there_may_be(tmp_path):
    for number in range(4):
        photo(tmp_path / f"img/val/{number}.jpg")
        stored(tmp_path / f"ann/val/{number}.png", (number,))
    split = {"images": "img/{split}", "maps": "ann/{split}", "splits": {"validation": "val"}}
    photo(tmp_path / "img/val/3.bmp")
    with pytest.raises(UserError, match=r"img/val/3\.bmp and img/val/3\.jpg in .* told apart by their ending alone"):
        opened(tmp_path, **split, num_classes=4)
    (tmp_path / "img/val/3.bmp").unlink()
    for told, said in (
        ({}, r"hold 0 to 3: set data\.num_classes=4 data\.reduce_zero_label=false or data\.num_classes=3 data\.red"),
        ({"classes": ["a", "b"]}, r"data\.classes names 2: set data\.num_classes=2"),
        ({"values": {0: 0}}, r"set data\.num_classes to how many classes data\.values or data\.colours tell apart"),
        ({"colours": {"0 0 0": 0}}, r"set data\.num_classes to how many classes data\.values or data\.colours"),
    ):
        with pytest.raises(UserError, match=rf"data\.num_classes is 0, and with data\.maps .*{said}"):
            opened(tmp_path, **split, num_classes=0, **told)
    assert len(opened(tmp_path, **split, num_classes=4).train) == 0  # a set to evaluate on
    for name in "vwxyz":
        photo(tmp_path / f"img/val/{name}.jpg")
    with pytest.raises(UserError, match=r"5 of 9 photos of validation have no class map, img/val/v\.jpg for one"):
        opened(tmp_path, **split, num_classes=4)


def test_one_range_is_that_of_training_photos_with_maps_and_without(tmp_path):
    names = ["a", "b", "c"]
    train, [held] = split_by_name(names, 0.2)
    for name in names:
        values = np.linspace(0, 4000 if name == held else 1000, 24).reshape(SIZE).astype(np.uint16)
        photo(tmp_path / f"img/{name}.png")
        Image.fromarray(values).save(tmp_path / f"img/{name}.png")
        stored(tmp_path / f"ann/{name}.png", (0, 1))
    for maps, target in (("ann", "map"), (None, "none")):
        data = opened(tmp_path, maps=maps, validation_fraction=0.2, num_classes=2 if maps else 0)
        assert (data.target, data.pixel_range) == (target, PixelRange((0.0,), (1000.0,)))
        assert data.validation[0].image.max() == 255
        assert data.validation[0].image[0, 0, 1] == 44  # 173 of 1000
        assert data.notes[0].startswith("note: pictures of more than 8 bits a channel: [0, 1000] becomes 0 to 255")
        assert len(data.train) == len(train)


def test_as_many_photos_as_have_a_map_may_lack_one_and_a_listed_one_may_not(tmp_path):
    for name in "abcdef":
        photo(tmp_path / f"img/{name}.jpg")
        if name in "abcd":
            stored(tmp_path / f"ann/{name}.png", (0, 1))
    data = opened(tmp_path)
    assert (len(data.train), len(data.validation)) == (2, 2)
    assert data.notes == ("warning: 2 photos of train without a class map left out, img/e.jpg for one",)
    with pytest.raises(UserError, match=r"1 of 2 photos of train have no class map, e for one"):
        opened(tmp_path, lists={"train": ["a", "e"], "validation": ["b"]})
    photo(tmp_path / "img/g.jpg")
    with pytest.raises(UserError, match=r"3 of 5 photos of train have no class map, img/e\.jpg for one"):
        opened(tmp_path)


def test_testing_is_refused_for_what_its_list_lacks_and_one_photo_may_serve_all(tmp_path):
    two(tmp_path, (0, 1))
    data = opened(tmp_path, lists={"train": ["a"], "validation": ["a"], "test": ["b"]})
    assert (data.notes, data.test()[0].name) == ((), "b")
    data = opened(tmp_path, lists={"train": ["a"], "validation": ["a"], "test": ["b", "x"]})
    with pytest.raises(UserError, match=r"the list of test names 1 pictures that are not in .*, x for one"):
        data.test()
    (tmp_path / "train.txt").write_text("img/a.jpg ann/a.png\n")
    lists = {"train": "train.txt", "validation": "train.txt"}
    assert opened(tmp_path, images=".", maps=".", lists=lists).train[0].name == "img/a"


def test_sides_have_three_names_and_photos(tmp_path):
    two(tmp_path, (0, 1))
    for key in ("splits", "lists"):
        with pytest.raises(ValueError, match=rf"data\.{key} has the sides train, validation, test, got val"):
            opened(tmp_path, **{key: {"train": "a", "val": "b"}})
        with pytest.raises(ValueError, match=rf"data\.{key} has the sides train, validation, test, got a"):
            opened(tmp_path, **{key: {"val": "b", "a": "b"}})
    with pytest.raises(UserError, match=r"no photo of train that ends in _x in img, ann below .*; correct"):
        opened(tmp_path, images=["img", "ann"], maps=None, image_suffix="_x", num_classes=0)
    photo(tmp_path / "img/a.png")
    with pytest.raises(UserError, match=r"img/a\.jpg and img/a\.png in .* are told apart by their ending alone"):
        opened(tmp_path, lists={"train": ["b"], "validation": ["a"]})


@pytest.mark.parametrize("share", [0, 1, 1.5])
def test_a_share_of_validation_lies_between_none_and_all(tmp_path, share):
    with pytest.raises(ValueError, match=r"data\.validation_fraction must lie in \(0, 1\), got"):
        opened(tmp_path, validation_fraction=share)


def test_photos_of_more_bands_are_arrays(tmp_path):
    for name in "ab":
        stored(tmp_path / f"ann/{name}.png", (0, 1))
        (tmp_path / "img").mkdir(exist_ok=True)
        np.save(tmp_path / f"img/{name}.npy", np.full((*SIZE, 4), 9, np.uint8))
    data = opened(tmp_path, channels=4, mean=[0.5] * 4, std=[0.2] * 4)
    assert (data.train[0].image.shape, data.train[0].image.unique().tolist()) == ((4, *SIZE), [9])


def test_what_is_known_of_a_set_gives_way_to_what_is_told(tmp_path):
    common = {"channels": 3, "mean": [0.5] * 3, "std": [0.2] * 3, "ignore_index": 255}
    common |= {"image_size": 8, "batch_size": 1, "num_workers": 0, "num_classes": 2}
    known, colours = ("sky", "sea"), [[1, 1, 1], [2, 2, 2]]

    def found(**told: Any) -> tuple[Any, ...]:
        maps = MapSettings(**common, **told).maps(tmp_path, 2, known, colours)
        return maps.names, maps.palette.tolist(), maps.named, maps.facts["assumed_names"]

    assert found() == (known, colours, True, False)
    assert found(classes=["a", "b"]) == (("a", "b"), colours, True, False)
    assert found(palette="#030303 040404") == (known, [[3, 3, 3], [4, 4, 4]], True, False)
    nothing = MapSettings(**common, ignore_values=[7], reduce_zero_label=True).maps(tmp_path, 2)
    assert (nothing.names, nothing.named) == (("class 0", "class 1"), False)
    assert nothing.coding.reading == Reading(2, 255, True, None, (7,))
    assert MapSettings(**common).maps(tmp_path, 2, known, colours[:1]).palette.shape == (2, 3)


def test_a_set_of_labelled_photos_is_another_by_its_range_and_shows_the_colors_of_its_numbers(tmp_path):
    two(tmp_path, (0, 1))
    map_file = tmp_path / "ann/a.png"
    picture = Image.open(map_file).convert("P")
    picture.putpalette([9, 8, 7, 6, 5, 4])
    picture.save(map_file)

    def made(coding: Coding) -> LabelledPhotos:
        return LabelledPhotos(tmp_path / "img", ["a.jpg"], tmp_path / "ann", ["a.png"], ["A"], 3, coding)

    plain = made(Coding(Reading(2, 255, False)))
    first = plain.digest()
    plain.pixel_range = PixelRange((0.0,), (9.0,))
    assert plain.digest() != first
    assert (plain.header(0).mode, plain.name(0), plain[0].name) == ("P", "a.jpg", "A")
    assert plain.palette(0, [1, 0, 300]) == {1: (6, 5, 4), 0: (9, 8, 7)}
    assert plain.stored(0) == ("a.jpg", (tmp_path / "img/a.jpg").read_bytes(), None)
    box = (((0, 9), (0, 9), (0, 9)), 0)
    digests = {
        made(Coding(Reading(2, 255, None), **facts)).digest()
        for facts in ({"colours": (box,)}, {"colours": (box,), "other": 0}, {"wide": (((0, 300), 0),)},
                      {"wide": (((0, 301), 0),)}, {"brightness": True}, {})
    }  # fmt: skip
    assert len(digests) == 6
    for other in ({"brightness": True}, {"colours": ((((0, 9), (0, 9), (0, 9)), 0),)}):
        assert made(Coding(Reading(2, 255, None), **other)).palette(0, [0, 1]) == {}
