"""Nearest neighbours and linear classifiers of frozen features, against loops and scipy's optimum."""

import dataclasses
import functools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from toy_data import toy_data

from mae_hydra.data import ImageData, Sample, scenes
from mae_hydra.errors import UserError
from mae_hydra.evaluation import FeatureProbe, feature_probe, neighbours
from mae_hydra.evaluation.features import extract, pooled
from mae_hydra.evaluation.linear_classifier import fit_linear
from mae_hydra.evaluation.neighbours import nearest, votes
from mae_hydra.evaluation.rank import effective_rank
from mae_hydra.models import MAE, MAEDecoder, VisionTransformer
from mae_hydra.models.pooling import POOLS, pool_tokens


@pytest.mark.parametrize("size", [11, 9])
def test_neighbours_and_votes_are_those_of_a_loop(monkeypatch, size):
    """The last part of the bank has three vectors, or one."""
    monkeypatch.setattr(neighbours, "QUERIES", 3)
    monkeypatch.setattr(neighbours, "BANK", 4)
    torch.manual_seed(0)
    queries, bank, labels = torch.randn(7, 5), torch.randn(size, 5), torch.arange(size) % 3
    similar, places = nearest(queries, bank, 4)
    counted = votes(similar, labels[places], 3, temperature=0.1)
    for q in range(7):
        every = [
            (float(queries[q] @ bank[n]) / (float(queries[q].norm()) * float(bank[n].norm())), n) for n in range(size)
        ]
        closest = sorted(every, reverse=True)[:4]
        assert places[q].tolist() == [n for _, n in closest]
        by_hand = [sum(math.exp(s / 0.1) for s, n in closest if n % 3 == c) for c in range(3)]
        assert torch.allclose(counted[q] / counted[q].sum(), torch.tensor(by_hand) / sum(by_hand), rtol=1e-4)


@pytest.mark.parametrize("k", [0, 12])
def test_an_impossible_k_is_refused(k):
    with pytest.raises(ValueError, match=r"k must lie in 1\.\.11"):
        nearest(torch.randn(2, 5), torch.randn(11, 5), k)


def test_the_linear_classifier_is_at_the_optimum():
    """The gradient of the objective, written out with NumPy, vanishes there."""
    torch.manual_seed(0)
    vectors = torch.randn(60, 6) * torch.tensor([1, 10, 0.1, 1, 1, 1.0]) + 3
    labels = (vectors[:, 0] > 3).long() + (vectors[:, 1] > 3).long()
    found = fit_linear(vectors, labels, 3, l2=1e-2, iterations=500)
    x = vectors.numpy().astype(float)
    x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-6)
    weight, bias = found.weight.numpy().astype(float), found.bias.numpy().astype(float)
    scores = np.exp(x @ weight.T + bias)
    errors = (scores / scores.sum(1, keepdims=True) - np.eye(3)[labels.numpy()]) / 60
    assert np.abs(errors.T @ x + 1e-2 * weight).max() < 1e-4
    assert np.abs(errors.sum(0)).max() < 1e-4
    assert (found.logits(vectors).argmax(1) == labels).float().mean() > 0.8
    first = fit_linear(vectors, labels, 3, l2=1e-2, iterations=1)
    assert not torch.allclose(first.weight, found.weight, rtol=0.01)


def tiny_mae() -> MAE:
    torch.manual_seed(0)
    encoder = VisionTransformer(
        image_size=32, patch_size=8, in_chans=3, embed_dim=16, depth=2, num_heads=2, mlp_ratio=2.0, out_indices=[0, 1],
        drop_path_rate=0.0, positions="fixed", relative_position_bias=False, layer_scale=None, final_norm=True,
    )  # fmt: skip
    decoder = MAEDecoder(
        encoder_dim=16, embed_dim=8, depth=1, num_heads=2, mlp_ratio=2.0, patch_size=8, in_chans=3, image_size=32
    )
    model = MAE(
        encoder=encoder, decoder=decoder, mask_ratio=0.75, masking="random", norm_pix=True, mean=[0.5] * 3,
        std=[0.25] * 3,
    )  # fmt: skip
    return model.eval()


@functools.cache  # each scene is drawn once
def class_scenes(**changes):
    settings = {
        "image_size": 32, "num_train": 40, "num_validation": 12, "train_limit": None, "seed": 0, "channels": 3,
        "mean": [0.5] * 3, "std": [0.25] * 3, "num_classes": 7, "ignore_index": 255, "batch_size": 4, "num_workers": 0,
        "target": "class",
    }  # fmt: skip
    return scenes(**(settings | changes))


def probe(data, **changes) -> FeatureProbe:
    settings = {
        "data": data, "inference": {}, "every": None, "batch_size": 5, "num_workers": 0, "num_pictures": 3,
        "limit": None, "bank": None, "pool": "mean", "k": 3, "temperature": 0.07, "l2": 1e-3, "iterations": 20,
    }  # fmt: skip
    return FeatureProbe(**(settings | changes))


