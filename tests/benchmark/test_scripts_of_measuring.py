"""What scripts of `benchmarks/` do around what they measure: limits of time, many runs."""

import io
import signal
import time
from pathlib import Path
from typing import Any

import gpu
import many_runs
import measure
import pytest
from many_runs import Used
from rich.console import Console
from torch import nn

from mae_hydra.benchmark.results import Measured


def test_a_part_ends_when_the_time_is_over() -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=100)
    began = time.perf_counter()
    found = gpu.measure("a part", lambda: time.sleep(30), console, 0.05)  # type: ignore[arg-type,return-value]
    assert time.perf_counter() - began < 20
    assert found == {"failed": "Over: it was still running"}
    assert screen.getvalue() == "a part: failed (Over: it was still running)\n"


def test_a_part_in_time_leaves_no_clock_behind() -> None:
    screen = io.StringIO()
    found = gpu.measure("a part", lambda: Measured("table", {"a": 1}), Console(file=screen, width=60), 0.2)  # type: ignore[arg-type]
    assert (found.pop("took_seconds") < 0.2, found) == (True, {"a": 1})
    assert screen.getvalue().startswith("a part ")
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_blocks_are_traced_and_no_kernel_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, **how: asked.append(how))
    gpu.only_traced()
    nn.Linear(1, 1).compile()
    assert asked == [{"backend": "eager"}]


def test_parts_that_come_too_late_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(gpu, "Console", lambda: Console(file=screen, width=500))
    clock = iter([0.0, 1.0, 61.0, 62.0])  # the beginning, before either part, the end
    given: list[Any] = []
    monkeypatch.setattr(gpu.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(gpu, "only_traced", lambda: given.append("traced"))
    monkeypatch.setattr(gpu, "parts", lambda device, rounds, smoke: {"one": 1, "two": 2})
    monkeypatch.setattr(gpu, "measure", lambda name, part, console, left: given.append((name, left)) or {})
    file = tmp_path / "gpu.json"
    monkeypatch.setattr("sys.argv", ["gpu.py", "--smoke", "--minutes", "1", "--out", str(file)])
    gpu.main()
    assert given == ["traced", ("one", 59.0)]
    assert "two: left out, 1 min are over" in screen.getvalue()
    assert '"one"' in file.read_text()


def test_many_runs_are_told_by_job(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def used(words: list[str], folder: Path, moments: tuple[int, ...] = ()) -> Any:
        asked.append((words, moments))
        if words[0] == "report":
            (folder / words[-1]).write_bytes(b"x" * 250_000)
        seen = {1: Used(4.0, 10**8), 10: Used(9.0, 2 * 10**8)} if moments else {}
        return {"train": Used(24.0, 3 * 10**8), "runs": Used(1.0, 10**8), "report": Used(2.0, 10**8)}[words[0]], seen

    monkeypatch.setattr(many_runs, "_used", used)
    monkeypatch.setattr(many_runs, "in_words", lambda machine: "here")
    found = many_runs.many_runs(20)
    assert [column.header for column in found.table.columns] == [
        "", "processor time, s", "of a job, s", "peak memory, GB",
    ]  # fmt: skip
    rows = zip(*(column.cells for column in found.table.columns), strict=True)
    assert [row[1:] for row in rows] == [
        ("4.0", "0.200", "0.10"), ("20.0", "1.000", "0.30"), ("1.0", "0.050", "0.10"), ("2.0", "0.100", "0.10"),
    ]  # fmt: skip
    assert found.table.caption == "here; starting Python and torch included; 0.20 GB when job 10 began"
    assert "a page of 250 kB" in str(list(found.table.columns[0].cells)[-1])
    assert (asked[0][0][-2:], asked[0][1]) == (["seed=range(0,20)", "hydra.sweep.dir=sweep"], (1, 10))
    assert found.numbers["jobs"] == 20


def test_a_number_of_jobs_is_one_number(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["many"], ["0"], ["1", "2"]):
        assert measure.main(["runs", *words]) == 1
        assert f"error: runs takes a number of jobs, got {' '.join(words)}" in capsys.readouterr().err


@pytest.mark.slow
def test_many_runs_are_really_run() -> None:
    found = many_runs.many_runs(11).numbers["used"]
    composed, jobs, listed, page = found.values()
    assert 0 < composed["seconds"] < composed["seconds"] + jobs["seconds"]
    assert 2e7 < listed["peak"] < 2e8 < jobs["peak"] < 4e9  # what lists runs has no need of torch
    assert page["seconds"] > 0
    assert composed["peak"] <= jobs["peak"]
