"""A real Slurm for the tests of this folder, started once; without its programs they are skipped."""

import getpass
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, missing

ROOT = Path(__file__).parents[2]
# The smallest model and data; every job takes one core and no device, and saves its state only when it is told to.
TINY = [
    "+debug=smoke", "engine=cpu", "backbone.embed_dim=32", "backbone.depth=2", "backbone.num_heads=2",
    "backbone.out_indices=[1]", "head.embed_dim=16", "head.depth=1", "head.num_heads=2", "data.num_train=16",
    "data.num_validation=4", "data.num_workers=0", "evaluation.validation.every=null", "checkpoint.every=null",
    "paths.output_root=outputs",
]  # fmt: skip
LAUNCHER = [
    "hydra/launcher=slurm", "hydra.launcher.gpus_per_node=0", "hydra.launcher.tasks_per_node=1",
    "hydra.launcher.cpus_per_task=1",
]  # fmt: skip


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    absent = missing()
    if absent:
        pytest.skip(f"Slurm is not installed here ({', '.join(absent)} not found); make test-slurm installs it")
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    cluster.start()
    yield cluster
    cluster.stop()


class Lab:
    """A folder in which commands are typed on a machine of the cluster."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.environment = cluster.environment | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self.environment |= {"MAE_HYDRA_PYTHON": sys.executable}

    def start(self, *words: str) -> subprocess.Popen[str]:
        """`python train.py <words>`."""
        command = [sys.executable, "-u", str(ROOT / "train.py"), *words]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, **pipes)

    def type(self, *words: str) -> tuple[int, str]:
        """The same to its end: the exit code and what was said."""
        process = self.start(*words)
        try:
            said, _ = process.communicate(timeout=400)
        finally:
            process.kill()
        return process.returncode, said

    def submit(self, *words: str) -> str:
        """`sbatch <words>`; the number of the job."""
        done = subprocess.run(
            ["sbatch", "--parsable", *words], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def queue(self) -> dict[str, tuple[str, str]]:
        """Name -> (number, state) of the jobs that are in the queue."""
        lines = self.cluster.run("squeue", "-h", "-r", "-u", getpass.getuser(), "-o", "%j|%i|%T").splitlines()
        return {name: (number, state) for name, number, state in (line.split("|") for line in lines)}

    def until_ended(self, number: str, seconds: float = 300) -> str:
        """Wait for a job; the state in which it ended."""
        over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED")
        until(lambda: self.cluster.job(number).get("JobState") in over, f"job {number} ended", seconds)
        return self.cluster.job(number)["JobState"]

    def until_it_trains(self, run: str, lines: int = 1) -> Path:
        """Wait until the one run directory that the pattern names has lines of metrics."""
        until(lambda: _lines(self.folder, run) >= lines, f"{run} trains")
        [found] = self.folder.glob(run)
        return found


def _lines(folder: Path, run: str) -> int:
    files = list(folder.glob(f"{run}/metrics.jsonl"))
    return len(files[0].read_text().splitlines()) if files else 0


def until(condition: Callable[[], bool], what: str, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} seconds: {what}"
        time.sleep(0.1)


@pytest.fixture
def lab(started: Cluster, tmp_path: Path) -> Iterator[Lab]:
    """A Lab whose jobs are gone afterwards."""
    yield Lab(started, tmp_path)
    started.run("scancel", "--user", getpass.getuser(), check=False)
    until(lambda: not started.run("squeue", "-h").strip(), "the queue is empty")


def interrupt(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Ctrl-C: the exit code and what was said."""
    os.kill(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    return process.returncode, said
