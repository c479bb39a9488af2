"""Names out of files that somebody else has made."""

import json
import os
import unicodedata

import numpy as np
import pytest
import torch
from PIL import Image

from mae_hydra.data import ade20k
from mae_hydra.names import class_names, clean, encodable, file_part, harmless, names_or_numbers, shortened
from mae_hydra.weights import read_checkpoint

HOSTILE = [
    "wall\n",
    "car\rtruck",
    "cost $x_1$ and $",
    "[/x] [bold]",
    ":car:",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07bell",
    "\x9b2Jgone",
    "<script>alert(1)</script>",
    "ab\u202eright to left",
    "no\u200bspace",
    "two\u2028lines",
    "x" * 255,
    "bad\udcffbyte",
    "half \ud800",
    "",
    "\0",
    "tab\tstop",
]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("wall\n", "wall"),
        ("car\rtruck", "car truck"),
        ("cost $x_1$", "cost $x_1$"),
        ("[/x]", "[/x]"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07bell", "bell"),
        ("\x9b2Jgone", "gone"),
        ("ab\u202ecd", "abcd"),
        ("two\u2028lines", "two lines"),
        ("two\u2029lines", "two lines"),
        ("bad\udcff", "bad\\xff"),
        ("half \ud800 \udd00 \udc7f", "half" + 3 * " \N{REPLACEMENT CHARACTER}"),
        ("Straße 道路 طريق", "Straße 道路 طريق"),
        ("\u0645\u06cc\u200c\u0631\u0648\u0645", "\u0645\u06cc\u200c\u0631\u0648\u0645"),
    ],
)
def test_a_name_is_shown_as_one_line_in_which_every_letter_is_seen(name, shown):
    assert clean(name) == shown


def test_a_text_of_several_lines_keeps_them():
    assert harmless("a:\n\tb: \x1b[1m1\r") == "a:\n\tb: 1 "
    assert harmless("a\u2028b\u2029c\nd") == "a b c\nd"


def test_no_two_classes_are_shown_alike_and_none_without_a_name():
    assert class_names(["wall\n", "wall", "", "wall"]) == ("wall", "wall (2)", "class 2", "wall (3)")
    made = class_names(HOSTILE)
    assert len(set(made)) == len(HOSTILE)
    for name in made:
        assert 0 < len(name) <= 120
        assert all(unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp") for letter in name)
        name.encode()


def test_a_long_text_keeps_its_ends():
    assert [shortened("abcdefgh", most) for most in (8, 7, 6, 3)] == ["abcdefgh", "abc…fgh", "abc…gh", "a…h"]


def test_names_count_where_there_are_as_many_as_classes():
    assert names_or_numbers(["a", 5], 2) == ("a", "5")
    for odd in (["a", "b", "c"], ["a"], "ab", ("a", "b"), None):
        assert names_or_numbers(odd, 2) == ("class 0", "class 1")


def test_halves_of_letters_are_shown_and_all_else_stays():
    assert encodable("a\udcff\ud800\x1b\u202eä") == "a\\xff\N{REPLACEMENT CHARACTER}\x1b\u202eä"
    assert encodable("a\x1b\u202eä") == "a\x1b\u202eä"


@pytest.mark.parametrize("name", ["a" * 300, "ä" * 300, "道" * 100, "\udcff" * 250, "short"])
def test_a_part_of_a_path_is_one_that_every_file_system_takes(name):
    made = file_part(name)
    assert len(os.fsencode(made)) <= 240
    assert made == name or len(os.fsencode(made)) > 230
    assert file_part("short") == "short"


def test_a_data_set_and_a_checkpoint_tell_clean_names(tmp_path):
    """Every reader goes through these two."""
    for split in ("training", "validation"):
        for kind, picture in (("images", "x.png"), ("annotations", "x.png")):
            (tmp_path / kind / split).mkdir(parents=True)
            Image.fromarray(np.ones((8, 8), np.uint8)).save(tmp_path / kind / split / picture)
    (tmp_path / "classes.json").write_text(json.dumps({"names": HOSTILE}))
    data = ade20k(
        root=str(tmp_path), image_size=8, channels=3, mean=[0.5] * 3, std=[0.5] * 3, num_classes=len(HOSTILE),
        ignore_index=255, reduce_zero_label=True, batch_size=1, train_limit=None, num_workers=0,
    )  # fmt: skip
    assert data.class_names == class_names(HOSTILE)
    for told in ({"meta": {"class_names": HOSTILE}, "config": {}}, {"meta": {"CLASSES": HOSTILE}}):
        torch.save({"model": tensors_of_an_encoder(), **told}, tmp_path / "file.pt")
        assert read_checkpoint(tmp_path / "file.pt").meta["class_names"] == list(class_names(HOSTILE))


def tensors_of_an_encoder() -> dict[str, torch.Tensor]:
    import mae_hydra

    model = mae_hydra.build("model=mae_vitt", "backbone.depth=1", "backbone.out_indices=[0]", "head.depth=1")
    return {f"encoder.{name}": value for name, value in model.encoder.state_dict().items()}
