"""One optimizer step: that of the whole batch, however it is cut into micro-batches and over processes.

But for what is drawn at random for each micro-batch, and for batch normalisation (see `mae_hydra.batch_norm`).
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from mae_hydra.batch_norm import running_statistics
from mae_hydra.distributed import all_reduce_sum, world_size
from mae_hydra.engine.log_window import StepResult
from mae_hydra.engine.settings import Settings
from mae_hydra.engine.sharding import full_tensor
from mae_hydra.engine.state import State
from mae_hydra.precision import cast_parameters
from mae_hydra.profiling import stage
from mae_hydra.types import Batch, Loss


def train_step(
    state: State, forward: nn.Module, batches: Iterator[Batch], *, accumulate: int, settings: Settings
) -> StepResult:
    """Take `accumulate` micro-batches from `batches` and update once. `forward(batch) -> Loss`, of `state.model`.

    The gradient is that of (sum of totals) / (sum of counts). The last count is only known after the last forward pass,
    so each total is divided by an estimate first, which keeps gradients in the range of low precision, and the gradient
    is put right at the end. A step in which nothing counts has gradient zero; one whose gradient is not finite changes
    nothing but the scale of fp16. Nothing here waits for the device.

    An error before the update leaves parameters, optimizer and running statistics as they were before the step.
    """
    statistics = running_statistics(state.model)
    before = [values.clone() for values in statistics]
    together = accumulate if statistics and settings.batch_norm == "step" else 1
    try:
        result = _gradient(state, forward, batches, accumulate, together, settings)
    except Exception:
        for now, old in zip(statistics, before, strict=True):
            now.copy_(old)
        raise
    finite = result.grad_norm.isfinite()
    state.whole = False
    with stage("optimizer"):
        _update(state.optimizer, finite)
        state.scaler.update()
        for now, old in zip(statistics, before, strict=True):
            now.copy_(torch.where(finite, now, old))  # a nan in them would stay there for ever
        if state.average is not None:  # last: of what is finite again
            state.average.update_parameters(state.model)
    state.step += 1
    state.whole = True
    return result


def _gradient(
    state: State, forward: nn.Module, batches: Iterator[Batch], accumulate: int, together: int, settings: Settings
) -> StepResult:
    """Leave the step's gradient in the parameters, divided, measured and clipped.

    `together`: of how many micro-batches `forward` is asked at once.
    """
    optimizer, scaler = state.optimizer, state.scaler
    optimizer.zero_grad(set_to_none=True)
    losses: list[Loss] = []
    images: list[Tensor | None] = []
    calls = accumulate // together
    for index in range(calls):
        taken: list[Batch] = []
        for _ in range(together):
            with stage("data wait"):
                batch = next(batches)
            images.append(batch.index)
            with stage("host to device"):
                taken.append(batch.to(settings.torch_device))
        with _exchange(forward, gradients=index == calls - 1), cast_parameters(state.model, settings.precision):
            with stage("forward"), settings.autocast():
                loss = forward(*taken)
            if index == 0:
                # All processes must divide by the same number, because their gradients are added up.
                estimate = _divisor(all_reduce_sum(loss.count.detach().double())) * calls
            share = loss.total * (world_size() / estimate)  # DDP averages over processes where a sum is wanted
            with stage("backward"):
                scaler.scale(share).backward()
        losses.append(loss)
    sums, count = _add_up(losses)

    # The order is important: unscale, divide, measure, clip.
    scaler.unscale_(optimizer)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if calls > 1:  # else the estimate was exact
        torch._foreach_mul_(gradients, (estimate / _divisor(count)).to(gradients[0].dtype))
    grad_norm = full_tensor(get_total_norm(gradients))
    if settings.clip_grad is not None:
        clip_grads_with_norm_(parameters, settings.clip_grad, grad_norm)
    return StepResult(sums, count, grad_norm, images)


def _divisor(count: Tensor) -> Tensor:
    return count.where(count > 0, 1.0)  # which may lie below 1, where it is a sum of class weights


def _update(optimizer: torch.optim.Optimizer, finite: Tensor) -> None:
    """Update where `finite` (a bool scalar on the device); elsewhere parameters, moments and step counts stay.

    As `GradScaler.step` does it, which is not used: it looks for infinities before the gradient is divided, and only
    in fp16.
    """
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]  # fused kernels ask it on the device
        optimizer.step()
        del optimizer.found_inf  # type: ignore[attr-defined]
    elif finite:  # other optimizers know no such thing: the host waits for the answer
        optimizer.step()


def _exchange(forward: nn.Module, *, gradients: bool) -> AbstractContextManager[None]:
    """Only the last micro-batch's backward pass adds up gradients over processes."""
    if isinstance(forward, FSDPModule):
        forward.set_requires_gradient_sync(gradients)
    return forward.no_sync() if isinstance(forward, DistributedDataParallel) and not gradients else nullcontext()


def _add_up(losses: list[Loss]) -> tuple[dict[str, Tensor], Tensor]:
    """Sums by name and the count, over micro-batches and processes, in float64."""
    names = ["loss", *losses[0].extras]
    parts = [[loss.total, *loss.extras.values(), loss.count] for loss in losses]
    added = torch.stack([torch.stack([number.detach().double() for number in part]) for part in parts]).sum(0)
    *sums, count = all_reduce_sum(added).unbind()
    return dict(zip(names, sums, strict=True)), count


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group to its initial learning rate, which includes layer-wise decay, times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
