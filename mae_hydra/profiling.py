"""Where the time of a step goes: a trace for a viewer, and a short table."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.table import Table
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from mae_hydra.terminal import plain_console

WAIT, WARM_UP = 2, 1  # the first steps start loading processes and fill caches; they say nothing of the later ones
ROWS = 20
STAGES = ("data wait", "host to device", "forward", "backward", "optimizer", "log, evaluate, save")


def stage(name: str) -> record_function:
    """A stretch of a step, by a name of STAGES, as the profiler shall find it; costs next to nothing otherwise."""
    assert name in STAGES
    return record_function(f"stage: {name}")


@contextmanager
def profiling(num_steps: int | None, run_dir: Path) -> Iterator[Callable[[], None]]:
    """A context that gives the function to call after every step; it records `num_steps` of them (None: nothing).

    Writes `profile/trace.json` (chrome://tracing, Perfetto), `profile/table.txt` (operators) and `profile/stages.txt`
    (where a step's time goes), and prints the last.
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
        found = _stages(profiler, num_steps)
        plain_console().print(found)
        try:
            (folder / "table.txt").write_text(table)
            with open(folder / "stages.txt", "w") as file:
                plain_console(file=file, width=80).print(found)
            profiler.export_chrome_trace(str(folder / "trace.json"))
        except (OSError, RuntimeError) as error:  # a full disk is no reason to stop training
            print(f"warning: {folder} could not be written ({error})")
            return
        print(
            f"operators: {folder / 'table.txt'}; {folder / 'trace.json'} can be opened in chrome://tracing or Perfetto"
        )

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    plan = schedule(wait=WAIT, warmup=WARM_UP, active=num_steps, repeat=1)
    with profile(activities=activities, schedule=plan, on_trace_ready=write) as profiler:
        yield profiler.step


def _stages(profiler: profile, num_steps: int) -> Table:
    """Milliseconds of a step that the host spends in each stage.

    On CUDA the host runs ahead of the device, and waits for it where a stage needs a value: in the last one, mostly.
    """
    events = {event.key: event for event in profiler.key_averages()}
    host = {name: events[f"stage: {name}"].cpu_time_total for name in STAGES if f"stage: {name}" in events}
    whole = sum(event.cpu_time_total for name, event in events.items() if name.startswith("ProfilerStep"))
    host["the rest"] = max(whole - sum(host.values()), 0.0)
    table = Table(title=f"A step, mean of {num_steps}", title_justify="left")
    for column in ("stage", "host ms", "%"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for name, microseconds in host.items():
        share = 100 * microseconds / whole if whole else 0.0
        table.add_row(name, f"{microseconds / 1e3 / num_steps:.2f}", f"{share:.1f}")
    return table
