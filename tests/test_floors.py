"""Imports go only downward, and rooms on one floor do not know each other (docs/architecture.md)."""

import ast
import functools
import graphlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mae_hydra"
# From the bottom up. A room may import those of the floors below, and of floor 0 also its neighbours.
FLOORS = [
    {
        "types",
        "errors",
        "seeds",
        "distributed",
        "relative_positions",
        "atomic",
        "flops",
        "accelerators",
        "precision",
        "products",
    }
    | {"installed", "profiling", "archive", "batch_norm", "lines", "names", "owned", "parent", "signals", "terminal"},
    {"models", "data", "optim", "weights", "engine", "tracking", "figures"},
    {"inference"},
    {"evaluation"},
    {"configuration"},
    {"recorded"},
    {"experiment"},
    {"workflows"},
    {"launching"},
    {"benchmark", "report"},
    {"commands"},
    {"__init__", "__main__"},
]
KNOWS_HYDRA = len(FLOORS) - FLOORS[::-1].index({"configuration"}) - 1
# The same inside the rooms that have rooms of their own.
INSIDE = {
    "data": [
        {"listing", "label_table"},
        {"decoding"},
        {"dataset"},
        {"headers", "label_share"},
        {"labels"},
        {"augment"},
        {"settings"},
        {"readers", "scenes"},
        {"shards"},
        {"loading"},
        {"audit"},
        {"looking"},
        {"write"},
        {"__init__"},
    ],
    "models": [
        {"initialise", "lean_timm", "pixels", "patches", "pooling", "positions"},
        {"encoders"},
        {"mae", "segmentation", "classification"},
        {"__init__"},
    ],
}


def module_of(path: Path, package: Path = PACKAGE) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py")}


def imports(source: str, module: str, is_package: bool = False) -> Iterator[str]:
    """Every module that is imported anywhere in `source`: each name of a list, relative ones, those in functions, and
    those that are only a text for importlib."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")[: len(module.split(".")) - node.level + is_package]
                base = ".".join([*above, *([base] if base else [])])
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield name if name in MODULES else base
        elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__"):
            yield from (
                each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)
            )


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


@functools.cache
def imported_by(module: str) -> set[str]:
    path = MODULES[module]
    return set(imports(path.read_text(), module, path.name == "__init__.py"))


def room_of(module: str, depth: int) -> str:
    """`mae_hydra.data.shards.cache` at depth 1 is in data, at depth 2 in shards; a package itself is its __init__."""
    parts = module.split(".")
    return parts[depth] if len(parts) > depth else "__init__"


def wrong_imports(floors: list[set[str]], depth: int, within: str) -> list[str]:
    floor = {room: level for level, rooms in enumerate(floors) for room in rooms}
    wrong = []
    for module in MODULES:
        if module != within and not module.startswith(f"{within}."):
            continue
        room = room_of(module, depth)
        assert room in floor, f"{room} of {within} stands on no floor"
        for name in imported_by(module):
            if not name.startswith(f"{within}."):
                continue
            other = room_of(name, depth)
            sideways = other != room and floor[other] == floor[room] and (depth > 1 or floor[room] > 0)
            if sideways or floor[other] > floor[room]:
                wrong.append(f"{module} imports {name}")
    return wrong


def test_imports_go_only_downward():
    assert not wrong_imports(FLOORS, 1, "mae_hydra")


@pytest.mark.parametrize("room", INSIDE)
def test_so_do_those_inside_a_room_of_rooms(room):
    assert not wrong_imports(INSIDE[room], 2, f"mae_hydra.{room}")


def test_no_two_modules_import_each_other_by_whatever_way_round():
    graph = {module: imported_by(module) & MODULES.keys() - {module} for module in MODULES}
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the circle


@pytest.mark.parametrize(
    "source",
    [
        "from mae_hydra import atomic, experiment",
        "def f():\n    from mae_hydra.errors import UserError\n    from mae_hydra.experiment import run",
        "from ..experiment import run",
        "from .. import atomic, experiment",
        "import torch, mae_hydra.experiment.run as r",
        "import importlib\nimportlib.import_module('mae_hydra.experiment.run')",
    ],
)
def test_every_way_of_importing_is_seen(source):
    assert any(name.startswith("mae_hydra.experiment") for name in imports(source, "mae_hydra.models.pixels"))


def test_only_the_upper_floors_know_hydra():
    below = set().union(*FLOORS[:KNOWS_HYDRA])
    wrong = [
        module
        for module in MODULES
        if room_of(module, 1) in below
        and any(name.split(".")[0] in ("hydra", "omegaconf") for name in imported_by(module))
    ]
    assert not wrong


def test_there_are_no_junk_drawers():
    drawers = {"utils.py", "util.py", "misc.py", "common.py", "helpers.py"}
    assert not [path for path in PACKAGE.rglob("*.py") if path.name in drawers]


def test_a_room_can_be_held_in_the_head():
    crowded = {
        str(folder.relative_to(ROOT)): count
        for folder in {path.parent for path in PACKAGE.rglob("*.py")}
        if (count := len([path for path in folder.glob("*.py") if path.name != "__init__.py"])) > 22
    }
    assert not crowded


def test_every_package_is_shipped():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("__init__.py")}
    assert listed == found | {"mae_hydra.conf", "mae_hydra.template"}


def test_the_engine_stays_small_and_its_loop_a_page():
    """docs/architecture.md states the budget."""
    lines = {path.name: len(path.read_text().splitlines()) for path in (PACKAGE / "engine").glob("*.py")}
    assert sum(lines.values()) <= 1500
    assert lines["loop.py"] <= 160


def test_the_page_on_the_architecture_names_every_room():
    page = (ROOT / "docs" / "architecture.md").read_text()
    rooms = set().union(*FLOORS) - {"__init__", "__main__"}
    inside = {f"{room}/{each}" for room, floors in INSIDE.items() for each in set().union(*floors) - {"__init__"}}
    missing = [room for room in sorted(rooms) if not re.search(rf"`{room}(/|\.py)`", page)]
    missing += [each for each in sorted(inside) if (PACKAGE / each).is_dir() and f"`{each}/`" not in page]
    assert not missing


def test_launchers_and_what_finds_finished_jobs_could_be_a_package_of_their_own():
    """Nothing that they import, by whatever way, knows models, data or the engine (docs/sweeps.md says what it is)."""
    todo = [f"mae_hydra.launching.{each}" for each in ("gpus_launcher", "slurm_launcher")] + [
        "mae_hydra.experiment.sweeps"
    ]
    found: set[str] = set()
    while todo:
        module = todo.pop()
        if module in MODULES and module not in found:
            found.add(module)
            todo += imported_by(module)
    rooms = {room_of(module, 1) for module in found} - FLOORS[0]
    assert rooms == {"configuration", "experiment", "launching", "recorded"}
    assert len(found) <= 40, sorted(found)
