"""Top-1, top-5 and the mean corruption error, against counts made by hand."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mae_hydra.data import ImageData, Sample
from mae_hydra.errors import UserError
from mae_hydra.evaluation import Accuracy
from mae_hydra.evaluation.corruptions import Corruptions
from mae_hydra.weights import Checkpoint
from mae_hydra.workflows.evaluate import _evaluate

CLASSES = 7


class Images:
    """A grey image whose value is `number`; its class is given."""

    def __init__(self, labels, names=None):
        self.labels = labels
        self.names = names or [f"c/{n}.jpg" for n in range(len(labels))]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return Sample(torch.full((3, 40, 40), index, dtype=torch.uint8), self.labels[index], self.names[index])


class Table(nn.Module):
    """Logits of image n are row n of a table."""

    def __init__(self, logits):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("table", logits)
        self.num_classes = logits.shape[1]
        self.encoder = SimpleNamespace(image_size=(32, 32))

    def forward(self, images):
        return self.table[images[:, 0, 0, 0].long()]


def data(labels, names=None, **changes) -> ImageData:
    images = Images(labels, names)
    facts = {
        "train": images, "validation": images, "image_size": (32, 32), "channels": 3, "mean": (0.5,) * 3,
        "std": (0.25,) * 3, "num_classes": CLASSES, "class_names": tuple("abcdefg"),
        "palette": np.zeros((CLASSES, 3), np.uint8), "ignore_index": 255, "target": "class", "batch_size": 2,
        "num_workers": 0,
    }  # fmt: skip
    return ImageData(**(facts | changes))


def accuracy(given, **changes) -> Accuracy:
    settings = {
        "data": given, "inference": {}, "every": None, "batch_size": 3, "num_workers": 0, "num_pictures": 2,
        "limit": None, "crop_ratio": None, "baseline": None,
    }  # fmt: skip
    return Accuracy(**(settings | changes))


def test_every_image_counts_once_and_scores_are_those_of_a_count_by_hand():
    torch.manual_seed(0)
    logits, labels = torch.randn(10, CLASSES), [n % 5 for n in range(10)]
    found = accuracy(data(labels)).run(Table(logits), 3)
    ranked = logits.argsort(1, descending=True).tolist()
    assert found.scalars["top1"] == pytest.approx(
        10 * sum(row[0] == label for row, label in zip(ranked, labels, strict=True))
    )
    assert found.scalars["top5"] == pytest.approx(
        10 * sum(label in row[:5] for row, label in zip(ranked, labels, strict=True))
    )
    assert found.scalars["loss"] == pytest.approx(F.cross_entropy(logits, torch.tensor(labels)).item(), rel=1e-5)
    rows = {row["name"]: row for row in found.tables["per_class"]}
    assert rows["a"]["images"] == 2
    assert rows["a"]["accuracy"] == 50 * sum(ranked[n][0] == 0 for n in (0, 5))
    assert rows["g"] == {"name": "g", "accuracy": None, "images": 0, "mistaken_for": None}
    assert found.pictures["predictions"].pixels.ndim == 3


def test_the_table_says_of_each_class_what_it_is_mostly_taken_for(monkeypatch):
    """Ten images of three classes: a is right once of four, b always, c never."""
    labels, predicted = [0, 0, 0, 0, 1, 1, 2, 2, 2, 0], [0, 2, 2, 1, 1, 1, 0, 0, 1, 2]
    captions = []

    shown, words = [], []

    def drawn(pictures, said, **more):
        shown.append(pictures)
        words.append(more)
        captions.extend(said)
        return np.zeros((1, 1, 3), np.uint8)

    monkeypatch.setattr("mae_hydra.evaluation.accuracy.gallery", drawn)
    logits = 3.0 * F.one_hot(torch.tensor(predicted), 3)
    few = data(labels, num_classes=3, class_names=tuple("abc"), palette=np.zeros((3, 3), np.uint8))
    found = accuracy(few).run(Table(logits), 3)
    assert found.tables["per_class"] == [
        {"name": "a", "accuracy": 20.0, "images": 5, "mistaken_for": "c"},
        {"name": "b", "accuracy": 100.0, "images": 2, "mistaken_for": None},
        {"name": "c", "accuracy": 0.0, "images": 3, "mistaken_for": "a"},
    ]
    assert (found.scalars["top1"], found.scalars["top5"]) == (30.0, 100.0)  # of three classes each is among five
    assert captions == ["a 91 % (right)", "b 91 % (right)"]  # of images 0 and 5
    captions.clear()
    accuracy(few, limit=5).run(Table(logits), 3)  # of 0, 2, 4, 6 and 8 the first and the third
    assert captions == ["a 91 % (right)", "b 91 % (right)"]
    captions.clear()
    accuracy(few, limit=2, num_pictures=9).run(Table(logits.roll(1, 0)), 3)
    assert captions == ["c 91 % (not a)", "b 91 % (right)"]
    assert words[-1] == {"columns": 4, "title": "step 3: top-1 50.0 %"}

    class Colored(Images):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return sample._replace(image=sample.image + torch.tensor([0, 50, 100], dtype=torch.uint8)[:, None, None])

    backwards = replace(few, shown=(2, 1, 0), validation=Colored(labels))
    accuracy(backwards, num_pictures=2).run(Table(logits), 3)
    assert [each[0, 0].tolist() for each in shown[-1]] == [[100, 50, 0], [105, 55, 5]]


def test_an_evaluation_changes_with_its_baseline(tmp_path, monkeypatch):
    file, counted = tmp_path / "b.txt", data([0, 1], grouped=True)
    file.write_text("fog 100\n")
    before = accuracy(counted, baseline=str(file)).stamps()
    file.write_text("fog 50\n")
    after = accuracy(counted, baseline=str(file)).stamps()
    assert before[:2] == after[:2] == ["0", "1"]
    assert before[2:] != after[2:]
    assert len(after) == 3
    monkeypatch.setenv("HOME", str(tmp_path))
    assert accuracy(counted, baseline="~/b.txt").stamps() == after


def test_of_a_subset_of_classes_the_prediction_is_the_best_of_these():
    logits = torch.tensor([[9.0, 1, 2, 0, 0, 0, 0], [9.0, 3, 2, 0, 0, 0, 0]])
    assert accuracy(data([2, 2])).run(Table(logits), 0).scalars["top1"] == 0
    assert accuracy(data([2, 2], present_classes=(1, 2))).run(Table(logits), 0).scalars["top1"] == 50


def test_corruptions_are_averaged_over_severities_and_divided_by_the_baseline(tmp_path):
    names = [f"{kind}/{level}/c/{n}.jpg" for kind in ("fog", "snow") for level in (1, 2) for n in range(2)]
    right = [1, 1, 1, 0, 0, 0, 1, 0]  # fog: 0 and 50 % wrong, snow: 100 and 50 %
    logits = torch.stack([F.one_hot(torch.tensor(1 if good else 2), CLASSES).float() for good in right])
    baseline = tmp_path / "alexnet.txt"
    baseline.write_text("fog 50\nsnow 80\nfrost 60\n")
    found = accuracy(data([1] * 8, names, grouped=True), baseline=str(baseline)).run(Table(logits), 0)
    assert found.scalars["mean_error"] == pytest.approx((25 + 75) / 2)
    assert found.scalars["mCE"] == pytest.approx(100 * (25 / 50 + 75 / 80) / 2)
    assert found.tables["per_group"] == [
        {"name": name, "top1": top1, "images": 2}
        for name, top1 in (("fog/1", 100), ("fog/2", 50), ("snow/1", 0), ("snow/2", 50))
    ]


def test_counts_of_groups_begin_anew_and_add_up_over_processes(monkeypatch):
    """Names without a folder before that of the class are one group."""
    counts = Corruptions(None)
    counts.add(["c/1.jpg", "fog/3/c/2.jpg"], [True, False])
    assert counts.scores()[1] == [
        {"name": "all", "top1": 100.0, "images": 1},
        {"name": "fog/3", "top1": 0.0, "images": 1},
    ]
    counts.add(["fog/3/c/2.jpg"] * 2, [True, False])
    others = {"fog/3": (2, 2), "snow/1": (0, 4)}
    monkeypatch.setattr("mae_hydra.evaluation.corruptions.gather_objects", lambda own: [own, others])
    scalars, table = counts.scores()
    assert table == [{"name": "fog/3", "top1": 75.0, "images": 4}, {"name": "snow/1", "top1": 0.0, "images": 4}]
    assert scalars == {"mean_error": 62.5}


@pytest.mark.parametrize(("text", "missing"), [("fog 100\n", "snow"), ("", "fog, snow")])
def test_a_baseline_must_have_every_corruption(tmp_path, text, missing):
    (tmp_path / "b.txt").write_text(text)
    counts = Corruptions(str(tmp_path / "b.txt"))
    counts.add(["snow/1/c/1.jpg", "fog/1/c/1.jpg"], [True, False])
    with pytest.raises(UserError, match=f"the baseline has no error of {missing}$"):
        counts.scores()
    with pytest.raises(UserError, match=r"there is no file .*none\.txt"):
        Corruptions(str(tmp_path / "none.txt"))


@pytest.mark.parametrize(
    ("size", "ratio", "resized"), [((32, 32), None, 36), ((256, 256), None, 256), ((32, 32), 0.5, 64)]
)
def test_the_crop_is_the_originals(size, ratio, resized):
    found = accuracy(data([0], image_size=size), crop_ratio=ratio)
    assert found.held_out._transform.cover == (resized, resized)
    assert found.held_out._transform.size == size


def test_an_evaluation_of_another_number_of_classes_says_the_way_out():
    evaluator = accuracy(data([0]))
    plan = SimpleNamespace(checkpoint=Checkpoint({}, {}, "test", Path("last.pt")))
    work = {name: SimpleNamespace(evaluator=evaluator) for name in ("accuracy", "again")}
    with pytest.raises(UserError, match="knows 5 classes, the data have 7; use the data set it was trained on"):
        _evaluate(plan, evaluator.data, Table(torch.zeros(1, 5)), work, SimpleNamespace(), Path())


def test_logits_that_are_no_numbers_are_no_accuracy():
    logits = torch.eye(7)[:3]
    logits[1, 4] = math.nan
    with pytest.raises(UserError, match=r"the model's logits are no numbers \(NaN\)"):
        accuracy(data([0, 1, 2])).run(Table(logits), 0)


def test_models_and_data_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="accuracy needs a class for every image"):
        accuracy(data([0], target="none"))
    with pytest.raises(UserError, match="the model knows 5 classes, the data have 7"):
        accuracy(data([0])).check(Table(torch.zeros(1, 5)))
    with pytest.raises(UserError, match=r"takes images of 32x32, data\.image_size is 64x64"):
        accuracy(data([0], image_size=(64, 64))).check(Table(torch.zeros(1, 7)))
    with pytest.raises(ValueError, match="baseline is of data in groups"):
        accuracy(data([0]), baseline="x")


@pytest.mark.parametrize("line", ["fog", "fog high", "fog 0", "fog 101"])
def test_a_baseline_that_cannot_be_read_is_refused(tmp_path, line):
    (tmp_path / "b.txt").write_text(f"snow 100\n{line}")
    with pytest.raises(UserError, match="fog"):
        accuracy(data([0], grouped=True), baseline=str(tmp_path / "b.txt"))
