"""Scores from confusion matrices, against torchmetrics, the definition pixel by pixel, and hand-worked cases."""

import numpy as np
import pytest
import torch
from torchmetrics import segmentation
from torchmetrics.classification import (
    MulticlassF1Score,
    MulticlassJaccardIndex,
    MulticlassPrecision,
    MulticlassRecall,
)

from mae_hydra.evaluation import count_confusions, metrics, segmentation_scores
from mae_hydra.evaluation.metrics import count_without_waiting

K, IGNORE = 7, 255


def maps(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, K, (5, 37, 23), generator=generator).to(torch.uint8)
    wrong = torch.randint(0, K, labels.shape, generator=generator).to(torch.uint8)
    prediction = torch.where(torch.rand(labels.shape, generator=generator) < 0.6, labels, wrong)
    labels[torch.rand(labels.shape, generator=generator) < 0.1] = IGNORE
    return prediction, labels


def test_confusions_count_every_labelled_pixel_once() -> None:
    prediction, labels = maps(0)
    expected = torch.zeros(K, K, dtype=torch.int64)
    for label, predicted in zip(labels.flatten().tolist(), prediction.flatten().tolist(), strict=True):
        if label != IGNORE:
            expected[label, predicted] += 1
    found = count_confusions(prediction, labels, K, IGNORE)
    assert found.dtype == torch.int64
    assert torch.equal(found, expected)


def test_counting_without_waiting_for_the_device_finds_the_same() -> None:
    prediction, labels = maps(0)
    assert torch.equal(
        count_without_waiting(prediction, labels, K, IGNORE), count_confusions(prediction, labels, K, IGNORE)
    )
    inside = count_confusions(prediction, labels.where(labels != IGNORE, 2), K, 2)  # one of the classes is ignored
    assert torch.equal(count_without_waiting(prediction, labels.where(labels != IGNORE, 2), K, 2), inside)
    assert inside[2].sum() == 0 < inside[:, 2].sum()
    strange = torch.tensor([[0, 3, -1, 1]])
    assert count_without_waiting(strange, torch.tensor([[0, 0, 0, 7]]), 3, IGNORE).sum() == 1


def test_on_an_accelerator_pixels_are_counted_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    prediction, labels = (torch.empty(2, 2, dtype=torch.uint8, device="meta") for _ in range(2))
    told: list[tuple] = []
    monkeypatch.setattr(metrics, "count_without_waiting", lambda *given: told.append(given))
    count_confusions(prediction, labels, K, IGNORE)
    [(first, second, *rest)] = told
    assert (first is prediction, second is labels, rest) == (True, True, [K, IGNORE])


def test_mean_iou_is_that_of_torchmetrics_in_percent() -> None:
    prediction, labels = maps(1)
    reference = MulticlassJaccardIndex(K, ignore_index=IGNORE, average="macro")
    found = segmentation_scores(count_confusions(prediction, labels, K, IGNORE)).mean_iou
    assert found == pytest.approx(100 * reference(prediction.long(), labels.long()).item(), rel=1e-6)


def test_dice_f_score_precision_and_recall_are_those_of_torchmetrics_in_percent() -> None:
    prediction, labels = maps(5)
    scores = segmentation_scores(count_confusions(prediction, labels, K, IGNORE))
    for metric, found in (
        (MulticlassF1Score, scores.dice),
        (MulticlassPrecision, scores.precision),
        (MulticlassRecall, scores.accuracy),
    ):
        reference = metric(K, ignore_index=IGNORE, average="none")(prediction.long(), labels.long())
        np.testing.assert_allclose(found, 100 * reference.numpy(), rtol=1e-6)
    assert scores.mean_dice == pytest.approx(scores.dice.mean())


@pytest.mark.skipif(not hasattr(segmentation, "DiceScore"), reason="torchmetrics before 1.6 has no DiceScore")
def test_dice_is_that_of_torchmetrics_for_segmentation() -> None:
    prediction, labels = maps(5)
    scores = segmentation_scores(count_confusions(prediction, labels, K, IGNORE))
    counted = labels != IGNORE
    dice = segmentation.DiceScore(K, average="none", input_format="index")
    reference = dice(prediction[counted].long()[None], labels[counted].long()[None])
    np.testing.assert_allclose(scores.dice, 100 * reference.numpy(), rtol=1e-6)


