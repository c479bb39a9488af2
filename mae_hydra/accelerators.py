"""What accelerators can do at most, as their makers state it."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Accelerator:
    """`model`: a part of the name that the driver gives.

    Peak dense TFLOP/s with matrix units, `low` in bf16 (V100: fp16), `full` in fp32, and memory in GB.
    """

    name: str
    model: str
    low: float
    full: float
    memory: float


ACCELERATORS = {
    "h200": Accelerator("NVIDIA H200 SXM", "H200", 989, 67, 141),
    "h100": Accelerator("NVIDIA H100 SXM", "H100", 989, 67, 80),
    "a100": Accelerator("NVIDIA A100 SXM", "A100", 312, 19.5, 80),
    "l40s": Accelerator("NVIDIA L40S", "L40S", 362, 91.6, 48),
    "v100": Accelerator("NVIDIA V100 SXM", "V100", 125, 15.7, 32),
    "rtx4090": Accelerator("NVIDIA GeForce RTX 4090", "RTX 4090", 165, 82.6, 24),
}


def peak_tflops(device: torch.device, precision: str) -> float | None:
    """Of `device`, in "bf16", "fp16" or "fp32"; None where it is not known, as for the CPU.

    Variants with less (H100 PCIe, NVL) are not told apart: their share of the peak is understated.
    """
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    for device_kind in ACCELERATORS.values():
        if device_kind.model in name:
            return device_kind.full if precision == "fp32" else device_kind.low
    return None
