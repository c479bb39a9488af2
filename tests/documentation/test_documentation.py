"""What README and docs tell people to type, and where they send them, is there."""

import argparse
import importlib
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT, Command, commands, pages
from omegaconf import DictConfig

from mae_hydra.commands import COMPOSING, VERBS
from mae_hydra.configuration import reference
from mae_hydra.configuration.check import check
from mae_hydra.configuration.compose import compose_config
from mae_hydra.errors import UserError
from mae_hydra.launching.launch import launch

BY_PAGE: dict[str, list[Command]] = defaultdict(list)
for command in commands():
    if not command.where.startswith("conf/experiment/"):  # every experiment is composed in tests/conf
        BY_PAGE[command.where.partition(":")[0]].append(command)


@pytest.mark.parametrize("page", BY_PAGE)
def test_every_command_that_is_told_composes_or_is_taken_by_its_verb(page: str):
    wrong = {command.text: said for command in BY_PAGE[page] if (said := _refused(command)) is not None}
    assert wrong == {}


def _refused(command: Command) -> str | None:
    try:
        if "--config-dir" in command.words:  # with options that are still to be written
            return None
        if command.trains and "--help" in command.words:
            assert launch([word for word in command.words if word != "placeholder"]) == 0
        elif command.trains:
            check(compose_config(command.overrides))
        else:
            _parse(command)
    except (UserError, SystemExit) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _parse(command: Command) -> None:
    verb, *rest = command.words
    if verb in ("placeholder", "train") or "--help" in rest or " … " in command.text:
        return
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module(f"mae_hydra.commands.{VERBS[verb][0]}").arguments(parser)
    if verb in COMPOSING:
        parser.add_argument("--config-dir", action="append")
    if not rest:  # a verb by its name
        return
    _, unknown = parser.parse_known_args(rest)
    assert not [word for word in unknown if word.startswith("-")], unknown
    if verb in ("plan", "make-shards") and not command.words[1].startswith("placeholder"):
        compose_config(command.overrides[1 + (verb == "make-shards") :])


def test_the_command_at_the_head_of_an_experiment_is_its_own():
    heads = {command.where: command.words[0] for command in commands() if command.where.startswith("conf/experiment/")}
    assert len(heads) > 20
    assert heads == {where: f"+experiment={Path(where).stem}" for where in heads}


def test_there_are_commands_on_the_pages_that_tell_them():
    assert len(commands()) > 150
    assert {"README.md", "docs/commands.md", "docs/data.md", "conf/sweep/seeds.yaml"} <= set(BY_PAGE)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        place, _, anchor = target.partition("#")
        if place.startswith(("http://", "https://")):
            continue
        file = page.parent / place if place else page
        if not file.exists() or (anchor and anchor not in _anchors(file.read_text())):
            broken.append(target)
    assert broken == []


def _anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_is_named_by_the_readme():
    readme = (ROOT / "README.md").read_text()
    unnamed = [page.name for page in pages() if page.parent.name == "docs" and f"docs/{page.name}" not in readme]
    assert unnamed == []


PAGES = [page for page in pages() if page.name != "extending.md"]  # whose words are of a package outside


@pytest.fixture(scope="module")
def keys() -> set[str]:
    """Every key that some composition has."""
    models = ("mae_vitt", "upernet_vitt", "classifier_vitt", "probe_vitt", "dpt_vitt", "segprobe_vitt")
    composed = [_keys_of(compose_config([f"model={model}"])) for model in models]
    written = {key.name for there in reference.options().values() for option in there for key in option.keys}
    return set().union(written, *composed)


def _keys_of(node: Any, above: str = "") -> set[str]:
    if not isinstance(node, DictConfig):
        return {above}
    below = (_keys_of(node._get_node(name), f"{above}.{name}".lstrip(".")) for name in node)
    return {above}.union(*below)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_word_that_is_told_alone_is_an_option_or_a_key(page: Path, keys: set[str]):
    """`backbone=timm`, `optimizer.layer_decay=0.75`: of those that stand by themselves in the text."""
    options = {group: {option.name for option in there} for group, there in reference.options().items()}
    wrong = []
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    if page.name == "coming-from.md":
        text = re.sub(r"^\|.*?[^\\]\|", "", text, flags=re.MULTILINE)  # what is typed there
    for span in re.findall(r"`([^`]+)`", text):
        for key, value in re.findall(r"(?<!\S)\+?([a-z_]+(?:[./][a-z_]+)*)=(\S*)", span if "=" in span else ""):
            if key in ("hydra/launcher", "hydra/sweeper"):  # also those of plugins
                known = True
            elif key in options:
                known = value in options[key] or not re.fullmatch(r"\w+", value)
            else:  # without a point it may be a word of some other language
                known = key in keys or "." not in key or key.startswith("hydra.")
            wrong += [] if known else [f"{key}={value}"]
    assert wrong == []
