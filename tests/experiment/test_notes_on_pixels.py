"""Weights see pixels as they were normalized: what a file tells of it is compared with the data of the run."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mae_hydra.data.decoding.pixel_range import range_of
from mae_hydra.experiment.assemble import _notes_on_pixels
from mae_hydra.weights import Checkpoint

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


def notes(
    meta: dict[str, Any], mean: tuple[float, ...] = (0.485, 0.456, 0.406), measured: list[list[int]] | None = None
) -> list[str]:
    ranged = None if measured is None else range_of(measured)
    data: Any = SimpleNamespace(mean=mean, std=(0.229, 0.224, 0.225)[: len(mean)], pixel_range=ranged)
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


def test_another_deviation_alone_is_told_and_a_rounded_one_is_not() -> None:
    [note] = notes(IMAGENET | {"std": [0.229, 0.224, 0.235]})
    assert "data.std=[0.229,0.224,0.235], this run has" in note
    assert notes(IMAGENET | {"mean": [0.485, 0.456, 0.4]})
    assert not notes({"mean": [0.4855, 0.456, 0.406], "std": [0.229, 0.2245, 0.225]})


def test_pictures_that_became_black_and_white_at_other_numbers_are_told_also_of_the_last_channel() -> None:
    meta = {"origin": {"data": {"range": [[0, 1000], [0, 2000], [0, 3000]]}}}
    [note] = notes(meta, measured=[[0, 1000], [0, 2000], [0, 4000]])
    assert note.startswith("note: the weights of init_from were trained with data.range=")
    assert note.index("3000") < note.index("this run has") < note.index("4000")
    assert not notes(meta, measured=[[0, 1000], [0, 2000], [0, 3000]])
    assert [notes(meta), notes({}, measured=[[0, 1]])] == [[], []]
