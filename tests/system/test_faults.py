"""Disks that fill up, folders that may not be written to, terminals that close: done for real, to real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import TINY_MAE, TINY_UPERNET
from forked import Forked, start
from test_interruption import state_of, wait_for_step
from test_kills import lines

from mae_hydra.experiment import processes
from mae_hydra.experiment.status import read_status
from mae_hydra.launching.stages import run_apart

ROOT = os.geteuid() == 0
NEEDS_ROOT = pytest.mark.skipif(not ROOT, reason="only root may mount a file system")
LONG = [*TINY_MAE, "engine.log_every=1", "checkpoint.every=1000", "evaluation.validation.every=50"]

# Root may write everywhere; without these capabilities (of Linux) it is an ordinary user.
ORDINARY = """
import ctypes
head, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
libc = ctypes.CDLL(None)
libc.capget(head, data)
for place in (0, 1):  # those it has, and those it may take
    data[place] &= 0xFFFFFFF1  # without: to write, to read and to own what is somebody else's
libc.capset(head, data)
"""
OWN_SESSION = "import os; os.setsid()\n"
UNDER_NOHUP = OWN_SESSION + "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
NOBODY_LISTENS = """
import os
read, write = os.pipe()
os.close(read)
os.dup2(write, 1)
os.dup2(write, 2)
"""
SMALL_SHARED_MEMORY = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x20000) == 0  # a view of the file systems of its own
assert libc.mount(b"none", b"/", None, 0x40000 | 0x4000, None) == 0
assert libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, b"size=64k") == 0
"""


def typed(cwd: Path, prepared: str, *words: str) -> Forked:
    """`mae-hydra *words` in a process that has done what is `prepared`."""
    program = cwd / "prepared.py"
    program.write_text(f"import sys\n{prepared}\nfrom mae_hydra.commands import main\nsys.exit(main(sys.argv[1:]))\n")
    return Forked([str(program), *words], cwd)


def train(cwd: Path, prepared: str, *words: str) -> Forked:
    return typed(cwd, prepared, "train", *words, "paths.output_root=outputs")


