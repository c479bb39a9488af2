"""By which names a model is compared with a data set that has none, or only such as were assumed for it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mae_hydra.data import ImageData, scenes
from mae_hydra.errors import UserError
from mae_hydra.experiment import labels
from mae_hydra.experiment.labels import match_classes, named_by, say_doubts
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
    photos = data(NAMES, assumed=False)
    for target, where in (("map", r"\(classes\.json\)"), ("class", r"\(the class folders, or data\.classes\)")):
        with pytest.raises(UserError, match=f"the model alone has roof, road, car.* {where}$"):
            match_classes(model, given, named_by(given, replace(photos, target=target)))


@pytest.mark.parametrize("assumed", [False, True])
def test_the_same_names_in_another_order_are_mapped_whoever_gave_them(assumed: bool) -> None:
    model, given = Model(), checkpoint("wall", "tree", "sky")
    named = named_by(given, data(NAMES, assumed=assumed))
    assert named.class_names == NAMES
    match_classes(model, given, named)
    assert model.head["classify"].weight.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


class Biased(torch.nn.Module):
    """A decoder and an auxiliary head of two classes, which were trained as "wall" and "sky"."""

    num_classes = 2

    def __init__(self) -> None:
        super().__init__()
        for name in ("head", "auxiliary"):
            self.add_module(name, torch.nn.ModuleDict({"classify": torch.nn.Linear(1, 2)}))


def test_every_last_layer_is_put_in_order_with_its_bias(capsys: pytest.CaptureFixture[str]) -> None:
    model, three = Biased(), data(NAMES, assumed=False)
    two = replace(three, num_classes=2, class_names=("sky", "wall"), palette=three.palette[:2])
    trained = {name: torch.arange(2.0).view(2, *[1] * (value.ndim - 1)) + 10 * place
               for place, (name, value) in enumerate(model.state_dict().items())}  # fmt: skip
    model.load_state_dict(trained)
    match_classes(model, Checkpoint(trained, {"class_names": ["sky", "wall"]}, "test", Path("a.pt")), two)
    assert all(torch.equal(value, trained[name]) for name, value in model.state_dict().items())
    assert capsys.readouterr().out == ""
    match_classes(model, Checkpoint(trained, {"class_names": ["wall", "sky"]}, "test", Path("a.pt")), two)
    assert {name: value.flatten().tolist() for name, value in model.state_dict().items()} == {
        "head.classify.weight": [1.0, 0.0], "head.classify.bias": [11.0, 10.0],
        "auxiliary.classify.weight": [21.0, 20.0],
        "auxiliary.classify.bias": [31.0, 30.0],
    }  # fmt: skip
    assert capsys.readouterr().out.startswith("note: model and data name")


def test_a_layer_that_the_file_or_the_model_lacks_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    three = data(NAMES, assumed=False)
    two = replace(three, num_classes=2, class_names=("sky", "wall"), palette=three.palette[:2])
    model = Biased()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trained = {"head.classify.bias": torch.tensor([1.0, 2.0]), "auxiliary.classify.bias": torch.tensor([3.0, 4.0])}
    told = {"class_names": ["wall", "sky"]}
    match_classes(model, Checkpoint({"head.classify.bias": trained["head.classify.bias"]}, told, "", Path("a.pt")), two)
    now = model.state_dict()
    assert now.pop("head.classify.bias").tolist() == [2.0, 1.0]
    assert all(torch.equal(value, before[name]) for name, value in now.items())
    del model.auxiliary
    match_classes(model, Checkpoint(trained, told, "", Path("a.pt")), two)
    assert capsys.readouterr().out.count("note: model and data name") == 2


def test_a_model_of_more_classes_or_with_another_last_layer_is_refused() -> None:
    model: Any = Model()
    given = checkpoint("wall", "tree", "sky")
    for number in (2, 4):
        model.num_classes = number
        said = rf"the model knows {number} classes, the data have 3; .* or data\.num_classes={number} where the"
        with pytest.raises(UserError, match=said):
            match_classes(model, given, data(NAMES, assumed=False))
    unknown: Any = torch.nn.ModuleDict({"last": torch.nn.Linear(3, 3)})
    unknown.num_classes = 3
    with pytest.raises(UserError, match="which layer of this model gives the classes is not known"):
        match_classes(unknown, given, data(NAMES, assumed=False))


def test_names_of_another_number_of_classes_name_none() -> None:
    nameless = data(("class 0", "class 1", "class 2"), assumed=False)
    assert named_by(checkpoint("a", "b"), nameless) is nameless
    assert named_by(checkpoint("a", "b", "c", "d"), nameless) is nameless
    assert named_by(checkpoint("a", "b", "c"), nameless).class_names == ("a", "b", "c")


def test_nonsense_in_labels_ends_a_start_and_a_doubt_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[bool] = []

    def look(images: Any, training: bool) -> list[str]:
        asked.append(training)
        if not training:
            raise UserError("no label is a class")
        return ["half of the labels are 0", "of 3 classes one occurs"]

    monkeypatch.setattr(labels, "check_labels", look)
    say_doubts(data(NAMES, assumed=False))
    assert capsys.readouterr().out == "warning: half of the labels are 0\nwarning: of 3 classes one occurs\n"
    with pytest.raises(UserError, match="no label is a class"):
        say_doubts(data(NAMES, assumed=False), training=False)
    assert asked == [True, False]
    monkeypatch.setattr(labels, "is_main", lambda: False)  # the others look at nothing and end alike
    monkeypatch.setattr(labels, "broadcast_object", lambda own: UserError("no label is a class") if own == [] else own)
    with pytest.raises(UserError, match="no label is a class"):
        say_doubts(data(NAMES, assumed=False))
    assert asked == [True, False]


def test_a_model_without_classes_has_none_to_be_compared() -> None:
    match_classes(SimpleNamespace(), checkpoint("roof", "road"), data(NAMES, assumed=False))
