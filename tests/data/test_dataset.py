from typing import Any

import numpy as np
import pytest
import torch
from pictures import ListSet

from mae_hydra.data import ImageData, Sample
from mae_hydra.data.dataset import behind, height_width, some_of


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


@pytest.mark.parametrize("outer", [[0, 1], [1, 0]])
def test_some_samples_of_a_set_are_told_by_their_positions_in_it(outer: list[int]) -> None:
    """Everything that is told of one sample; positions in any order, and some of some."""

    class Told(ListSet):
        def undecoded(self, index: int) -> Any:
            return f"bytes {index}"

        def stamp(self, index: int) -> str:
            return f"stamp {index}"

        def name(self, index: int) -> str:
            return f"name {index}"

        def header(self, index: int) -> Any:
            return f"header {index}"

        def digest(self) -> str:
            return "digest"

    whole = Told([Sample(torch.zeros(3, 1, 1), None, str(number)) for number in range(5)])
    some: Any = some_of(some_of(whole, [4, 2]), outer)
    for place, position in enumerate([4, 2][outer[0] :: -1 if outer[0] else 1]):
        told = some[place].name, some.undecoded(place), some.stamp(place), some.name(place), some.header(place)
        assert told == (str(position), *(f"{word} {position}" for word in ("bytes", "stamp", "name", "header")))
        assert behind(some, place) == (whole, position)


def test_an_image_size_is_a_side_or_height_and_width() -> None:
    assert height_width(224) == (224, 224)
    assert height_width([32, 48]) == (32, 48)
    for wrong in (0, [1, 2, 3], [8, -8], [8.5, 8], "64"):
        with pytest.raises(ValueError, match=r"data\.image_size must be one side or"):
            height_width(wrong)  # type: ignore[arg-type]
