"""From a plain model to what the step calls: moved, synchronised, compiled, wrapped; the model's keys stay plain."""

import logging
import warnings
from functools import partial

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

from mae_hydra.batch_norm import learned_statistics, loss_of_a_step, synchronise
from mae_hydra.distributed import world_size
from mae_hydra.engine.settings import Settings
from mae_hydra.engine.sharding import blocks_of, shard
from mae_hydra.errors import UserError
from mae_hydra.types import Batch, Loss, TwoPart

log = logging.getLogger("mae_hydra")


class LossModule(nn.Module):
    """`forward` is the model's `loss`, of several micro-batches that of them together: DDP only knows `forward`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *batches: Batch) -> Loss:
        if len(batches) > 1:
            return loss_of_a_step(self.model, batches)
        result = self.model.loss(*batches)  # type: ignore[operator]
        if not isinstance(result, Loss):
            raise UserError(
                f"the loss of {type(self.model).__name__} gives a {type(result).__name__}; it must give a "
                "mae_hydra.types.Loss, a sum and a count, by which the engine divides once"
            )
        return result


def wrap(model: nn.Module, settings: Settings, average: AveragedModel | None = None) -> nn.Module:
    """Prepare `model` in place for training, its `average` too, and return the module whose call gives its loss.

    Before the optimizer is built: it must see the parameters where they end up. Keep `model` for everything else.
    """
    device = settings.torch_device
    for module in (model, average):
        if module is not None:
            module.to(device)
    if settings.batch_norm == "step" and learned_statistics(model) and not isinstance(model, TwoPart):
        raise UserError(
            f"engine.batch_norm=step needs a model with `features` and `loss_of`, and {type(model).__name__} has none; "
            "use engine.batch_norm=micro"
        )
    if world_size() > 1:
        synchronise(model, device)
    if settings.recompute:
        recompute_blocks(model)
    if settings.compile and compiler_works(device):
        compile_blocks(model)
    forward = LossModule(model)
    if world_size() == 1:
        return forward
    if settings.sharded:
        shard(forward, *([] if average is None else [average.module]), device=device)
        return forward
    # Said of sides of length 1, whose strides mean nothing.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    return DistributedDataParallel(
        forward, device_ids=[device.index] if device.type == "cuda" else None, gradient_as_bucket_view=True
    )


def recompute_blocks(model: nn.Module) -> None:
    """Have every block keep its input only, in place: the same gradients to the last bit, the same keys.

    What is drawn in a block (drop path) is drawn alike both times; batch statistics would count twice.
    """
    for block in _blocks(model, "recompute"):
        if learned_statistics(block):
            what = "engine.recompute computes blocks twice, and the batch normalization in these would count each image"
            raise UserError(f"{what} twice; use engine.recompute=false")
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def _blocks(model: nn.Module, setting: str) -> list[nn.Module]:
    """The blocks that a setting acts on; a note where there are none, for then it changes nothing."""
    blocks = list(blocks_of(model))
    if not blocks:
        print(f"note: engine.{setting} changes nothing: {type(model).__name__} has no list of modules named …blocks")
    return blocks


def compiler_works(device: torch.device) -> bool:
    """Whether `torch.compile` can make a kernel here, which needs a compiler beside torch; a note where it cannot."""
    try:
        torch.compile(lambda values: values.sin() + 1)(torch.zeros(8, device=device))
    except Exception as error:  # each backend and version fails in a way of its own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        log.warning("engine.compile is on, but nothing can be compiled here (%s: %s)", type(error).__name__, reason)
        needed = f"engine.compile needs a working compiler ({'g++' if device.type == 'cpu' else 'triton and gcc'})"
        print(f"note: {needed}; none was found, so training goes on without compiling", flush=True)
        torch._dynamo.reset()
        return False
    return True


def compile_blocks(model: nn.Module) -> None:
    """Compile every block in place: one graph for all of a stack, no `_orig_mod.` in the keys."""
    for block in _blocks(model, "compile"):
        block.compile()
