"""Lists of the pictures of a split and their cells: how lines are cut, and which picture a name means."""

import codecs
from pathlib import Path
from unicodedata import normalize

import pytest

from mae_hydra.data.readers import split_lists, text_cells
from mae_hydra.data.readers.split_lists import Entry, chosen, entries_of
from mae_hydra.data.readers.text_cells import rows_of, separator_of, table_rows, text_of
from mae_hydra.errors import UserError


@pytest.mark.parametrize(
    ("lines", "separator"),
    [
        (["a,b", "c,d"], ","),
        (["a;b", "c;d,e"], ";"),
        (["a;b,c", "d;e,f"], ","),  # every line has a comma
        (["a\tb,c", "d\te"], "\t"),
        (["a;b", "c"], ","),  # not every line has it
        ([], ","),
    ],
)
def test_a_separator_is_what_every_line_has(lines, separator):
    assert separator_of(lines) == separator


@pytest.mark.parametrize(
    ("lines", "rows"),
    [
        (["sep=,", "a,b", "", " # no", "c,d"], [["a", "b"], ["c", "d"]]),
        (["SEP=;", "a;b"], [["a", "b"]]),
        (['a, "b, c"', "d ,  e "], [["a", "b, c"], ["d", "e"]]),
        (["a b.PNG 1"], [["a b.PNG", "1"]]),
        (['"a b.png"\t"x"'], [["a b.png", "x"]]),
        (['"a b.png"\t "x"', "c.png"], [["a b.png", "x"], ["c.png"]]),
        (['"a.png" "b.png" 1'], [["a.png", "b.png", "1"]]),
        (["my photo.png", '"the one.png" x y'], [["my photo.png"], ["the one.png", "x", "y"]]),
        (["one two three"], [["one", "two", "three"]]),
    ],
)
def test_a_line_is_cut_where_its_cells_end(lines, rows):
    assert rows_of(lines) == rows


def test_rows_of_a_table_keep_empty_cells_and_empty_rows_are_none():
    assert table_rows("a,b\n,\n\n1,\n,2\n") == [["a", "b"], ["1", ""], ["", "2"]]
    assert table_rows("# a;b\n1;2\n") == [["# a", "b"], ["1", "2"]]  # a heading may begin so


def test_a_cell_has_its_limit(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(text_cells, "MOST_OF_A_CELL", 3)
    assert table_rows("abc,d") == [["abc", "d"]]
    with pytest.raises(ValueError, match="field larger than field limit"):
        table_rows("abcd,e")
    (tmp_path / "a.csv").write_text("abcd,e\n")
    with pytest.raises(UserError, match=r"cannot read the list .*a\.csv: field larger"):
        entries_of(tmp_path, "a.csv", "")
    monkeypatch.undo()
    assert table_rows("a,b")  # which sets the limit of all again


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"])
def test_text_of_an_editor_is_read_by_its_first_bytes(encoding):
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}.get(encoding, b"")
    assert text_of(mark + "é\nb".encode(encoding)) == "é\nb"
    with pytest.raises(ValueError, match="line 3 is not in UTF-8"):
        text_of(b"a\nb\n\xff\n\n")


@pytest.mark.parametrize(
    ("name", "text", "columns", "wanted"),
    [
        ("a.tsv", "photo\tmap\na.png\tb.png\n", (0, 1), [Entry("a.png", "b.png")]),
        ("a.csv", "a.png\n", (0, 1), [Entry("a.png")]),
        ("a.csv", "photo\na.png\n", (0, 1), [Entry("a.png")]),
        ("a.csv", "a\nb\n", (0, 1), [Entry("a"), Entry("b")]),  # stems: no line is a heading
        ("a.txt", "photo\na.png\n", (0, 1), [Entry("photo"), Entry("a.png")]),  # nor of a text file
        ("a.csv", "id,photo\n1,a.png\n2,b.png\n", (1, 0), [Entry("a.png", label="1"), Entry("b.png", label="2")]),
        ("a.csv", "ID,Photo\n1,a.png\n", ("photo", 0), [Entry("a.png", label="1")]),
        ("a.list", "a.png,x\nb.png\n", (0, 1), [Entry("a.png", label="x"), Entry("b.png")]),
        ("a.txt", "c,b.png\n", (0, 1), [Entry("c", label="b.png")]),  # a pair is of two pictures
        ("a.csv", "a,b,c\nd,e\n", (0, 2), [Entry("a", label="c"), Entry("d")]),
        ("stem", "", (0, 1), [Entry("stem")]),  # no name of a list
    ],
)
def test_a_list_names_photos_with_what_belongs_to_them(tmp_path: Path, name, text, columns, wanted):
    (tmp_path / name).write_text(text)
    assert entries_of(tmp_path, name, "", columns) == wanted


@pytest.mark.parametrize(
    ("text", "columns", "said"),
    [
        ("", (0, 1), "names nothing"),
        ("photo,map\n", ("photo", "map"), "names nothing"),
        ("a,b\n", (0, 2), "has no column 2: its lines have 2, counted from 0"),
        ("a,b\n", (2, 0), "has no column 2"),
        ("", ("photo", 1), "its first line is: none"),
    ],
)
def test_a_list_that_lacks_something_is_named(tmp_path: Path, text, columns, said):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        entries_of(tmp_path, "a.csv", "", columns)


def test_a_list_lies_below_the_root_or_at_home_and_has_its_limit(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home/train.LST").write_text("a\n")
    assert entries_of(tmp_path / "set", "~/{split}.LST", "train") == [Entry("a")]
    monkeypatch.setattr(split_lists, "MOST_BYTES", 1)
    with pytest.raises(UserError, match=r"train\.LST is larger than"):
        entries_of(tmp_path, "home/train.LST", "train")


@pytest.mark.parametrize(
    ("name", "suffix", "key"),
    [
        ("./x/1.PNG", "", "x/1"),
        ("\\set\\x\\1.png", "", "x/1"),
        ("/far/x/1_LEFT.png", "_LEFT.PNG", "x/1"),  # letters of an ending do not count
        ("x/1_left", "_left", "x/1"),
        ("y/x/1", "", "x/1"),
        ("deep/y/2", "", "deep/y/2"),  # the longest that is there
        ("y/2", "", "y/2"),
        (normalize("NFD", "é"), "", normalize("NFC", "é")),
        ("4", "", None),  # of two
        ("/4", "", None),
        ("0", "", None),
        ("b/5.v2.png", "", "b/5.v2"),
    ],
)
def test_a_name_means_the_picture_that_it_ends_with(name, suffix, key):
    keys = ["x/1", "y/2", "deep/y/2", normalize("NFC", "é"), "a/4", "b/4", "10", "b/5.v2"]
    assert chosen([name], keys, suffix) == [key]
