"""What `check-data` says, draws and writes: each number in its row, each word as it must be typed."""

import io
import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from mae_hydra.commands import check_data
from mae_hydra.commands.check_data import look, look_pictures, look_report, report, typed
from mae_hydra.commands.check_data.look_pictures import View
from mae_hydra.configuration.command_words import parsed, readable
from mae_hydra.data.looking import Found, Labels, Part, Split
from mae_hydra.data.looking.advice import Advice, Way
from mae_hydra.data.looking.found import Pairs, Pixels
from mae_hydra.errors import UserError
from mae_hydra.owned import Owned


def rows_of(table: Table) -> list[list[str]]:
    return [list(map(str, row)) for row in zip(*(column.cells for column in table.columns), strict=True)]


KEYS = {"root": "/my photos", "values": {0: 5, 1: None}, "mean": [0.5, 0.25], "bands": ["a b", 2], "palette": None,
        "reduce_zero_label": True, "pattern": "{split}/x.png", "num_classes": 3}  # fmt: skip


def test_keys_are_typed_as_hydra_reads_them() -> None:
    words = ["data.root='/my photos'", "data.values={0:5,1:null}", "data.mean=[0.5,0.25]", "data.bands=['a b',2]",
             "data.palette=null", "data.reduce_zero_label=true", "data.pattern={split}/x.png"]  # fmt: skip
    assert typed.words_of(KEYS) == [*words, "data.num_classes=3"]
    way = Way("upernet_vitb", "segmentation", {"root": "/a b", "num_classes": 3}, words=("seed=1",))
    assert shlex.split(typed.command(way)) == [
        "python", "train.py", "model=upernet_vitb", "data=segmentation", "seed=1", "data.root='/a b'",
        "data.num_classes=3",
    ]  # fmt: skip
    assert typed.typed(["a b", "c\n'd\\\x7f", "e"]) == "'a b' $'c\\x0a\\x27d\\x5c\\x7f' e"


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("a/{split}/b-c.png", "a/{split}/b-c.png"),
        ("{split}=1", "{split}=1"),
        ("my photos/{split}", "'my photos/{split}'"),
        ("a,b/{split}", "'a,b/{split}'"),
        ("a:b/{split}", "'a:b/{split}'"),
        ("[a/{split}", "'[a/{split}'"),
        ("a]/{split}", "'a]/{split}'"),
        ('a"/{split}', "'a\"/{split}'"),
        ("a'/{split}", r"'a\'/{split}'"),
        ("{splits}", "'{splits}'"),  # no pattern
    ],
)
def test_a_pattern_is_quoted_where_hydra_would_not_read_it_as_it_stands(pattern: str, said: str) -> None:
    words = typed.words_of({"images": pattern})
    assert words == [f"data.images={said}"]
    assert [override.value() for override in parsed(readable(words))] == [pattern]


def test_of_another_way_only_what_differs_and_what_the_labels_mean_is_typed() -> None:
    best = Way("m", "d", {"root": "/x", "num_classes": 3, "mean": 1})
    assert typed.instead(Way("m", "d", {"root": "/x", "num_classes": 3, "mean": 2}), best) == (
        "data.num_classes=3 data.mean=2"
    )
    labels = {"num_classes": 1, "values": {0: 5}, "colours": None, "reduce_zero_label": True, "ignore_index": 7}
    same = Way("m", "d", {"root": "/x", "bands": 2, **labels, "mean": 1})
    assert typed.instead(same, same).split() == [
        "data.num_classes=1", "'data.values={0:5}'", "data.colours=null", "data.reduce_zero_label=true",
        "data.ignore_index=7",
    ]  # fmt: skip
    for model, data in (("n", "d"), ("m", "e")):
        assert typed.instead(Way(model, data, {"root": "/x"}), best) == (
            f"python train.py model={model} data={data} data.root=/x"
        )


def test_an_option_file_lies_where_it_is_found_and_replaces_none_of_a_persons(tmp_path: Path) -> None:
    place = tmp_path / "local" / "data" / "mine.yaml"
    typed.check_option_file(place)
    told = typed.saved(Way("m", "folder", {"path": "x y", "num_classes": 2}, words=("a=1",)), place)
    assert shlex.split(told) == [
        "python", "train.py", "--config-dir", str(tmp_path / "local"), "model=m", "data=mine", "a=1"
    ]  # fmt: skip
    head, *content = place.read_text().splitlines()
    assert head == f"# Written by mae-hydra check-data {shlex.quote(str(Path('x y').absolute()))}"
    assert content == ["defaults:", "- folder", f"path: {Path('x y').absolute()}", "num_classes: 2"]
    typed.check_option_file(place)  # its own
    for odd in (tmp_path / "data" / "mine.yml", tmp_path / "mine.yaml"):
        with pytest.raises(UserError, match=r"option files of data lie in a folder data/ and end in \.yaml"):
            typed.check_option_file(odd)
    place.write_text("mine")
    (place.parent / "link.yaml").symlink_to("nowhere")
    (place.parent / "folder.yaml").mkdir()
    for theirs in (place, place.parent / "link.yaml", place.parent / "folder.yaml"):
        with pytest.raises(UserError, match="it was not mae-hydra check-data that wrote it; give another name"):
            typed.check_option_file(theirs)


