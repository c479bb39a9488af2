"""The table of a step's stages, by hand."""

from types import SimpleNamespace
from typing import Any

from mae_hydra.profiling import _stages


def test_milliseconds_are_those_of_one_step_and_what_no_stage_has_is_the_rest() -> None:
    times = {"stage: forward": 6000.0, "stage: data wait": 2000.0, "aten::mm": 5000.0, "ProfilerStep#3": 4000.0,
             "ProfilerStep#4": 6000.0}  # fmt: skip
    events = [SimpleNamespace(key=name, cpu_time_total=microseconds) for name, microseconds in times.items()]
    profiler: Any = SimpleNamespace(key_averages=lambda: events)
    table = _stages(profiler, 2)
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    assert table.title == "A step, mean of 2"
    assert rows == [("data wait", "1.00", "20.0"), ("forward", "3.00", "60.0"), ("the rest", "1.00", "20.0")]
