"""Muon for the matrices of a network's blocks, AdamW for everything else."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from mae_hydra.optim.groups import parameter_groups
from mae_hydra.optim.rates import base_rate


class MuonAdamW(torch.optim.Optimizer):
    """torch.optim.Muon for the groups that say `muon`, torch.optim.AdamW for the others, as one optimizer.

    Saved and loaded as one, too: groups and state are this object's, and both are lent them for a step.
    """

    def __init__(self, groups: list[dict[str, Any]], *, muon: dict[str, Any], adamw: dict[str, Any]) -> None:
        parts: list[tuple[type[torch.optim.Optimizer], dict[str, Any]]] = [
            (torch.optim.AdamW, adamw),
            (torch.optim.Muon, muon),
        ]
        chosen = [[group for group in groups if bool(group["muon"]) == which] for which in (False, True)]
        self._parts = [
            kind(of_it, **settings) if of_it else None for (kind, settings), of_it in zip(parts, chosen, strict=True)
        ]
        # Whole groups, with what each kind adds to them, in the order in which they came.
        made = [iter(part.param_groups if part is not None else ()) for part in self._parts]
        super().__init__([next(made[bool(group["muon"])]) for group in groups], {"lr": muon["lr"]})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for which, part in enumerate(self._parts):
            if part is not None:
                part.param_groups = [group for group in self.param_groups if bool(group["muon"]) == bool(which)]
                part.state = self.state
                part.step()
        return loss


def muon(
    model: nn.Module,
    *,
    lr: float | None,
    base_lr: float | None,
    global_batch: int,
    momentum: float,
    nesterov: bool,
    ns_steps: int,
    adjust_lr_fn: str,
    betas: Sequence[float],
    eps: float,
    weight_decay: float,
    layer_decay: float,
    decay_rule: str,
) -> MuonAdamW:
    """Build Muon (Jordan et al. 2024) for the weights of linear layers inside blocks, AdamW for what else is trainable.

    `adjust_lr_fn` "match_rms_adamw" gives an update the size of AdamW's (Moonshot, arXiv 2502.16982), so that one
    learning rate and one weight decay are for both; it is as of `adamw`. "original" is 1 for square matrices.
    """
    if len(betas) != 2:
        raise ValueError(f"betas must be two numbers, got {list(betas)}")
    lr = base_rate(lr, base_lr, global_batch)
    groups = parameter_groups(model, lr=lr, weight_decay=weight_decay, layer_decay=layer_decay, decay_rule=decay_rule)
    matrices = set(matrices_of_blocks(model))
    if not matrices.intersection(name for group in groups for name in group["names"]):
        raise ValueError("no linear layer of a block is trained, and Muon is for these; use another optimizer=")
    shared = {"lr": lr, "weight_decay": weight_decay}
    return MuonAdamW(
        [part for group in groups for part in _apart(group, matrices)],
        muon=shared | {"momentum": momentum, "nesterov": nesterov, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn},
        adamw=shared | {"betas": (betas[0], betas[1]), "eps": eps},
    )


def matrices_of_blocks(model: nn.Module) -> Iterator[str]:
    """Names of the weights of linear layers inside elements of lists named `…blocks`: no embedding, no last layer."""
    for name, module in model.named_modules():
        parents = name.split(".")[:-1]
        if isinstance(module, nn.Linear) and any(parent.endswith("blocks") for parent in parents):
            yield f"{name}.weight"


def _apart(group: dict[str, Any], matrices: set[str]) -> Iterator[dict[str, Any]]:
    """A group as one of matrices and one of the rest, where it has both."""
    for which in (True, False):
        kept = [(n, p) for n, p in zip(group["names"], group["params"], strict=True) if (n in matrices) == which]
        if kept:
            yield {**group, "names": [n for n, _ in kept], "params": [p for _, p in kept], "muon": which}