def test_what_was_typed_is_one_place_or_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "odd=name"):
        Path(name).mkdir()
    assert [look.is_place(words) for words in (["a"], ["odd=name"], ["data=ade20k"], [])] == [True, True, False, False]
    for words in (["a", "b"], ["a", "data.root=b"], ["nowhere", "x=1"]):
        with pytest.raises(UserError, match="check-data looks at one folder without a configuration"):
            look.is_place(words)
    with pytest.raises(UserError, match="there is no file or folder nowhere"):
        look.is_place(["nowhere"])


TRAIN, VAL = Split("train", "training"), Split("validation", "validation")
PHOTOS = Part("images", "", (".jpg", ".png"), {TRAIN: 5, VAL: 2},
              Pixels(7, ((3, 4), (5, 6), (7, 8)), (("RGB", 6), ("L", 1)), (8, 16), (3,)))  # fmt: skip
MAPS = Part("maps", "_seg", (".png",), {TRAIN: 4}, Pixels(4, ((3, 4),) * 3, (("L", 4),), (8,), (1,)))


def said(found: Found) -> list[str]:
    console = Console(file=io.StringIO(), width=200, markup=False, emoji=False, highlight=False)
    look_report.show(console, found)
    lines: list[str] = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return [" ".join(line.replace("│", "|").split()) for line in lines]


def test_what_was_found_is_told_part_by_part() -> None:
    labels = Labels(3, 4, {"train": ({0: 1, 5: 3},)})
    others = (MAPS, MAPS, Part("depth", "", (".png",), {VAL: 6}))
    pairs = Pairs(PHOTOS, MAPS, {TRAIN: 4, VAL: 1}, {TRAIN: 1, VAL: 1}, {TRAIN: 3}, labels, others)
    told = said(Found(Path("/x"), "maps", pairs=pairs, names=tuple("abcdefg"), lists={"l.txt": "of train"},
                      passed_over={".txt": 3, "": 1}, notes=("a note",),
                      classes={TRAIN: ("sky", "sea"), Split("", ""): tuple("abcdef")}))  # fmt: skip
    assert told[0] == "/x: photos with class maps"
    table = [[cell.strip() for cell in line.strip("| ").split("|")] for line in told if line.startswith("|")]
    assert [row for row in table if row[0] == "files"] == [["files", "7", "4"]]
    assert [row for row in table if row[0] == "of validation"] == [["of validation", "2", "0"]]
    assert [row for row in table if row[0] == "width x height"] == [
        ["width x height", "4x3 to 8x7, median 6x5", "4x3"]
    ]  # fmt: skip
    for row in (["mode", "RGB L", "L"], ["bits", "8 or 16", "8"], ["bands", "3", "1"], ["looked at", "7", "4"]):
        assert row in table
    assert ["0: 25.00%", "5: 75.00%"] not in table  # few values stand below each other
    assert table[-2:] == [["0: 25.00%"], ["5: 75.00%"]]
    for line in (
        "other class maps too: depth/*.png, 6 validation",
        "other class maps too: maps/*_seg.png, 4 training",
        "pairs: 4 training, 1 validation (2 photos alone, 3 class maps alone)",
        "2 stored values of 3 of 4 class maps, and their share of the pixels:",
        "training: 2 class folders (sky, sea)", "6 class folders (a, b, c, d, e, f)",
        "7 classes are named: a, b, c, d, e, f, …", "list l.txt: of train",
        "other files: 3 .txt, 1 without an ending", "a note",
    ):  # fmt: skip
        assert line in told, line


@pytest.mark.parametrize(("count", "more"), [(9, ""), (10, ""), (11, "and 1 more places of pictures")])
def test_of_many_places_the_first_have_a_column_then_a_line_and_the_rest_a_number(count: int, more: str) -> None:
    parts = tuple(Part(f"p{n}", "", (".jpg",), {Split("", ""): n + 1}) for n in range(count))
    told = said(Found(Path("/x"), "photos", photos=parts))
    assert [line for line in told if " too: " in line] == [
        f"photos too: p{n}/*.jpg, {n + 1}" for n in range(2, min(count, 10))
    ]  # fmt: skip
    assert [line for line in told if "more places" in line] == ([more] if more else [])
    assert told[0] == "/x: photos"


