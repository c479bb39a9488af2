"""`scenes`: what every rendered image and label map must be, and that colour alone does not give it away."""

import multiprocessing
import pickle
import sys

import forked
import numpy as np
import pytest
import torch

from mae_hydra.data import ImageData, scenes
from mae_hydra.data.loading.stream import EvalStream
from mae_hydra.data.scenes.dataset import CLASS_NAMES, PALETTE, Scenes, render

IGNORE = 255
SKY, CLOUD, VEHICLE = (CLASS_NAMES.index(name) for name in ("sky", "cloud", "vehicle"))

FACTORY = {
    "image_size": 64, "num_train": 20, "num_validation": 8, "train_limit": None, "seed": 0, "channels": 3,
    "mean": [0.46, 0.46, 0.46], "std": [0.22, 0.22, 0.22], "num_classes": 12, "ignore_index": 255,
    "batch_size": 4, "num_workers": 0,
}  # fmt: skip


def build(**changes: object) -> ImageData:
    return scenes(**{**FACTORY, **changes})


@pytest.fixture(scope="module")
def sample_of_scenes() -> tuple[np.ndarray, np.ndarray]:
    """Images (240, 3, 64, 64) and labels (240, 64, 64)."""
    images, labels = zip(*(render(0, "train", index, (64, 64))[:2] for index in range(240)), strict=True)
    return np.stack(images), np.stack(labels)


def same(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.slow
def test_a_scene_is_the_same_whatever_was_rendered_before_and_in_another_process(monkeypatch):
    forked.children(monkeypatch)
    expected = render(7, "train", 5, (64, 64))
    render(1, "validation", 2, (64, 64))
    render(7, "train", 6, (48, 80))
    assert same(render(7, "train", 5, (64, 64)), expected)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert same(pool.apply(render, (7, "train", 5, (64, 64))), expected)


@pytest.mark.parametrize("other", [(8, "train", 5), (7, "validation", 5), (7, "train", 6)])
def test_seed_split_and_index_each_change_the_scene(other):
    assert not same(render(7, "train", 5, (64, 64)), render(*other, (64, 64)))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(32, 32), (48, 48), (64, 160), (96, 64), (512, 512)])
def test_any_size_is_filled_with_image_and_known_labels(size):
    for index in range(4):
        image, labels, _ = render(0, "train", index, size)
        assert image.dtype == labels.dtype == np.uint8
        assert image.shape == (3, *size)
        assert labels.shape == size
        assert set(np.unique(labels)) <= {*range(len(CLASS_NAMES)), IGNORE}
        assert image.std() > 5  # not one flat colour


def test_every_class_is_common_enough_to_learn_and_none_fills_the_pictures(sample_of_scenes):
    _, labels = sample_of_scenes
    share = np.bincount(labels.ravel(), minlength=256) / labels.size
    assert share[: len(CLASS_NAMES)].min() > 0.01
    assert share[: len(CLASS_NAMES)].max() < 0.3
    assert (labels == VEHICLE).any(axis=(1, 2)).mean() > 0.2


def test_only_borders_and_veils_are_ignored(sample_of_scenes):
    _, labels = sample_of_scenes
    ignored = labels == IGNORE
    assert 0.01 < ignored.mean() < 0.1
    # Away from the sky's soft clouds, what is ignored is a border: another class lies within two pixels.
    near_cloud_or_sky = (labels == CLOUD) | (labels == SKY)
    inside = np.ones_like(ignored)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            inside &= np.roll(ignored | near_cloud_or_sky, (dy, dx), (1, 2))
    assert (inside & ignored)[:, 40:].mean() < 0.001


