"""Checkpoints in and out: read safely, recognised by content, loaded by a strict rule with a report, written whole."""

from mae_hydra.weights.class_order import MAPPED, have_names, names_of, order_of
from mae_hydra.weights.describe import Description, describe
from mae_hydra.weights.families import ForeignModelError
from mae_hydra.weights.layouts import BY_TARGET, WORDS, Export, to_layout
from mae_hydra.weights.named import KNOWN, is_address
from mae_hydra.weights.read import Checkpoint, check_finite, read_checkpoint
from mae_hydra.weights.report import Row, TransferReport, collapse
from mae_hydra.weights.transfer import check_exact, fitted_state, load_exact, transfer
from mae_hydra.weights.write import write_checkpoint

__all__ = [
    "BY_TARGET",
    "KNOWN",
    "MAPPED",
    "WORDS",
    "Checkpoint",
    "Description",
    "Export",
    "ForeignModelError",
    "Row",
    "TransferReport",
    "check_exact",
    "check_finite",
    "collapse",
    "describe",
    "fitted_state",
    "have_names",
    "is_address",
    "load_exact",
    "names_of",
    "order_of",
    "read_checkpoint",
    "to_layout",
    "transfer",
    "write_checkpoint",
]