def test_many_values_stand_in_four_columns_and_the_last_ones_are_counted() -> None:
    for count, columns, more in ((3, 1, ""), (4, 4, ""), (24, 4, ""), (26, 4, " (2 more are not shown)")):
        counts = dict.fromkeys(range(count), 1)
        line, table = look_report._labels_table(Labels(1, 1, {"train": (counts,)})) or ("", Table())
        assert len(table.columns) == columns
        assert line == f"{count} stored values of 1 of 1 class maps, and their share of the pixels{more}:"
        assert sum(bool(cell) for row in rows_of(table) for cell in row) == min(count, 24)
    colours = ((1, 2, 3), 0.25), ((4, 5, 6), 0.75)
    line, table = look_report._labels_table(Labels(1, 1, colours=colours)) or ("", Table())
    assert line.startswith("2 colors (red green blue) of")
    assert rows_of(table) == [["1 2 3: 25.00%"], ["4 5 6: 75.00%"]]
    assert look_report._labels_table(Labels(0, 5)) is None


CLASSES = [{"class": n, "name": f"c{n}", "training_pixels": n, "validation_images": 2 * n} for n in range(32)]


def audited(**more: Any) -> Any:
    """An audit of made-up numbers: what is asked of it here."""
    given = {"findings": [], "num_errors": 0, "num_looked_at": 12, "seconds": 4.0, "facts": {}, "classes": [],
             "statistics": None, "tallies": {}, "duplicates": []}  # fmt: skip
    return SimpleNamespace(**given | more)


def finding(level: str, sentence: str) -> Any:
    return SimpleNamespace(level=level, kind="k", sentence=sentence, files=["a", "b"])


def test_an_audit_is_told_with_its_findings_its_spreads_and_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    spread = {"min": 3, "median": 4.5, "max": 6}
    training = {"images": 9, "looked_at": 8, "readable": 7, "width": spread, "ignored_share": 0.125, "sizes": 2}
    training["smaller_than_crop"] = 1
    facts = {"training": training, "validation": {"images": 3, "looked_at": 3, "readable": 3, "ignored_share": 0.0}}
    found = audited(findings=[finding("error", "a\nb"), finding("warning", "c"), finding("warning", "d")], num_errors=1,
                    facts=facts, classes=CLASSES[:2], statistics=([0.5] * 2, [0.25] * 2))  # fmt: skip
    console = Console(file=io.StringIO(), width=200, markup=False, emoji=False, highlight=False)
    report.show(console, found, {"mean": [0.4] * 2, "std": [0.2] * 2}, Path("out"), [Path("out/samples.png")])
    told = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert "training pixels: mean 0.500 0.500, deviation 0.250 0.250 (configured: 0.400 0.400, 0.200 0.200)" in told
    assert told[-2:] == ["1 error, 2 warnings, 0 notes · 12 samples in 4.0 s (3/s)", "out/report.json out/samples.png"]
    assert rows_of(report._facts_table(found)) == [
        ["images", "9", "3"], ["looked at", "8", "3"], ["readable", "7", "3"],
        ["width: min / median / max", "3 / 4.5 / 6", "-"], ["height: min / median / max", "-", "-"],
        ["short side: min / median / max", "-", "-"], ["aspect: min / median / max", "-", "-"],
        ["different sizes", "2", "-"], ["smaller than the crop", "1", "-"], ["pixels ignored", "12.5%", "0.0%"],
    ]  # fmt: skip


def test_classes_have_their_share_of_pixels_or_their_images_and_absent_ones_stand_out() -> None:
    table = report._class_table(audited(classes=CLASSES[:3]))
    assert [str(column.header) for column in table.columns] == ["", "training\npixels, %", "validation\nimages"]
    assert rows_of(table) == [["0 c0", "0.00", "0"], ["1 c1", "33.33", "2"], ["2 c2", "66.67", "4"]]
    assert [row.style for row in table.rows] == ["yellow", None, None]
    of_one = [CLASSES[1], CLASSES[1] | {"training_pixels": 0}, CLASSES[1] | {"validation_images": 0}]
    assert [row.style for row in report._class_table(audited(classes=of_one)).rows] == [None, "yellow", "yellow"]
    assert len(rows_of(report._class_table(audited(classes=CLASSES[:30])))) == 30
    table = report._class_table(audited(classes=CLASSES[:31]))
    assert [row[0].split()[0] for row in rows_of(table)] == [str(n) for n in (*range(30, 15, -1), *range(14, -1, -1))]
    assert str(table.title).endswith("the 15 most frequent and the 15 rarest of 31 (all in report.json)")


