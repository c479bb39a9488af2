"""What all evaluators have in common: their clock, their images, their pictures, and which model they judge."""

import importlib
from types import SimpleNamespace

import pytest
import torch
from test_accuracy import CLASSES, Images, Table, accuracy
from test_accuracy import data as images_of
from test_dense_probe import Reader, blocks, dense
from test_feature_probe import class_scenes, probe, tiny_mae
from test_mean_iou import SIZES as MAP_SIZES
from test_mean_iou import evaluator as mean_iou
from test_reconstruction import build as small_mae
from test_reconstruction import evaluator as reconstruction
from toy_data import RedReader, ToyImages, toy_data

from mae_hydra.data import Sample
from mae_hydra.errors import UserError
from mae_hydra.evaluation.held_out import HeldOut
from mae_hydra.evaluation.kinds import expect, expect_classes
from mae_hydra.evaluation.patch_features import patch_bank

SMALL = {"num_train": 6, "num_validation": 5}
EVERY = {
    "accuracy": lambda **told: accuracy(images_of([n % 5 for n in range(5)]), **told),
    "mean IoU": lambda **told: mean_iou(ToyImages(MAP_SIZES[:5]), **told),
    "reconstruction": reconstruction,
    "features": lambda **told: probe(class_scenes(**SMALL), **told),
    "dense": lambda **told: dense(blocks(), **told),
}
MODELS = {
    "accuracy": lambda: Table(torch.eye(CLASSES)),
    "mean IoU": RedReader,
    "reconstruction": small_mae,
    "features": tiny_mae,
    "dense": Reader,
}


@pytest.mark.parametrize("name", EVERY)
def test_an_evaluation_is_due_by_its_clock_of_the_images_that_its_limit_leaves(name):
    evaluator = EVERY[name](every=3, limit=2)
    assert [step for step in range(8) if evaluator.due(step, 7)] == [3, 6, 7]
    assert evaluator.held_out.indices == [0, 2]
    of_bank = [str(index) for index in evaluator.bank.indices] if name in ("features", "dense") else []
    assert evaluator.stamps() == [*of_bank, "0", "2"]


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("accuracy", "accuracy"),
        ("features", "feature_probe"),
        ("dense", "dense_probe"),
        ("reconstruction", "reconstruction"),
    ],
)
def test_only_the_first_process_draws_and_only_where_there_are_pictures(monkeypatch, name, module):
    cheap = {"l2": None} if name in ("features", "dense") else {}
    model = MODELS[name]()
    assert EVERY[name](num_pictures=0, **cheap).run(model, 1).pictures == {}
    monkeypatch.setattr(f"mae_hydra.evaluation.{module}.is_main", lambda: False)
    assert EVERY[name](num_pictures=2, **cheap).run(model, 1).pictures == {}


@pytest.mark.parametrize(
    ("name", "other", "said"),
    [
        ("accuracy", "pixels", r"evaluation=segment, or take a run of model=classifier_\*"),
        ("mean IoU", "reconstruction", r"evaluation=pretrain, or take a run of model=upernet_\*"),
        ("reconstruction", "images", r"evaluation=classify, or take a run of model=mae_\*"),
        ("mean IoU", None, r"says of no answer that it gives it; judge it with evaluation=features"),
    ],
)
def test_a_model_of_another_kind_is_refused_with_what_judges_it(name, other, said):
    model = MODELS[name]()
    EVERY[name]().check(model)  # one that says nothing, or the right thing
    model.answers = other
    with pytest.raises(UserError, match=said):
        EVERY[name]().check(model)


def test_a_model_that_gives_pixels_alone_needs_to_prepare_them():
    expect(SimpleNamespace(answers="images"), "images", "accuracy")
    with pytest.raises(UserError, match=r"asks SimpleNamespace for prepare\(images\)"):
        expect(SimpleNamespace(answers="pixels"), "pixels", "mean IoU")


@pytest.mark.parametrize(("known", "said"), [(3, "knows 3 classes"), (None, "knows no classes")])
def test_a_model_of_fewer_classes_or_none_is_refused(known, said):
    with pytest.raises(UserError, match=f"the model {said}, the data have 4"):
        expect_classes(SimpleNamespace(num_classes=known), toy_data(ToyImages([(8, 8)])))
    model = RedReader()
    model.num_classes = 3
    with pytest.raises(UserError, match="the model knows 3 classes"):
        mean_iou().check(model)


