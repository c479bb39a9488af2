"""Class weights by median frequency, against numbers worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pictures import ListSet, save, smooth_picture
from PIL import Image

from mae_hydra.data import Sample, ade20k, median_frequency_weights, scenes
from mae_hydra.data.audit.class_weights import _told
from mae_hydra.errors import UserError

SETTINGS = {
    "image_size": 4, "channels": 3, "mean": [0.5] * 3, "std": [0.2] * 3, "num_classes": 4, "ignore_index": 255,
    "reduce_zero_label": True, "batch_size": 2, "num_workers": 0, "train_limit": None, "max_bad_share": 0.0,
}  # fmt: skip


def opened(root, maps, **changes):
    for split in ("training", "validation"):
        for number, values in enumerate(maps):
            save(smooth_picture(4, 5, seed=number), root / f"images/{split}/{number:03}.jpg")
            save(
                Image.fromarray(np.array(values, np.uint8).reshape(4, 5)), root / f"annotations/{split}/{number:03}.png"
            )
    return ade20k(root=str(root), **SETTINGS | changes)


def test_they_are_the_median_frequency_over_each_ones_own(tmp_path):
    # Stored k + 1; 0 is ignored. Class 0: 8 of 16 + 4 of 20, class 1: 8 of 16, class 2: 16 of 20, class 3: none.
    data = opened(tmp_path, [[0] * 4 + [1] * 8 + [2] * 8, [1] * 4 + [3] * 16])
    weights, told = median_frequency_weights(data)
    frequency = np.array([12 / 36, 8 / 16, 16 / 20])
    raw = np.median(frequency) / frequency
    scale = 36 / (np.array([12, 8, 16]) * raw).sum()
    assert weights == pytest.approx([*(raw * scale), 1.0], rel=1e-5)
    assert (np.array([12, 8, 16, 0]) * weights).sum() / 36 == pytest.approx(1, rel=1e-5)
    assert told.startswith("class weights by median frequency, from 2 of 2 class maps: ")


def test_they_are_the_same_at_every_start():
    data = scenes(
        image_size=32, channels=3, mean=[0.5] * 3, std=[0.2] * 3, num_train=20, num_validation=2, train_limit=None,
        seed=0, num_classes=12, ignore_index=255, batch_size=2, num_workers=0,
    )  # fmt: skip
    assert median_frequency_weights(data) == median_frequency_weights(data)
    assert len(median_frequency_weights(data)[0]) == data.num_classes


def test_all_values_of_a_class_count_of_maps_that_could_be_read_by_classes_as_the_reader_gives_them(tmp_path):
    """Of values in a list, and of more than 256 classes that somebody's reader gives, of which 1 counts for nothing."""
    maps = [[0] * 5 + [7] * 5 + [9] * 10, [9] * 20]
    data = opened(tmp_path, maps, num_classes=2, reduce_zero_label=False, values={0: 0, 7: 0, 9: 1})
    (tmp_path / "annotations/training/001.png").write_bytes(b"no picture")
    weights, told = median_frequency_weights(data)
    assert (weights, "from 1 of 2 class maps: " in told) == ([1.0, 1.0], True)
    labels = np.array([[0, 1, 299, 299]], np.uint16)
    image = torch.zeros(3, 1, 4, dtype=torch.uint8)
    theirs = ListSet([Sample(image, torch.from_numpy(labels), "a")])
    named = {"class_names": tuple(map(str, range(300))), "palette": np.zeros((300, 3), np.uint8)}
    wide = replace(data, train=theirs, reading=None, num_classes=300, ignore_index=1, **named)
    weights, told = median_frequency_weights(wide)
    assert (weights[0], weights[1], weights[299]) == pytest.approx((1.5, 1.0, 0.75))
    assert told.endswith("from 1 of 1 class maps: 299 0.75, 1 1, 2 1, …, 297 1, 298 1, 0 1.5")


def test_the_least_and_the_largest_weights_are_told_and_few_of_them_all():
    for count, shown in ((6, "a 1, b 2, c 3, d 4, e 5, f 6"), (7, "a 1, b 2, c 3, …, e 5, f 6, g 7")):
        line = _told([float(n + 1) for n in range(count)], tuple("abcdefg"[:count]), 3, 9)
        assert line == f"class weights by median frequency, from 3 of 9 class maps: {shown}"


def test_data_without_label_maps_have_none(tmp_path):
    data = opened(tmp_path, [[0] * 20])
    with pytest.raises(UserError, match="found no labeled pixel"):
        median_frequency_weights(data)
    with pytest.raises(UserError, match="needs label maps"):
        median_frequency_weights(replace(data, target="class"))
