"""What a sweep of many jobs costs beside their training, and looking at as many runs: processor time and memory."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from mae_hydra.benchmark.machine import describe_machine, in_words
from mae_hydra.benchmark.results import Measured

SWEEP = "sweep"  # its folder
FEW = 10  # jobs, after which memory should not grow
SMALL = [  # one step of a model that costs next to nothing
    "+debug=smoke", "model=mae_vitt", "schedule.total=1", "schedule.warmup=0", "data.num_train=8",
    "data.num_validation=4", "evaluation=none", "checkpoint.monitor=none", "checkpoint.mode=max",
    "backbone.embed_dim=32", "backbone.depth=2", "backbone.num_heads=2", "backbone.out_indices=[1]",
    "head.embed_dim=16", "head.depth=1", "head.num_heads=2",
]  # fmt: skip


class Used(NamedTuple):
    """Processor time in seconds, and the most bytes that were held, of a process."""

    seconds: float
    peak: int


def many_runs(jobs: int) -> Measured:
    """A multirun of so many jobs of one step, then the table and the page of what it left."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sweep = ["train", "-m", *SMALL, f"seed=range(0,{jobs})", f"hydra.sweep.dir={SWEEP}"]
        all_of_it, seen = _used(sweep, folder, moments=(1, FEW))
        listed, _ = _used(["runs", SWEEP], folder)
        page, _ = _used(["report", SWEEP, "--out", "page.html"], folder)
        size = (folder / "page.html").stat().st_size
    composed = seen[1]
    told = {
        "the look at all jobs before the first one starts": composed,
        "the jobs, each with its data, model, step and checkpoint": Used(
            all_of_it.seconds - composed.seconds, all_of_it.peak
        ),
        "mae-hydra runs": listed,
        f"mae-hydra report, a page of {size / 1e3:.0f} kB": page,
    }
    table = Table(title=f"{jobs} jobs of one step each", title_justify="left", caption_justify="left")
    for column in ("", "processor time, s", "of a job, s", "peak memory, GB"):
        table.add_column(column, justify="right" if column else "left")
    for what, used in told.items():
        table.add_row(what, f"{used.seconds:.1f}", f"{used.seconds / jobs:.3f}", f"{used.peak / 1e9:.2f}")
    table.caption = f"{in_words(describe_machine())}; starting Python and torch included"
    if FEW in seen:
        table.caption += f"; {seen[FEW].peak / 1e9:.2f} GB when job {FEW} began"
    numbers: dict[str, Any] = {what: used._asdict() for what, used in told.items()}
    return Measured(table, {"jobs": jobs, "machine": describe_machine(), "used": numbers})


def _used(words: list[str], folder: Path, moments: tuple[int, ...] = ()) -> tuple[Used, dict[int, Used]]:
    """What a command has used from start to end, and until so many jobs of the sweep had begun."""
    began: dict[int, Used] = {}
    peak = 0
    with (folder / "screen.txt").open("w") as screen:
        process = subprocess.Popen(
            [sys.executable, "-m", "mae_hydra", *words], cwd=folder, stdout=screen, stderr=screen
        )
        while True:
            used = _so_far(process.pid)
            peak = max(peak, used.peak)
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            for moment in moments:
                if moment not in began and (folder / SWEEP).exists() and _jobs(folder / SWEEP) >= moment:
                    began[moment] = used
            time.sleep(0.02)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words, (folder / "screen.txt").read_text())
    return Used(usage.ru_utime + usage.ru_stime, peak), began


def _jobs(sweep: Path) -> int:
    return sum(each.is_dir() for each in sweep.iterdir())


def _so_far(process: int) -> Used:
    """Of a process that goes on, as Linux tells it; what wait4 says of memory counts its parent's before it began."""
    told = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    ticks = int(told[11]) + int(told[12])  # utime and stime, the 14th and 15th of proc(5)
    _, _, peak = Path(f"/proc/{process}/status").read_text().partition("VmHWM:")  # of one that has ended: nothing
    return Used(ticks / os.sysconf("SC_CLK_TCK"), int(peak.split()[0]) * 1024 if peak else 0)
