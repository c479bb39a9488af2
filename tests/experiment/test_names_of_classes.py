"""By which names a model is compared with a data set that has none, or only such as were assumed for it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mae_hydra.data import ImageData, scenes
from mae_hydra.errors import UserError
from mae_hydra.experiment.labels import match_classes, named_by
from mae_hydra.weights import Checkpoint

NAMES = ("sky", "wall", "tree")


def data(names: tuple[str, ...], *, assumed: bool) -> ImageData:
    made = scenes(
        num_train=1, num_validation=1, seed=0, target="map", num_classes=12, image_size=32, channels=3, mean=[0.5] * 3,
        std=[0.2] * 3, ignore_index=255, batch_size=1, num_workers=0, train_limit=None,
    )  # fmt: skip
    return replace(made, num_classes=3, palette=made.palette[:3], class_names=names, assumed_names=assumed)


def checkpoint(*names: str) -> Checkpoint:
    return Checkpoint({"head.classify.weight": torch.eye(3)}, {"class_names": list(names)}, "test", Path("last.pt"))


class Model(torch.nn.Module):
    num_classes = 3

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.ModuleDict({"classify": torch.nn.Linear(3, 3, bias=False)})
        torch.nn.init.eye_(self.head["classify"].weight)


def test_names_that_were_assumed_refuse_no_model_that_has_names_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, given = Model(), checkpoint("roof", "road", "car")
    named = named_by(given, data(NAMES, assumed=True))
    assert named.class_names == ("roof", "road", "car")
    assert "the data have no classes.json: their classes are taken for the model's" in capsys.readouterr().out
    match_classes(model, given, named)
    assert torch.equal(model.head["classify"].weight, torch.eye(3))
    with pytest.raises(UserError, match="the model alone has roof, road, car"):
        match_classes(model, given, named_by(given, data(NAMES, assumed=False)))


@pytest.mark.parametrize("assumed", [False, True])
def test_the_same_names_in_another_order_are_mapped_whoever_gave_them(assumed: bool) -> None:
    model, given = Model(), checkpoint("wall", "tree", "sky")
    named = named_by(given, data(NAMES, assumed=assumed))
    assert named.class_names == NAMES
    match_classes(model, given, named)
    assert model.head["classify"].weight.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


def test_a_model_without_classes_has_none_to_be_compared() -> None:
    match_classes(SimpleNamespace(), checkpoint("roof", "road"), data(NAMES, assumed=False))
