"""Products of matrices on the CPU: by the faster of the two libraries that torch brings along, and how fast they are.

For fp32 torch asks MKL, which on processors that are not Intel's takes half the width of AVX-512: on an EPYC of the
fifth generation oneDNN, which torch asks for convolutions and for bf16, multiplies twice as fast. Which one is faster
is measured once in a process; where it is oneDNN, torch's own operators are led there, so that every module and its
gradients, autocast and all that counts operators are as they were.
"""

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

from mae_hydra.errors import UserError

SIDE, TIMES = 384, 8  # rows and columns of a product that is timed, 0.1 GFLOP, and how often
AHEAD = 1.3  # times as fast: less is not worth other roundings, and could be noise
LEAST = 128  # rows, columns and summands from which on a product gains
PAYS_FOR_A_COPY = 256  # columns or rows of the other matrix, where one lies in another order than oneDNN reads it
LIBRARIES = ("torch", "onednn")  # "torch": as torch decides
VARIABLE = "MAE_HYDRA_PRODUCTS"

_library = "torch"
_led: torch.library.Library | None = None  # torch's operators, once they have been led here


@cache
def rates() -> dict[str, float]:
    """FLOP/s of a square product by one thread of this CPU, the best of some in turn: "torch", "onednn" (fp32), "bf16".

    What there is not has 0. Processor time is taken, and of one thread: what else a machine does must not decide.
    """
    # Not drawn: a run's random numbers are its own.
    full = torch.linspace(-1, 1, SIDE * SIDE, dtype=torch.float32, device="cpu").view(SIDE, SIDE)
    calls: dict[str, Callable[[], Tensor]] = {"torch": lambda: _torchs_mm(full, full)}
    if torch.backends.mkldnn.is_available():
        calls["onednn"] = lambda: _onednns(full, full, None)
        if torch.ops.mkldnn._is_mkldnn_bf16_supported():  # else it is emulated, hundreds of times slower
            half = full.to(torch.bfloat16)
            calls["bf16"] = lambda: half @ half
    least, threads = dict.fromkeys(calls, float("inf")), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for number in range(TIMES + 1):  # the first one makes what stays
            for name, call in calls.items():
                began = time.thread_time()
                call()
                if number:
                    least[name] = min(least[name], time.thread_time() - began)
    finally:
        torch.set_num_threads(threads)
    measured = {name: 2 * SIDE**3 / max(seconds, 1e-9) for name, seconds in least.items()}
    return {name: measured.get(name, 0.0) for name in (*LIBRARIES, "bf16")}


def faster(device_type: str = "cpu") -> str:
    """The library that multiplies fp32 faster on a device of this kind: "onednn" only if clearly so.

    The variable `MAE_HYDRA_PRODUCTS` names one instead.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted and wanted not in LIBRARIES:
        raise UserError(f"{VARIABLE} is one of {' and '.join(LIBRARIES)}, or unset for the faster one, got {wanted}")
    if wanted and device_type == "cpu":
        return wanted
    return "onednn" if device_type == "cpu" and rates()["onednn"] >= AHEAD * rates()["torch"] else "torch"


def bf16_gain() -> float:
    """How many times as fast as in fp32, by the faster library, this CPU multiplies in bf16."""
    return rates()["bf16"] / (rates()[faster()] or rates()["torch"])


def take(library: str) -> None:
    """Let `library` make the products in fp32 on the CPU from here on, in all of this process.

    Where torch was built without oneDNN, and for a name that is none of `LIBRARIES` (of a file), it is torch's own.
    """
    global _library, _led
    library = library if library == "onednn" and torch.backends.mkldnn.is_available() else "torch"
    if library == "onednn" and _led is None:
        _led = torch.library.Library("aten", "IMPL")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch 2.11 warns of what is meant: another kernel for an operator
            _led.impl("mm", _mm, "CPU")
            _led.impl("addmm", _addmm, "CPU")
    _library = library


def taken() -> str:
    """Whose products they are now."""
    return _library


@contextmanager
def plainly() -> Iterator[None]:
    """Inside, products are torch's own: as others compute, and to compare with."""
    before = taken()
    take("torch")
    try:
        yield
    finally:
        take(before)


def _mm(left: Tensor, right: Tensor) -> Tensor:
    return _onednns(left, right, None) if _gains(left, right) else _torchs_mm(left, right)


def _addmm(added: Tensor, left: Tensor, right: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    # oneDNN reads a bias as numbers that lie side by side.
    is_bias = added.shape == right.shape[1:] and added.dtype == torch.float32 and added.is_contiguous()
    if beta == 1 and alpha == 1 and is_bias and _gains(left, right):
        return _onednns(left, right, added)
    return torch.addmm(added, left, right, beta=beta, alpha=alpha, out=left.new_empty(0))


def _gains(left: Tensor, right: Tensor) -> bool:
    """Whether oneDNN takes less time with its copies: it reads `left` by rows and `right` by columns."""
    if _library == "torch" or left.dtype != torch.float32 or right.dtype != torch.float32:
        return False
    if left.dim() != 2 or right.dim() != 2 or left.shape[1] != right.shape[0]:  # torch refuses it in its own words
        return False
    (rows, summands), columns = left.shape, right.shape[1]
    return (
        min(rows, columns, summands) >= LEAST
        and (columns >= PAYS_FOR_A_COPY or left.is_contiguous())
        and (rows >= PAYS_FOR_A_COPY or right.t().is_contiguous())
    )


def _onednns(left: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(left, right.t(), bias, "none", [], "")
    return product


def _torchs_mm(left: Tensor, right: Tensor) -> Tensor:
    return torch.mm(left, right, out=left.new_empty(0))  # another operator, which is torch's own
