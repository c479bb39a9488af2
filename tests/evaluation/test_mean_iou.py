"""The mean-IoU evaluator on pictures of different sizes, against sums over single pixels."""

import numpy as np
import pytest
import torch
from repeated_erosions import literal
from toy_data import IGNORE, NUM_CLASSES, RedReader, ToyImages, toy_data

from mae_hydra.data import Sample
from mae_hydra.errors import UserError
from mae_hydra.evaluation import MeanIoU
from mae_hydra.evaluation.mean_iou import Counts, score
from mae_hydra.evaluation.pictures import CELL, cells, segmentation_rows, shares_of
from mae_hydra.inference import Reconstruct, Slide, Whole

SIZES = [(16, 24), (30, 41), (9, 24), (33, 26), (16, 70), (20, 20), (48, 25)]


def evaluator(images: object = None, **changes: object) -> MeanIoU:
    settings: dict = {
        "data": toy_data(ToyImages(SIZES) if images is None else images),
        "inference": Slide(crop=[16, 24], stride_ratio=0.6667, short=None, long_ratio=None, window_batch=3),
        "every": 10,
        "batch_size": 3,
        "num_workers": 0,
        "num_pictures": 2,
        "limit": None,
        "boundary": False,
    }
    return MeanIoU(**settings | changes)


def expected_iou(indices: list[int]) -> list[float]:
    """Percent per class from unions over all pixels of all pictures; NaN where there are none."""
    both, either = np.zeros(NUM_CLASSES), np.zeros(NUM_CLASSES)
    for index in indices:
        image, labels, _ = ToyImages(SIZES)[index]
        prediction, labels = image[0].numpy() // 10, labels.numpy()
        for c in range(NUM_CLASSES):
            both[c] += ((prediction == c) & (labels == c)).sum()
            either[c] += (((prediction == c) | (labels == c)) & (labels != IGNORE)).sum()
    return [100 * b / e if e else float("nan") for b, e in zip(both, either, strict=True)]


def test_scores_are_those_of_the_definition_over_all_pixels_at_their_original_size() -> None:
    found = evaluator(num_pictures=0).run(RedReader(), step=7)
    iou = expected_iou(list(range(len(SIZES))))
    assert found.scalars["mIoU"] == pytest.approx(np.nanmean(iou))
    assert set(found.scalars) == {"mIoU", "mAcc", "aAcc", "mDice", "mPrecision"}
    table = found.tables["per_class"]
    assert [row["name"] for row in table] == ["sky", "grass", "water", "never seen"]
    assert [row["IoU"] for row in table] == [*(pytest.approx(value) for value in iou[:3]), None]
    undefined = dict.fromkeys(("IoU", "Acc", "Dice", "Fscore", "Precision", "Recall"))
    assert table[3] == {"name": "never seen", **undefined, "pixels": 0}
    for row in table[:3]:  # Dice follows from the IoU, and F-score and recall are two names
        assert row["Dice"] == row["Fscore"] == pytest.approx(200 * row["IoU"] / (100 + row["IoU"]))
        assert row["Recall"] == row["Acc"]
    labelled = sum(int((ToyImages(SIZES)[i].label != IGNORE).sum()) for i in range(len(SIZES)))
    assert sum(row["pixels"] for row in table) == labelled


@pytest.mark.parametrize(("batch_size", "num_workers"), [(1, 0), (7, 0), (2, 2)])
def test_scores_do_not_depend_on_batches_or_workers(batch_size: int, num_workers: int) -> None:
    changed = evaluator(batch_size=batch_size, num_workers=num_workers).counts(RedReader()).confusions
    assert torch.equal(changed, evaluator().counts(RedReader()).confusions)


def test_a_limit_takes_evenly_spread_pictures() -> None:
    found = evaluator(limit=3, num_pictures=0)
    assert found.held_out.indices == [0, 2, 4]
    assert found.run(RedReader(), 1).scalars["mIoU"] == pytest.approx(np.nanmean(expected_iou([0, 2, 4])))


