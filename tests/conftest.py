"""Before anything is imported: one thread a process. And every test begins as a process does (`beginning.py`),
whichever tests ran before it in the same one.
"""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

# pytest runs two processes on two cores, and more threads than cores wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What a person has set for their terminal is none of a test's.
os.environ.pop("NO_COLOR", None)
os.environ.pop("FORCE_COLOR", None)
os.environ.pop("COLUMNS", None)
os.environ["TERM"] = "xterm-256color"

import pytest
import screens
from markupsafe import Markup

LONG = ("test_no_value_of_a_recipe_or_a_model_changes_unseen_and_each_fits",)

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests that are started under nohup start runs that are not
# The process that hands the tests to others runs none, and they would wait for what it imports.
hands_out = any(word == "-n" and number != "0" for word, number in pairwise(sys.argv))
if "PYTEST_XDIST_WORKER" in os.environ or not hands_out:
    import beginning


@pytest.fixture(autouse=True)
def as_a_process_begins() -> Iterator[None]:
    with beginning.as_a_process_begins():
        yield


@pytest.fixture
def capsys(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Iterator[Any]:
    yield from screens.kept(capsys, request)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts of a page are made, not drawn, which is most of what a page costs; `test_report` looks at drawn ones."""
    monkeypatch.setattr("mae_hydra.report.page.Page.chart", lambda *told, **more: Markup("<figure></figure>"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no process of two is left with it at the end."""
    items.sort(key=lambda item: (item.path.stem != "test_kills", item.name not in LONG))


def pytest_collection_finish() -> None:
    """What was imported stays; no collection of a test looks at it."""
    gc.freeze()
    gc.enable()
