"""Checkpoints in and out: read safely, recognised by content, loaded by a strict rule with a report, written whole."""

from mae_hydra.weights.describe import Description, describe
from mae_hydra.weights.layouts import BY_TARGET, WORDS, Export, to_layout
from mae_hydra.weights.read import Checkpoint, check_finite, read_checkpoint
from mae_hydra.weights.report import Row, TransferReport, collapse
from mae_hydra.weights.transfer import check_exact, load_exact, transfer
from mae_hydra.weights.write import write_checkpoint

__all__ = [
    "BY_TARGET",
    "WORDS",
    "Checkpoint",
    "Description",
    "Export",
    "Row",
    "TransferReport",
    "check_exact",
    "check_finite",
    "collapse",
    "describe",
    "load_exact",
    "read_checkpoint",
    "to_layout",
    "transfer",
    "write_checkpoint",
]
