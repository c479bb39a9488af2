"""Randomness is a function of integers, never a state to save.

A sample's crop, flip and order follow from (seed, epoch, index); what is drawn on the device follows from (seed, step,
rank). A resumed run therefore needs no saved generator state, and workers and ranks cannot change a result.
"""

import hashlib
import random

import numpy as np
import torch


def fold(*parts: int | str) -> int:
    """Fold integers and names into one 63-bit seed; the order of the parts matters."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*parts: int | str) -> np.random.Generator:
    """A NumPy generator that depends on nothing but `parts` (counter based, cheap to make)."""
    return np.random.Generator(np.random.Philox(fold(*parts)))


def seed_device(*parts: int | str) -> None:
    """Seed torch's global generators (CPU and all accelerators) from `parts`, before a step or an initialisation.

    And Python's, for what the host decides about a whole batch (mixup): a tensor of one number costs far more.
    """
    seed = fold(*parts)
    torch.manual_seed(seed)
    random.seed(seed)
