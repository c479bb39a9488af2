"""Which of several state dicts in a file is meant."""

import torch

from mae_hydra.weights.parts import choose


def test_the_sums_of_a_log_are_no_second_model_however_many_names_they_have():
    weights = {f"blocks.{number}.weight": torch.zeros(2, 2) for number in range(9)}
    sums = {f"train/{number}": torch.tensor(1.0) for number in range(20)}
    assert choose({"model": weights, "window": sums}, "").others == ()
    assert choose({"model": weights, "model_ema": weights, "window": sums}, "").others == ("model_ema",)
