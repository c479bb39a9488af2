"""Measuring: alternating rounds and medians, memory, FLOPs by part, and the results row of a paper's table."""

from mae_hydra.benchmark.machine import describe_machine
from mae_hydra.benchmark.memory import PeakMemory
from mae_hydra.benchmark.parts import Part, count_parts
from mae_hydra.benchmark.timing import Timing, alternate

__all__ = ["Part", "PeakMemory", "Timing", "alternate", "count_parts", "describe_machine"]
