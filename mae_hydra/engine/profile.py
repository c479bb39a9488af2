"""Where the time of a step goes: a trace for a viewer, and a short table."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

WAIT, WARM_UP = 2, 1  # the first steps start loading processes and fill caches; they say nothing of the later ones
ROWS = 20


@contextmanager
def profiling(num_steps: int | None, run_dir: Path) -> Iterator[Callable[[], None]]:
    """A context that gives the function to call after every step; it records `num_steps` of them (None: nothing).

    Writes `profile/trace.json` (chrome://tracing, Perfetto) and `profile/table.txt`, and prints the table.
    """
    if num_steps is None:
        yield lambda: None
        return
    folder = run_dir / "profile"
    folder.mkdir(parents=True, exist_ok=True)
    on_cuda = torch.cuda.is_available()

    def write(profiler: profile) -> None:
        order = "self_cuda_time_total" if on_cuda else "self_cpu_time_total"
        table = profiler.key_averages().table(sort_by=order, row_limit=ROWS, max_name_column_width=48)
        (folder / "table.txt").write_text(table)
        profiler.export_chrome_trace(str(folder / "trace.json"))
        print(f"{table}\n{folder / 'trace.json'} can be opened in chrome://tracing or Perfetto")

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    plan = schedule(wait=WAIT, warmup=WARM_UP, active=num_steps, repeat=1)
    with profile(activities=activities, schedule=plan, on_trace_ready=write) as profiler:
        yield profiler.step
