"""How fast this machine multiplies and moves: what floors are made of."""

import torch

from mae_hydra.benchmark.results import Floor
from mae_hydra.benchmark.timing import alternate
from mae_hydra.engine import Settings
from mae_hydra.precision import AUTOCAST

MATRIX = {"cpu": 1536, "cuda": 8192}  # rows and columns
MOVED = {"cpu": 2**27, "cuda": 2**30}  # bytes
ROUNDS = 7


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large square product, the best of several."""
    side = MATRIX[device.type]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    with torch.no_grad():
        timing = alternate({"": lambda: left @ right}, rounds=ROUNDS, warmup=2, device=device)[""]
    return 2 * side**3 / min(timing.seconds)


def matrix_floor(flops: float, settings: Settings) -> Floor:
    """Time so many operations, as fast as this machine multiplies large matrices in the precision of `settings`."""
    rate = matrix_rate(settings.torch_device, AUTOCAST.get(settings.resolved_precision, torch.float32))
    return Floor(f"{flops / 1e9:.0f} GFLOP at {rate / 1e9:.0f} GFLOP/s", flops / rate)


def memory_rate(device: torch.device) -> float:
    """Bytes a second read and written by a copy, the best of several."""
    source = torch.zeros(MOVED[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    timing = alternate({"": lambda: target.copy_(source)}, rounds=ROUNDS, warmup=2, device=device)[""]
    return 2 * len(source) / min(timing.seconds)
