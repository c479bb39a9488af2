"""One of the processes of `engine.devices=N`: what it trains, and the word that it leaves of how that ended."""

import json
import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mae_hydra.engine import Interrupted
from mae_hydra.errors import UserError
from mae_hydra.experiment.start import Start
from mae_hydra.experiment.status import Ending
from mae_hydra.launching import worker

CONFIG = {"seed": 3, "notes": "${oc.env:HOME}"}


looked_after = threading.Event()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was asked of the process; nothing is trained, and its parent is not looked after."""
    told: list[Any] = []
    monkeypatch.setattr(worker, "_end_with_the_parent", looked_after.set)
    looked_after.clear()
    monkeypatch.setattr(worker, "belongs_here", lambda descriptor: told.append(descriptor))
    monkeypatch.setattr(worker.logging, "basicConfig", lambda **named: told.append((named["filename"], named["level"])))
    monkeypatch.setattr(worker.logging, "raiseExceptions", True)

    def run(config: Any, plain: Any, run_dir: Path, start: Any, *, telling: bool) -> Ending:
        told.append((config.seed, config.notes, plain, run_dir, start, telling))
        return Ending(0.5, "ended after step 2 of 4: x")

    monkeypatch.setattr(worker, "run", run)
    monkeypatch.setattr(worker, "take_again", lambda config, run_dir, step: told.append((run_dir, step)) or 0.25)
    return told


def left_by(folder: Path, rank: int, monkeypatch: pytest.MonkeyPatch, **job: Any) -> tuple[int, Any]:
    monkeypatch.setenv("RANK", str(rank))
    whole = {"config": CONFIG, "run_dir": str(folder / "run"), "shared": [], "replay": None, "start": None} | job
    (folder / "job.json").write_text(json.dumps(whole))
    code = worker.main(folder)
    assert looked_after.wait(20)
    assert not worker.logging.raiseExceptions
    return code, json.loads((folder / f"outcome.{rank}.json").read_text())


def test_the_first_process_writes_down_the_start_and_the_log(
    tmp_path: Path, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = [{"config.yaml": "x"}, {"status.json": {}}]
    outcome = {"state": "completed", "value": [0.5, "ended after step 2 of 4: x", False]}
    assert left_by(tmp_path, 0, monkeypatch, shared=[5, 6], start=start) == (0, outcome)
    run = tmp_path / "run"
    assert asked == [5, 6, (run / "train.log", "INFO"), (3, "${oc.env:HOME}", CONFIG, run, Start(*start), False)]
    asked.clear()
    assert left_by(tmp_path, 1, monkeypatch) == (0, outcome)
    assert asked == [(3, "${oc.env:HOME}", CONFIG, run, None, False)]


def test_a_step_that_is_taken_again_is_no_training(
    tmp_path: Path, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert left_by(tmp_path, 0, monkeypatch, replay={"step": 7}) == (
        0,
        {"state": "completed", "value": [0.25, "", False]},
    )
    assert asked == [(tmp_path / "run", 7)]


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (Interrupted(7, signal.SIGTERM), 75, {"state": "interrupted", "step": 7, "signal": 15}),
        (KeyboardInterrupt(), 130, {"state": "stopped"}),
        (UserError("no such data"), 1, {"state": "mistake", "error": "no such data"}),
        (ValueError("first\nsecond"), 1, {"state": "failed", "error": "ValueError: first"}),
        (SystemExit(3), 1, {"state": "failed", "error": "SystemExit: 3"}),
    ],
    ids=repr,
)
def test_however_a_process_ends_it_leaves_word(
    tmp_path: Path, asked: list[Any], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, told: Any
) -> None:
    def fail(*given: Any, **named: Any) -> Any:
        raise error

    monkeypatch.setattr(worker, "run", fail)
    found, outcome = left_by(tmp_path, 1, monkeypatch)
    assert (found, {key: outcome[key] for key in told}) == (code, told)
    assert ("second" in outcome.get("traceback", "")) == ("first" in str(error))


def test_a_process_ends_as_failed_when_its_parent_has_closed_the_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(worker.sys, "stdin", SimpleNamespace(fileno=lambda: 7))
    monkeypatch.setattr(worker.os, "read", lambda *given: told.append(given))
    monkeypatch.setattr(worker.os, "_exit", told.append)
    worker._end_with_the_parent()
    assert told == [(7, 1), 1]
