"""Weights see pixels as they were normalized: what a file tells of it is compared with the data of the run."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mae_hydra.experiment.assemble import _notes_on_pixels
from mae_hydra.weights import Checkpoint

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


def notes(meta: dict[str, Any], mean: tuple[float, ...] = (0.485, 0.456, 0.406)) -> list[str]:
    data: Any = SimpleNamespace(mean=mean, std=(0.229, 0.224, 0.225)[: len(mean)], pixel_range=None)
    return list(_notes_on_pixels(Checkpoint({}, meta, "test", Path("last.pt")), data))


@pytest.mark.parametrize("meta", [HALF, {"config": {"data": HALF}}, IMAGENET | {"config": {"data": HALF}}])
def test_weights_of_another_normalization_are_told(meta: dict[str, Any]) -> None:
    """As timm tells it, and as a run records it, whose own words count."""
    [note] = notes(meta)
    assert "init_from were trained with data.mean=[0.5,0.5,0.5] data.std=[0.5,0.5,0.5], this run has" in note
    assert "this run has data.mean=[0.485,0.456,0.406] data.std=[0.229,0.224,0.225]; where little" in note


@pytest.mark.parametrize(
    "meta", [{}, IMAGENET, {"config": {"data": IMAGENET}}, {"config": {"data": {}}}, {"mean": "x", "std": [1.0]}]
)
def test_the_same_and_what_is_not_told_is_no_note(meta: dict[str, Any]) -> None:
    assert not notes(meta)
    assert not notes(HALF, mean=(0.5,))  # of one channel: init_adapt speaks of it