@pytest.mark.parametrize("world_size", [2, 3, 9])
def test_the_shares_of_all_ranks_add_up_to_one_process(world_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = torch.cat(evaluator(boundary=True).counts(RedReader()))
    shares: list[torch.Tensor] = []

    def collect(matrix: torch.Tensor) -> torch.Tensor:
        shares.append(matrix)
        return matrix

    # One rank after the other: what each would add to the sum over processes is added up here.
    monkeypatch.setattr("mae_hydra.evaluation.mean_iou.all_reduce_sum", collect)
    monkeypatch.setenv("WORLD_SIZE", str(world_size))
    for rank in range(world_size):
        monkeypatch.setenv("RANK", str(rank))
        evaluator(boundary=True).counts(RedReader())
    assert len(shares) == 2 * world_size
    assert torch.equal(torch.cat([sum(shares[::2]), sum(shares[1::2])]), alone)


def test_pictures_are_a_sheet_and_each_picture_with_its_class_maps() -> None:
    pictures = evaluator().run(RedReader(), 1).pictures
    assert list(pictures) == [
        "segmentation",
        "confusions",
        "confusion_shares",
        "cells",
        "segmentation_0",
        "segmentation_1",
    ]
    assert pictures["cells"].for_report
    assert pictures["confusion_shares"].for_report
    assert pictures["cells"].pixels.shape == (2 * CELL, 3 * CELL, 3)  # image, truth, prediction
    sheet = pictures["segmentation"].pixels
    assert sheet.dtype == np.uint8
    assert sheet.ndim == 3
    sample, shown = ToyImages(SIZES)[3], pictures["segmentation_1"]
    assert shown.caption == "toy_3"
    assert shown.class_names == ("sky", "grass", "water", "never seen")
    assert np.array_equal(shown.pixels, sample.image.permute(1, 2, 0).numpy())
    assert np.array_equal(shown.maps["labels"], sample.label.numpy())
    assert np.array_equal(shown.maps["prediction"], sample.image[0].numpy() // 10)


def test_truth_and_prediction_stand_in_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list = []

    def sheet(images: list, maps: dict, data: object, title: str) -> np.ndarray:
        drawn.append((maps, title))
        return np.zeros((1, 1, 3), np.uint8)

    def matrix(counts: np.ndarray, names: tuple, title: str) -> object:
        drawn.append(counts)
        return None

    monkeypatch.setattr("mae_hydra.evaluation.mean_iou.segmentation_sheet", sheet)
    monkeypatch.setattr("mae_hydra.figures.confusion_matrix", matrix)
    monkeypatch.setattr("mae_hydra.figures.to_pixels", lambda figure: np.zeros((1, 1, 3), np.uint8))
    mine = evaluator()
    counts = mine.counts(RedReader()).confusions
    found = mine.run(RedReader(), 7).pictures
    truth = [ToyImages(SIZES)[index].label.numpy() for index in (0, 3)]
    guess = [ToyImages(SIZES)[index].image[0].numpy() // 10 for index in (0, 3)]
    confusions, (maps, title) = drawn
    assert list(maps) == ["ground truth", "prediction"]
    assert title.startswith("Validation images, step 7: mIoU")
    assert all(
        np.array_equal(a, b) for a, b in zip(maps["ground truth"] + maps["prediction"], truth + guess, strict=True)
    )
    assert np.array_equal(confusions, counts.numpy())
    assert np.array_equal(found["confusion_shares"].pixels, shares_of(counts))
    images = [ToyImages(SIZES)[index].image.permute(1, 2, 0).numpy() for index in (0, 3)]
    expected = cells(segmentation_rows(images, truth, guess, data=mine.data), "")
    assert np.array_equal(found["cells"].pixels, expected.pixels)


def test_scalars_and_table_are_those_of_the_matrix_by_hand() -> None:
    """Row: label. Of class a 6 of 8 are right, of b 3 of 4; c is predicted twice and never there."""
    confusions = torch.tensor([[6, 1, 1], [0, 3, 1], [0, 0, 0]])
    boundaries = torch.tensor([[2, 1, 0], [4, 2, 0], [3, 1, 0]])
    scalars, table = score(Counts(confusions, boundaries), ("a", "b", "c"))
    assert scalars == pytest.approx(
        {
            "mIoU": (75 + 60) / 3,
            "mAcc": 75,
            "aAcc": 75,
            "mDice": (600 / 7 + 75) / 3,
            "mPrecision": (100 + 75) / 3,
            "mBIoU": (40 + 50) / 2,
        }
    )
    of_a = {"IoU": 75, "Acc": 75, "Dice": 1200 / 14, "Fscore": 1200 / 14, "Precision": 100, "Recall": 75, "pixels": 8}
    of_b = {"IoU": 60, "Acc": 75, "Dice": 75, "Fscore": 75, "Precision": 75, "Recall": 75, "pixels": 4}
    of_c = {"IoU": 0, "Acc": None, "Dice": 0, "Fscore": 0, "Precision": 0, "Recall": None, "pixels": 0}
    for name, row, values, edge in zip("abc", table, (of_a, of_b, of_c), (40, 50, None), strict=True):
        assert row == {"name": name} | {
            k: v if v is None else pytest.approx(v) for k, v in (values | {"BIoU": edge}).items()
        }
    confusions[0] = torch.tensor([3, 3, 2])  # class means and pixels differ
    assert score(Counts(confusions, None), ("a", "b", "c"))[0] == pytest.approx(
        {
            "mIoU": (37.5 + 300 / 7) / 3,
            "mAcc": (37.5 + 75) / 2,
            "aAcc": 50,
            "mDice": (600 / 11 + 60) / 3,
            "mPrecision": (100 + 50) / 3,
        }
    )


def test_without_pictures_or_on_another_rank_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    assert evaluator(num_pictures=0).run(RedReader(), 1).pictures == {}
    monkeypatch.setattr("mae_hydra.evaluation.mean_iou.is_main", lambda: False)
    assert evaluator().run(RedReader(), 1).pictures == {}


def test_images_of_two_channels_can_be_shown() -> None:
    """Of others see test_pictures."""

    class Recoloured(ToyImages):
        def __getitem__(self, index: int) -> Sample:
            image, labels, name = super().__getitem__(index)
            return Sample(image[:1].expand(2, -1, -1), labels, name)

    data = toy_data(Recoloured(SIZES), channels=2, mean=(0.5, 0.5), std=(0.5, 0.5))
    found = evaluator(data=data).run(RedReader(), 1)
    assert found.pictures["segmentation_0"].pixels.shape == (16, 24, 3)


class Spoilt(ToyImages):
    def __init__(self, label: torch.Tensor) -> None:
        super().__init__(SIZES)
        self.label = label

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        return sample._replace(label=self.label) if index == 1 else sample


def test_a_class_map_that_does_not_fit_is_reported_with_its_name() -> None:
    wrong_size = Spoilt(torch.zeros(30, 40, dtype=torch.uint8))
    with pytest.raises(UserError, match=r"toy_1: the picture has 30x41 pixels, its label map 30x40"):
        evaluator(wrong_size).run(RedReader(), 1)
    wrong_class = Spoilt(torch.full((30, 41), 4, dtype=torch.uint8))
    with pytest.raises(
        UserError, match=r"toy_1: labels must be classes 0\.\.3, got 4, besides 255 for pixels to ignore"
    ):
        evaluator(wrong_class).run(RedReader(), 1)
    nothing = torch.full((16, 24), 9, dtype=torch.uint8)
    with pytest.raises(UserError, match=r"toy_0: predictions must be classes 0\.\.3, got 9"):
        evaluator().count(nothing, ToyImages(SIZES)[0])


def test_a_model_of_other_classes_is_refused_before_the_first_step() -> None:
    model = RedReader()
    model.num_classes = 5  # what it gave the fifth class would be counted nowhere
    with pytest.raises(UserError, match="the model knows 5 classes, the data have 4"):
        evaluator().check(model)


def test_a_model_that_cannot_prepare_its_pictures_is_told_so_before_the_first_step() -> None:
    class OfPixels(torch.nn.Module):
        answers = "pixels"

    with pytest.raises(UserError, match=r"mean IoU asks OfPixels for prepare\(images\)"):
        evaluator().check(OfPixels())


def test_data_without_class_maps_and_inference_without_classes_are_refused() -> None:
    with pytest.raises(UserError, match=r"mean IoU needs class maps, .* use data=scenes or data=ade20k"):
        evaluator(data=toy_data(ToyImages(SIZES), target="class"))
    with pytest.raises(UserError, match="mean IoU needs inference=whole, slide or multiscale_flip, got reconstruct"):
        evaluator(inference=Reconstruct(mask_ratio=None, seed=0))
    with pytest.raises(UserError, match=r"the validation set holds no image; .* train without: evaluation=none"):
        evaluator(ToyImages([]))


def test_inference_that_does_not_fit_the_model_is_refused_before_training() -> None:
    evaluator().check(RedReader())
    other = Slide(crop=32, stride_ratio=0.6667, short=None, long_ratio=None, window_batch=3)
    with pytest.raises(
        UserError, match=r"inference.crop is 32x32, the model takes 16x24; use inference.crop=\[16,24\]"
    ):
        evaluator(inference=other).check(RedReader())
    whole = Whole(short=None, long_ratio=None)
    evaluator(inference=whole).check(RedReader())
    with pytest.raises(UserError, match="a picture of 30x41 pixels does not fit the model, which takes 16x24"):
        evaluator(ToyImages([(30, 41), (16, 24)]), inference=whole).check(RedReader())


@pytest.mark.parametrize(("name", "value"), [("limit", 0), ("num_pictures", -1), ("every", -1), ("batch_size", 0)])
def test_impossible_settings_are_refused_by_name(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} must .*got {value}"):
        evaluator(**{name: value})


def test_the_evaluator_reports_it_over_all_pictures_where_asked():
    found = evaluator(boundary=True, num_pictures=0).run(RedReader(), step=7)
    total = np.zeros((3, 4), dtype=np.int64)
    for index in range(len(SIZES)):
        image, labels, _ = ToyImages(SIZES)[index]
        total += literal(image[0].numpy() // 10, labels.numpy(), 4)
    with np.errstate(invalid="ignore"):
        expected = 100 * total[0] / (total[1] + total[2] - total[0])
    assert found.scalars["mBIoU"] == pytest.approx(np.nanmean(expected))
    assert [row["BIoU"] for row in found.tables["per_class"][:3]] == pytest.approx(expected[:3].tolist())
    assert found.tables["per_class"][3]["BIoU"] is None
