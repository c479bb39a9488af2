"""The processes of `engine.devices=N`: what each is started with, and what follows from how they end."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mae_hydra.engine import Interrupted
from mae_hydra.errors import UserError
from mae_hydra.experiment import processes
from mae_hydra.experiment.processes import ProcessError, run_in_processes
from mae_hydra.experiment.status import Ending


class Process:
    """Stands for one that ends with `code` when it was looked at `after` times, or is killed."""

    def __init__(self, code: int, after: int = 0) -> None:
        self.code, self.left, self.returncode = code, after, None  # type: ignore[var-annotated]

    def poll(self) -> int | None:
        if self.returncode is None and self.left == 0:
            self.returncode = self.code
        self.left -= 1
        return self.returncode

    def kill(self) -> None:
        self.returncode = -9 if self.returncode is None else self.returncode

    def communicate(self) -> None: ...


GRACE, POLL = processes.GRACE, processes.POLL  # as a run has them


def test_the_others_have_time_to_save_and_are_looked_at_often() -> None:
    assert 5 <= GRACE <= 60
    assert 0 < POLL <= 0.5


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "POLL", 0.0)
    monkeypatch.setattr(processes, "GRACE", 0.0)


@pytest.mark.parametrize("code", [1, -9, 130])
def test_one_that_fails_takes_the_others_along(code: int) -> None:
    found: list[Any] = [Process(0, 10**6), Process(code, 2), Process(0, 1)]
    assert processes._wait(found) == [2, 1, 0]
    assert [each.returncode for each in found] == [-9, code, 0]


def test_the_others_have_their_time_from_the_first_failure_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(processes, "GRACE", 5.0)
    monkeypatch.setattr(processes.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(processes.time, "sleep", lambda seconds: None)
    found: list[Any] = [Process(0, 10**6), Process(1), Process(1, 3)]
    assert processes._wait(found) == [1, 2, 0]
    assert next(clock) in (8, 9)  # looked at once a round, and once for each that failed


def test_one_that_is_done_or_has_saved_its_state_leaves_the_others_their_time() -> None:
    found: list[Any] = [Process(0, 5), Process(75, 2), Process(0)]
    assert processes._wait(found) == [2, 1, 0]
    assert [each.returncode for each in found] == [0, 75, 0]


DONE: dict[str, Any] = {"state": "completed", "value": [0.5, "", False]}
FAILED: dict[str, Any] = {"state": "failed", "error": "ValueError: x", "traceback": "line 7"}
MISTAKE: dict[str, Any] = {"state": "mistake", "error": "no such data"}


def outcome(tmp_path: Path, *ends: tuple[int, dict[str, Any] | None], order: Any = (0, 1), signals: Any = ()) -> Ending:
    """`ends`: exit code and outcome of each process."""
    for rank, (_, told) in enumerate(ends):
        if told is not None:
            (tmp_path / f"outcome.{rank}.json").write_text(json.dumps(told))
    found: list[Any] = [Process(code) for code, _ in ends]
    assert [process.poll() for process in found] == [code for code, _ in ends]
    return processes._outcome(found, list(order), tmp_path, signals)


def test_the_first_process_tells_how_a_run_ended(tmp_path: Path) -> None:
    other = DONE | {"value": [9.0, "", False]}
    assert outcome(tmp_path, (0, DONE), (0, other), order=(1, 0)) == Ending(0.5)
    pruned = {"state": "completed", "value": [0.25, "pruned at step 2 of 4: worse", True]}
    assert outcome(tmp_path, (0, pruned), (0, other)) == Ending(0.25, "pruned at step 2 of 4: worse", True)


@pytest.mark.parametrize(
    ("ends", "order", "said"),
    [
        (((1, FAILED), (1, FAILED | {"error": "OSError: y"})), (1, 0), "process 1: OSError: y"),  # the first that did
        (((1, FAILED), (-9, None)), (1, 0), "process 1: was killed by SIGKILL; the system does that where memory runs"),
        (((1, FAILED), (-15, None)), (1, 0), r"process 1: was killed by SIGTERM$"),
        (((3, None), (0, DONE)), (1, 0), "process 0: ended with exit code 3"),
        (((0, DONE), (0, None)), (0, 1), "process 1: ended with exit code 0"),
        (((0, DONE), (-11, None)), (1, 0), "process 1: was killed by SIGSEGV"),  # by none of the signals handed on
    ],
)
def test_the_process_that_failed_first_is_named(tmp_path: Path, ends: Any, order: Any, said: str) -> None:
    with pytest.raises(ProcessError, match=said) as caught:
        outcome(tmp_path, *ends, order=order, signals=[signal.SIGHUP])
    notes = getattr(caught.value, "__notes__", [])
    assert notes == (["In process 1:\nline 7"] if "OSError" in said else [])


def test_a_mistake_counts_before_what_the_others_make_of_it(tmp_path: Path) -> None:
    for ends in (((1, FAILED), (1, MISTAKE)), ((1, MISTAKE), (1, FAILED))):
        with pytest.raises(UserError, match="no such data"):
            outcome(tmp_path, *ends, order=(1, 0))


def test_a_run_that_was_asked_to_stop_was_interrupted(tmp_path: Path) -> None:
    saved = {"state": "interrupted", "step": 7, "signal": 15}
    with pytest.raises(Interrupted) as caught:
        outcome(tmp_path, (75, saved), (75, saved | {"step": 6}))
    assert (caught.value.step, caught.value.signal) == (7, 15)
    with pytest.raises(KeyboardInterrupt):
        outcome(tmp_path, (130, {"state": "stopped"}), (75, saved))
    (tmp_path / "outcome.1.json").unlink()
    with pytest.raises(KeyboardInterrupt) as stopped:  # before it had come to heeding a signal
        outcome(tmp_path, (75, saved), (-15, None), order=(1, 0), signals=[signal.SIGHUP, signal.SIGTERM])
    assert stopped.value.args == (signal.SIGTERM,)


def test_a_process_knows_its_place_its_meeting_point_and_its_share_of_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **told: started.append((command, told)))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(8))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(processes.sys, "path", ["", *processes.sys.path])  # an empty one would be wherever they are
    processes._start(2, 3, 4711, tmp_path, [5, 6])
    processes._start(8, 9, 4711, tmp_path, [])  # more of them than cores
    monkeypatch.setenv("OMP_NUM_THREADS", "7")  # which a person has said
    processes._start(0, 9, 4711, tmp_path, [])
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS")
    assert [[told["env"][name] for name in names] for _, told in started] == [
        ["2", "2", "3", "127.0.0.1", "4711", "2"], ["8", "8", "9", "127.0.0.1", "4711", "1"],
        ["0", "0", "9", "127.0.0.1", "4711", "7"],
    ]  # fmt: skip
    (command, told), *_ = started
    assert command[1:] == ["-m", "mae_hydra.launching.worker", str(tmp_path)]
    assert (told["pass_fds"], told["start_new_session"], told["stdin"]) == ((5, 6), True, subprocess.PIPE)
    assert told["env"]["TORCHELASTIC_USE_AGENT_STORE"] == "True"
    folders = told["env"]["PYTHONPATH"].split(os.pathsep)
    assert str(Path(processes.__file__).parents[2]) in folders
    assert "" not in folders


def test_all_processes_get_the_job_and_none_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    started: list[Process] = []

    def start(rank: int, count: int, port: int, folder: Path, shared: Any) -> Any:
        told.append((rank, count, shared, json.loads((folder / "job.json").read_text())))
        (folder / f"outcome.{rank}.json").write_text(json.dumps(DONE))
        started.append(Process(0))
        return started[-1]

    monkeypatch.setattr(processes, "_start", start)
    monkeypatch.chdir(tmp_path)
    begun: Any = ({"a.yaml": "x"}, {"b.json": {}})
    assert run_in_processes(2, {"seed": 1}, Path("run"), [5], {"step": 3}, begun) == Ending(0.5)
    job = {"config": {"seed": 1}, "run_dir": str(tmp_path / "run"), "shared": [5], "replay": {"step": 3}}
    assert told == [(rank, 2, [5], job | {"start": [{"a.yaml": "x"}, {"b.json": {}}]}) for rank in (0, 1)]
    monkeypatch.setattr(processes, "_wait", lambda found: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_in_processes(2, {}, Path("run"))
    assert [each.returncode for each in started] == [0, 0, -9, -9]
