from typing import Any

import numpy as np
import pytest
import torch
from pictures import ListSet

from mae_hydra.data import ImageData, Sample
from mae_hydra.data.dataset import (
    Foreseeable,
    Header,
    behind,
    height_width,
    limited,
    name_of,
    read_undecoded,
    some_of,
    spread,
    stamp_of,
)


def image_data(**changes: Any) -> ImageData:
    values: dict[str, Any] = {
        "train": ListSet([]), "validation": ListSet([]), "image_size": (8, 8), "channels": 3, "mean": (0.5,) * 3,
        "std": (0.2,) * 3, "num_classes": 2, "class_names": ("sky", "sea"), "palette": np.zeros((2, 3), np.uint8),
        "ignore_index": 255, "target": "map", "batch_size": 1, "num_workers": 0,
    }  # fmt: skip
    return ImageData(**values | changes)


def of_classes(count: int) -> dict[str, Any]:
    names = tuple(map(str, range(count)))
    return {"num_classes": count, "class_names": names, "palette": np.zeros((count, 3), np.uint8)}


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
        ({"palette": np.zeros((3, 3), np.uint8)}, r"data.palette must be uint8 \(2, 3\), got uint8 \(3, 3\)"),
        ({"num_workers": -1}, "data.num_workers must not be negative, got -1"),
        ({"prefetch": 0}, "data.prefetch must be at least 1 batch, got 0"),
        ({"max_bad_share": 1.0}, r"data.max_bad_share must lie in \[0, 1\), got 1.0"),
        ({"max_bad_share": -0.1}, r"data.max_bad_share must lie in \[0, 1\), got -0.1"),
        ({"mean": (0.5,) * 2}, r"data.mean must hold one value per channel \(3\), got \[0.5, 0.5\]"),
        ({"std": (0.2,) * 4}, r"data.std must hold one value per channel \(3\)"),
        ({"std": (0.2, 0.0, 0.2)}, "data.std must be positive"),
        (of_classes(255) | {"ignore_index": 256}, r"data.ignore_index must lie in 0\.\.255 .*, got 256"),
        (of_classes(256) | {"ignore_index": 65536}, r"data.ignore_index must lie in 0\.\.65535 .*, got 65536"),
    ],
)
def test_facts_that_contradict_each_other_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        image_data(**changes)


def test_facts_at_their_bounds_are_taken() -> None:
    assert image_data(prefetch=1, max_bad_share=0.99, ignore_index=0)
    assert image_data(**of_classes(255), ignore_index=255)
    assert image_data(**of_classes(256), ignore_index=65535)
    assert image_data(class_names=("sky", "sky\n")).class_names == ("sky", "sky (2)")  # whatever file they are from
    # A thousand classes of images need no room in a class map.
    assert image_data(**of_classes(1000), target="class", ignore_index=-1)


def test_an_orientation_turns_and_may_lay_on_the_side() -> None:
    headers = [Header((2, 3), "RGB", False, turn) for turn in range(1, 9)]
    assert [header.turned for header in headers] == [False] + [True] * 7
    assert [header.on_its_side for header in headers] == [False] * 4 + [True] * 4


def test_samples_are_spread_evenly_from_the_first_on() -> None:
    assert [spread(10, 4), spread(4, None), spread(2, 5), spread(0, 4)] == [[0, 2, 5, 7], [0, 1, 2, 3], [0, 1], []]


def test_a_limit_is_a_number_of_samples_or_a_share_below_all() -> None:
    whole = ListSet([Sample(torch.zeros(3, 1, 1), None, str(number)) for number in range(6)])
    assert limited(whole, None) is whole
    for limit, wanted in ((1, "0"), (1.0, "0"), (0.01, "0"), (0.5, "024"), (6, "012345"), (0.999, "012345")):
        some = limited(whole, limit)
        assert "".join(some[place].name for place in range(len(some))) == wanted, limit
    for wrong in (0, 7, -1):
        with pytest.raises(ValueError, match=rf"data\.train_limit must lie in 1\.\.6 or be null, got {wrong}"):
            limited(whole, wrong)


def test_a_set_that_tells_nothing_but_samples_is_known_by_places() -> None:
    whole = ListSet([Sample(torch.zeros(3, 1, 1), None, str(number)) for number in range(5)])
    some: Any = some_of(whole, [4, 2])
    for images, place, position in ((whole, 3, "3"), (some, 1, "2")):
        told = name_of(images, place), stamp_of(images, place), read_undecoded(images, place).name
        assert told == (position,) * 3
    assert (some.listing(), some.contents(), isinstance(some, Foreseeable)) == ("2 of embedded", "2 of embedded", False)


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

        def listing(self) -> str:
            return "listing"

        def contents(self) -> str:
            return "contents"

    whole = Told([Sample(torch.zeros(3, 1, 1), None, str(number)) for number in range(5)])
    some: Any = some_of(some_of(whole, [4, 2]), outer)
    for word in ("digest", "listing", "contents"):
        assert getattr(some_of(some, [1]), word)() == f"1 of 2 of 2 of {word}"
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