class Copies(ToyImages):
    """Two files of one stamp, as copies of a file have it."""

    def stamp(self, index: int) -> str:
        return "ababc"[index]


def held_out(images, **changes) -> HeldOut:
    told = {"batch_size": 2, "num_workers": 0, "num_pictures": 2, "limit": None}
    return HeldOut(toy_data(images), None, **(told | changes))


def test_stamps_are_those_of_the_chosen_images_and_none_occurs_twice():
    images = Copies([(8, 8)] * 5)
    assert held_out(images).stamps() == ["a", "b", "a again 2", "b again 2", "c"]
    assert held_out(images, limit=2).stamps() == ["a", "a again 2"]
    assert held_out(images, limit=3).stamps() == ["a", "b", "b again 2"]


def test_pictures_are_some_of_the_chosen_images():
    chosen = held_out(ToyImages([(8, 8)] * 9), limit=4, num_pictures=2)
    assert chosen.indices == [0, 2, 4, 6]
    assert [index for index, _ in chosen.pictures()] == [0, 4]
    assert [index for batch in chosen.batches() for index, _ in batch] == [0, 2, 4, 6]


def test_an_example_is_the_first_of_the_chosen_images_as_high_and_wide_as_it_is_shown():
    class Growing(Images):
        def __getitem__(self, index):
            return Sample(torch.zeros(3, 8, 12, dtype=torch.uint8), 0, "x")

    assert held_out(Growing([0] * 3)).example_size() == (8, 12)


@pytest.mark.parametrize(("rank", "told"), [(0, 3), (1, 2)])
def test_a_progress_bar_is_told_how_many_images_this_process_has(monkeypatch, rank, told):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", str(rank))
    watched, images = [], held_out(ToyImages([(8, 8)] * 5))

    def watch(batches, count):
        watched.append(count)
        return iter(batches)

    images.watch = watch
    assert sum(len(batch) for batch in images.batches()) == told
    assert watched == [told]


# How many numbers each adds up over processes: every one once.
ADDED = {
    "accuracy": CLASSES**2 + 2,  # confusions, the loss and how many are among the five
    "mean IoU": (4 + 3) * 4,  # confusions, and boundary pixels in both maps and in either
    "reconstruction": 2,  # the loss and its count
    "features": (6 + 5) * (16 + 1),  # the features and the class of every image
    "dense": 2 * 12 * 8 * 4 + 4 * 4,  # the features and the classes of the patches, then confusions
}


@pytest.mark.parametrize("name", EVERY)
def test_all_that_is_counted_is_added_up_over_processes_and_nothing_else(name, monkeypatch):
    added = []

    def add(values):
        added.append(values.numel())
        return values

    for module in ("accuracy", "mean_iou", "reconstruction", "features", "patch_features", "dense_probe"):
        monkeypatch.setattr(f"mae_hydra.evaluation.{module}.all_reduce_sum", add)
    more = {"mean IoU": {"boundary": True}, "features": {"l2": None}, "dense": {"l2": None}}.get(name, {})
    EVERY[name](num_pictures=0, **more).run(MODELS[name](), 1)
    assert sum(added) == ADDED[name]


@pytest.mark.parametrize(("name", "module"), [("features", "feature_probe"), ("dense", "dense_probe")])
def test_the_numbers_of_a_probe_are_those_of_the_first_process_and_of_full_precision(name, module, monkeypatch):
    given, lowered = [], []

    def broadcast(value):
        given.append(value)
        return dict.fromkeys(value, 7.0) if isinstance(value, dict) else [part * 0 for part in value]

    def noted(function):
        def wrapped(*told, **more):
            lowered.append(torch.is_autocast_enabled("cpu"))
            return function(*told, **more)

        return wrapped

    home = importlib.import_module(f"mae_hydra.evaluation.{module}")
    monkeypatch.setattr(home, "broadcast_object", broadcast)
    monkeypatch.setattr(home, "nearest", noted(home.nearest))
    evaluator = EVERY[name](num_pictures=0, iterations=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = evaluator.run(MODELS[name](), 1)
    assert set(found.scalars.values()) == {7.0}
    assert set(lowered) == {False}
    if name == "dense":
        assert [len(each) for each in given] == [4, 3]  # the classifier, then the numbers
        bank = patch_bank(Reader(), evaluator.bank, 8, 4, 255)
        assert not any(part.any() for part in evaluator._linear(bank))
