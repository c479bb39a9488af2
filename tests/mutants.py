"""`make mutants ROOM=optim`: small faults put into one room, one at a time, and which of them its tests do not notice.

cosmic-ray makes the faults, in a copy of the tree. It stands in an environment of its own (`.venv-mutants`), the tests
run in the usual one: the quick ones of the folder in tests/ that has the room's name.
"""

import argparse
import os
import random
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkItem
from rich.progress import track

ROOT = Path(__file__).resolve().parents[1]
COPIED = (
    "mae_hydra", "conf", "tests", "docs", "benchmarks", "train.py", "Makefile", "README.md", "pyproject.toml",
    "CHANGELOG.md", "constraints.txt", "constraints-lowest.txt",
)  # fmt: skip
# What means nothing: a bar between types is no arithmetic, a method without its decorator is undefined, and small
# numbers that are equal are the same object.
MEANINGLESS = re.compile(r"core/(ReplaceBinaryOperator_BitOr|RemoveDecorator|ReplaceComparisonOperator_(Not)?Eq_Is)")
PATIENCE = 300.0  # seconds for the tests of one fault: a loop that never ends is noticed too


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__.split("\n")[0])
    parser.add_argument("room", help="a folder of mae_hydra/ with tests of the same name in tests/")
    parser.add_argument("--number", type=int, required=True, help="so many faults, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--python", type=Path, required=True, help="the interpreter of the tests")
    options = parser.parse_args()
    rooms = sorted(path.name for path in (ROOT / "tests").iterdir() if (ROOT / "mae_hydra" / path.name).is_dir())
    if options.room not in rooms:
        parser.error(f"{options.room} is no room with tests of its own; these are: {', '.join(rooms)}")
    tests = f"{options.python.absolute()} -m pytest -x -q -n 0 -p no:cacheprovider -m 'not slow' tests/{options.room}"
    with tempfile.TemporaryDirectory() as folder:
        for name in COPIED:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, Path(folder) / name)
        os.chdir(folder)
        os.environ |= {"PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}  # two faults of one second are two files
        if subprocess.run(shlex.split(tests), check=False).returncode:
            parser.error(f"the tests of {options.room} fail without a fault, see above; mend that first")
        return report(list(tried(drawn(options.room, options.number, options.seed), tests)))


def drawn(room: str, number: int, seed: int) -> list[WorkItem]:
    """`number` of all faults that can be put into a room."""
    with use_db("faults.sqlite", WorkDB.Mode.create) as faults:
        init(sorted(Path("mae_hydra", room).rglob("*.py")), faults, {})
        meant = [item for item in faults.work_items if not MEANINGLESS.match(item.mutations[0].operator_name)]
    return random.Random(seed).sample(meant, min(number, len(meant)))


def tried(faults: list[WorkItem], tests: str) -> Iterator[tuple[bool, str]]:
    """For each fault whether the tests noticed it, and the fault as a difference."""
    for fault in track(faults, description="trying", transient=True):
        result = mutate_and_test(fault.mutations, tests, PATIENCE)
        noticed = result.test_outcome != TestOutcome.SURVIVED
        if not noticed:
            print(result.diff, flush=True)
        yield noticed, result.diff or ""


def report(found: list[tuple[bool, str]]) -> int:
    unseen = sum(not noticed for noticed, _ in found)
    print(f"{len(found) - unseen} of {len(found)} faults were noticed; those that were not stand above")
    return 1 if unseen == len(found) else 0


if __name__ == "__main__":
    raise SystemExit(main())
