from typing import Any

import numpy as np
import pytest
from pictures import ListSet

from mae_hydra.data import ImageData
from mae_hydra.data.dataset import height_width


def image_data(**changes: Any) -> ImageData:
    values: dict[str, Any] = {
        "train": ListSet([]), "validation": ListSet([]), "image_size": (8, 8), "channels": 3, "mean": (0.5,) * 3,
        "std": (0.2,) * 3, "num_classes": 2, "class_names": ("sky", "sea"), "palette": np.zeros((2, 3), np.uint8),
        "ignore_index": 255, "target": "map", "batch_size": 1, "num_workers": 0,
    }  # fmt: skip
    return ImageData(**values | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "data.batch_size must be at least 1, got 0"),
        ({"channels": 0}, "data.channels must be at least 1, got 0"),
        ({"target": "box"}, r"data.target must be one of \['none', 'class', 'map'\], got 'box'"),
        ({"ignore_index": -1}, r"data.ignore_index must lie in 0\.\.255 .*, got -1"),
        ({"ignore_index": 256}, r"data.ignore_index must lie in 0\.\.255 .*, got 256"),
        ({"num_classes": -1}, "data.num_classes must not be negative, got -1"),
        ({"class_names": ("sky",)}, "data.num_classes=2 needs that many class names"),
        ({"palette": np.zeros((2, 3))}, r"data.palette must be uint8 \(2, 3\), got float64 \(2, 3\)"),
    ],
)
def test_facts_that_contradict_each_other_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        image_data(**changes)


def test_a_thousand_image_classes_need_no_room_in_a_class_map() -> None:
    names = tuple(map(str, range(1000)))
    assert image_data(target="class", num_classes=1000, class_names=names, palette=np.zeros((1000, 3), np.uint8))


def test_an_image_size_is_a_side_or_height_and_width() -> None:
    assert height_width(224) == (224, 224)
    assert height_width([32, 48]) == (32, 48)
    for wrong in (0, [1, 2, 3], [8, -8], [8.5, 8], "64"):
        with pytest.raises(ValueError, match=r"data\.image_size must be one side or"):
            height_width(wrong)  # type: ignore[arg-type]
