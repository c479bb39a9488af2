"""Every value of every recipe and option: none changes unseen, and the published ones are as they were published."""

import difflib
from pathlib import Path
from typing import Any

import pytest
import yaml
from values import (
    ADDITIONS,
    OPTIONS,
    REFERENCES,
    composed,
    file_lines,
    golden,
    in_company,
    option_lines,
    options,
    reference_lines,
    values_of,
    whole_lines,
)

from mae_hydra.configuration.check import check

TABLE = golden()
PUBLISHED = yaml.safe_load(Path(__file__).with_name("published.yaml").read_text())
NOT_FROM_A_PAPER = ("demo_", "crossmae_", "segprobe_")  # what they take over from others is looked at there
ROWS = [(recipe, row) for row in PUBLISHED for recipe in row["recipes"]]


def test_no_value_of_a_recipe_or_a_model_changes_unseen_and_each_fits():
    """After a change that is meant: `python tests/conf/values.py`, and read what differs as a table."""
    same(TABLE[""], whole_lines())
    for word in [*(f"+{recipe}" for recipe in options("experiment")), *options("model")]:
        check(composed(word))
        assert composed(word).name == word.partition("=")[2]  # by which its runs are found


@pytest.mark.parametrize("option", OPTIONS)
def test_no_value_of_an_option_changes_unseen_and_it_fits_its_target(option):
    same(TABLE[option], option_lines(option))
    check(composed(*in_company(option)))


def test_no_value_of_a_sweep_or_a_shortened_run_changes_unseen_nor_what_a_value_follows():
    for addition, file in ADDITIONS.items():
        same(TABLE[addition], file_lines(file))
    same(TABLE[REFERENCES], reference_lines())
    assert list(TABLE) == ["", *OPTIONS, *ADDITIONS, REFERENCES]


def same(before: list[str], now: list[str]) -> None:
    changes = list(difflib.unified_diff(before, now, "values.txt", "conf/", n=1, lineterm=""))
    assert not changes, "\n".join(changes)


@pytest.mark.parametrize(("recipe", "row"), ROWS, ids=[f"{recipe}-{row['source'][:40]}" for recipe, row in ROWS])
def test_a_recipe_holds_the_published_values(recipe: str, row: dict[str, Any]) -> None:
    values = values_of(f"+experiment={recipe}", *row.get("words", ()))
    missing = object()
    wrong = {key: values.get(key, missing) for key, value in row["values"].items() if values.get(key, missing) != value}
    assert not wrong, f"{row['source']}: {wrong}"


def test_every_recipe_of_a_paper_has_its_source():
    recipes = {word.partition("=")[2] for word in options("experiment")}
    sourced = {recipe for recipe, _ in ROWS}
    left = {recipe for recipe in recipes - sourced if not recipe.startswith(NOT_FROM_A_PAPER)}
    assert left == {"classifier_vith_imagenet_448"}  # its recipe was not published
    assert sourced <= recipes
