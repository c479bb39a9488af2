"""What a folder, a list or a tar is found to be, and labels in other forms, each part by itself."""

import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_found_by_hand import TRAIN, VALIDATION

from mae_hydra.data.looking import folders, lists, look, tars
from mae_hydra.data.looking.foreign import foreign_labels
from mae_hydra.data.looking.found import Labels, Part, Split
from mae_hydra.data.looking.pixels import Budget, Look
from mae_hydra.data.looking.places import File, Group, groups_of
from mae_hydra.data.looking.walk import Walked, walk
from mae_hydra.errors import UserError

NONE = Split("", "")
FEW, MANY = {0: 9, 1: 9}, dict.fromkeys(range(60), 9)


def photo(path: Path, seed: int = 0, size: tuple[int, int] = (16, 24)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def label_map(path: Path, *values: int, size: tuple[int, int] = (16, 24)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.sort(np.resize(np.array(values, np.uint8), size))).save(path)


def test_a_folder_is_told_whole_with_its_other_maps_and_what_lies_beside(tmp_path: Path) -> None:
    """Photos and maps in folders of one name at the end of both, of which some are alone."""
    for split, names in (("train", "abc"), ("val", "d")):
        for number, name in enumerate(names):
            photo(tmp_path / f"photos/{split}/left/cam/{name}.jpg", number)
            for kind in ("labels", "instances", "colors"):
                label_map(tmp_path / f"{kind}/{split}/left/cam/{name}_x.png", 0, number + 1)
    photo(tmp_path / "photos/val/left/cam/alone.jpg")
    label_map(tmp_path / "labels/train/left/cam/orphan_x.png", 7)
    photo(tmp_path / "other/1.bmp")
    photo(tmp_path / "other/2.bmp")
    (tmp_path / "notes.md").touch()
    (tmp_path / "train.txt").write_text("photos/train/left/cam/a.jpg\nphotos/train/left/cam/b.jpg\n")
    found = look(tmp_path)
    assert found.pairs is not None
    pairs = found.pairs
    parts = pairs.images, pairs.maps, *pairs.others
    assert [(part.folder, part.suffix, part.endings, dict(part.counts)) for part in parts] == [
        ("photos/{split}", "", (".jpg",), {TRAIN: 3, VALIDATION: 2}),
        ("labels/{split}", "_x", (".png",), {TRAIN: 4, VALIDATION: 1}),
        ("colors/{split}", "_x", (".png",), {TRAIN: 3, VALIDATION: 1}),
        ("instances/{split}", "_x", (".png",), {TRAIN: 3, VALIDATION: 1}),
    ]
    assert (pairs.counts, pairs.images_alone, pairs.maps_alone) == (
        {TRAIN: 3, VALIDATION: 1}, {VALIDATION: 1}, {TRAIN: 1},
    )  # fmt: skip
    assert (pairs.labels.read, pairs.labels.of, {side: len(those) for side, those in pairs.labels.maps.items()}) == (
        5, 5, {"train": 4, "validation": 1},
    )  # fmt: skip
    assert (pairs.images.pixels.read, pairs.maps.pixels.read, found.photos[0].total) == (5, 5, 5)
    assert "2 other pictures lie beside them (other); look at a folder by itself" in found.notes
    assert (found.kind, found.complete, found.lists, found.passed_over) == (
        "maps", True, {"train.txt": "2 lines, a picture each"}, {".md": 1, ".txt": 1},
    )  # fmt: skip


def test_photos_of_every_ending_are_looked_at_where_only_some_were(tmp_path: Path) -> None:
    for number in range(9):
        photo(tmp_path / f"{number}.{'bmp' if number % 2 else 'png'}", number, (8, 9 + number))
    [part] = look(tmp_path).photos
    assert (part.total, part.endings, part.pixels.read) == (9, (".bmp", ".png"), 9)
    assert part.pixels.sizes == ((8, 9), (8, 13), (8, 17))
    for number in range(9):
        photo(tmp_path / f"one/{number}.png", number)
    assert look(tmp_path / "one").photos[0].pixels.read == 9


def test_a_suffix_is_that_by_which_photos_and_maps_pair(tmp_path: Path) -> None:
    for number, name in enumerate("abc"):
        photo(tmp_path / f"p/{name} as taken.jpg", number)
        label_map(tmp_path / f"masks/{name} as drawn.png", 0, 1)
    pairs = look(tmp_path).pairs
    assert pairs is not None
    assert [(part.suffix, part.pattern()) for part in (pairs.images, pairs.maps)] == [
        (" as taken", "p/* as taken.jpg"), (" as drawn", "masks/* as drawn.png"),
    ]  # fmt: skip
    for number in range(3):
        photo(tmp_path / f"same/p/{number}_left.jpg", number)
        label_map(tmp_path / f"same/masks/{number}_left.png", 0, 1)
    pairs = look(tmp_path / "same").pairs
    assert pairs is not None
    assert (pairs.images.suffix, pairs.maps.suffix) == ("", "")  # which is a part of the stem in both
    assert Part("", "_x", (".jpg", ".png"), {}).pattern() == "*_x.jpg|.png"
    maps = {"train": ({5: 1, 2: 1},), "validation": ({0: 2},)}
    assert list(Labels(2, 2, maps).shares().items()) == [(0, 0.5), (2, 0.25), (5, 0.25)]


@pytest.mark.parametrize(("names", "kind"), [(9, "classes"), (8, "maps")])
def test_many_folders_of_one_kind_are_classes_whatever_is_in_them(tmp_path: Path, names: int, kind: str) -> None:
    for split, count in (("train", names), ("val", 2)):
        for number in range(count):
            folder = tmp_path / split / chr(ord("p") + number)
            if number:
                photo(folder / "1.png", number)
            else:
                label_map(folder / "1.png", 0, 1, 2)
    assert look(tmp_path).kind == kind


def test_arrays_are_pictures_only_where_the_first_ones_all_are(tmp_path: Path) -> None:
    for name, shape in (("a", (9, 8)), ("b", (8, 9, 3)), ("c", (100, 7)), ("d", (7, 100)), ("e", (5,))):
        np.save(tmp_path / f"{name}.npy", np.zeros(shape, np.uint8))
    (tmp_path / "f.npy").write_bytes(b"no array")
    found = [folders.pictures_in(tmp_path, [f"{name}.npy" for name in those]) for those in
             ("a", "ab", "ac", "ad", "ae", "af", "ag", "aaaac")]  # fmt: skip
    assert [len(each) for each in found] == [1, 2, 0, 0, 0, 0, 0, 5]


def test_classes_are_the_folders_of_one_kind_that_photos_lie_in() -> None:
    def classes(*names: str) -> dict[Split, tuple[str, ...]]:
        return folders._classes(groups_of(names))

    two = ["train/cat/1.jpg", "train/dog/2.jpg"]
    assert classes(*two) == {TRAIN: ("cat", "dog")}
    assert classes(*two, "val/1.jpg") == {TRAIN: ("cat", "dog")}
    assert classes(*two, "train/x.jpg") == {}
    assert classes(*(f"train/{name}/images/{n}.jpg" for n, name in enumerate(("cat", "dog")))) == {
        TRAIN: ("cat", "dog")
    }
    assert classes("cat/images/1.jpg", "dog/images/2.jpg") == {}
    assert classes(*(f"{a}/{b}/1.jpg" for a in "xy" for b in ("cat", "dog"))) == {}
    assert classes("a.jpg") == {}
    assert classes(*(f"train/{a}/{b}/{a}{b}.jpg" for a in "xy" for b in ("cat", "dog"))) == {}
    assert classes(*two, "more/red/1.jpg", "more/blue/1.jpg") == {}


def test_names_of_classes_are_those_of_a_file_that_holds_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "classes.json"
    for text, names in (
        ('{"names": ["a", 2]}', ("a", "2")), ("{", ()), ('{"name": []}', ()), ("[1]", ()), ("[" * 99_999, ()),
        ("\0", ()),
    ):  # fmt: skip
        path.write_text(text)
        assert folders._names(tmp_path, ["classes.json", "xclasses.json"]) == names
    path.write_text('{"names": ["a", "b"]}')
    assert folders._names(tmp_path, ["other.json"]) == ()
    assert folders._names(tmp_path, ["gone/classes.json"]) == ()
    monkeypatch.setattr(folders, "MOST_BYTES", path.stat().st_size - 1)
    assert folders._names(tmp_path, ["classes.json"]) == ()


def test_what_a_walk_left_out_is_told_line_by_line() -> None:
    walked = Walked(files=["a", "b"], hidden=3, loops=2, unlisted=["x", "y"], cut=True)
    assert folders._notes(walked) == (
        "there is more than was looked at: the first 2 files", "folders that may not be listed: 2, x for one",
        "links that lead back to a folder they lie in: 2", "hidden files and folders that are left out: 3",
    )  # fmt: skip
    assert folders._notes(Walked(unlisted=["x"])) == ("folders that may not be listed: 1, x for one",)
    assert folders._notes(Walked(files=["a"])) == ()


def test_class_maps_are_read_in_equal_parts_of_each_side_and_colors_of_palettes_summed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = [File(f"{n}.png", TRAIN if n < 12 else VALIDATION, (), str(n)) for n in range(16)]
    maps = Group((), "", (".png",), tuple(sides))
    seen: list[str] = []

    def look_at(path: Path, name: str, *_: Any, **told: Any) -> Look:
        seen.append(name)
        assert told == {"as_map": True}
        number = int(name.split(".")[0])
        red = {0: (255, 0, 0) if number % 2 else (0, 255, 0)}
        return Look(values={0: 6, 1: 2, 9: 5}, palette={**red, 1: (0, 0, 9)})

    monkeypatch.setattr(folders, "look_at", look_at)
    found, every = folders._labels(tmp_path, maps, Budget(), 8)
    assert seen == ["0.png", "3.png", "6.png", "9.png", "12.png", "13.png", "14.png", "15.png"]
    assert (found.read, found.of, found.clash, found.problem, len(every)) == (8, 16, True, "", 8)
    assert {side: len(those) for side, those in found.maps.items()} == {"train": 4, "validation": 4}
    assert dict(found.colours) == {(255, 0, 0): 24 / 64, (0, 255, 0): 24 / 64, (0, 0, 9): 16 / 64}
    seen.clear()
    assert folders._labels(tmp_path, maps, Budget(seconds=-1), 8)[0].read == 1  # at least one, however long it takes


def notes_of(tmp_path: Path, **texts: str) -> list[str]:
    names = {name.replace("__", "/").replace("_", "."): text for name, text in texts.items()}
    for name, text in names.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return [note.partition(":")[0] for note in foreign_labels(tmp_path, list(names))]


def test_foreign_files_are_told_by_kind_with_their_number(tmp_path: Path) -> None:
    coco, labelme = '{"annotations": [], "categories": []}', '{"shapes": [], "imagePath": ""}'
    told = notes_of(tmp_path, a_json=coco, b_json=coco, c_json="{}", d_json=coco)
    assert told == ["4 files like a.json hold outlines of objects (COCO's JSON), which are not read"]
    assert sorted(notes_of(tmp_path, a_json=coco, b_json="{}", c_json=labelme)) == [
        "a.json holds outlines of objects (COCO's JSON), which are not read",
        "c.json holds outlines of objects (LabelMe's JSON), which are not read",
    ]
    assert notes_of(tmp_path, a_json='{"info": 1, "images": []}', b_json='{"annotations": 1}') == []
    assert notes_of(tmp_path, a_nii_gz="x", b_nii="x", c_gz="x") == [
        "2 files like a.nii.gz hold volumes, which are not read", "c.gz holds packed files, which are not read",
    ]  # fmt: skip
    assert notes_of(tmp_path, a_H5="x", b_tar_bz2="x") == [
        "a.H5 holds packed arrays, which are not read", "b.tar.bz2 holds packed files, which are not read",
    ]  # fmt: skip
    (tmp_path / "bad.txt").write_bytes(b"\x81\xff\x00")
    assert list(foreign_labels(tmp_path, ["bad.txt", "gone.json", "gone.txt"])) == []


@pytest.mark.parametrize(
    ("text", "yolo"),
    [
        ("0 0.5 0.5 1 0\n", True), ("0 0.5 0.5 1\n", False), ("0 0.5 0.5 1 0 .25 .75\n3 0.1 0.2 0.3 0.4\n", True),
        ("0 0.5 0.5 1 0\n0 0.5 0.5 1 7\n", False), ("a 0.5 0.5 1 0\n", False), ("", False), ("\n\n1 0 0 1 1\n", True),
    ],
)  # fmt: skip
def test_lines_of_yolo_are_a_number_and_four_or_more_shares(tmp_path: Path, text: str, yolo: bool) -> None:
    assert bool(notes_of(tmp_path, a_txt=text)) is yolo


@pytest.mark.parametrize("head", ["id,rle", "Image,EncodedPixels", "a;ENCODED_PIXELS", "x,segmentation", "x,pixels"])
def test_tables_of_run_lengths_are_known_by_their_heading(tmp_path: Path, head: str) -> None:
    assert bool(notes_of(tmp_path, a_csv=f"{head}\n1,2\n")) is ("pixels" not in head.split(",")[-1:])


def kind_of(tmp_path: Path, *lines: str, pictures: Sequence[str] = ("p/a.jpg", "p/b.jpg", "m/a.png", "m/b.png")) -> str:
    (tmp_path / "l.txt").write_text("\n".join(lines) + "\n")
    return lists.lines_of(tmp_path, ["l.txt", "x.json"], pictures).get("l.txt", "")


def test_lines_are_told_by_what_most_of_them_name(tmp_path: Path) -> None:
    assert kind_of(tmp_path, "p/a.jpg m/a.png", "p/b.jpg m/b.png") == "2 lines, a photo and its class map each"
    assert kind_of(tmp_path, "/p/a.jpg", "gone.jpg", "p\\b.jpg") == "3 lines, a picture each"
    assert kind_of(tmp_path, "p/a.jpg", "gone.jpg") == ""
    assert kind_of(tmp_path, "a.jpg,1", "b.jpg,2") == "2 lines, a picture and a class each"
    assert kind_of(tmp_path, "a.jpg,1,x", "b.jpg,2,y") == "2 lines, a picture and 2 other words each"
    assert kind_of(tmp_path, "a", "b", "c") == "3 lines, the name of a picture without its ending each"
    assert kind_of(tmp_path, "a", "c") == ""
    many = [f"{n}.jpg" for n in range(201)]
    assert kind_of(tmp_path, *many[:199], pictures=many) == "199 lines, a picture each"
    assert kind_of(tmp_path, *many, pictures=many) == "200 or more lines, a picture each"
    stems = ["a_1", "b-1", "c.1", "d1"]
    assert [lists._is_stem(cell, stems) for cell in "abcd"] == [True, True, True, False]


def test_lists_of_other_letters_and_long_ones_are_read(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_bytes("mädchen.jpg\nb.jpg\n".encode("cp1252"))
    assert lists.lines_of(tmp_path, ["l.txt"], ["mädchen.jpg", "b.jpg"]) == {"l.txt": "2 lines, a picture each"}
    (tmp_path / "l.txt").write_text("a.jpg")
    assert lists._rows(tmp_path / "l.txt") == [["a.jpg"]]
    (tmp_path / "l.txt").write_text("a.jpg\n" + "x" * lists.MOST_BYTES)
    assert lists._rows(tmp_path / "l.txt") == [["a.jpg"]]  # without the line that is cut
    assert lists._rows(tmp_path / "gone.txt") is None
    outer = [f"{n:02d}.txt" for n in range(13)]
    assert lists._first_lists(["a/x.csv", *outer, "b.md"]) == outer[:12]


def test_a_list_by_itself_tells_what_is_not_there(tmp_path: Path) -> None:
    for name in ("p/a.jpg", "p/b.jpg"):
        photo(tmp_path / name)
    (tmp_path / "l.txt").write_text("p/a.jpg 1\nq/b.jpg 2\np/c.jpg 1\n")
    found = look(tmp_path / "l.txt")
    assert (found.kind, found.lists) == ("list", {"l.txt": "3 lines, a picture and a class each"})
    assert found.notes == (f"2 of 3 files that were looked for are not below {tmp_path}: q/b.jpg",)
    (tmp_path / "l.txt").write_text("words of another\nkind of text\n")
    assert look(tmp_path / "l.txt").lists == {"l.txt": "lines of text, no names of pictures"}


@pytest.mark.parametrize(
    ("lines", "columns"),
    [
        (["File,Label,x", "a.jpg,u,1", "b.jpg,v,2"], ("File", "Label")),
        (["file,wnid,x", "a,u,1", "b,v,2"], ("file", "wnid")),
        (["file,x,y", "a.jpg,1,u", "b.jpg,2,u", "c.jpg,3,v", "d.jpg,4,v"], ("file", "y")),
        (["a.jpg,a.jpg", "b.jpg,b.jpg"], None), (["a.jpg,u", "gone,v"], None), (["a.jpg", "b.jpg"], None),
        (["a.jpg,1,u", "b.jpg,2,v"], (0, 1)),  # nothing repeats: what stands behind it
    ],
)  # fmt: skip
def test_the_class_of_a_picture_stands_in_the_column_that_is_called_so_or_repeats(
    tmp_path: Path, lines: list[str], columns: tuple[int, int] | None
) -> None:
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    found = lists.class_lists_of(tmp_path, ["t.csv"], [f"p/{name}.jpg" for name in "abcd"])
    assert found == ({"t.csv": columns} if columns else {})


def test_a_walk_counts_what_it_leaves_out_and_lists_folders_in_order(tmp_path: Path, monkeypatch: Any) -> None:
    for name in ("c/1.x", "a/2.x", "b/deep/3.x", ".git/4.x", "__MACOSX/5.x", "@eaDir/6.x", "a/.7.x", "0.x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b/deep/up").symlink_to(tmp_path)
    (tmp_path / "c/other").symlink_to(tmp_path / "a")
    found = walk(tmp_path)
    assert found == Walked(["0.x", "a/2.x", "b/deep/3.x", "c/1.x", "c/other/2.x"], hidden=5, loops=1)
    scandir = os.scandir

    def refuses(place: Path) -> Any:
        if place.name in ("b", refused):
            raise PermissionError(13, "Permission denied")
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refuses)
    refused = "c"
    found = walk(tmp_path)
    assert (found.unlisted, found.files) == (["b/", "c/"], ["0.x", "a/2.x"])
    refused = tmp_path.name
    with pytest.raises(UserError, match=r"cannot list the folder .*: Permission denied"):
        walk(tmp_path)


def png(*values: int) -> bytes:
    Image.fromarray(np.sort(np.resize(np.array(values, np.uint8), (8, 8)))).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def noise(seed: int = 0, kind: str = "PNG") -> bytes:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(
        file := io.BytesIO(), kind
    )
    return file.getvalue()


def tar(path: Path, members: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_tars_are_told_with_their_samples_classes_and_maps(tmp_path: Path) -> None:
    for number, split in enumerate(("train-0", "train-1", "val-0")):
        files = {}
        for n in range(2):
            key = f"{number}{n}"
            files |= {
                f"{key}.jpg": noise(n, "JPEG"),
                f"{key}.seg.png": png(0, n + 1),
                f"{key}.cls": b"%d\n" % (3 * number),
            }
        tar(tmp_path / f"s/{split}.tar", files | {"._00.jpg": b"of a Mac", "00.json": b"{}"})
    (tmp_path / "s/bad.tar").write_bytes(b"no tar" * 100)
    (tmp_path / "s/classes.txt").write_text("a\n\n b \n")
    found = look(tmp_path / "s")
    assert (found.kind, found.num_classes, found.names, found.image_suffix, found.map_ending) == (
        "shards", 7, ("a", "b"), "jpg", "seg.png",
    )  # fmt: skip
    [part] = found.photos
    assert (part.counts, sorted(part.endings)) == (
        {Split("train", "train"): 4, Split("validation", "validation"): 2}, [".jpg", ".seg.png"],
    )  # fmt: skip
    assert found.map_labels is not None
    assert (found.map_labels.read, found.map_labels.of) == (6, 6)
    assert found.map_labels.maps["train"][:2] == ({0: 32, 1: 32}, {0: 32, 2: 32})
    assert (len(found.notes), found.notes[0].startswith("bad.tar cannot be read (")) == (1, True)
    assert found.complete


def test_the_image_of_two_pictures_is_the_jpeg_and_more_tars_give_more_looks(tmp_path: Path) -> None:
    pictures = {
        f"{n}.{ending}": noise(n, kind) for n in range(20) for ending, kind in (("png", "PNG"), ("jpg", "JPEG"))
    }
    path = tar(tmp_path / "a.tar", pictures)
    found = tars.look_at_tars(path, [path])
    assert (found.image_suffix, found.map_ending, found.map_labels) == ("jpg", "", None)  # noise is no class map
    single = [tar(tmp_path / f"{name}.tar", {f"{name}{n}.png": noise(n) for n in range(20)}) for name in "bc"]
    assert tars.look_at_tars(tmp_path, single).photos[0].pixels.read == 16
    assert tars.are_maps([Look(values=FEW), Look(values=MANY)]) is False
    colors = [
        Look(colours={(1, 1, 1): 3}),
        Look(values=FEW, map_problem="x"),
        Look(colours={(1, 1, 1): 1, (2, 2, 2): 4}),
    ]
    assert tars.labels_of(colors, 9) == Labels(3, 9, {"train": (FEW,)}, (((1, 1, 1), 0.5), ((2, 2, 2), 0.5)), "x")


def test_of_several_pictures_beside_the_image_none_is_taken_for_its_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (24, 24), 3).save(flat := io.BytesIO(), "JPEG")
    for files in ({"1.png": noise(), "1.jpg": flat.getvalue()},
                  {"1.jpg": noise(0, "JPEG"), "1.a.png": png(0, 1), "1.b.png": png(0, 2)}):  # fmt: skip
        path = tar(tmp_path / "a.tar", files)
        found = tars.look_at_tars(path, [path])
        assert (found.image_suffix, found.map_ending) == ("jpg", "")
    clock = iter(range(9))
    monkeypatch.setattr(tars.time, "monotonic", lambda: next(clock, 99))
    one = tar(tmp_path / "b.tar", {"1.txt": b""} | {"1.png": b"x"})
    late = tars.look_at_tars(tmp_path, [one, one], seconds=3.5)  # the first one takes 3
    assert (late.photos[0].total, late.complete) == (1, False)
    assert "there is more than was looked at: numbers are of the part that was read" in late.notes


def test_a_folder_that_was_packed_is_told_unless_it_holds_classes(tmp_path: Path) -> None:
    files = {"images/1.png": noise(), "masks/1.png": png(0, 1)}
    found = tars.look_at_tars(tmp_path, [tar(tmp_path / "a.tar", files)])
    assert found.notes == ("folders such as images/ are packed in it: unpack it (tar -xf), and look at that",)
    found = tars.look_at_tars(tmp_path, [tar(tmp_path / "a.tar", files | {"masks/1.cls": b"2"})])
    assert (found.notes, found.num_classes) == ((), 3)


def test_tables_without_pictures_are_tables_where_no_pictures_lie_beside_them(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    pa.parquet.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    assert look(tmp_path).kind == "tables"
    photo(tmp_path / "1.png")
    assert look(tmp_path).kind == "photos"


def test_tars_are_what_a_folder_holds_where_it_holds_no_pictures(tmp_path: Path) -> None:
    assert tars.tars_in(tmp_path, ["a.TAR", "b/c.tar", "d.txt"]) == [tmp_path / "a.TAR"]
    assert tars.tars_in(tmp_path, ["a.tar", "x/y.jpg"]) == []
    size = tar(tmp_path / "a.tar", {"1.png": noise()}).stat().st_size
    rows = {"train": [{"file": "a.tar", "samples": 1, "bytes": size}]}
    (tmp_path / "shards.json").write_text(json.dumps({"format": 1, "classes": ["u", "v"], "splits": rows}))
    (tmp_path / "classes.txt").write_text("x\n")
    assert tars._names(tmp_path) == ("u", "v")
    (tmp_path / "shards.json").write_text("{")
    assert tars._names(tmp_path) == ()
    (tmp_path / "shards.json").unlink()
    assert tars._names(tmp_path) == ("x",)
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe\xfa")
    assert tars._names(tmp_path) == ()
