"""What a run's seed and `resume=never` reach: one key decides all that is random, and a start from nothing is one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import TINY_MAE

import mae_hydra
from mae_hydra.engine import loop
from mae_hydra.experiment import assemble

STILL = [*TINY_MAE, "schedule.total=1", "schedule.warmup=0", "optimizer.lr=1e-30", "evaluation=none"]


def weights(run_dir: str) -> dict[str, torch.Tensor]:
    return torch.load(Path(run_dir) / "checkpoints" / "last.pt", weights_only=True)["model"]


def losses(run_dir: str) -> list[float]:
    return [json.loads(line)["train/loss"] for line in (Path(run_dir) / "metrics.jsonl").read_text().splitlines()]


def test_the_seed_decides_the_first_weights(train: Callable[..., int]) -> None:
    """With a learning rate that rounds away the last weights are the first."""
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        assert train(*STILL, f"seed={seed}", f"hydra.run.dir={name}") == 0
    one, again, two = map(weights, ("one", "again", "two"))
    assert all(torch.equal(one[key], again[key]) for key in one)
    drawn = [key for key in one if one[key].ndim > 1 and "pos_embed" not in key]
    assert len(drawn) > 10
    assert not any(torch.equal(one[key], two[key]) for key in drawn)
    built = mae_hydra.build(*STILL, "seed=1").state_dict()  # the model that was trained, before its training
    assert all(torch.equal(one[key], built[key]) for key in drawn)


def test_the_seed_decides_the_order_of_the_data_and_every_step(
    train: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    streams: list[int] = []
    steps: list[tuple] = []

    class Stream(assemble.TrainStream):
        def __init__(self, *args, seed: int, **kwargs) -> None:
            streams.append(seed)
            super().__init__(*args, seed=seed, **kwargs)

    seed_device = loop.seed_device
    monkeypatch.setattr(assemble, "TrainStream", Stream)
    monkeypatch.setattr(loop, "seed_device", lambda *words: (steps.append(words), seed_device(*words)))
    monkeypatch.setattr(loop, "rank", lambda: 5)
    assert train(*STILL, "schedule.total=2", "seed=7", "hydra.run.dir=seven") == 0
    assert streams == [7]
    # Each process draws masks of its own: the rank is in it.
    assert steps == [(7, "step", 0, 5), (7, "step", 1, 5)]


def test_never_to_resume_is_to_start_from_nothing(train: Callable[..., int]) -> None:
    words = [*TINY_MAE, "schedule.total=2", "schedule.warmup=0", "evaluation=none", "engine.log_every=1"]
    assert train(*words, "hydra.run.dir=fresh") == 0
    assert train(*words, "seed=3", "hydra.run.dir=used") == 0
    assert losses("used") != losses("fresh")
    assert train(*words, "resume=never", "hydra.run.dir=used") == 0
    assert losses("used") == losses("fresh")
    fresh, used = weights("fresh"), weights("used")
    assert all(torch.equal(fresh[key], used[key]) for key in fresh)
