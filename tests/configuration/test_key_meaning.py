"""One table says what every key means: no key is left out, no row is about a key that is gone."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import mae_hydra
from mae_hydra.configuration.check import GROUPS, ROOT_KEYS
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.key_meaning import TABLE, Decides, differences, flatten, meaning_of
from mae_hydra.configuration.tree import config_dir

CHOICES = {"debug", "experiment", "sweep", "local", "hydra"}  # words of a command line that are no keys


@cache
def all_keys() -> frozenset[str]:
    """Every key that some option of some group has, as a run would hold it."""
    keys = set(flatten(OmegaConf.to_container(compose_config([]), resolve=False)))
    for file in config_dir().glob("*/*.yaml"):
        if file.parent.name in CHOICES:
            continue
        content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        content.pop("defaults", None)
        whole = file.read_text().startswith("# @package _global_")
        keys |= set(flatten(content if whole else {file.parent.name: content}))
    return frozenset(keys)


def test_every_key_of_the_root_and_every_group_has_a_row():
    rows = {row for row in TABLE if "." not in row}
    assert rows == set(ROOT_KEYS) | set(GROUPS) | CHOICES


def test_no_row_is_about_a_key_that_is_gone():
    keys = all_keys()
    for row in TABLE.keys() - CHOICES:
        pattern = re.compile(re.escape(row).replace(r"\*", "[^.]+") + r"(\..*)?")
        assert any(pattern.fullmatch(key) for key in keys), row


def test_where_a_group_is_mixed_each_of_its_keys_has_a_row():
    """Of the engine nothing is left to the row of the group: half of its keys decide the weights, half do not."""
    engine = {key for key in all_keys() if key.startswith("engine.") and not key.endswith("_target_")}
    assert {row for row in TABLE if row.startswith("engine.")} == engine


def test_what_changes_no_score_of_the_same_weights_is_told_in_one_place():
    """Changes, fingerprints and notes of evaluations go by this column."""
    parts = ("data", "evaluation", "inference")
    keys = {key for key in all_keys() if key.startswith(parts) and not meaning_of(key).scores}
    of_the_data = {"num_workers", "prefetch", "cache", "cache_gb", "streaming", "batch_size", "max_bad_share"}
    of_an_evaluator = {"every", "batch_size", "num_workers", "num_pictures"}
    assert keys == {f"data.{name}" for name in of_the_data} | {
        f"evaluation.{each}.{name}" for each in ("validation", "probe") for name in of_an_evaluator
    }


@pytest.mark.parametrize(
    ("key", "decides"),
    [
        ("optimizer.lr", Decides.WEIGHTS),
        ("a_new_group.of_keys", Decides.WEIGHTS),
        ("data.image_size", Decides.WEIGHTS),
        ("data.num_workers", Decides.RUNNING),
        ("evaluation.validation.limit", Decides.SCORES),
        ("evaluation.probe.num_pictures", Decides.RUNNING),
        ("inference.stride_ratio", Decides.SCORES),
        ("checkpoint.monitor", Decides.SCORES),
        ("checkpoint.mode", Decides.SCORES),
        ("engine.ema_decay", Decides.WEIGHTS),
        ("checkpoint.every", Decides.RUNNING),
        ("logger.wandb.project", Decides.RUNNING),
        ("hydra/launcher", Decides.PLACE),
        ("then.upernet", Decides.RUNNING),
    ],
)
def test_a_key_means_what_the_closest_row_says(key, decides):
    assert meaning_of(key).decides is decides


def test_differences_are_told_by_what_they_decide():
    old = {
        "seed": 0,
        "data": {"num_workers": 2, "batch_size": 8},
        "evaluation": {"validation": {"limit": 8, "every": 1}},
    }
    new = {"seed": 1, "data": {"num_workers": 4, "batch_size": 8}, "evaluation": {"validation": {"limit": 9}}}
    assert differences(old, new, Decides.WEIGHTS) == {"seed": (0, 1)}
    assert differences(old, new, Decides.SCORES) == {"evaluation.validation.limit": (8, 9)}
    running = {"data.num_workers": (2, 4), "evaluation.validation.every": (1, None)}
    assert differences(old, new, Decides.RUNNING) == running


def test_every_key_that_a_refusal_names_can_be_typed():
    """Whoever is told `data.mean` types it: a key of a sentence that no option has sends a person astray."""
    keys, other_names = all_keys(), {"model.state_dict", "model.safetensors"}
    key = re.compile(rf"(?<![\w./])(?:{'|'.join(GROUPS)})\.[a-z_]+(?:\.[a-z_]+)*")
    named = {
        (name, file.name)
        for file in Path(mae_hydra.__file__).parent.rglob("*.py")
        for statement in ast.walk(ast.parse(file.read_text()))
        if isinstance(statement, ast.Raise)
        for text in ast.walk(statement)
        if isinstance(text, ast.Constant) and isinstance(text.value, str)
        for name in key.findall(text.value)
    }
    assert len(named) > 100
    sections = {".".join(name.split(".")[:count]) for name in keys for count in range(1, name.count(".") + 1)}
    assert {(name, file) for name, file in named if name not in keys | sections | other_names} == set()
