"""What moves the weights: optimizers over layer-wise parameter groups, schedules as pure functions of the step."""

from mae_hydra.optim.adamw import adamw
from mae_hydra.optim.build import optimizer_of
from mae_hydra.optim.groups import DECAY_RULES, describe_groups, parameter_groups
from mae_hydra.optim.lars import LARS, lars
from mae_hydra.optim.muon import MuonAdamW, muon
from mae_hydra.optim.named import named
from mae_hydra.optim.schedules import Schedule, cosine, poly

__all__ = [
    "DECAY_RULES",
    "LARS",
    "MuonAdamW",
    "Schedule",
    "adamw",
    "cosine",
    "describe_groups",
    "lars",
    "muon",
    "named",
    "optimizer_of",
    "parameter_groups",
    "poly",
]