def files_of(run: Path) -> dict[str, bytes]:
    """What a run leaves that depends on no clock."""
    found = {p for folder in ("figures", "tables") for p in (run / folder).glob("*")} | {run / "overrides.yaml"}
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in found}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill(disk: Path) -> Path:
    """Take every byte that is left."""
    filler = disk / "filler"
    with open(filler, "ab", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return filler


@pytest.mark.slow
@NEEDS_ROOT
def test_a_disk_that_is_full_for_a_while_costs_a_run_nothing(tmp_path, small_disk):
    words = [*LONG, "schedule.total=1000"]
    whole = start(tmp_path, *words, f"hydra.run.dir={tmp_path / 'whole'}")
    broken = start(tmp_path, *words, f"hydra.run.dir={small_disk / 'run'}")
    wait_for_step(small_disk / "run", 21, broken)
    filler = fill(small_disk)
    time.sleep(1)
    filler.unlink()
    out, said = broken.communicate(timeout=120)
    assert broken.returncode == 0, said
    assert "metrics.jsonl cannot be written (No space left on device); it is kept" in said
    assert "nothing of it is missing" in out
    whole.communicate(timeout=120)
    assert whole.returncode == 0
    assert lines(small_disk / "run") == lines(tmp_path / "whole")
    assert read_status(small_disk / "run")["state"] == "completed"
    results = [json.loads((run / "results.json").read_text()) for run in (small_disk / "run", tmp_path / "whole")]
    assert results[0]["val/loss"] == results[1]["val/loss"]
    found, wanted = files_of(small_disk / "run"), files_of(tmp_path / "whole")
    assert found | {"overrides.yaml": b""} == wanted | {"overrides.yaml": b""}


@pytest.mark.slow
@NEEDS_ROOT
@pytest.mark.parametrize("room", [0, 12])
def test_a_disk_that_is_full_at_the_start_is_the_error_that_is_told(tmp_path, small_disk, room):
    """With no room at all, and with room for the first small files."""
    filler = fill(small_disk)
    os.truncate(filler, filler.stat().st_size - 4096 * room)
    run = train(tmp_path, "", *TINY_MAE, f"hydra.run.dir={small_disk / 'run'}")
    _, said = run.communicate(timeout=120)
    assert run.returncode == 1
    assert "Traceback" not in said
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "No space left on device" in errors[0]
    assert "make room" in errors[0]
    assert (read_status(small_disk / "run") or {"state": "failed"})["state"] == "failed"


@pytest.mark.slow
def test_folders_that_may_not_be_written_to_are_one_sentence(tmp_path):
    """Of whatever command; and what only reads somebody else's run writes elsewhere."""
    sweep = ["-m", "+sweep=mask_ratio", "model.mask_ratio=0.5,0.75", *TINY_MAE]
    made = start(tmp_path, *sweep, "hydra.sweep.dir=theirs")
    made.communicate(timeout=120)
    assert made.returncode == 0
    [run, _] = sorted(path.parent for path in (tmp_path / "theirs").glob("*/status.json"))
    closed, theirs = str(tmp_path / "closed"), str(tmp_path / "theirs")
    os.mkdir(closed)
    for path in [Path(closed), *Path(theirs).rglob("*"), Path(theirs)]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    gpus = ["hydra/launcher=gpus", "hydra.launcher.jobs=2"]
    refused = {
        "train": ["train", *TINY_MAE, f"paths.output_root={closed}"],
        "sweep": ["train", *sweep, f"paths.output_root={closed}"],
        "gpus": ["train", *sweep, *gpus, f"paths.output_root={closed}"],
        "their sweep": ["train", *sweep, f"hydra.sweep.dir={theirs}"],
        "their run": ["train", *TINY_MAE, f"hydra.run.dir={run}"],
        "report": ["report", theirs],
        "evaluate": ["evaluate", str(run)],
        "predict": ["predict", str(run), str(run / "figures"), "--out", f"{closed}/here"],
        "convert": ["convert", str(run), f"{closed}/file.pt"],
        "export": ["export", str(run), f"{closed}/file.pt2"],
        "check-data": ["check-data", "data=scenes", "--out", f"{closed}/here"],
    }
    running = {}
    for name, words in refused.items():
        (tmp_path / name).mkdir()
        running[name] = typed(tmp_path / name, ORDINARY if ROOT else "", *words)
        if len(running) % 3 == 0:
            running[name].communicate(timeout=120)
    for name, process in running.items():
        _, said = process.communicate(timeout=120)
        assert process.returncode == 1, (name, said)
        assert "Traceback" not in said
        [error] = [line for line in said.splitlines() if line.startswith("error: ")]
        assert "cannot write" in error, (name, error)
        assert "give another" in error or "name another" in error, (name, error)
    elsewhere = {"report": ["report", theirs, "--out", "page"], "evaluate": ["evaluate", str(run), "--out", "scores"]}
    for name, words in elsewhere.items():
        process = typed(tmp_path / name, ORDINARY if ROOT else "", *words)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert (tmp_path / "report/page/index.html").is_file()
    assert len(json.loads((tmp_path / "report/page/results.json").read_text())) == 2
    assert (tmp_path / "evaluate/scores/results.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_terminal_that_closes_saves_the_run(tmp_path, workers):
    """The system tells every process of the terminal, those that load data as well."""
    words = [word for word in LONG if not word.startswith("data.num_workers")]
    run = train(
        tmp_path, OWN_SESSION, *words, f"data.num_workers={workers}", "schedule.total=3000", "hydra.run.dir=run"
    )
    wait_for_step(tmp_path / "run", 5, run)
    os.killpg(run.pid, signal.SIGHUP)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 75, said
    assert 5 <= state_of(tmp_path / "run")["step"] < 3000
    assert read_status(tmp_path / "run")["state"] == "interrupted"


@pytest.mark.slow
def test_under_nohup_a_terminal_that_closes_ends_nothing(tmp_path):
    run = train(tmp_path, UNDER_NOHUP, *LONG, "schedule.total=60", "hydra.run.dir=run")
    wait_for_step(tmp_path / "run", 5, run)
    os.killpg(run.pid, signal.SIGHUP)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 0, said
    assert len(lines(tmp_path / "run")) == 60


@pytest.mark.slow
def test_a_run_to_which_nobody_listens_goes_on(tmp_path):
    """`python train.py | head -1`, or a log on a disk that is full."""
    run = train(tmp_path, NOBODY_LISTENS, *LONG, "schedule.total=20", "hydra.run.dir=run")
    run.communicate(timeout=60)
    assert run.returncode == 0
    assert len(lines(tmp_path / "run")) == 20


@pytest.mark.slow
@NEEDS_ROOT
def test_little_shared_memory_is_said_with_the_way_out(tmp_path):
    words = [word for word in TINY_UPERNET if not word.startswith("data.num_workers")]
    words = ["model=upernet_vitt", *words, "data.num_workers=2", "data.image_size=256", "hydra.run.dir=run"]
    run = train(tmp_path, SMALL_SHARED_MEMORY, *words)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 1, said
    assert "Traceback" not in said
    [error] = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "data.num_workers" in error


def test_a_process_that_hangs_for_ever_is_ended_when_another_has_failed(tmp_path, monkeypatch):
    hangs = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('', flush=True); time.sleep(600)"

    def begin(rank: int, *_: object) -> subprocess.Popen[bytes]:
        code = hangs if rank else "import sys; sys.exit(3)"
        process = subprocess.Popen([sys.executable, "-IS", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if rank:
            process.stdout.readline()
            process.send_signal(signal.SIGSTOP)
        return process

    monkeypatch.setattr(processes, "_start", begin)
    monkeypatch.setattr(processes, "GRACE", 0.2)
    began = time.monotonic()
    with pytest.raises(processes.ProcessError, match="process 0: ended with exit code 3"):
        processes.run_in_processes(2, {}, tmp_path)
    assert time.monotonic() - began < 10


def test_what_is_started_for_the_demo_may_take_its_time_to_save():
    """A second and more after Ctrl-C; it was killed after a quarter of one."""
    saves = (
        "import os, signal, sys, time\n"
        "def save(*_): time.sleep(1); os._exit(75)\n"
        "signal.signal(signal.SIGINT, save); os.kill(os.getppid(), signal.SIGINT); time.sleep(60)"
    )
    assert run_apart([sys.executable, "-IS", "-c", saves]) == (75, signal.SIGINT)


def test_a_run_survives_a_clock_that_goes_back(tmp_path, monkeypatch):
    """Nothing that is kept or dropped is decided by the time of day."""
    from mae_hydra.tracking import Console, LocalFiles, Trackers

    now, back = time.time, 0.0
    monkeypatch.setattr(time, "time", lambda: now() - back)
    files = LocalFiles()
    trackers = Trackers([], own=[files, Console(total_steps=3)])
    trackers.start(tmp_path, {}, 0)
    for step in (1, 2, 3):
        trackers.scalars(step, {"train/loss": 1.0})
        back += 1e6
    trackers.finish("completed", {})
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3]
    assert files.missing == ""
