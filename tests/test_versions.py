"""What is asked for and what is tested are the same versions."""

import re
import tomllib
from pathlib import Path

from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pinned(file: str) -> dict[str, Version]:
    lines = [line for line in (ROOT / file).read_text().splitlines() if line and not line.startswith("#")]
    return {name.lower(): Version(version) for name, version in (line.split("==") for line in lines)}


def oldest_allowed() -> dict[str, Version]:
    found = [re.match(r"([\w-]+)>=([\d.]+)", requirement) for requirement in PROJECT["dependencies"]]
    return {match[1].lower(): Version(match[2]) for match in found if match}


def test_every_dependency_has_a_lower_bound_and_the_oldest_is_what_is_tested():
    allowed = oldest_allowed()
    assert len(allowed) == len(PROJECT["dependencies"])
    assert pinned("constraints-lowest.txt") == allowed


def test_every_dependency_is_pinned_for_those_who_want_what_is_known_to_be_good():
    assert oldest_allowed().keys() <= pinned("constraints.txt").keys()