def tally(name: str, count: int, **more: Any) -> Any:
    def sample(position: int) -> tuple[np.ndarray, None]:
        if position == 1:
            raise UserError("its class map is broken")
        return np.full((2, 2, 3), 10 * position, np.uint8), None

    split = SimpleNamespace(sample=sample, shown=())
    given: dict[str, Any] = {"mapped": [], "readable": list(range(count)), "problems": {}, "class_ids": [-1] * count}
    given |= {"split": split, "positions": list(range(count)), "name": lambda row: f"{name}{row}"}
    return SimpleNamespace(**given | more, __len__=lambda: count)


def test_an_audit_that_looked_at_nothing_has_no_facts_and_a_short_one_its_rate() -> None:
    console = Console(file=io.StringIO(), width=200)
    report.show(console, audited(num_looked_at=0, seconds=0.0), {}, Path("out"), [])
    told = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert told == ["0 errors, 0 warnings, 0 notes · 0 samples in 0.0 s (0/s)", "out/report.json"]
    assert report._rate(audited(seconds=0.25)) == 48
    for errors, style in ((1, "\x1b[1;31m"), (0, "\x1b[32m")):
        console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system="standard")
        found = [finding("error", "a")] * errors
        report.show(console, audited(num_errors=errors, findings=found, num_looked_at=0), {}, Path("out"), [])
        assert f"{style}{errors} error" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_sample_of_both_splits_has_the_name_of_its_class_or_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(report, "gallery", lambda pictures, captions, **more: told.append((pictures, captions, more)))
    monkeypatch.setattr(report, "_overlays", lambda found, chosen: [row for _, row in chosen])
    train, val = tally("t", 10, class_ids=[1, 0, -1, 0, 0, 2, 0, 1, 0, 0]), tally("v", 3, class_ids=[0, 0, 1])
    found = audited(listing=SimpleNamespace(class_names=("sky", "sea")), tallies={"training": train, "validation": val})
    report._samples(found)
    [(pictures, captions, _)] = told
    assert captions == ["sea", "t2", "t5", "sea", "sky", "sky", "sea"]  # of -1 and 2, which are none, the file's
    assert [int(each[0, 0, 0]) for each in pictures] == [0, 20, 50, 70, 0, 235, 20]
    val.mapped = [1, 2]
    assert report._samples(found) == [0, 2, 5, 7, 1, 2]  # type: ignore[comparison-overlap]
    assert report._samples(audited(tallies={"training": tally("t", 0)})) is None


def test_samples_are_spread_over_a_split_and_of_sound_files() -> None:
    chosen = [row for _, row in report._some_of(tally("t", 10, problems={"torn": [(0, ""), (5, "")]}), 4)]
    assert chosen == [1, 3, 6, 8]
    assert [row for _, row in report._some_of(tally("t", 9, mapped=[2, 7]), 4)] == [2, 7]
    assert [row for _, row in report._some_of(tally("t", 3), 4)] == [0, 1, 2]  # each once where there are few
    assert report._some_of(tally("t", 0), 4) == []


