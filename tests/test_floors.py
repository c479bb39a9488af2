"""Imports go only downward, and rooms on one floor do not know each other (docs/architecture.md)."""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mae_hydra"
FLOORS = [
    {"types", "errors", "seeds", "distributed", "relative_positions", "atomic", "flops", "accelerators"}
    | {"installed", "profiling", "archive", "batch_norm", "lines", "names", "owned", "parent", "terminal"},
    {"models", "data", "optim", "weights", "engine", "tracking", "figures"},
    {"inference", "evaluation"},
    {"experiment", "benchmark", "report", "commands", "__init__", "__main__"},
]
# Named exceptions: an evaluator runs an inference object, and commands stand on the composition root.
ALLOWED = {
    ("evaluation", "inference"),
    ("commands", "experiment"),
    ("commands", "benchmark"),
    ("commands", "report"),
    ("report", "experiment"),
    ("benchmark", "experiment"),
    ("__main__", "commands"),
    ("__init__", "experiment"),
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):  # imports inside functions count too
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module if node.module != "mae_hydra" else f"mae_hydra.{node.names[0].name}"
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_imports_go_only_downward():
    floor = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        room = room_of(path)
        assert room in floor, f"{room} stands on no floor"
        for name in imports(path):
            parts = name.split(".")
            if parts[0] != "mae_hydra" or len(parts) < 2 or parts[1] == room or floor.get(parts[1]) is None:
                continue
            sideways = floor[parts[1]] == floor[room] > 0 and (room, parts[1]) not in ALLOWED
            if sideways or floor[parts[1]] > floor[room]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_only_the_top_floor_knows_hydra():
    wrong = [
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*.py")
        if room_of(path) not in FLOORS[3] and any(n.split(".")[0] in ("hydra", "omegaconf") for n in imports(path))
    ]
    assert not wrong


def test_there_are_no_junk_drawers():
    drawers = {"utils.py", "util.py", "misc.py", "common.py", "helpers.py"}
    assert not [path for path in PACKAGE.rglob("*.py") if path.name in drawers]


def test_every_package_is_shipped():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("__init__.py")}
    assert listed == found | {"mae_hydra.conf"}


def test_the_engine_stays_small_and_its_loop_a_page():
    """docs/architecture.md states the budget."""
    lines = {path.name: len(path.read_text().splitlines()) for path in (PACKAGE / "engine").glob("*.py")}
    assert sum(lines.values()) <= 1500
    assert lines["loop.py"] <= 160
