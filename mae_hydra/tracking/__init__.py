"""Where the numbers and pictures of a run go: its directory, the console, W&B (imported only when used)."""

from mae_hydra.tracking.composite import Trackers
from mae_hydra.tracking.console import Console
from mae_hydra.tracking.local import LocalFiles
from mae_hydra.tracking.mfu import Utilisation
from mae_hydra.tracking.tensorboard import TensorBoard
from mae_hydra.tracking.wandb import Wandb

__all__ = ["Console", "LocalFiles", "TensorBoard", "Trackers", "Utilisation", "Wandb"]