def test_pairs_across_the_splits_are_drawn_first_and_equal_files_last(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(report, "gallery", lambda pictures, captions, **more: told.append((pictures, captions, more)))
    one, two = tally("t", 5), tally("v", 5)

    def pair(kind: str, first: Any, row: int, second: Any, other: int) -> Any:
        return SimpleNamespace(kind=kind, tally=first, row=row, other_tally=second, other_row=other)

    pairs = [pair("duplicate", one, 0, two, 0), pair("alike", one, 2, one, 3), pair("alike", one, 1, two, 4),
             pair("duplicate", one, 3, one, 4)]  # fmt: skip
    report._duplicates(audited(duplicates=pairs))
    [(pictures, captions, more)] = told
    assert captions == ["t1", "v4", "t2", "t3", "t0", "v0", "t3", "t4"]
    assert [int(picture[0, 0, 0]) for picture in pictures] == [235, 40, 20, 30, 0, 0, 30, 40]  # a broken one is gray
    assert (more["columns"], more["group"]) == (4, 2)
    assert report._duplicates(audited()) is None
    report._duplicates(audited(duplicates=pairs * 3))
    assert [len(pictures) for pictures, *_ in told] == [8, 16]  # eight pairs at most


def test_a_report_holds_all_that_was_found_and_pictures_of_before_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = {"_samples": np.zeros((2, 2, 3), np.uint8), "_duplicates": None}
    for name, pixels in drawn.items():
        monkeypatch.setattr(report, name, lambda found, pixels=pixels: pixels)
    owned = Owned(tmp_path, "check-data")
    (owned.claim(tmp_path / "duplicates.png")).touch()
    found = audited(findings=[finding("error", "s")], num_errors=1, facts={"training": {"images": 9}},
                    classes=CLASSES[:1], statistics=([0.5], [0.25]))  # fmt: skip
    settings = {"root": "/x", "mean": (0.4,), "std": (0.2,)}
    assert report.write(found, settings, owned) == [tmp_path / "samples.png"]
    assert json.loads((tmp_path / "report.json").read_text()) == {
        "settings": {"root": "/x", "mean": [0.4], "std": [0.2]}, "errors": 1,
        "findings": [{"level": "error", "kind": "k", "sentence": "s", "count": 2, "files": ["a", "b"]}],
        "splits": {"training": {"images": 9}}, "classes": CLASSES[:1], "seconds": 4.0, "images_per_second": 3.0,
        "statistics": {"measured": {"mean": [0.5], "std": [0.25]}, "configured": {"mean": [0.4], "std": [0.2]}},
    }  # fmt: skip
    assert not (tmp_path / "duplicates.png").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/duplicates.png").write_text("a person's")
    report.write(found, settings, Owned(tmp_path / "other", "check-data"))
    assert (tmp_path / "other/duplicates.png").read_text() == "a person's"


def test_a_few_samples_are_spread_and_what_cannot_be_read_or_takes_long_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Images:
        def __len__(self) -> int:
            return 80

        def __getitem__(self, index: int) -> int:
            if index == 10:
                raise UserError("broken")
            return index

    images: Any = Images()
    assert look_pictures.some_of(images) == [0, 20, 30, 40, 50, 60, 70]
    now = iter([0.0, 1.0, 8.0, 8.1, 9.0])
    monkeypatch.setattr(look_pictures.time, "monotonic", lambda: next(now))
    assert look_pictures.some_of(images) == [0, 20, 30]


def test_readings_stand_below_each_other_the_likeliest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    def drawn(view: View, samples: list[int], title: str) -> np.ndarray:
        told.append((view.means, samples, title))
        return np.full((2, 3 + len(told), 3), len(told), np.uint8)

    monkeypatch.setattr(look_pictures, "_drawn", drawn)
    views: Any = [View("as is", [1, 2, 3], None), View("one less", [4, 5], None)]  # type: ignore[arg-type, list-item]
    assert look_pictures.draw(views[:1], "name").shape == (2, 4, 3)
    both = look_pictures.draw(views, "name")
    assert told == [("as is", [1, 2, 3], "name"), ("as is", [1, 3], "1. as is"), ("one less", [4], "2. one less")]
    assert both.shape == (4, 6, 3)
    assert (both[:2, :5] == 2).all()
    assert (both[:2, 5] == 255).all()
    assert (both[2:] == 3).all()


def ways(*names: str, **more: Any) -> tuple[Way, ...]:
    return tuple(Way("m", name, {"root": "/x"}, **more) for name in names)


def tried(monkeypatch: pytest.MonkeyPatch, advice: Advice, errors: dict[str, str], **more: Any) -> tuple[Advice, list]:
    """What is left of the advice where a start by some options ends in an error."""
    viewed = []

    def start(found: Found, way: Way, views: list | None, measured: dict) -> list[str]:
        measured["mean"] = [0.5]
        viewed.append((way.data, views is not None))
        if way.data in errors:
            raise UserError(errors[way.data])
        return [f"a doubt of {way.data}"]

    monkeypatch.setattr(look, "_start", start)
    return look._tried(Found(Path("/x"), "maps", **more), advice, []), viewed


def test_ways_that_start_are_told_with_what_was_measured_and_the_doubts_of_the_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = Way("mae", "folder", {"root": "/x"})
    found, viewed = tried(monkeypatch, Advice(ways(*"abcdefg"), ("before",), alone), {"b": "no such file"})
    assert [way.data for way in found.ways] == list("acdefg")
    assert {str(way.keys) for way in found.ways} == {str({"root": "/x", "mean": [0.5]})}
    assert found.said == ("before", "a doubt of a", "data=b does not read it: no such file")
    assert found.alone is not None
    assert found.alone.keys["mean"] == [0.5]
    assert viewed == [*((name, True) for name in "abcde"), ("f", False), ("g", False), ("folder", False)]
    for errors, there in (({"folder": "x"}, True), (dict.fromkeys("abcdefg", "x"), False)):
        found, _ = tried(monkeypatch, Advice(ways(*"abcdefg"), (), alone), errors)
        assert (found.alone, bool(found.ways)) == (None, there)


def test_a_set_of_which_nothing_can_be_learned_is_told_where_nothing_else_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    idle = {"a": "nothing can be learned", "b": "the labels: it ignores them all", "c": "other"}
    found, _ = tried(monkeypatch, Advice(ways(*"abc")), idle)
    assert [way.data for way in found.ways] == ["a", "b"]
    assert found.said == ("data=c does not read it: other",
                          "as it lies there a run would not start: nothing can be learned")  # fmt: skip
    found, _ = tried(monkeypatch, Advice(ways(*"abcd")), idle)
    assert [way.data for way in found.ways] == ["d"]
    found, _ = tried(monkeypatch, Advice(ways("c", known=True)), idle)
    assert (found.ways, found.said) == ((), ())  # a public set that it is not: another way is its own


@pytest.mark.parametrize(
    ("kind", "told"),
    [("list", "no data option reads lists: mae-hydra check-data '/a b'"), ("nothing", "there is nothing that can be"),
     ("photos", "no data option reads this as it lies there")],
)  # fmt: skip
def test_where_nothing_reads_it_the_way_out_is_told(kind: Any, told: str) -> None:
    assert look._way_out(Found(Path("/a b/list.txt"), kind)).startswith(told)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--limit", "0"], "--limit must be at least 1, got 0"),
        (["--workers", "-1"], "--workers must be at least 0, got -1"),
        (["data=scenes", "--save", "data/x.yaml"], "--save is for a folder by itself"),
    ],
)
def test_what_an_audit_cannot_mean_is_refused(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    from mae_hydra.commands import main

    assert main(["check-data", *words]) == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(("done", "lines"), [((999, 1000, 2000, 2500), 3), ((1, 2), 0)])
def test_a_file_has_a_line_now_and_then_and_one_at_the_end(done: tuple[int, ...], lines: int) -> None:
    console = Console(file=io.StringIO(), width=100)
    with check_data._Progress(console) as progress:
        for number in done:
            progress.advance(number, 2500)
    told = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(told) == lines
    assert told[-1:] == (["looked at 2500 of 2500 samples"] if lines else [])
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with check_data._Progress(console) as progress:
        for number in done:
            progress.advance(number, 2500)
        [task] = progress._bar.tasks
        assert (task.completed, task.total) == (done[-1], 2500)
    assert "looked at 2500 of" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_shards_come_with_what_tells_of_them(tmp_path: Path) -> None:
    for name in ("b.tar", "a.tar", "shards.json", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in look._shards_at(tmp_path)] == ["a.tar", "b.tar", "shards.json"]
    assert look._shards_at(tmp_path / "a.tar") == [tmp_path / "a.tar"]


def test_presets_are_known_with_all_that_they_stand_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = look.known_sets()
    assert "segmentation" not in known
    assert {"ade20k_full", "cityscapes", "dark_zurich", "voc2012_aug"} <= set(known)
    dark, city = known["dark_zurich"], known["cityscapes"]
    assert (dark["num_classes"], dark["palette"], dark["values"]) == (city["num_classes"], city["palette"], None)
    assert dark["splits"] == {"train": None, "validation": "val", "test": None}
    assert set(known["nyu40"]["splits"]) == {"train", "validation", "test"}  # of what it stands on
    assert all("defaults" not in node and "map_suffix" in node for node in known.values())
    nodes = {
        "_maps": {"map_suffix": "", "splits": {"train": "t", "test": "x"}},
        "segmentation": {"_target_": "s", "defaults": ["_maps"], "lists": None},
        "one": {"defaults": ["segmentation"], "splits": {"train": "a"}, "lists": {"train": "l"}},
        "two": {"defaults": ["one"], "splits": {"test": "b"}, "map_suffix": "_m"},
        "photos": {"_target_": "p", "splits": {}},
    }
    (tmp_path / "data").mkdir()
    for name, node in nodes.items():
        (tmp_path / f"data/{name}.yaml").write_text(json.dumps(node))
    monkeypatch.setattr("mae_hydra.configuration.tree.config_dir", lambda: tmp_path)
    one = {"_target_": "s", "map_suffix": "", "splits": {"train": "a", "test": "x"}, "lists": {"train": "l"}}
    assert look.known_sets() == {"one": one, "two": one | {"splits": {"train": "a", "test": "b"}, "map_suffix": "_m"}}


@pytest.mark.parametrize(("errors", "code"), [(0, 0), (1, 1)])
def test_an_audit_looks_at_what_was_typed_and_fails_for_errors_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, errors: int, code: int
) -> None:
    from mae_hydra.commands import main

    monkeypatch.chdir(tmp_path)
    asked: list[Any] = []

    def audit(listing: str, settings: Any, *, advance: object, **more: Any) -> Any:
        asked.append((listing, more))
        return SimpleNamespace(num_errors=errors, findings=["a warning"])

    monkeypatch.setattr("mae_hydra.data.audit.dataset.audit", audit)
    monkeypatch.setattr(report, "write", lambda *given: asked.append((given[2].folder, given[2].trusted)) or [])
    monkeypatch.setattr(report, "show", lambda *given: None)
    monkeypatch.setattr(check_data, "_listing", lambda config, settings: ("the listing", "a refusal"))
    assert main(["check-data", "data=scenes", "--limit", "5", "--workers", "0"]) == code
    assert main(["check-data", "data=scenes", "data.image_size=[96,64]", "--out", "mine"]) == code
    first, second = ({"limit": limit, "num_workers": workers, "refusal": "a refusal", "short": short} for
                     limit, workers, short in ((5, 0, 64), (None, 2, 64)))  # fmt: skip
    assert asked[::2] == [("the listing", first), ("the listing", second)]
    assert [asked[1], asked[3]] == [(Path("outputs/check_data/scenes"), True), (Path("mine"), False)]
    assert main(["check-data", "data=folder", "data.root=/my/set"]) == code
    assert asked[5] == (Path("outputs/check_data/set"), True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--out", "theirs"], "theirs/report.json is there, and it was not mae-hydra check-data that wrote it"),
        (["--out", "theirs/report.json/x"], "theirs/report.json is a file; give another folder with --out"),
        (["+model.nonsense=1"], "nonsense"),  # as it would end a training
    ],
)
def test_what_an_audit_could_not_leave_behind_is_said_before_hours_of_looking(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    from mae_hydra.commands import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(check_data, "_listing", None)  # which would be called first
    Path("theirs").mkdir()
    Path("theirs/report.json").write_text("a person's")
    assert main(["check-data", "data=scenes", *words]) == 1
    assert told in capsys.readouterr().err


def test_a_folder_alone_is_looked_at_with_what_was_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from mae_hydra.commands import main

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my set").mkdir()
    asked: list[Any] = []
    monkeypatch.setattr(look, "look_at_data", lambda *given: asked.append(given) or 3)
    assert main(["check-data", "~/my set", "--save", "data/x.yaml", "--limit", "4", "--out", "o"]) == 3
    assert main(["check-data", "my set"]) == 3
    assert asked == [(tmp_path / "my set", Path("data/x.yaml"), 4, Path("o")), (Path("my set"), None, None, None)]


def test_a_set_of_files_is_listed_with_what_its_reader_says_and_another_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    def build(node: Any, key: str) -> Any:
        asked.append((node, key))
        if node == "broken":
            raise UserError("a class too many")
        return "built"

    monkeypatch.setattr("mae_hydra.configuration.trust.judge", lambda *given: given)
    listings = iter([None, "listing", "listing"])
    monkeypatch.setattr("mae_hydra.data.audit.dataset.list_files", lambda *given: asked.append(given) or next(listings))
    monkeypatch.setattr("mae_hydra.data.audit.dataset.list_samples", lambda data: f"samples of {data}")
    monkeypatch.setattr("mae_hydra.configuration.construct.build", build)
    settings = {"_target_": "mylab.Data"}
    found = [check_data._listing(SimpleNamespace(data=node), settings) for node in ("good", "good", "broken")]
    assert found == [("samples of built", None), ("listing", None), ("listing", "a class too many")]
    listed = (("mylab.Data", "data", "person"), settings)  # typed by who sits here
    assert asked == [listed, ("good", "data"), listed, ("good", "data"), listed, ("broken", "data")]


def started(monkeypatch: pytest.MonkeyPatch, data: Any, doubts: list[str]) -> dict[str, list[Any]]:
    """What a start by way of trial asks of the rest, which is replaced by notes."""
    notes: dict[str, list[Any]] = {"composed": [], "here": [], "checked": [], "measured": [], "ahead": []}

    def compose(words: list[str]) -> Any:
        notes["composed"].append(words)
        place = next((Path(word.partition("=")[2]) for word in words if word.startswith("data.root=")), Path("nowhere"))
        folder = place if place.is_dir() else place.parent
        notes["here"].append({each.name: each.resolve() for each in folder.iterdir()} if folder.is_dir() else {})
        return SimpleNamespace(data=str(place))

    def labels(read: Any) -> list[str]:
        if data.refused:
            raise UserError(f"{notes['composed'][-1][-1]}: {data.refused}")
        return [f"{doubt} in {notes['composed'][-1][-1].partition('=')[2]}" for doubt in doubts]

    monkeypatch.setattr("mae_hydra.configuration.compose.compose_config", compose)
    monkeypatch.setattr("mae_hydra.configuration.check.check", lambda config: notes["checked"].append(config.data))
    monkeypatch.setattr("mae_hydra.configuration.construct.build", lambda node, key: data)
    monkeypatch.setattr("mae_hydra.data.audit.label_scan.check_labels", labels)
    monkeypatch.setattr(
        "mae_hydra.data.audit.statistics.statistics",
        lambda images, count: notes["measured"].append((images, count)) or ([0.5], [0.25]),
    )
    monkeypatch.setattr(
        "mae_hydra.data.loading.look_ahead.look_ahead",
        lambda images, limit, seconds: notes["ahead"].append((images, limit, seconds)),
    )
    monkeypatch.setattr(look, "some_of", lambda images: images[:2])
    return notes


def test_a_way_is_started_as_a_run_would_with_what_it_says_of_the_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = ["warning: 2 files", "3 files passed over", "warning: torn"]
    data = SimpleNamespace(train=[1, 2, 3], validation=range(10_000), notes=notes, refused="")
    asked = started(monkeypatch, data, ["class 3 is nowhere"])
    way = Way("m", "d", {"num_classes": 3, "root": "/x"}, "a reading", words=("seed=1",), measured=True)
    views: list[View] = []
    measured: dict[str, Any] = {}
    found = Found(Path("/x"), "maps")
    assert look._start(found, way, views, measured) == ["warning: 2 files", "warning: torn", "class 3 is nowhere in /x"]
    assert asked["composed"] == [["model=m", "data=d", "seed=1", "data.num_classes=3", "data.root=/x"]]
    assert asked["checked"] == ["/x"]
    assert asked["measured"] == [([1, 2, 3], 256)]
    assert measured == {"mean": [0.5], "std": [0.25]}
    assert asked["ahead"] == [(data.validation, None, 2.0)]
    assert views == [View("a reading", [1, 2], data)]  # type: ignore[list-item]
    data.validation, data.train = range(10_001), []
    measured.clear()
    look._start(found, Way("m", "d", {"root": "/x"}), views, measured)
    assert (len(asked["ahead"]), len(asked["measured"]), measured, len(views)) == (1, 1, {}, 1)


@pytest.mark.parametrize("single", [False, True])
def test_shards_are_tried_where_nothing_is_written_beside_them_and_named_where_they_lie(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, single: bool
) -> None:
    for name in ("a.tar", "b.tar", "shards.json", "notes.txt"):
        (tmp_path / name).touch()
    root = tmp_path / "a.tar" if single else tmp_path
    data = SimpleNamespace(train=[1], validation=[], notes=[], refused="")
    asked = started(monkeypatch, data, ["a doubt"])
    way = Way("m", "shards", {"root": str(root)})
    assert look._start(Found(root, "shards"), way, None, {}) == [f"a doubt in {root}"]
    names = ["a.tar"] if single else ["a.tar", "b.tar", "shards.json"]
    assert asked["here"] == [{name: (tmp_path / name).resolve() for name in names}]
    assert str(tmp_path) not in asked["composed"][0][-1]
    assert asked["composed"][0][-1].endswith("/a.tar") is single
    data.refused = "nothing can be learned"
    with pytest.raises(UserError, match=f"^data.root={root}: nothing can be learned$"):
        look._start(Found(root, "shards"), way, None, {})


def test_every_sample_is_drawn_in_each_reading_and_what_is_no_class_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(report, "sheet", lambda pairs, **more: drawn.update(more, pairs=pairs))
    stored = np.zeros((2, 2), np.uint8)
    monkeypatch.setattr(report, "_shown", lambda tally, row: (np.full((2, 2, 3), row, np.uint8), stored))
    monkeypatch.setattr(
        report, "overlay", lambda image, maps, *given, **more: image + 100 * (np.unique(maps).tolist() == [7, 300])
    )  # also where it is enlarged
    monkeypatch.setattr(report, "legend_of", lambda maps, names, palette: len(maps))
    table = SimpleNamespace(num_classes=300, counted=np.array([True, False]), class_of=np.array([7, 0]))
    assert report._drawn(table, np.array([[0, 1]])).tolist() == [[7, 300]]  # type: ignore[arg-type]
    stored[0, 0] = 1
    listing = SimpleNamespace(palette=None, class_names=())

    def reading(name: str, fits: bool = True) -> Any:
        return SimpleNamespace(fits=lambda: fits, table=lambda: table, convention=lambda: f"data.{name}")

    both = ["image", "a", "c"]
    for kind, columns in (("zero label", both), ("zero label open", both), ("other", ["image", "labels"])):
        found: Any = SimpleNamespace(listing=listing, reading=reading("a"))
        found.findings = [SimpleNamespace(kind="x"), SimpleNamespace(kind=kind)]
        found.alternatives = [reading("b", False), reading("c")]
        report._overlays(found, [(None, 1), (None, 2), (None, 3)])  # type: ignore[list-item]
        assert drawn["columns"] == columns * 2
        assert drawn["group"] == len(columns)
        shown = [[int(picture.max()) for picture in row] for row in drawn["pairs"]]
        one, two, three = ([n, *[n + 100] * (len(columns) - 1)] for n in (1, 2, 3))
        assert shown == [[*one, *three], two]  # an odd one stands alone
        assert drawn["legend"] == 3 * (len(columns) - 1)
        report._overlays(found, [(None, 1)])  # type: ignore[list-item]
        assert (drawn["columns"], drawn["title"]) == (columns, "Sample")
        assert [[int(picture.max()) for picture in row] for row in drawn["pairs"]] == [one]
