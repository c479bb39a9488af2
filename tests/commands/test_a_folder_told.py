"""What `check-data <folder>` says of the ways to read it, in which order, and with which exit code; nothing is read."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mae_hydra.commands.check_data import look, look_pictures, look_report, typed
from mae_hydra.commands.check_data.look_pictures import View
from mae_hydra.data import Sample
from mae_hydra.data.looking import Found, Labels, Part, Split
from mae_hydra.data.looking.advice import Advice, Way
from mae_hydra.errors import UserError


def way(data: str, means: str = "", **more: Any) -> Way:
    return Way("m", data, {"root": "/x"}, means, **more)


class Told:
    """`told(ways, ...)`: exit code and lines, where these are the ways that start; `asked`: what was asked for them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys
        self.asked: list[Any] = []

    def __call__(
        self, ways: Sequence[Way], kind: Any = "maps", *, before: Sequence[str] = (), said: Sequence[str] = (),
        alone: Way | None = None, targets: Sequence[str] = (), picture: Path | None = Path("look.png"), **more: Any
    ) -> tuple[int, list[str]]:  # fmt: skip
        found, self.asked = Found(Path("/a b/set"), kind), []

        def tried(found: Found, advice: Advice, views: list[Any]) -> Advice:
            views += [View(target, (), SimpleNamespace(target=target)) for target in targets]  # type: ignore[arg-type]
            return Advice(tuple(ways), tuple(said), alone)

        def drawn(found: Found, views: Sequence[View], out: Path | None, console: Any) -> Path | None:
            self.asked.append(([view.means for view in views], out))
            return picture

        self.monkeypatch.setattr(look, "look", lambda *given: self.asked.append(given) or found)
        self.monkeypatch.setattr(look, "advise", lambda *given: Advice(said=tuple(before)))
        self.monkeypatch.setattr(look, "_tried", tried)
        self.monkeypatch.setattr(look, "_drawn", drawn)
        code = look.look_at_data(Path("/a b/set"), more.get("save"), more.get("limit"), more.get("out"))
        return code, self.capsys.readouterr().out.splitlines()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    monkeypatch.setenv("COLUMNS", "60")  # lines that are typed are not broken
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(look, "known_sets", dict)
    monkeypatch.setattr(look_report, "show", lambda console, found: console.print("what was found"))
    return Told(monkeypatch, capsys)


def test_the_best_way_stands_last_and_three_others_before_it_by_what_differs(told: Told) -> None:
    ways = [
        way("folder", "one"),
        way("folder", "two", words=()),
        way("other", "three"),
        way("c", "four"),
        way("d", "5"),
    ]
    ways[1] = Way("m", "folder", {"root": "/x", "mean": 2, "num_classes": 3}, "two")
    targets = ("map", "none", "map")
    code, lines = told(ways, said=["a doubt\nof it"], alone=way("alone"), targets=targets, out=Path("o"), limit=7)
    assert (code, lines) == (0, [
        "what was found",
        "a doubt of it",
        "or two: data.mean=2 data.num_classes=3",
        "or three: python train.py model=m data=other data.root=/x",
        "or four: python train.py model=m data=c data.root=/x",
        "what starts as it lies there is pre-training on the photos alone:",
        "samples in every reading: look.png",
        "to pre-train on the photos alone: python train.py model=m data=alone data.root=/x",
        "the likeliest: one",
        "python train.py model=m data=folder data.root=/x",
    ])  # fmt: skip
    assert told.asked == [(Path("/a b/set"), 7), (["map", "map"], Path("o"))]


@pytest.mark.parametrize(
    ("ways", "more", "lines"),
    [
        ([way("folder")], {"kind": "photos", "targets": ["none"]}, ["samples: look.png"]),
        ([way("folder", "one")], {"kind": "photos", "targets": ["none"], "picture": None}, []),
        ([way("folder"), way("e", "two")], {"kind": "photos"}, ["or two: python train.py model=m data=e data.root=/x"]),
    ],
)
def test_of_one_way_or_without_samples_less_is_said(
    told: Told, ways: list[Way], more: dict[str, Any], lines: list[str]
) -> None:
    expected = ["what was found", *lines, "python train.py model=m data=folder data.root=/x"]
    assert told(ways, **more) == (0, expected)
    assert told.asked[0] == (Path("/a b/set"),)


@pytest.mark.parametrize(
    ("kind", "before", "said", "code", "last"),
    [
        ("maps", ["x"], ["x"], 0, "no data option reads this as it lies there"),
        ("nothing", [], [], 1, "there is nothing that can be trained on"),
        ("maps", ["x"], ["x", "torn"], 1, "mend that, and look again: mae-hydra check-data '/a b/set'"),
    ],
)
def test_where_no_way_starts_it_is_said_what_to_do(
    told: Told, kind: str, before: list[str], said: list[str], code: int, last: str
) -> None:
    found, lines = told([], kind, before=before, said=said)
    assert (found, lines[:-1]) == (code, ["what was found", *said])
    assert lines[-1].startswith(last)


def test_an_option_file_is_written_of_the_best_way_and_of_none_where_nothing_starts(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path("conf/local/data/mine.yaml")
    with pytest.raises(
        UserError, match=r"there is nothing to write to conf/local/data/mine.yaml: no data option reads"
    ):
        told([], save=place)
    with pytest.raises(UserError, match="option files of data lie in a folder data/"):
        told([way("a"), way("b")], save=Path("mine.yaml"))
    assert told.asked == []  # refused before a look that may take long
    assert not Path("conf").exists()
    code, lines = told([way("a"), way("b", "two")], save=place)
    assert (code, lines[-1]) == (0, "python train.py --config-dir conf/local model=m data=mine")
    assert place.read_text().endswith("defaults:\n- a\nroot: /x\n")
    assert typed.HEAD in place.read_text()


def test_what_was_not_looked_at_to_its_end_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "_start", None)
    advice = Advice((way("a"), way("b")), ("before",), way("alone"))
    found = look._tried(Found(Path("/x"), "maps", complete=False), advice, [])
    assert (found.ways, found.alone) == (advice.ways, advice.alone)
    assert found.said == ("before", "the command was not tried: there is more than was looked at")