class Points:
    """An image is a number and a direction in degrees; its class is given."""

    def __init__(self, directions, labels):
        self.directions, self.labels = directions, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        image = torch.full((3, 8, 8), index, dtype=torch.uint8)
        image[0] = self.directions[index]
        return Sample(image, self.labels[index], f"point_{index}")


class Compass(nn.Module):
    """Features of an image: its direction as a vector, in the last of two maps."""

    widths = (5, 2)

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))
        self.encoder, self.prepare = self, torch.Tensor.float

    def feature_maps(self, images):
        angle = torch.deg2rad(images[:, :1])
        return [images[:, [0] * 5], torch.cat([angle.cos(), angle.sin()], 1)]


def points() -> ImageData:
    """Of eight training images the bank has 0, 2, 4 and 6, of six for validation 0, 2 and 4 are asked about."""
    train = Points([0, 90, 30, 90, 40, 90, 180, 90], [0, 2, 1, 2, 1, 2, 1, 2])
    asked = Points([10, 99, 100, 99, 170, 99], [0, 2, 0, 2, 1, 2])
    facts = {"num_classes": 3, "class_names": tuple("abc"), "palette": np.zeros((3, 3), np.uint8)}
    return toy_data(train, validation=asked, image_size=(8, 8), target="class", **facts)


@pytest.mark.parametrize(
    ("k", "temperature", "right"),
    [
        (1, 1.0, [True, False, True]),  # the closest have 0, 1 and 1
        (3, 1.0, [False, False, True]),  # 0.98, 0.94 and 0.87: together the two of class 1 count more
        (3, 0.07, [True, False, True]),
    ],
)
def test_the_score_is_that_of_neighbours_counted_by_hand(k, temperature, right):
    found = probe(points(), bank=4, limit=3, k=k, temperature=temperature, l2=None, num_pictures=0).run(Compass(), 0)
    assert found.scalars["knn"] == pytest.approx(100 * sum(right) / 3)
    assert set(found.scalars) == {"knn", "rankme"}
    directions = torch.deg2rad(torch.tensor([0.0, 30, 40, 180]))
    expected = effective_rank(torch.stack([directions.cos(), directions.sin()], 1))
    assert found.scalars["rankme"] == pytest.approx(expected, rel=1e-4)


def test_a_picture_has_the_closest_of_the_bank_beside_it(monkeypatch):
    drawn = []
    monkeypatch.setattr(feature_probe, "sheet", lambda rows, **words: drawn.append((rows, words)))
    probe(points(), bank=4, limit=3, k=3, l2=None, num_pictures=2).run(Compass(), 7)
    [(rows, words)] = drawn
    assert [[int(picture[0, 0, 1]) for picture in row] for row in rows] == [[0, 0, 2, 4], [2, 4, 2, 6]]
    assert words["columns"] == ["validation image", "neighbor 1", "neighbor 2", "neighbor 3"]
    assert words["title"] == "step 7: nearest neighbors 66.7 %"
    data = dataclasses.replace(points(), shown=(2, 1, 0))
    probe(data, limit=3, k=8, l2=None, num_pictures=1).run(Compass(), 7)
    [row] = drawn[1][0]
    assert len(row) == len(drawn[1][1]["columns"]) == 6  # the five closest of eight
    assert row[0][0, 0].tolist() == [0, 0, 10]  # the last channel is shown first


def test_the_linear_classifier_learns_from_the_bank_as_it_is_told_and_is_asked_about_the_others(monkeypatch):
    told = []

    def fit(vectors, labels, num_classes, **words):
        told.append((len(vectors), labels.tolist(), num_classes, words))
        return fit_linear(vectors, labels, num_classes, **words)

    monkeypatch.setattr(feature_probe, "fit_linear", fit)
    for l2, right in ((1e-5, 2), (1e3, 1)):  # with weights of almost 0 all are taken for class 1
        found = probe(points(), bank=4, limit=3, k=None, l2=l2, iterations=37).run(Compass(), 0)
        assert found.scalars["linear"] == pytest.approx(100 * right / 3)
        assert told.pop() == (4, [0, 1, 1, 1], 3, {"l2": l2, "iterations": 37})


def test_a_classifier_without_a_penalty_may_be_asked_for():
    assert probe(points(), bank=4, l2=0.0).l2 == 0


@pytest.mark.parametrize("pool", POOLS)
def test_tokens_are_pooled_with_as_many_cls_tokens_as_the_encoder_has(pool):
    tokens = torch.randn(2, 5, 3)
    encoder = SimpleNamespace(tokens=lambda images: tokens, num_cls_tokens=2, widths=(3,))
    model = SimpleNamespace(encoder=encoder, prepare=torch.Tensor.float, mean=torch.zeros(1))
    expected = pool_tokens(tokens, pool, 2)
    assert torch.equal(pooled(model, torch.zeros(2, 3, 8, 8), pool), expected)
    held_out = probe(points(), bank=2, k=1).bank
    assert torch.equal(extract(model, held_out, pool).vectors, expected)


