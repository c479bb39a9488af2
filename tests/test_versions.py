"""What is asked for and what is tested are the same versions."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
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


BROUGHT = {  # imported under a name that a declared distribution brings
    "google": "wandb",  # its records are protobuf's
    "optuna": "hydra-optuna-sweeper",
    "hydra_plugins": "hydra-optuna-sweeper",
    "mmcv": "onedl-mmcv",
    "mmengine": "onedl-mmengine",
    "mmseg": "onedl-mmsegmentation",
}
COMPARED = {"simplejpeg"}  # a decoder that a benchmark times where somebody has it


def test_whatever_is_imported_is_declared():
    """As dependency, as an extra, or among the peers that tests compare with; also what is imported in a function."""
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    declared = {re.match(r"[\w-]+", requirement)[0].lower() for requirements in lists for requirement in requirements}
    declared |= pinned("tests/peers.txt").keys()
    homes = packages_distributions()
    undeclared = {}
    for path in (ROOT / "mae_hydra").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            for name in {name.partition(".")[0] for name in names} - {"mae_hydra"} - sys.stdlib_module_names:
                brought = [BROUGHT[name]] if name in BROUGHT else homes.get(name, [name])
                if name not in COMPARED and not {home.lower().replace("_", "-") for home in brought} & {
                    other.replace("_", "-") for other in declared
                }:
                    undeclared[name] = str(path)
    assert not undeclared
