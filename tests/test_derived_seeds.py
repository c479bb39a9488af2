"""Randomness that follows from integers alone: recorded runs stand on these very numbers."""

import random

import numpy as np
import torch

from mae_hydra.seeds import fold, generator, seed_device

GOLDEN = (2631537505891389924, 2625673001888940190)


def test_a_seed_follows_from_its_parts_their_order_and_their_kind() -> None:
    assert fold(0) == GOLDEN[0]
    assert fold(3, "epoch", 1) == GOLDEN[1]
    found = [fold(*parts) for parts in ((1, 2), (2, 1), (12,), (1, "2"), (1, 2, 0))]
    assert len(set(found)) == 5
    many = [fold(0, n) for n in range(200)]
    assert max(many).bit_length() == 63  # what torch takes, and no bit less
    assert min(many) >= 0


def test_a_generator_draws_alike_for_the_same_parts_and_else_not() -> None:
    draws = [generator(*parts).integers(0, 2**31, 4).tolist() for parts in ((1, 2), (1, 2), (2, 1), (1, 3))]
    assert draws[0] == draws[1] != draws[2]
    assert draws[0] != draws[3]


def test_what_is_drawn_before_a_step_follows_from_its_parts_on_the_device_and_on_the_host() -> None:
    def drawn(*parts: int) -> tuple[float, float]:
        seed_device(*parts)
        return torch.rand(()).item(), random.random()

    state = np.random.get_state()[1].tolist()
    first, second, again = drawn(0, 1), drawn(0, 2), drawn(0, 1)
    assert first == again
    assert not set(first) & set(second)
    assert np.random.get_state()[1].tolist() == state  # NumPy's is nobody's