def test_images_are_cropped_as_for_an_accuracy():
    assert probe(class_scenes()).transform.cover == (36, 36)  # 0.875 of it


def test_votes_of_a_low_temperature_are_numbers():
    similar, labels = torch.tensor([[1.0, 0.999]]), torch.tensor([[0, 1]])
    assert votes(similar, labels, 2, 0.005).tolist() == [[1.0, pytest.approx(math.exp(-0.2), rel=1e-4)]]


@pytest.mark.parametrize("pool", POOLS)
def test_an_encoder_that_is_asked_about_its_own_images_knows_them(pool):
    data = class_scenes()
    found = probe(dataclasses.replace(data, validation=data.train), k=1, pool=pool).run(tiny_mae(), 0)
    assert found.scalars["knn"] == 100  # every image is its own nearest neighbour
    assert found.scalars["linear"] > 50
    assert found.pictures["neighbours"].pixels.shape[2] == 3


def test_features_that_are_no_numbers_are_no_score():
    model = tiny_mae()
    model.encoder.norm.weight.data[3] = math.nan
    with pytest.raises(UserError, match=r"the encoder's features are no numbers \(NaN\)"):
        probe(class_scenes()).run(model, 0)


def test_an_evaluation_leaves_the_model_and_its_generators_alone():
    model = tiny_mae().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    probe(class_scenes()).run(model, 0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(("bank", "images"), [(0.1, 4), (8, 8), (None, 40), (1000, 40)])
def test_a_few_shot_bank_is_a_share_or_a_number(bank, images):
    assert len(probe(class_scenes(), bank=bank).bank.indices) == images


@pytest.mark.parametrize("target", ["none", "class"])
def test_the_rank_alone_needs_no_labels(target):
    data = class_scenes(num_train=6, num_validation=2)
    if target == "none":
        data = dataclasses.replace(data, target="none", num_classes=0, class_names=(), palette=data.palette[:0])
        with pytest.raises(UserError, match="k=null and l2=null for the rank alone"):
            probe(data)
    found = probe(data, l2=None, k=None).run(tiny_mae(), 0)
    assert 1 <= found.scalars["rankme"] <= 6
    assert (set(found.scalars), found.pictures) == ({"rankme"}, {})


def test_the_effective_rank_is_the_paper_s():
    """Against singular values and the formula written out; k equal directions have rank k, a collapse rank 1."""
    torch.manual_seed(0)
    vectors = torch.randn(40, 6) @ torch.diag(torch.tensor([5, 2, 1, 0.3, 0.1, 0.0]))
    values = np.linalg.svd(vectors.double().numpy(), compute_uv=False)
    shares = values / values.sum() + 1e-7
    assert effective_rank(vectors) == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), rel=1e-6)
    assert effective_rank(vectors.T) == pytest.approx(effective_rank(vectors), rel=1e-4)
    assert effective_rank(torch.eye(8)[:5].repeat(3, 1)) == pytest.approx(5, rel=1e-4)
    assert effective_rank(torch.ones(9, 4)) == pytest.approx(1, rel=1e-4)
    assert effective_rank(torch.zeros(9, 4)) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pool": "max"}, "pool must be"),
        ({"temperature": 0}, "temperature must be positive"),
        ({"l2": -1}, "l2 must not be negative"),
        ({"iterations": 0}, "iterations must be"),
        ({"k": 41}, r"k must lie in 1\.\.40"),
        ({"k": 5, "bank": 4}, r"k must lie in 1\.\.4,"),
        ({"k": 0}, r"k must lie in 1\.\.40"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        probe(class_scenes(), **changes)


def test_data_without_classes_are_refused_with_the_way_out():
    for changes in ({}, {"k": None}, {"l2": None}):  # either way needs them
        with pytest.raises(UserError, match="evaluation=pretrain_dense_probe is for class maps"):
            probe(class_scenes(target="map", num_classes=12), **changes)


def test_a_model_of_another_size_is_refused():
    with pytest.raises(UserError, match=r"takes images of 32x32, data\.image_size is 64x64"):
        probe(class_scenes(image_size=64)).check(tiny_mae())


def test_an_encoder_by_itself_is_given_pictures_normalized_as_the_data_say():
    data, model = class_scenes(), tiny_mae()
    model.mean.copy_(torch.tensor(data.mean))
    model.std.copy_(torch.tensor(data.std))
    whole, alone = (probe(data, pool="cls").run(each, 0).scalars for each in (model, model.encoder))
    assert whole == alone
