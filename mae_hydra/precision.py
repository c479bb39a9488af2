"""In which precision models compute, and what "auto" stands for on a device and with a model."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from mae_hydra.errors import UserError
from mae_hydra.products import bf16_gain

Precision = Literal["auto", "fp32", "bf16", "bf16_params", "fp16"]
AUTOCAST = {"bf16": torch.bfloat16, "bf16_params": torch.bfloat16, "fp16": torch.float16}
PRECISIONS_ELSEWHERE = {
    "float32": "fp32", "no": "fp32", "float16": "fp16", "bfloat16": "bf16", "bf16-mixed": "bf16",
    "bf16-true": "bf16_params",
}  # fmt: skip
NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)
GAIN = 1.5  # times as fast as in fp32, from which on it is said
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


@contextmanager
def cast_parameters(model: nn.Module, precision: str) -> Iterator[None]:
    """Let the modules of `model` read their parameters in bf16 where `precision` is "bf16_params".

    The parameters themselves stay in fp32: gradients flow through the cast and are added up there (the "master weights"
    of arXiv 1710.03740). Under autocast alone a token that was added to an fp32 position stays in fp32, and every norm,
    sum and cast of the residual stream moves twice the bytes; with this all of it is bf16. Parameters of normalization
    layers stay as they are (kernels take them in fp32 beside bf16 inputs), and so do tables that are looked up, whose
    gradients are sums of many small numbers. Both passes belong inside: recomputed blocks read parameters backwards.
    """
    if precision != "bf16_params":
        yield
        return
    casts: dict[int, Tensor] = {}  # by parameter, for it may belong to several modules
    before: list[tuple[dict[str, nn.Parameter | None], str, nn.Parameter]] = []
    try:
        for module in model.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None and _is_cast(module, parameter):
                    cast = casts.setdefault(id(parameter), parameter.to(torch.bfloat16))
                    before.append((module._parameters, name, parameter))
                    module._parameters[name] = cast  # type: ignore[assignment]  # as torch.func.functional_call does
        yield
    finally:
        for parameters, name, parameter in before:
            parameters[name] = parameter


def _is_cast(module: nn.Module, parameter: Tensor) -> bool:
    is_table = parameter.dim() == 2 and not isinstance(module, nn.Linear | _ConvNd)
    return parameter.dtype == torch.float32 and not isinstance(module, NORMS) and not is_table


def check_numbers(values: Tensor, what: str) -> None:
    """UserError where one of `values` is no number (NaN); waits for the device.

    The largest of scores that are none is the first class: a score that looks like any other.
    """
    if values.numel() and values.amax().isnan():  # one number, not as many as there are values
        raise UserError(
            f"{what} are no numbers (NaN): fp16 overflows where activations are large, so use engine.precision=fp32 or "
            "bf16; where that is no help the training has diverged"
        )


def has_matrix_units() -> bool:
    """Whether this processor has units for products of bf16 matrices (AMX), by what torch finds out about it.

    Instructions for bf16 (AVX512_BF16) are not enough: with them a product may take half or twice the time of fp32.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    ask = getattr(torch.cpu, "get_capabilities", None)  # not there in the oldest torch that we take
    return bool(ask().get("amx_bf16", False) if ask is not None else torch.cpu._is_amx_tile_supported())


def are_wide(weights: Iterable[Tensor]) -> bool:
    """Whether most numbers are in matrices of at least 512 rows and columns (kernels counted as rows of products).

    Where products are small, casting costs more than they gain (docs/performance.md has both).
    """
    wide = total = 0
    for each in weights:
        if each.dim() >= 2:
            total += each.numel()
            # By its shape alone: to index a share of sharded weights asks all processes for theirs.
            wide += each.numel() if min(each.shape[0], each.shape[1:].numel()) >= WIDE else 0
    return total > 0 and wide >= MOSTLY * total


def note_of(asked: str, chosen: str, device_type: str, key: str, weights: Iterable[Tensor] = ()) -> list[str]:
    """A line for a person on what "auto" chose on a CPU, where another choice would be as good a one.

    `key`: what is typed before another precision. `weights`: of the model.
    """
    if asked != "auto" or device_type != "cpu":
        return []
    if chosen == "fp32":
        if not are_wide(weights) or bf16_gain() < GAIN:
            return []
        return [f"computes in fp32; this processor multiplies {bf16_gain():.1f} times as fast in bf16: {key}bf16"]
    if has_matrix_units():
        return [f"computes in {chosen}, for which this processor has matrix units; {key}fp32 for full precision"]
    slower = "" if bf16_gain() >= 1 else "; this processor has no units for it and is slower in it"
    return [f"computes in {chosen}, in which it began{slower}"]
