"""More classes than a byte holds: labels, crops, scores, weights, pictures and files of 300 classes."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from toy_data import toy_data

from mae_hydra.data import SegmentAugment, check_labels, distinct_colours
from mae_hydra.data.audit.class_weights import median_frequency_weights
from mae_hydra.data.dataset import Sample
from mae_hydra.data.label_table import Reading
from mae_hydra.data.labels.coding import coding_of
from mae_hydra.evaluation import MeanIoU
from mae_hydra.figures import legend_of
from mae_hydra.figures.overlay import colour_classes
from mae_hydra.inference import Whole
from mae_hydra.weights import Checkpoint
from mae_hydra.workflows.predict_labels import LabelFiles

COUNT, NOTHING = 300, 300
NAMES = tuple(f"class {number}" for number in range(COUNT))


class Many:
    """Class maps of 300 classes, each pixel its own; the picture holds a guess that is right for most pixels."""

    def __len__(self) -> int:
        return 4

    def listing(self) -> str:
        return "many"

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        labels = rng.permutation(np.arange(20 * 20) % (COUNT + 1)).reshape(20, 20)
        guess = np.where(rng.random(labels.shape) < 0.3, rng.integers(0, COUNT, labels.shape), labels % COUNT)
        image = torch.from_numpy(np.stack([guess % 256, guess // 256, guess * 0]).astype(np.uint8))
        return Sample(image, torch.from_numpy(labels.astype(np.uint16)), f"many_{index}")


class Guess(nn.Module):
    """Reads the class off the first two channels."""

    num_classes = COUNT

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.weight = SimpleNamespace(image_size=(20, 20)), nn.Parameter(torch.ones(()))

    def prepare(self, images: Tensor) -> Tensor:
        return images.float()

    def forward(self, images: Tensor) -> Tensor:
        guess = images[:, :1] + 256 * images[:, 1:2]
        return -self.weight * (guess - torch.arange(float(COUNT)).view(-1, 1, 1)).abs()


@pytest.fixture(scope="module")
def data():
    facts = {"num_classes": COUNT, "class_names": NAMES, "palette": distinct_colours(COUNT), "ignore_index": NOTHING}
    return toy_data(Many(), **facts, image_size=(20, 20), reading=Reading(COUNT, NOTHING, None))


def test_colours_do_not_run_out():
    few, many = distinct_colours(300), distinct_colours(20_000)
    assert np.array_equal(many[:300], few)
    assert len(np.unique(many, axis=0)) == 20_000


def test_scores_are_those_of_an_independent_count(data):
    whole = Whole(short=None, long_ratio=None)
    told = {"every": 1, "batch_size": 2, "num_workers": 0, "num_pictures": 1, "limit": None, "boundary": False}
    found = MeanIoU(data=data, inference=whole, **told).run(Guess(), step=1)
    both, either = np.zeros(COUNT), np.zeros(COUNT)
    for image, labels, _ in (Many()[index] for index in range(4)):
        guess, labels = image[0].numpy() + 256 * image[1].numpy().astype(int), labels.numpy()
        for number in range(COUNT):
            here, there = (guess == number) & (labels != NOTHING), labels == number
            both[number] += (here & there).sum()
            either[number] += (here | there).sum()
    assert found.scalars["mIoU"] == pytest.approx(100 * (both[either > 0] / either[either > 0]).mean())
    assert 20 < found.scalars["mIoU"] < 80
    assert "segmentation" in found.pictures


def test_a_crop_and_its_padding_keep_the_numbers_above_a_byte():
    told = {"ratio_range": [1.0, 1.0], "cat_max_ratio": 0.75, "flip": 0.0, "photometric": False, "fill": [0.5] * 3}
    augment = SegmentAugment(size=24, short=20, ignore_index=NOTHING, **told)
    _, labels = augment(Many()[0], np.random.default_rng(0))
    assert labels.dtype == torch.uint16
    assert torch.equal(labels[:20, :20].long(), Many()[0].label.long())
    assert (labels[20:].long() == NOTHING).all()
    halved = SegmentAugment(size=10, short=10, ignore_index=NOTHING, **told)(Many()[0], np.random.default_rng(0))[1]
    assert torch.equal(halved.long(), Many()[0].label[::2, ::2].long())


def test_the_look_before_the_first_step_and_class_weights_know_them(data):
    assert check_labels(data) == []
    weights, said = median_frequency_weights(data)
    assert len(weights) == COUNT
    assert "from 4 of 4 class maps" in said


def test_pictures_and_legends_draw_them():
    labels = np.array([[0, 255, 299, 300]], np.uint16)
    palette = distinct_colours(COUNT)
    drawn = colour_classes(labels, palette)
    assert [tuple(pixel) for pixel in drawn[0, :3]] == [tuple(palette[each]) for each in (0, 255, 299)]
    assert [entry.name for entry in legend_of([labels], NAMES, palette)] == [
        "class 0", "class 255", "class 299", "ignored",
    ]  # fmt: skip


def tiff(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    return file.getvalue()


def test_stored_numbers_become_classes_when_they_are_read():
    stored = np.array([[0, 1, 300, 65535]], np.uint16)
    plain = coding_of(num_classes=COUNT + 1, names=None, ignore_index=COUNT + 1)
    assert plain.decode(tiff(stored), "a").tolist() == [[0, 1, 300, COUNT + 1]]
    reduced = coding_of(num_classes=COUNT, names=None, ignore_index=COUNT, reduce_zero_label=True)
    assert reduced.decode(tiff(stored), "a").tolist() == [[COUNT, 0, 299, COUNT]]
    told = coding_of(num_classes=COUNT, names=None, ignore_index=400, values={"0-1": 299, 300: 0, 65535: "ignore"})
    assert told.decode(tiff(stored), "a").tolist() == [[299, 299, 0, 400]]
    with pytest.raises(Exception, match=r"a holds the value 7, 1 pixels have one that data.values does not have"):
        told.decode(tiff(np.array([[7, 0]], np.uint16)), "a")
    with pytest.raises(ValueError, match=r"ignore_index=255 is one of 300 classes; .*: data.ignore_index=300"):
        coding_of(num_classes=COUNT, names=None, ignore_index=255)


def test_colours_tell_as_many_classes_and_a_rest():
    colours = {f"{number // 256} {number % 256} 0-255": number for number in range(COUNT)}
    drawn = np.array([[[0, 0, 9], [1, 43, 200], [9, 9, 9]]], np.uint8)
    told = coding_of(num_classes=COUNT, names=None, ignore_index=COUNT, colours=colours | {"other": "ignore"})
    assert told.decode(tiff(drawn), "a").tolist() == [[0, 299, COUNT]]
    strict = coding_of(num_classes=COUNT, names=None, ignore_index=COUNT, colours=colours)
    with pytest.raises(Exception, match=r"1 color that data.colours does not have, 9 9 9 \(1 pixels\)"):
        strict.decode(tiff(drawn), "a")
    assert told.facts != strict.facts


@pytest.mark.parametrize("as_stored", [False, True])
def test_predictions_are_written_in_sixteen_bits(tmp_path: Path, as_stored: bool):
    data = {"num_classes": COUNT, "ignore_index": COUNT, "reduce_zero_label": True}
    files = LabelFiles(
        Checkpoint({}, {"config": {"data": data}}, "", Path("a.pt")),
        NAMES,
        distinct_colours(COUNT),
        as_stored=as_stored,
    )
    files.picture(np.array([[0, 255, 299]], np.uint16)).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as found:
        assert np.asarray(found).tolist() == [[0 + as_stored, 255 + as_stored, 299 + as_stored]]