@pytest.mark.parametrize(
    ("out", "error", "why"),
    [
        (Path("mine"), OSError(28, "No space left on device"), "mine: No space left on device; --out says where"),
        (Path("mine"), UserError("it is another's"), "it is another's; --out says where the picture goes"),
        (None, OSError(28, "No space left on device"), "no picture was written: [Errno 28] No space left on device"),
        (None, UserError("it is another's"), "no picture was written: it is another's"),
    ],
)
def test_a_picture_that_cannot_be_written_stops_only_who_said_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, out: Path | None, error: Exception, why: str
) -> None:
    from mae_hydra import figures

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(look, "draw", lambda views, name: f"{views} of {name}")
    places: list[Any] = []

    def save(drawn: str, path: Path) -> None:
        places.append((drawn, path))
        if len(places) > 1:
            raise error

    monkeypatch.setattr(figures, "save", save)
    said: list[str] = []
    console = SimpleNamespace(print=lambda line, **more: said.append(line))
    found = Found(Path("/a/my\nset"), "maps")
    path = (out or Path("outputs/check_data/my set")) / "look.png"
    assert look._drawn(found, "views", out, console) == path  # type: ignore[arg-type]
    assert places == [("views of my set", path)]
    assert said == []
    if out is None:
        assert look._drawn(found, "views", out, console) is None  # type: ignore[arg-type]
        assert said == [why]
        return
    with pytest.raises(UserError, match=why.replace("[", r"\[")):
        look._drawn(found, "views", out, console)  # type: ignore[arg-type]
    other = Path("theirs")
    other.mkdir()
    (other / "look.png").write_text("a person's")
    with pytest.raises(UserError, match="it was not mae-hydra check-data that wrote it"):
        look._drawn(found, "views", other, console)  # type: ignore[arg-type]


def test_a_sample_is_named_by_its_class_and_drawn_in_the_bands_that_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    told: list[Any] = []
    monkeypatch.setattr(look_pictures, "gallery", lambda pictures, captions, **more: told.append((pictures, captions)))
    pixels = torch.arange(5, dtype=torch.uint8).reshape(5, 1, 1).expand(5, 2, 3)
    samples = [Sample(pixels, 1, "a"), Sample(pixels, 0, "b"), Sample(pixels, None, "c")]
    data: Any = SimpleNamespace(target="class", class_names=("sky", "sea"), shown=(4, 2, 0))
    look_pictures._drawn(View("", samples, data), samples, "title")
    [(pictures, captions)] = told
    assert captions == ["sea", "sky", "c"]
    assert [np.unique(picture.reshape(-1, 3), axis=0).tolist() for picture in pictures] == [[[4, 2, 0]]] * 3
    maps = [torch.full((2, 3), n, dtype=torch.uint8) for n in range(2)]
    monkeypatch.setattr(look_pictures, "segmentation_sheet", lambda *given: told.append(given))
    data.target = "map"
    samples = [Sample(pixels, each, "a") for each in maps]
    look_pictures._drawn(View("", samples, data), samples, "title")
    images, drawn, of, title = told[1]
    assert [image.shape for image in images] == [(2, 3, 5)] * 2
    assert [int(each.max()) for each in drawn["labels"]] == [0, 1]
    assert (of, title) == (data, "title")


def test_class_maps_without_photos_and_labels_in_tars_are_told_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")  # sentences are lines all the same: a log is searched
    from mae_hydra.terminal import plain_console

    train, val, test = Split("train", "z"), Split("validation", "b"), Split("test", "c")
    parts = [Part(f"maps{n}", "", (".png",), {test: 1, val: n, train: 5}) for n in range(2)]
    names = tuple(f"{word} class" for word in ("first", "second", "third", "fourth", "fifth", "sixth", "last"))
    found = Found(Path("/x"), "maps", photos=tuple(parts[:1]), maps=tuple(parts),
                  map_labels=Labels(2, 3, {"train": ({0: 3, 7: 1},)}),
                  passed_over={f".{n}": n + 1 for n in range(9)}, names=names[:6], classes={train: names},
                  lists={"a/long/way/to/a/list.txt": "of the pictures of a split"},
                  notes=("a note of more than fifty letters is one line on the screen, too",))  # fmt: skip
    look_report.show(plain_console(), found)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "/x: class maps without photos"
    rows = [[cell.strip() for cell in line.strip("│ ").split("│")] for line in lines if line.startswith("│")]
    assert [row for row in rows if len(row) == 1] == [["0: 75.00%"], ["7: 25.00%"]]
    assert [row for row in rows if row[0].startswith("of ")] == [
        ["of z", "5", "5"], ["of b", "0", "0"], ["of c", "1", "1"]
    ]  # fmt: skip
    assert "class maps too: maps1/*.png, 1 c, 1 b, 5 z" in lines
    assert "2 stored values of 2 of 3 class maps, and their share of the pixels:" in lines
    shown = ", ".join(names[:6])
    assert lines[-5:] == [
        f"z: 7 class folders ({shown}, …)",
        f"6 classes are named: {shown}",
        "list a/long/way/to/a/list.txt: of the pictures of a split",
        "other files: 1 .0, 2 .1, 3 .2, 4 .3, 5 .4, 6 .5, 7 .6, 8 .7",
        "a note of more than fifty letters is one line on the screen, too",
    ]
