"""What README and docs tell people to type, and where they send them, is there."""

import argparse
import importlib
import re
from collections import defaultdict
from pathlib import Path

import pytest
from commands import ROOT, Command, commands, pages

from mae_hydra.commands import COMPOSING, VERBS
from mae_hydra.configuration.check import check
from mae_hydra.configuration.compose import compose_config
from mae_hydra.errors import UserError

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
        if command.trains:
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
