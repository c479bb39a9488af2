"""Without its environment the program says how to get it, instead of a traceback."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from mae_hydra import installed

ROOT = Path(__file__).parents[1]


def plain_python(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """This Python without what is installed for it."""
    return subprocess.run([sys.executable, "-S", "-E", *words], cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize("words", [["train.py", "model=upernet_vitb"], ["-m", "mae_hydra", "demo"]])
def test_a_python_without_the_packages_is_answered_with_what_to_type(words: list[str]) -> None:
    answer = plain_python(*words)
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert re.fullmatch(
        rf"error: \S+ has no fsspec, huggingface_hub, hydra and {len(installed.NEEDED) - 3} more; .+\n", answer.stderr
    )
    assert "source " in answer.stderr


def test_an_environment_that_exists_is_named_from_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mae_hydra").mkdir()
    (tmp_path / "Makefile").touch()
    monkeypatch.setattr(installed, "__file__", str(tmp_path / "mae_hydra" / "installed.py"))
    activate = tmp_path / ".venv" / "bin" / "activate"
    assert installed.way_out() == f"build the environment with `make setup` in {tmp_path}, then: source {activate}"
    activate.parent.mkdir(parents=True)
    activate.touch()
    assert installed.way_out() == f"activate the environment: source {activate}"
    monkeypatch.chdir(tmp_path)
    assert installed.way_out() == "activate the environment: source .venv/bin/activate"
    with monkeypatch.context() as patch:
        patch.setattr(sys, "prefix", str(tmp_path / ".venv"))  # which is active, and lacks something
        built = f"build the environment with `make setup` in {tmp_path}, then: source .venv/bin/activate"
        assert installed.way_out() == built
    (tmp_path / "Makefile").unlink()
    assert installed.way_out() == "install it again: pip install mae-hydra"


def test_an_old_python_is_named_with_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "OLDEST_PYTHON", (99, 1))
    with pytest.raises(SystemExit, match=r"error: Python 99\.1 or newer is needed, \S+ is 3\.\d+; "):
        installed.require()


def test_a_python_that_is_just_new_enough_lacks_what_is_not_there_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(installed, "OLDEST_PYTHON", sys.version_info)
    missing = [f"no_such_package_{n}" for n in range(5)]
    for count, named in ((1, "has no {0};"), (3, "has no {0}, {1}, {2};"), (5, "has no {0}, {1}, {2} and 2 more;")):
        monkeypatch.setattr(installed, "NEEDED", ("torch", *missing[:count]))
        with pytest.raises(SystemExit, match=named.format(*missing)):
            installed.require()
    monkeypatch.setattr(installed, "NEEDED", ("torch",))
    installed.require()


def test_what_is_looked_for_are_the_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.match(r"[\w-]+", requirement)[0].lower() for requirement in project["dependencies"]}
    homes = packages_distributions()
    assert {homes[name][0].lower() for name in installed.NEEDED} == needed
    assert project["requires-python"].startswith(">=" + ".".join(map(str, installed.OLDEST_PYTHON)))


def test_the_last_word_of_make_is_how_to_use_the_environment() -> None:
    plan = subprocess.run(
        ["make", "-n", "--no-print-directory", "demo"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    assert "source .venv/bin/activate" in plan.splitlines()[-1]


def test_the_versions_that_numbers_depend_on_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "hydra-core":
            raise installed.importlib.metadata.PackageNotFoundError(name)
        return f"1.{len(name)}"

    monkeypatch.setattr(installed.importlib.metadata, "version", version)
    python = ".".join(map(str, sys.version_info[:3]))
    assert installed.versions() == f"mae-hydra 1.9, torch 1.5, hydra-core unknown, Python {python}"


def test_the_package_offers_what_it_says_and_nothing_else() -> None:
    import mae_hydra
    from mae_hydra.workflows import entry

    assert (mae_hydra.build, mae_hydra.load) == (entry.build, entry.load)
    with pytest.raises(AttributeError, match="module 'mae_hydra' has no attribute 'nothing'"):
        _ = mae_hydra.nothing
