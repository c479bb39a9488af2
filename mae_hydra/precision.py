"""In which precision models compute, and what "auto" stands for on a device and with a model."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

Precision = Literal["auto", "fp32", "bf16", "fp16"]
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
WIDE = 512  # rows and columns of a matrix
MOSTLY = 0.75


def resolved(precision: str, device_type: str, weights: Iterable[Tensor] = ()) -> str:
    """`precision`, or what "auto" stands for: bf16 on CUDA; on the CPU bf16 where that has matrix units and `weights`
    are mostly wide matrices, else fp32."""
    if precision != "auto":
        return precision
    return "bf16" if device_type == "cuda" or (has_matrix_units() and are_wide(weights)) else "fp32"


def computing(precision: str, device_type: str) -> torch.autocast:
    """The context in which models compute in a resolved precision; parameters and their gradients stay in fp32."""
    return torch.autocast(device_type, dtype=AUTOCAST.get(precision), enabled=precision in AUTOCAST)


def has_matrix_units() -> bool:
    """Whether this processor has units for products of bf16 matrices (AMX), by what torch finds out about it.

    Instructions for bf16 are not enough: with AVX512_BF16 alone such a product takes longer than in fp32.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    ask = getattr(torch.cpu, "get_capabilities", None)  # not there in the oldest torch that we take
    return bool(ask().get("amx_bf16", False) if ask is not None else torch.cpu._is_amx_tile_supported())


def are_wide(weights: Iterable[Tensor]) -> bool:
    """Whether most numbers are in matrices of at least 512 rows and columns (kernels counted as rows of products).

    Where products are small, casting costs more than they gain: with matrix units a step of ViT-Tiny took longer in
    bf16 than in fp32, one of ViT-B two thirds of the time.
    """
    wide = total = 0
    for each in weights:
        if each.dim() >= 2:
            total += each.numel()
            wide += each.numel() if min(len(each), each[0].numel()) >= WIDE else 0
    return total > 0 and wide >= MOSTLY * total


def note_of(asked: str, chosen: str, device_type: str, switch: str) -> list[str]:
    """A line for a person where "auto" chose what it would not choose on most processors; `switch` turns it off."""
    if asked != "auto" or device_type != "cpu" or chosen == "fp32":
        return []
    return [f"computes in {chosen}, for which this processor has matrix units; {switch} for full precision"]
