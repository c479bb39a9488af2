"""AdamW over layer-wise parameter groups."""

from collections.abc import Sequence

import torch
from torch import nn

from mae_hydra.optim.groups import parameter_groups
from mae_hydra.optim.rates import base_rate


def adamw(
    model: nn.Module,
    *,
    lr: float | None,
    base_lr: float | None,
    global_batch: int,
    betas: Sequence[float],
    eps: float,
    weight_decay: float,
    layer_decay: float,
    decay_rule: str,
) -> torch.optim.AdamW:
    """Build AdamW (decoupled weight decay) for what is trainable in `model`.

    The learning rate is `lr`, or, where that is None, base_lr * global_batch / 256 (the linear rule of MAE, appendix
    A.1). `decay_rule`: "pretrain", "finetune" or "mmseg", see `DECAY_RULES`.
    """
    lr = base_rate(lr, base_lr, global_batch)
    if len(betas) != 2:
        raise ValueError(f"betas must be two numbers, got {list(betas)}")
    groups = parameter_groups(model, lr=lr, weight_decay=weight_decay, layer_decay=layer_decay, decay_rule=decay_rule)
    devices = {parameter.device.type for group in groups for parameter in group["params"]}
    fused = devices <= {"cpu", "cuda"}  # one kernel per group instead of a dozen; not there for the meta device
    return torch.optim.AdamW(groups, lr=lr, betas=(betas[0], betas[1]), eps=eps, weight_decay=weight_decay, fused=fused)
