"""What moves the weights: AdamW and LARS over layer-wise parameter groups, schedules as pure functions of the step."""

from mae_hydra.optim.adamw import adamw
from mae_hydra.optim.groups import DECAY_RULES, describe_groups, parameter_groups
from mae_hydra.optim.lars import LARS, lars
from mae_hydra.optim.schedules import Schedule, cosine, poly

__all__ = ["DECAY_RULES", "LARS", "Schedule", "adamw", "cosine", "describe_groups", "lars", "parameter_groups", "poly"]
