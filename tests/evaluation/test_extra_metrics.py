"""Objects of torchmetrics beside an evaluator's own scores, against the same objects called by hand."""

from types import SimpleNamespace

import pytest
import torch
from test_accuracy import CLASSES, Table, accuracy
from test_accuracy import data as images
from test_mean_iou import IGNORE, NUM_CLASSES
from torchmetrics import Metric, SumMetric
from torchmetrics.classification import (
    MulticlassAUROC,
    MulticlassCohenKappa,
    MulticlassJaccardIndex,
    MulticlassPrecision,
)
from toy_data import RedReader, ToyImages, toy_data

from mae_hydra.errors import UserError
from mae_hydra.evaluation import MeanIoU
from mae_hydra.evaluation.extra_metrics import ExtraMetrics
from mae_hydra.inference import Whole

SETTINGS = {"every": None, "batch_size": 2, "num_workers": 0, "num_pictures": 0, "limit": None, "boundary": False}


def test_of_classes_they_see_probabilities_of_each_image_once():
    labels = [0, 1, 2, 3, 4, 5, 6, 0, 1]
    logits = torch.randn(9, CLASSES, generator=torch.Generator().manual_seed(0))
    evaluator = accuracy(images(labels), metrics={"auroc": MulticlassAUROC(CLASSES)})
    expected = float(MulticlassAUROC(CLASSES)(logits.softmax(1), torch.tensor(labels)))
    for _ in range(2):  # nothing is left over from the evaluation before
        assert evaluator.run(Table(logits), 1).scalars["auroc"] == pytest.approx(expected)


def test_of_maps_they_see_labelled_pixels_alone_and_no_counts_are_kept():
    data = toy_data(ToyImages([(16, 24)] * 5))
    precision = MulticlassPrecision(NUM_CLASSES)
    settings = SETTINGS | {"data": data, "inference": Whole(short=None, long_ratio=None)}
    evaluator = MeanIoU(metrics={"precision": precision}, **settings)
    assert (evaluator.counts_confusions, MeanIoU(**settings).counts_confusions) == (False, True)
    model = RedReader()
    wrong = RedReader()
    wrong.weight.data.neg_()
    evaluator.run(wrong, 0)  # of which nothing is left over
    found = evaluator.run(model, 1).scalars
    by_hand = MulticlassPrecision(NUM_CLASSES)
    for index in range(5):
        sample = data.validation[index]
        [prediction] = Whole(short=None, long_ratio=None).predict(model, [sample.image])
        counted = sample.label != IGNORE
        by_hand.update(prediction[counted].long(), sample.label[counted].long())
    assert found["precision"] == pytest.approx(float(by_hand.compute()))
    assert {"mIoU", "mAcc"} <= found.keys()

    class Renumbered(ToyImages):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return sample._replace(label=sample.label.where(sample.label != IGNORE, 77))

    other = toy_data(Renumbered([(16, 24)] * 5), ignore_index=77)
    again = MeanIoU(metrics={"precision": precision}, **settings | {"data": other})
    assert again.run(model, 1).scalars == found  # any label may be the one to ignore


@pytest.mark.parametrize(
    ("metrics", "answer"),
    [
        ({"x": torch.nn.Linear(1, 1)}, "evaluation metric x is a Linear, not one of torchmetrics"),
        (
            {"x": MulticlassJaccardIndex(CLASSES, average=None)},
            "evaluation metric x gives no single number; average it",
        ),
        ({"x": MulticlassJaccardIndex(CLASSES + 1)}, "evaluation metric x does not take these"),
        ({"x": MulticlassJaccardIndex(CLASSES - 1)}, "evaluation metric x does not take these"),
        ({"x": SumMetric()}, "evaluation metric x does not take these"),
    ],
)
def test_what_gives_no_number_is_refused(metrics, answer):
    logits = Table(torch.randn(2, CLASSES))
    with pytest.raises(UserError, match=answer):
        accuracy(images([0, 1]), metrics=metrics).run(logits, 1)
    with pytest.raises(UserError, match=answer):  # and before the first step
        accuracy(images([0, 1]), metrics=metrics).check(logits)


@pytest.mark.parametrize("method", ["update", "compute", "reset", "to"])
def test_a_metric_has_each_method_of_torchmetrics(method):
    metric = SimpleNamespace(update=print, compute=print, reset=print, to=print)
    ExtraMetrics({"x": metric})
    delattr(metric, method)
    with pytest.raises(UserError, match="metric x is a SimpleNamespace, not one of torchmetrics"):
        ExtraMetrics({"x": metric})


def test_what_a_metric_sees_of_an_image_adds_up_to_one():
    class Seen(Metric):  # most others turn logits into probabilities themselves
        def update(self, predictions, targets):
            self.sums = predictions.sum(1)

        def compute(self):
            return self.sums.sum()

    logits = Table(torch.randn(3, CLASSES, generator=torch.Generator().manual_seed(0)))
    found = accuracy(images([0, 1, 2]), metrics={"seen": Seen()}).run(logits, 1).scalars
    assert found["seen"] == pytest.approx(3)


def test_what_was_tried_before_training_counts_for_nothing():
    metrics = {"kappa": MulticlassCohenKappa(NUM_CLASSES), "auroc": MulticlassAUROC(NUM_CLASSES)}
    ExtraMetrics(metrics).check(NUM_CLASSES, scored=True)
    assert not any(metric.update_called for metric in metrics.values())
    whole = Whole(short=None, long_ratio=None)
    maps = MeanIoU(
        data=toy_data(ToyImages([(16, 24)])), inference=whole, metrics={"auc": MulticlassAUROC(4)}, **SETTINGS
    )
    with pytest.raises(UserError, match="auc does not take these"):  # classes are no probabilities
        maps.check(RedReader())
    few = MulticlassCohenKappa(NUM_CLASSES - 1)  # the last class is one too many, as class ids too
    with pytest.raises(UserError, match="few does not take these"):
        ExtraMetrics({"few": few}).check(NUM_CLASSES, scored=False)
    with pytest.raises(UserError, match="kappa does not take these"):
        ExtraMetrics(metrics).check(NUM_CLASSES + 1, scored=False)
