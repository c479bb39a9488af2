"""The one training engine: it knows steps, batches and losses, and no task."""

from mae_hydra.engine.callbacks import Callbacks, EarlyStopping
from mae_hydra.engine.checkpoint import Checkpoints
from mae_hydra.engine.cut import Cut, cut_batch
from mae_hydra.engine.interrupt import Interrupted
from mae_hydra.engine.loop import fit
from mae_hydra.engine.parallel import wrap
from mae_hydra.engine.settings import Settings
from mae_hydra.engine.sharding import Twin
from mae_hydra.engine.state import State, moving_average
from mae_hydra.engine.step import train_step

__all__ = [
    "Callbacks",
    "Checkpoints",
    "Cut",
    "EarlyStopping",
    "Interrupted",
    "Settings",
    "State",
    "Twin",
    "cut_batch",
    "fit",
    "moving_average",
    "train_step",
    "wrap",
]
