"""What classes are called and how they are drawn: each form in which it is told, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mae_hydra.data import distinct_colours
from mae_hydra.data.readers import class_list as module
from mae_hydra.data.readers.class_list import ClassList, class_list, names_and_palette
from mae_hydra.errors import UserError


def plain(told: ClassList) -> tuple[Any, Any]:
    return told.names, None if told.palette is None else told.palette.tolist()


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("a.csv", "id,blue,green,red,name\n10,1,2,3,sky\n9,4,5,6,sea\n", (("sea", "sky"), [[6, 5, 4], [3, 2, 1]])),
        ("a.CSV", "value,index,label\n1,1,b\n2,0,a\n", (("a", "b"), None)),
        ("a.csv", "classname,label,class,name\n4,3,2,1\n", (("1",), None)),  # by the plainest of its headings
        ("a.csv", "train_id,id,name\n0,2,b\n1,1,a\n", (("a", "b"), None)),
        ("a.csv", "id,name\n2,b\nx,a\n", (("b", "a"), None)),
        ("a.csv", "id,name\nx,sky\n1,sea\n", (("sky", "sea"), None)),  # no numbers to sort by
        ("a.csv", "name,r,g\nsky,1,2\n", (("sky",), None)),  # no color without blue
        ("a.csv", "sky,1\nsea,0\n", (("sky", "sea"), None)),  # no headings
        ("a.json", '["sky", "sea"]', (("sky", "sea"), None)),
        ("a.JSON", '{"names": ["sky", 7]}', (("sky", "7"), None)),
        ("a.json", '{"names": ["b", "a"], "palette": ["#010203", [4, 5, 6]]}', (("b", "a"), [[1, 2, 3], [4, 5, 6]])),
        ("a.txt", "\n sky \n\nsea\n", (("sky", "sea"), None)),
    ],
)
def test_names_and_colors_are_read_in_every_form(tmp_path: Path, name: str, text: str, wanted: Any) -> None:
    (tmp_path / name).write_text(text)
    assert plain(class_list(tmp_path, name, None)) == wanted


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "r,g,b\n1,2,3\n", "no column is called name"),
        ("a.csv", "red,x\n1,2\n", "no column is called name"),
        ("a.csv", "", "no column is called name"),
        ("a.csv", "name,r,g,b\nsky,1,2,256\n", "is no color"),
        ("a.txt", "\n \n", "names no class"),
        ("a.json", '{"palette": []}', "cannot read the class names in"),
        ("a.json", '{"names": ["a"], "palette": [[1, 2]]}', "is no color"),
    ],
)
def test_what_names_no_classes_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=said):
        class_list(tmp_path, name, None)


def test_a_file_too_large_for_names_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("abc")
    monkeypatch.setattr(module, "MOST_BYTES", 3)
    assert class_list(tmp_path, "a.txt", None).names == ("abc",)
    monkeypatch.setattr(module, "MOST_BYTES", 2)
    with pytest.raises(UserError, match=r"a\.txt is larger than"):
        class_list(tmp_path, "a.txt", None)


def test_what_is_told_goes_before_the_file_of_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert plain(class_list(tmp_path, None, None)) == (None, None)
    (tmp_path / "classes.json").write_text('{"names": ["a", "b"], "palette": [[1, 1, 1], [2, 2, 2]]}')
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home/own.txt").write_text("c\nd\n")
    assert plain(class_list(tmp_path, None, None)) == (("a", "b"), [[1, 1, 1], [2, 2, 2]])
    assert plain(class_list(tmp_path, ["c", "d"], None)) == (("c", "d"), None)
    assert plain(class_list(tmp_path, "~/own.txt", None)) == (("c", "d"), None)
    for palette in ("#0000ff 006300", "0000ff#006300", ["#0000ff", "0 99 0"], [[0, 0, 255], [0, 99, 0]]):
        assert plain(class_list(tmp_path, None, palette)) == (("a", "b"), [[0, 0, 255], [0, 99, 0]])
    with pytest.raises(ValueError, match=r"data\.palette: 0-9 0 0 is no color"):
        class_list(tmp_path, None, ["0 0 0", "0-9 0 0"])


def test_names_and_colors_are_as_many_as_the_classes() -> None:
    gray = np.array([[1, 1, 1], [2, 2, 2]], np.uint8)
    names, palette = names_and_palette(ClassList(("a", "b"), gray), 2)
    assert (names, palette.tolist()) == (("a", "b"), gray.tolist())
    assert names_and_palette(ClassList(("a", "b")), 2)[1].tolist() == distinct_colours(2).tolist()
    names, palette = names_and_palette(ClassList(None, gray), 2)
    assert (names, palette.tolist()) == (("class 0", "class 1"), gray.tolist())
    names, palette = names_and_palette(ClassList(), 3)
    assert (names, palette.tolist()) == (("class 0", "class 1", "class 2"), distinct_colours(3).tolist())
    for told, said in (
        (ClassList(("a",)), "names 1 classes and data.num_classes is 2; set data.num_classes=1"),
        (ClassList(("a", "b", "c")), "names 3 classes and data.num_classes is 2; set data.num_classes=3"),
        (ClassList(None, gray[:1]), "there is 1 color for 2 classes"),
        (ClassList(None, gray[[0, 1, 1]]), "there are 3 colors for 2 classes"),
    ):
        with pytest.raises(UserError, match=said):
            names_and_palette(told, 2)
