"""Parameter groups with layer-wise learning-rate decay.

A parameter at depth d of n depths learns with `lr * layer_decay ** (n - 1 - d)`: the head at the full rate, the
embedding at the smallest (BEiT, arXiv 2106.08254; MAE fine-tuning, arXiv 2111.06377, table 9). Which depth a parameter
has is the model's own knowledge (`depth_of`), beside the attributes it names.
"""

from typing import Any, Literal, get_args

import torch
from torch import nn

DecayRule = Literal["pretrain", "finetune", "mmseg"]

# Which parameters are free of weight decay, besides those of at most one dimension and those named `.bias`.
#   pretrain: none. MAE pre-training decays `cls_token` and `mask_token`, which have three dimensions.
#   finetune: the tables. MAE fine-tuning exempts `pos_embed` and `cls_token`, timm and BEiT the position bias as well.
#   mmseg:    none. mmsegmentation means to exempt `pos_embed` and `cls_token`, but its test never matches the prefixed
#             names, so its models were trained with both decayed, and the relative position bias too.
DECAY_RULES: dict[DecayRule, frozenset[str]] = {
    "pretrain": frozenset(),
    "finetune": frozenset({"pos_embed", "cls_token", "relative_position_bias_table"}),
    "mmseg": frozenset(),
}


def parameter_groups(
    model: nn.Module, *, lr: float, weight_decay: float, layer_decay: float, decay_rule: str
) -> list[dict[str, Any]]:
    """One group per (depth, decayed or not), in the order in which `named_parameters()` first meets them.

    Only what requires a gradient is in a group. Each holds `params`, `names`, `depth`, `weight_decay`, `lr_scale`, and
    `lr` = `initial_lr` = lr * lr_scale: what the schedule's factor multiplies, so a smallest learning rate is scaled
    too. Without layer-wise decay (`layer_decay` 1) all depths share one learning rate and one pair of groups, with
    `depth` None.
    """
    if not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay must lie in (0, 1], got {layer_decay}")
    if weight_decay < 0:
        raise ValueError(f"weight_decay must not be negative, got {weight_decay}")
    if decay_rule not in get_args(DecayRule):
        raise ValueError(f"decay_rule must be one of {', '.join(get_args(DecayRule))}, got {decay_rule!r}")
    top: int = model.num_depths - 1  # type: ignore[assignment, operator]
    groups: dict[tuple[int | None, bool], dict[str, Any]] = {}  # a dict: the order must not change between two starts
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        depth: int = model.depth_of(name)  # type: ignore[operator]
        assert 0 <= depth <= top, f"{name} has depth {depth} of {top + 1}"
        decayed = _is_decayed(name, parameter, DECAY_RULES[decay_rule])  # type: ignore[index]
        key = (None if layer_decay == 1 else depth, decayed)
        if key not in groups:
            lr_scale = layer_decay ** (top - depth)
            groups[key] = {
                "params": [],
                "names": [],
                "depth": key[0],
                "lr_scale": lr_scale,
                "lr": lr * lr_scale,
                "initial_lr": lr * lr_scale,
                "weight_decay": weight_decay if decayed else 0.0,
            }
        groups[key]["params"].append(parameter)
        groups[key]["names"].append(name)
    if not groups:
        raise ValueError("no parameter of the model requires a gradient: there is nothing to train")
    return list(groups.values())


def _is_decayed(name: str, parameter: nn.Parameter, exempt: frozenset[str]) -> bool:
    return parameter.ndim > 1 and not name.endswith(".bias") and name.rpartition(".")[2] not in exempt


def describe_groups(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """The table for the start of a log: a row per group, from the embedding to the head (depth None: all depths).

    Groups of somebody else's optimizer need no key that torch does not ask for.
    """
    rows = [
        {
            "depth": group.get("depth"),
            "lr_scale": group.get("lr_scale", 1.0),
            "lr": group.get("initial_lr", group["lr"]),
            "weight_decay": group.get("weight_decay", 0.0),
            "tensors": len(group["params"]),
            "parameters": sum(p.numel() for p in group["params"]),
        }
        for group in optimizer.param_groups
    ]
    return sorted(rows, key=lambda row: (row["depth"] or 0, row["weight_decay"]))
