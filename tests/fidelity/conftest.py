"""Agreement with the originals, measured. `python -m pytest tests/fidelity` ends in a table of the errors reached."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

for neighbour in ("models", "weights"):  # the independent reference, tiny models and files of other programs
    sys.path.append(str(Path(__file__).parents[1] / neighbour))

from agreement import relative_error  # noqa: E402

PROPERTY = "fidelity"


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def agree(record_property) -> Callable[..., None]:
    """`agree(fact, ours, theirs, limit)`: the relative error must not pass the limit, and goes into the table."""

    def check(fact: str, ours: Tensor | float, theirs: Tensor | float, limit: float) -> None:
        error = relative_error(torch.as_tensor(ours), torch.as_tensor(theirs))
        record_property(PROPERTY, (fact, error, limit))
        assert error <= limit, f"{fact}: relative error {error:.2g}, allowed {limit:g}"

    return check


def pytest_terminal_summary(terminalreporter) -> None:
    found: dict[str, tuple[float, float, str]] = {}
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == PROPERTY:
                fact, error, limit = value
                worst = max(error, found.get(fact, (0.0,))[0])
                found[fact] = (worst, limit, report.nodeid.split("::")[-1].split("[")[0])
    if found:
        terminalreporter.section("agreement with the originals: largest relative error")
    for fact, (error, limit, test) in found.items():
        reached = "exact" if error == 0 else f"{error:.1e}"
        terminalreporter.write_line(f"{reached:>8}  (at most {limit:g})  {fact}  [{test}]")
