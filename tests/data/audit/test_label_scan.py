"""What is said of class maps before the first step: nonsense ends the run, doubt is a line, good sets pass silently."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import ListSet, labelled_set, save, smooth_picture
from PIL import Image

from mae_hydra.data import Sample, ade20k, check_labels
from mae_hydra.data.audit.conventions import judged
from mae_hydra.data.audit.label_scan import Sampled, _absent, sample
from mae_hydra.data.label_table import Reading
from mae_hydra.errors import UserError

SHAPE = (8, 10)
Write = Callable[..., Any]


@pytest.fixture
def opened(tmp_path: Path) -> Write:
    """`opened(training, validation, **settings)` is the data set whose maps hold these values, a list for each map."""

    def call(training: Sequence[Any], validation: Sequence[Any], **settings: Any) -> Any:
        for split, maps in (("training", training), ("validation", validation)):
            for number, values in enumerate(maps):
                stored = np.resize(np.array(list(values), np.uint8), SHAPE)
                save(smooth_picture(*SHAPE, seed=number), tmp_path / f"images/{split}/{number:03}.jpg")
                save(Image.fromarray(stored), tmp_path / f"annotations/{split}/{number:03}.png")
        chosen: dict[str, Any] = {
            "image_size": 8, "channels": 3, "mean": [0.5] * 3, "std": [0.2] * 3, "num_classes": 3, "ignore_index": 255,
            "reduce_zero_label": False, "batch_size": 2, "num_workers": 0, "train_limit": None, "max_bad_share": 0.01,
        }  # fmt: skip
        return ade20k(root=str(tmp_path), **chosen | settings)

    return call


GOOD = {
    "classes from 0": ([[0, 1, 2]] * 4, {}),
    "classes from 0, some ignored": ([[0, 1, 2, 255]] * 4, {}),
    "ADE20K": ([[0, 1], [0, 2], [0, 3], [1, 2]], {"reduce_zero_label": True}),
    "CamVid": ([[0, 1, 2, 3]] * 4, {"ignore_index": 3}),
    "binary": ([[0, 1]] * 4, {"num_classes": 2}),
    "binary of 0 and 255": ([[0, 255]] * 4, {"num_classes": 2, "values": {0: 0, 255: 1}}),
    "bits beside bytes, told": ([[0, 1], [0, 255]] * 2, {"num_classes": 2, "values": {0: 0, 1: 1, 255: 1}}),
    "one map without the class": ([*[[0, 1]] * 5, [0, 255]], {"num_classes": 2}),
}


@pytest.mark.parametrize("kind", GOOD)
def test_a_set_that_is_read_rightly_passes_without_a_word(opened: Write, kind: str) -> None:
    maps, settings = GOOD[kind]
    assert check_labels(opened(maps, maps[:2], **settings)) == []


NONSENSE: dict[str, tuple[list[Any], list[Any], dict[str, Any], str]] = {
    "0 and 255, 255 ignored": (
        [[0, 255]] * 4, [[0, 255]] * 2, {"num_classes": 2},
        r"hold 0 and 255 only .*one class and ignored pixels .*set data\.num_classes=2 'data\.values=\{0:0,255:1\}'",
    ),
    "0 and 255, both ignored": (
        [[0, 255]] * 4, [[0, 255]] * 2, {"num_classes": 150, "reduce_zero_label": True},
        r"hold 0 and 255 only .*ignores them all .*set data\.num_classes=2 'data\.values=\{0:0,255:1\}'",
    ),
    "0 and 1, 0 ignored": (
        [[0, 1]] * 4, [[0, 1]] * 2, {"num_classes": 150, "reduce_zero_label": True},
        r"hold 0 and 1 only .*one class and ignored .*set data\.num_classes=2 data\.reduce_zero_label=false",
    ),
    "empty maps": ([[0]] * 4, [[0]] * 2, {"reduce_zero_label": True}, r"hold 0 only .*ignores them all.*are these the"),
    "validation without a label": (
        [[1, 2, 3]] * 4, [[0]] * 2, {"reduce_zero_label": True}, r"class maps of validation hold 0 only .*ignores them",
    ),
    "one class off": (
        [[0, 1, 2, 3, 255]] * 4, [[0]] * 2, {},
        r"reduce_zero_label=false is configured, but 4 of 6 class maps fit data\.reduce_zero_label=true only",
    ),
    "CamVid's ignored number as a class": (
        [[0, 1, 2, 3]] * 4, [[0, 1, 3]] * 2, {},
        r"set data\.ignore_index=3 \(.*3 is none\) or data\.reduce_zero_label=true .*or data\.num_classes=4 where 3 is",
    ),
    "classes off by one beside 255": (
        [[0, 1, 2, 255]] * 4, [[0, 1]] * 2, {"reduce_zero_label": True}, r"every class would be off by one.*=false",
    ),
    "too few classes": (
        [[*range(8), 255]] * 4, [[0, 1]] * 2, {},
        r"4 class maps .*neither one of 3 classes.*0 to 7 and 255: set data\.num_classes=8 data\.reduce_zero",
    ),
    "a number that means nothing, in validation": (
        [[0, 1, 2]] * 4, [[0, 1], [0, 7]], {}, r"1 class map with values .*validation/001\.png \(holds 7\); correct",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_is_an_error_with_the_words_that_mend_it(opened: Write, kind: str) -> None:
    training, validation, settings, message = NONSENSE[kind]
    with pytest.raises(UserError, match=message):
        check_labels(opened(training, validation, **settings))


DOUBT: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "CamVid read as ADE20K": (
        [[0, 1, 2, 3]] * 4, {"reduce_zero_label": True},
        r"fit data\.reduce_zero_label=true.*100% of them hold 3.*data\.reduce_zero_label=false data\.ignore_index=3",
    ),
    "many classes too many": (
        [[0, 1, 2, 255]] * 4, {"num_classes": 150},
        r"150 classes are configured, and all 6 class maps hold none above the first 3 .*set data\.num_classes=3",
    ),
    "a validation coded otherwise": (
        [[0, 1]] * 4, {"num_classes": 2, "validation": [[0, 255]] * 2},
        r"validation hold 0 and 255 only .*class 0 and nothing else .*while training has 2 classes.*coded alike",
    ),
    "bits beside bytes": (
        [[0, 1], [0, 255], [0, 1], [0, 255]], {"num_classes": 2},
        r"some class maps hold 0 and 1, others 0 and 255, .*255 is ignored now; .*'data\.values=\{0:0,1:1,255:1\}'",
    ),
    "a class that never occurs": ([[0, 1]] * 4, {}, r"1 of 3 class has no labeled pixel in training \(class 2\)"),
    "hardly a label": ([[0, 1, 2, *[255] * 7]] * 4, {}, r"70% of the pixels of all 4 class maps of training are"),
    "a class that is ignored": (
        [[0, 1, 2]] * 4, {"ignore_index": 0}, r"data\.ignore_index=0 is a class as well \(class 0\): it counts for",
    ),
    "a few maps to replace": (
        [*[[0, 1, 2]] * 7, [0, 9]], {}, r"training/007\.png \(holds 9\).*others take their place, up to data\.max_bad",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", DOUBT)
def test_doubt_is_one_line(opened: Write, kind: str) -> None:
    training, settings, message = DOUBT[kind]
    validation = settings.get("validation", training[:2])
    others = {key: value for key, value in settings.items() if key != "validation"}
    [line] = check_labels(opened(training, validation, **others))
    assert re.search(message, line), line


def test_palettes_that_number_their_colours_in_two_ways_are_told(opened: Write, tmp_path: Path) -> None:
    data = opened([[0, 1, 2]] * 4, [[0, 1, 2]] * 2)
    for number, colours in enumerate(([9, 9, 9, 255, 0, 0, 0, 0, 255], [9, 9, 9, 0, 0, 255, 255, 0, 0])):
        path = tmp_path / f"annotations/training/{number:03}.png"
        with Image.open(path) as grey:
            coloured = Image.frombytes("P", grey.size, grey.tobytes())
        coloured.putpalette(colours)
        coloured.save(path)
    [line] = check_labels(data)
    assert re.search(r"1 is the color 255 0 0 in .*000\.png and 0 0 255 in .*001\.png; .*give data\.colours", line)


def test_photos_that_exif_turns_beside_maps_without_a_word_of_it_are_told(opened: Write, tmp_path: Path) -> None:
    data = opened([[0, 1, 2]] * 4, [[0, 1, 2]] * 2)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down: no size tells on which of the two the map was drawn
    save(smooth_picture(*SHAPE), tmp_path / "images/training/002.jpg", exif=exif.tobytes())
    [line] = check_labels(data)
    assert "1 image turned upright by EXIF" in line
    assert "training/002.jpg" in line
    save(smooth_picture(*SHAPE), tmp_path / "images/validation/001.jpg", exif=exif.tobytes())
    assert "2 images turned upright by EXIF" in check_labels(data)[0]
    save(smooth_picture(*SHAPE), tmp_path / "images/validation/001.jpg")
    assert "drawn on the upright picture" in line
    assert "drawn on the pixels as stored" in line
    save(Image.fromarray(np.resize([0, 1, 2], SHAPE).astype(np.uint8)), tmp_path / "annotations/training/002.png",
         exif=exif.tobytes())  # fmt: skip
    assert check_labels(data) == []


def test_a_broken_validation_map_is_found_before_training_and_a_broken_training_map_is_replaced(
    opened: Write, tmp_path: Path
) -> None:
    data = opened([[0, 1, 2]] * 8, [[0, 1, 2]] * 2)
    (tmp_path / "annotations/training/003.png").write_bytes(b"no picture")
    [line] = check_labels(data)
    assert "training/003.png" in line
    assert "others take their place" in line
    (tmp_path / "annotations/validation/001.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"cannot read the class map .*validation/001\.png"):
        check_labels(data)


def test_a_limited_training_set_is_judged_by_what_it_holds(opened: Write) -> None:
    data = opened([[0, 1], [0, 1, 2], [0, 1], [0, 1, 2]], [[0, 1, 2]], train_limit=2)
    assert ["no labeled pixel in training (class 2)" in line for line in check_labels(data)] == [True]


def test_an_evaluation_is_judged_by_its_own_maps_alone(opened: Write) -> None:
    data = opened([[0]] * 4, [[0, 1, 2]] * 2)
    assert check_labels(data, training=False) == []
    with pytest.raises(UserError, match="nothing can be learned"):
        check_labels(data)


def test_embedded_sets_are_not_looked_at(opened: Write) -> None:
    class Never(ListSet):
        def __getitem__(self, index: int) -> Any:
            raise AssertionError("a rendered set was looked at")

        def listing(self) -> str:
            return "2 scenes, embedded"

    data = opened([[0, 1, 2]], [[0, 1, 2]])
    embedded = Never(labelled_set(2, 3).samples)
    assert check_labels(replace(data, train=embedded, validation=embedded)) == []


def test_a_part_of_a_set_says_nothing_of_its_classes_or_of_what_is_ignored_but_one_that_is_whole_does() -> None:
    reading = Reading(3, 255, False)
    for broken, told in (([], 0), (["damaged"], 2)):
        part = Sampled([0, 1], [0], [np.bincount([0, 1, *[255] * 8], minlength=256)], list(broken))
        assert part.whole is bool(broken)
        assert len(list(_absent(part, reading, "xyz", said=False))) == told


def test_reading_in_threads_leaves_pillows_limit_in_its_place(opened: Write) -> None:
    data, before = opened([[0, 1, 2]] * 30, [[0, 1, 2]] * 10), Image.MAX_IMAGE_PIXELS
    for _ in range(5):
        sample(data.train, data.validation, seconds=1e9)
    assert before == Image.MAX_IMAGE_PIXELS is not None


@pytest.mark.parametrize(("values", "refused"), [([0], False), ([0, 255], True)])
def test_a_part_of_a_set_is_refused_for_what_cannot_be_chance(opened: Write, values: list[int], refused: bool) -> None:
    data = opened([values] * 60, [[0, 1, 2]])
    train, validation = sample(data.train, data.validation, seconds=1e9)
    train.images = [*range(1000)]  # as if it were a twentieth of all
    [finding], _ = judged((train, validation), data.reading, named=True)
    assert (finding.kind, finding.level) == ("nothing to learn", "error" if refused else "warning")


class SomebodyElses(ListSet):
    """A reader that gives classes and has no settings of its own."""

    def listing(self) -> str:
        return "theirs"


def test_a_reader_of_somebody_else_is_not_told_to_set_what_it_does_not_have(opened: Write) -> None:
    def of(*values: int) -> SomebodyElses:
        labels = torch.from_numpy(np.resize(np.array(values, np.uint8), SHAPE))
        return SomebodyElses([Sample(torch.zeros(3, *SHAPE, dtype=torch.uint8), labels, str(n)) for n in range(4)])

    data = replace(opened([[0, 1]], [[0, 1]], num_classes=2), reading=None)
    with pytest.raises(UserError, match=r"hold 0 and 255 only .*let the reader give classes from 0, and 255") as said:
        check_labels(replace(data, train=of(0, 255), validation=of(0, 255)))
    assert not re.search("reduce_zero_label|data.values|data.num_classes", str(said.value))
    with pytest.raises(UserError, match=r"with values that are neither one of 2 classes nor ignored") as said:
        check_labels(replace(data, train=of(0, 1, 7), validation=of(0, 1, 7)))
    assert not re.search("reduce_zero_label|data.values", str(said.value))
    assert check_labels(replace(data, train=of(0, 1), validation=of(1, 0, 255))) == []


def test_what_time_allows_is_spread_over_both_splits(opened: Write) -> None:
    data = opened([[0, 1, 2]] * 30, [[0, 1, 2]] * 10)
    train, validation = sample(data.train, data.validation, seconds=1e9)
    assert sorted(train.positions) == list(range(30))
    assert sorted(validation.positions) == list(range(10))
    assert train.whole
    assert validation.whole
    assert np.ptp(train.positions[:6]) > 15
    assert len(set(train.positions[:6])) == 6
    none, _ = sample(data.train, data.validation, seconds=-1)
    assert none.positions == []
    assert not none.whole