def test_precision_is_undefined_for_what_is_never_predicted_and_dice_is_zero() -> None:
    labels = torch.tensor([[0, 0, 1, IGNORE]], dtype=torch.uint8)
    prediction = torch.tensor([[0, 2, 0, 1]], dtype=torch.uint8)
    scores = segmentation_scores(count_confusions(prediction, labels, 4, IGNORE))
    np.testing.assert_allclose(scores.dice, [50, 0, 0, np.nan])
    np.testing.assert_allclose(scores.precision, [50, np.nan, 0, np.nan])
    assert (scores.mean_dice, scores.mean_precision) == (pytest.approx(50 / 3), 25)


def test_scores_follow_the_definition_pixel_by_pixel() -> None:
    prediction, labels = maps(2)
    scores = segmentation_scores(count_confusions(prediction, labels, K, IGNORE))
    counted = labels != IGNORE
    for index in range(K):
        labelled, predicted = (labels == index) & counted, (prediction == index) & counted
        both = (labelled & predicted).sum().item()
        assert scores.iou[index] == pytest.approx(100 * both / (labelled | predicted).sum().item())
        assert scores.accuracy[index] == pytest.approx(100 * both / labelled.sum().item())
        assert scores.pixels[index] == labelled.sum().item()
    assert scores.pixel_accuracy == pytest.approx(100 * (prediction == labels)[counted].double().mean().item())


def test_an_absent_class_is_skipped_and_one_that_is_only_predicted_has_iou_zero() -> None:
    labels = torch.tensor([[0, 0, 0, 1], [1, 1, IGNORE, IGNORE]], dtype=torch.uint8)
    prediction = torch.tensor([[0, 0, 2, 1], [1, 1, 0, 3]], dtype=torch.uint8)
    scores = segmentation_scores(count_confusions(prediction, labels, 5, IGNORE))
    np.testing.assert_allclose(scores.iou, [200 / 3, 100, 0, np.nan, np.nan])
    np.testing.assert_allclose(scores.accuracy, [200 / 3, 100, np.nan, np.nan, np.nan])
    assert scores.mean_iou == pytest.approx((200 / 3 + 100 + 0) / 3)
    assert scores.mean_accuracy == pytest.approx((200 / 3 + 100) / 2)
    assert scores.pixel_accuracy == pytest.approx(500 / 6)
    assert scores.pixels.tolist() == [3, 3, 0, 0, 0]


def test_counts_stay_exact_where_float32_would_not() -> None:
    matrix = torch.tensor([[2**24 + 1, 0], [0, 1]])
    assert segmentation_scores(matrix * 3).pixels.tolist() == [3 * (2**24 + 1), 3]


def test_nothing_labelled_gives_nan_and_no_warning() -> None:
    labels = torch.full((2, 2), IGNORE, dtype=torch.uint8)
    scores = segmentation_scores(count_confusions(torch.zeros_like(labels), labels, 3, IGNORE))
    assert np.isnan([scores.mean_iou, scores.mean_accuracy, scores.pixel_accuracy]).all()


def test_values_that_are_no_class_are_refused() -> None:
    zeros = torch.zeros(1, 2, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"labels must be classes 0\.\.2, got 200"):
        count_confusions(zeros, torch.tensor([[0, 200]], dtype=torch.uint8), 3, IGNORE)
    with pytest.raises(ValueError, match=r"predictions must be classes 0\.\.2, got 3"):
        count_confusions(torch.tensor([[0, 3]], dtype=torch.uint8), zeros, 3, IGNORE)
    large = torch.tensor([[0, 256]], dtype=torch.uint16)
    with pytest.raises(ValueError, match=r"labels must be classes 0\.\.2, got 256"):
        count_confusions(zeros, large, 3, IGNORE)
    with pytest.raises(ValueError, match=r"predictions must be classes 0\.\.2, got 256"):
        count_confusions(large, zeros, 3, IGNORE)
    ignored = torch.tensor([[0, IGNORE]], dtype=torch.uint8)
    assert count_confusions(large, ignored, 3, IGNORE).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    negative = torch.tensor([[0, -1]])
    with pytest.raises(ValueError, match=r"predictions must be classes 0\.\.2, got -1"):
        count_confusions(negative, zeros, 3, IGNORE)
    with pytest.raises(ValueError, match=r"labels must be classes 0\.\.2, got -1"):
        count_confusions(zeros, negative, 3, IGNORE)
