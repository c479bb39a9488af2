"""Checkpoints in: read safely, recognised by content, loaded by a strict rule with a report."""

from mae_hydra.weights.read import Checkpoint, read_checkpoint
from mae_hydra.weights.report import TransferReport
from mae_hydra.weights.transfer import load_exact, transfer

__all__ = ["Checkpoint", "TransferReport", "load_exact", "read_checkpoint", "transfer"]