def test_colour_alone_does_not_give_the_class(sample_of_scenes):
    """The likeliest class of each of 16^3 colours, counted on half of the scenes, is mostly wrong on the others."""
    images, labels = sample_of_scenes
    bins = (images // 16).astype(int)
    colour = (bins[:, 0] * 16 + bins[:, 1]) * 16 + bins[:, 2]
    valid = labels != IGNORE
    counts = np.zeros((16**3, len(CLASS_NAMES)))
    np.add.at(counts, (colour[:120][valid[:120]], labels[:120][valid[:120]]), 1)
    predicted = counts.argmax(axis=1)[colour[120:][valid[120:]]]
    truth = labels[120:][valid[120:]]
    hits = np.array(
        [((predicted == c) & (truth == c)).sum() / ((predicted == c) | (truth == c)).sum() for c in range(12)]
    )
    assert hits.mean() < 0.15


def test_the_layout_is_that_of_a_landscape(sample_of_scenes):
    """Sky lies above all ground of its column."""
    _, labels = sample_of_scenes
    rows = np.arange(64)[None, :, None]
    lowest_sky = np.where((labels == SKY) | (labels == CLOUD), rows, -1).max(axis=1)
    ground = np.isin(labels, [CLASS_NAMES.index(name) for name in ("water", "grass", "field", "sand", "road")])
    highest_ground = np.where(ground, rows, 64).min(axis=1)
    assert (lowest_sky < highest_ground).all()


def test_few_labels_are_scenes_spread_over_the_full_set():
    full, few = build().train, build(train_limit=4).train
    assert (len(full), len(few)) == (20, 4)
    for index in range(4):
        assert torch.equal(full[5 * index].image, few[index].image)
        assert torch.equal(full[5 * index].label, few[index].label)


def test_writing_to_a_sample_changes_no_later_one():
    dataset = build().train
    first = dataset[0]
    expected = first.image.clone()
    first.image.zero_()
    first.label.zero_()
    assert torch.equal(dataset[0].image, expected)
    assert dataset[0].label.any()


def test_a_full_cache_changes_nothing(monkeypatch):
    module = sys.modules["mae_hydra.data.scenes.dataset"]
    monkeypatch.setattr(module, "CACHE_BYTES", 5 * 64 * 64)  # room for one
    tight, roomy = build().train, Scenes(seed=0, split="train", length=20, image_size=(64, 64))
    for index in (0, 1, 1, 0):
        assert torch.equal(tight[index].image, roomy[index].image)


def test_what_one_loading_process_has_drawn_no_other_one_draws(monkeypatch):
    """The next evaluation has new ones."""
    images, drawn = build().validation, multiprocessing.get_context("fork").Value("i", 0)

    def counting(*arguments: object) -> object:
        with drawn.get_lock():
            drawn.value += 1
        return render(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sys.modules["mae_hydra.data.scenes.dataset"], "render", counting)
    options = {"batch_size": 2, "num_workers": 2, "rank": 0, "world_size": 1}
    first, second = (
        [sample for batch in EvalStream(images, None, **options) for _, sample in batch]  # type: ignore[arg-type]
        for _ in range(2)
    )
    assert drawn.value == len(images) == len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.label, other.label)


def test_a_data_set_can_be_sent_to_a_worker_and_ends():
    dataset = pickle.loads(pickle.dumps(build().validation))
    assert len(list(dataset)) == 8
    assert dataset[3].name == "validation-000003"
    for index in (8, -1):
        with pytest.raises(IndexError):
            dataset[index]
    other = build(seed=1)
    assert not torch.equal(other.validation[3].image, dataset[3].image)
    assert torch.equal(other.validation[3].image, torch.from_numpy(render(1, "validation", 3, (64, 64)).image))
    with pytest.raises(ValueError, match=r"at least 32 x 32 for scenes, got 31 x 64"):
        build(image_size=[31, 64])


def test_each_class_has_its_own_name_and_colour():
    data = build()
    assert data.num_classes == len(set(CLASS_NAMES)) == len({tuple(colour) for colour in PALETTE})
    assert data.target == "map"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 16}, "image_size must be at least 32 x 32 .* got 16 x 16"),
        ({"channels": 1}, "channels must be 3 for scenes, got 1"),
        ({"num_classes": 150}, "num_classes must be 12 for scenes, got 150"),
        ({"ignore_index": 254}, "ignore_index must be 255 for scenes, got 254"),
        ({"num_train": 0}, "num_train must be at least 1, got 0"),
        ({"num_validation": 0}, "num_validation must be at least 1, got 0"),
        ({"train_limit": 21}, r"train_limit must lie in 1..20 or be null, got 21"),
        ({"train_limit": 0}, "train_limit must lie in 1..20 .* got 0"),
    ],
)
def test_a_value_that_scenes_cannot_have_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        build(**changes)
