"""Class weights by median frequency, against numbers worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from pictures import save, smooth_picture
from PIL import Image

from mae_hydra.data import ade20k, median_frequency_weights, scenes
from mae_hydra.errors import UserError

SETTINGS = {
    "image_size": 4, "channels": 3, "mean": [0.5] * 3, "std": [0.2] * 3, "num_classes": 4, "ignore_index": 255,
    "reduce_zero_label": True, "batch_size": 2, "num_workers": 0, "train_limit": None, "max_bad_share": 0.0,
}  # fmt: skip


def opened(root, maps):
    for split in ("training", "validation"):
        for number, values in enumerate(maps):
            save(smooth_picture(4, 5, seed=number), root / f"images/{split}/{number:03}.jpg")
            save(
                Image.fromarray(np.array(values, np.uint8).reshape(4, 5)), root / f"annotations/{split}/{number:03}.png"
            )
    return ade20k(root=str(root), **SETTINGS)


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


def test_data_without_label_maps_have_none(tmp_path):
    data = opened(tmp_path, [[0] * 20])
    with pytest.raises(UserError, match="found no labeled pixel"):
        median_frequency_weights(data)
    with pytest.raises(UserError, match="needs label maps"):
        median_frequency_weights(replace(data, target="class"))
