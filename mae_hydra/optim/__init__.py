"""What moves the weights: AdamW over layer-wise parameter groups, and schedules as pure functions of the step."""

from mae_hydra.optim.adamw import adamw
from mae_hydra.optim.groups import DECAY_RULES, describe_groups, parameter_groups
from mae_hydra.optim.schedules import Schedule, cosine, poly

__all__ = ["DECAY_RULES", "Schedule", "adamw", "cosine", "describe_groups", "parameter_groups", "poly"]
