"""Nearest neighbours and linear classifiers of patches on class maps: loops, and features that know the answer."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from test_feature_probe import class_scenes, tiny_mae
from torch import nn
from toy_data import IGNORE, NUM_CLASSES, toy_data

from mae_hydra.data import Sample
from mae_hydra.errors import UserError
from mae_hydra.evaluation import DenseProbe, dense_probe
from mae_hydra.evaluation.dense_probe import Probes
from mae_hydra.evaluation.linear_classifier import fit_linear
from mae_hydra.evaluation.neighbours import votes, weighted
from mae_hydra.evaluation.patch_features import PatchBank, class_pixels, patch_bank

SIZE, PATCH = (16, 24), 4


class Blocks:
    """Maps of one class a patch; the red of an image is 60 times its class. `ignored`: patches without labels."""

    def __init__(self, count: int, seed: int, ignored: float = 0.0) -> None:
        self.count, self.seed, self.ignored = count, seed, ignored

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng((self.seed, index))
        grid = (SIZE[0] // PATCH, SIZE[1] // PATCH)
        classes = rng.integers(0, NUM_CLASSES, grid)
        labels = np.where(rng.random(grid) < self.ignored, IGNORE, classes)
        large = np.ones((PATCH, PATCH), np.uint8)
        image = np.stack([np.kron(60 * classes, large)] * 3).astype(np.uint8)
        return Sample(
            torch.from_numpy(image), torch.from_numpy(np.kron(labels, large).astype(np.uint8)), f"blocks_{index}"
        )


class Reader(nn.Module):
    """Patch features that say the class (`knows`) in one direction of three, or nothing."""

    def __init__(self, *, knows: bool = True) -> None:
        super().__init__()
        self.knows = knows
        self.register_buffer("mean", torch.zeros(1))
        self.encoder = self
        self.widths = (NUM_CLASSES,)

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        return images.float()

    def feature_maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        red = nn.functional.avg_pool2d(images[:, 0], PATCH) / 60
        seen = red if self.knows else torch.zeros_like(red)
        last = torch.stack([(seen - number).abs() < 0.5 for number in range(NUM_CLASSES)], 1).float() + 0.1
        return [torch.zeros_like(last), last]


def dense(data, **changes) -> DenseProbe:
    settings = {
        "data": data, "inference": {}, "every": None, "batch_size": 3, "num_workers": 0, "num_pictures": 2,
        "limit": None, "bank": None, "patches": 8, "k": 5, "temperature": 0.07, "l2": 1e-4, "iterations": 50,
    }  # fmt: skip
    return DenseProbe(**(settings | changes))


def blocks(ignored: float = 0.0):
    return dataclasses.replace(toy_data(Blocks(12, 0, ignored)), validation=Blocks(5, 1, ignored), image_size=SIZE)


def test_features_that_know_the_class_of_every_patch_score_as_their_enlarged_grid():
    """What is lost is the bilinear enlarging alone, and both ways lose the same; blind, one class is left."""
    data = dataclasses.replace(
        blocks(ignored=0.3), num_classes=5, class_names=tuple("abcde"), palette=np.zeros((5, 3), np.uint8)
    )
    found = dense(data).run(Reader(), 3)
    *rows, nowhere = found.tables["dense_probe"]
    assert nowhere == {"name": "e", "knn IoU": None, "linear IoU": None}
    counts = np.zeros((NUM_CLASSES, NUM_CLASSES))
    for index in range(5):
        labels = data.validation[index].label.long()
        classes = data.validation[index].image[0, ::PATCH, ::PATCH] // 60
        hot = nn.functional.one_hot(classes.long(), NUM_CLASSES).permute(2, 0, 1)[None].float()
        best = nn.functional.interpolate(hot, SIZE, mode="bilinear")[0].argmax(0)
        np.add.at(counts, (labels[labels != IGNORE].numpy(), best[labels != IGNORE].numpy()), 1)
    right = np.diag(counts)
    by_hand = 100 * float(np.mean(right / (counts.sum(0) + counts.sum(1) - right)))
    assert found.scalars["knn_mIoU"] == pytest.approx(by_hand)
    assert found.scalars["linear_mIoU"] == pytest.approx(by_hand, abs=1)
    assert by_hand > 60
    assert [row["name"] for row in rows] == list("abcd")
    values = [row["knn IoU"] for row in rows]
    assert values == pytest.approx(list(100 * right / (counts.sum(0) + counts.sum(1) - right)))
    assert set(found.pictures) == {"dense_probe"}
    blind = dense(data).run(Reader(knows=False), 3).scalars
    assert max(blind["knn_mIoU"], blind["linear_mIoU"]) < 100 / NUM_CLASSES
    assert blind["rankme"] == pytest.approx(1, rel=1e-4)
    assert found.scalars["rankme"] > 3


def test_any_label_may_be_the_one_to_ignore():
    class Renumbered(Blocks):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return sample._replace(label=sample.label.where(sample.label != IGNORE, 77))

    data = blocks(ignored=0.3)
    other = dataclasses.replace(data, train=Renumbered(12, 0, 0.3), validation=Renumbered(5, 1, 0.3), ignore_index=77)
    assert dense(other, l2=None).run(Reader(), 3).scalars == dense(data, l2=None).run(Reader(), 3).scalars


def class_of(pixels, directions, k: int, temperature: float) -> int:
    """What a patch of direction 0 is taken for, with patches of these directions (in degrees) in the bank."""
    angles = torch.deg2rad(torch.tensor(directions, dtype=torch.float32))
    bank = PatchBank(torch.stack([angles.cos(), angles.sin()], 1), torch.tensor(pixels, dtype=torch.float32))
    asked = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    [by_way] = Probes(bank, None, k, temperature).class_maps(asked, (1, 1))
    return int(by_way["knn"])


def test_neighbours_vote_with_their_shares_as_near_as_they_are():
    few_pixels, many = [0, 1], [16, 0]
    assert class_of([many, few_pixels], [20, 10], 2, 0.07) == 1  # the nearer one, although of one pixel
    assert class_of([many, few_pixels, many], [30, 10, 30], 3, 0.07) == 1
    assert class_of([many, few_pixels, many], [30, 10, 30], 3, 1.0) == 0
    assert class_of([many, few_pixels, many], [30, 10, 30], 1, 1.0) == 1


def test_the_linear_classifier_learns_each_patch_as_much_as_it_has_pixels(monkeypatch):
    told = []

    def fit(vectors, targets, num_classes, **words):
        told.append((targets, num_classes, words))
        return fit_linear(vectors, targets, num_classes, **words)

    class Halved(Blocks):
        """The right half of an image has labels in every second row alone."""

        def __getitem__(self, index):
            sample = super().__getitem__(index)
            sample.label[::2, SIZE[1] // 2 :] = IGNORE
            return sample

    monkeypatch.setattr(dense_probe, "fit_linear", fit)
    data = dataclasses.replace(blocks(), train=Halved(2, 0), validation=Blocks(1, 0))
    dense(data, patches=24, l2=0.5, iterations=3).run(Reader(), 0)
    [(targets, num_classes, words)] = told
    assert (num_classes, words) == (NUM_CLASSES, {"l2": 0.5, "iterations": 3})
    assert sorted(targets.sum(1).tolist()) == pytest.approx([2 / 3] * 24 + [4 / 3] * 24)


def test_a_picture_shows_what_each_way_found(monkeypatch):
    drawn = []
    monkeypatch.setattr(dense_probe, "segmentation_sheet", lambda images, maps, data, title: drawn.append(maps))
    data = dataclasses.replace(blocks(), validation=Blocks(3, 1))
    dense(data, l2=1e4, num_pictures=2).run(Reader(), 3)
    [maps] = drawn
    assert list(maps) == ["ground truth", "nearest neighbors", "linear"]
    truth, near, linear = ([np.asarray(each) for each in column] for column in maps.values())
    assert [np.array_equal(a, np.asarray(data.validation[i].label)) for a, i in zip(truth, (0, 1), strict=True)]
    assert all((a == b).mean() > 0.7 for a, b in zip(truth, near, strict=True))
    assert all((a == b).mean() < 0.7 for a, b in zip(truth, linear, strict=True))  # it has learned nothing


def test_which_patches_are_in_the_bank_follows_from_the_image_alone():
    class Places(Reader):
        """The feature of a patch is where it stands; `final_map` is asked for it where there is one."""

        def __init__(self):
            super().__init__()
            self.widths = (1,)

        def final_map(self, images):
            return torch.arange(1.0, 25).view(1, 1, 4, 6).expand(len(images), -1, -1, -1)

    def chosen(**changes):
        bank = dense(data, patches=4, **changes).bank
        return patch_bank(Places(), bank, 4, NUM_CLASSES, IGNORE).vectors.view(-1, 4).tolist()

    data = blocks()
    all_of_them = chosen()
    assert chosen(bank=3, batch_size=1) == all_of_them[:3]
    assert len({tuple(sorted(places)) for places in all_of_them}) > 6  # of 12 images hardly two the same


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_label_that_is_no_class_is_named(split):
    """Counted with the others it would be the first class of the next patch."""

    class Spoilt(Blocks):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return sample._replace(label=sample.label.clamp(min=NUM_CLASSES if index == 2 else 0))

    data = dataclasses.replace(blocks(), **{split: Spoilt(5, 1)})
    with pytest.raises(UserError, match=r"blocks_2: labels must be classes 0\.\.3, got 4, besides 255"):
        dense(data).run(Reader(), 3)


def test_features_that_are_no_numbers_are_no_score():
    class Diverged(Reader):
        def feature_maps(self, images):
            return [maps / 0 * 0 for maps in super().feature_maps(images)]

    with pytest.raises(UserError, match=r"the encoder's features are no numbers \(NaN\)"):
        dense(blocks()).run(Diverged(), 3)


def test_the_pixels_of_a_patch_are_counted_by_class():
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (7, 9)).byte()
    labels[torch.rand(7, 9) < 0.2] = IGNORE
    found = class_pixels(labels, (2, 3), 3, IGNORE)
    by_hand = torch.zeros(6, 3, dtype=torch.int64)
    for y in range(7):
        for x in range(9):
            if labels[y, x] != IGNORE:
                by_hand[(y * 2 // 7) * 3 + x * 3 // 9, int(labels[y, x])] += 1
    assert torch.equal(found, by_hand)


def test_shares_of_one_class_vote_as_classes_do():
    torch.manual_seed(0)
    similar, labels = torch.rand(6, 4), torch.randint(0, 3, (6, 4))
    counted = votes(similar, labels, 3, 0.1)
    shares = nn.functional.one_hot(labels, 3).float()
    assert torch.allclose(weighted(similar, shares, 0.1), counted / counted.sum(1, keepdim=True))


def test_shares_are_learned_as_their_pixels_would_be():
    """A patch of 3 pixels of one class and 1 of another is four pixels with the same features."""
    torch.manual_seed(0)
    vectors, pixels = torch.randn(30, 4), torch.randint(0, 4, (30, 3)).float()
    pixels[:, 0] += 1
    one_by_one = [
        (v, c) for v, row in zip(vectors, pixels.long(), strict=True) for c in range(3) for _ in range(int(row[c]))
    ]
    apart = torch.stack([v for v, _ in one_by_one])
    mean, std = apart.mean(0), apart.std(0, correction=0)
    vectors, apart = (vectors - mean) / std, (apart - mean) / std
    expected = fit_linear(apart, torch.tensor([c for _, c in one_by_one]), 3, l2=0.0, iterations=300)
    found = fit_linear(vectors, pixels * (30 / pixels.sum()), 3, l2=0.0, iterations=300)
    assert torch.allclose(found.logits(vectors).softmax(1), expected.logits(vectors).softmax(1), atol=1e-3)


def test_a_probe_of_a_masked_autoencoder_is_a_function_of_weights_and_data_and_leaves_both_alone():
    data = class_scenes(target="map", num_classes=12, num_train=8, num_validation=4)
    model = tiny_mae().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    found = [
        dense(data, batch_size=size, bank=bank).run(model, 0).scalars for size, bank in ((3, None), (3, 8), (1, 9))
    ]
    assert found[0] == found[1]
    assert found[2] == pytest.approx(found[0], rel=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert set(dense(data, l2=None).run(model, 0).scalars) == {"knn_mIoU", "rankme"}
    assert not dense(data, num_pictures=0).run(model, 0).pictures


def test_a_bank_holds_so_many_labelled_patches_and_no_others():
    data = blocks(ignored=0.5)
    probe = dense(data, bank=6, patches=4)
    assert len(probe.bank.indices) == 6
    bank = patch_bank(Reader(), probe.bank, 4, NUM_CLASSES, IGNORE)
    assert len(bank.vectors) == 24
    assert (bank.pixels.sum(1) == PATCH**2).all()
    assert torch.equal(bank.vectors.argmax(1), bank.pixels.argmax(1))


def test_impossible_settings_and_data_without_maps_are_refused():
    with pytest.raises(
        UserError, match=r"needs class maps, .* or evaluation=pretrain_probe where every image has a class"
    ):
        dense(class_scenes())
    for changes, said in (
        ({"patches": 0}, "patches must be at least 1"),
        ({"temperature": 0}, "temperature must be positive"),
        ({"l2": -1}, "l2 must not be negative"),
        ({"iterations": 0}, "iterations must be at least 1"),
    ):
        with pytest.raises(ValueError, match=said):
            dense(blocks(), **changes)
    with pytest.raises(UserError, match=r"k must lie in 1\.\.24, the number of labeled patches"):
        dense(blocks(), bank=3, k=25).run(Reader(), 0)
    with pytest.raises(UserError, match=r"k must lie in 1\.\.24"):
        dense(blocks(), bank=3, k=0).run(Reader(), 0)
    assert "knn_mIoU" in dense(blocks(), bank=3, k=24, l2=None, num_pictures=0).run(Reader(), 0).scalars
    with pytest.raises(UserError, match="takes images of 32x32"):
        dense(blocks()).check(tiny_mae())
    assert dense(blocks()).transform.cover == SIZE
    assert math.isfinite(dense(blocks(ignored=0.9), k=1).run(Reader(), 0).scalars["knn_mIoU"])
