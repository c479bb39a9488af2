"""Products of matrices on the CPU: by the faster of the two libraries that torch brings along, and how fast they are.

For fp32 torch asks MKL, which on processors that are not Intel's takes half the width of AVX-512: on an EPYC of the
fifth generation oneDNN, which torch asks for convolutions and for bf16, multiplies twice as fast. Which one is faster
is measured once in a process; where it is oneDNN, torch's own operators are led there, so that every module, its
gradients, and all that looks at operators (counters of FLOPs, profilers, autocast) are as they were.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

SIDE, TIMES = 384, 8  # rows and columns of a product that is timed, 0.1 GFLOP, and how often
AHEAD = 1.3  # times as fast: less is not worth other roundings, and could be noise
LEAST = 128  # rows, columns and summands from which on a product gains
COPIED = 256  # columns or rows of the other matrix that pay for the copy of one that lies transposed

_led: torch.library.Library | None = None
_plainly = False


@cache
def rates() -> dict[str, float]:
    """FLOP/s of a square product by one thread of this CPU, the best of some in turn: "torch", "onednn" (fp32), "bf16".

    What there is not has 0. Processor time is taken, and of one thread: what else a machine does must not decide, or a
    run that goes on would round in another way than the process before it.
    """
    full = torch.linspace(-1, 1, SIDE * SIDE).view(SIDE, SIDE)  # not drawn: a run's numbers are its own
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
    return dict.fromkeys(("torch", "onednn", "bf16"), 0.0) | {n: 2 * SIDE**3 / least[n] for n in calls}


def bf16_gain() -> float:
    """How many times as fast as the faster library in fp32 this CPU multiplies in bf16."""
    found = rates()
    return found["bf16"] / max(found["torch"], found["onednn"])


def take_the_faster(device_type: str) -> bool:
    """Lead products in fp32 to oneDNN for the rest of this process, if the device is a CPU where that is faster."""
    global _led
    if device_type != "cpu" or rates()["onednn"] < AHEAD * rates()["torch"]:
        return False
    if _led is None:
        _led = torch.library.Library("aten", "IMPL")
        _led.impl("mm", _mm, "CPU")
        _led.impl("addmm", _addmm, "CPU")
    return True


@contextmanager
def plainly() -> Iterator[None]:
    """Inside, products are torch's own: as others compute, and to compare with."""
    global _plainly
    before, _plainly = _plainly, True
    try:
        yield
    finally:
        _plainly = before


def _mm(left: Tensor, right: Tensor) -> Tensor:
    return _onednns(left, right, None) if _gains(left, right) else _torchs_mm(left, right)


def _addmm(added: Tensor, left: Tensor, right: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    is_bias = added.shape == right.shape[1:] and added.dtype == torch.float32
    if beta == 1 and alpha == 1 and is_bias and _gains(left, right):
        return _onednns(left, right, added)
    return torch.addmm(added, left, right, beta=beta, alpha=alpha, out=left.new_empty(0))


def _gains(left: Tensor, right: Tensor) -> bool:
    """Whether oneDNN takes less time with its copies of what lies transposed: of `left`, or of `right` as it is."""
    if _plainly or left.dtype != torch.float32 or right.dtype != torch.float32 or left.dim() != 2 or right.dim() != 2:
        return False
    (rows, summands), columns = left.shape, right.shape[1]
    return (
        min(rows, columns, summands) >= LEAST
        and summands == right.shape[0]  # what does not fit torch refuses in its own words
        and (columns >= COPIED or left.is_contiguous())
        and (rows >= COPIED or right.t().is_contiguous())
    )


def _onednns(left: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(left, right.t(), bias, "none", [], "")
    return product


def _torchs_mm(left: Tensor, right: Tensor) -> Tensor:
    return torch.mm(left, right, out=left.new_empty(0))  # another operator, which is torch's own
