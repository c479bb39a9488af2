"""From looks to sentences: what a split is summed up to, and which samples a finding names, at each bound."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mae_hydra.data.audit.conventions import alternatives, choices, in_two_codings, judged, looked_at
from mae_hydra.data.audit.duplicates import near_pairs
from mae_hydra.data.audit.findings import (
    Duplicate,
    duplicate_findings,
    file_findings,
    size_findings,
    statistics_findings,
)
from mae_hydra.data.audit.labels import absence_findings, class_counts, histogram, ignored_share, label_findings
from mae_hydra.data.audit.look import FileSplit, Labels, Look, Pixels
from mae_hydra.data.audit.tally import Tally
from mae_hydra.data.label_table import Reading

NAMES = "abcdefghij"


def tally(looks: Sequence[Look], *, split: str = "train", positions: Sequence[int] | None = None, of: int = 0) -> Tally:
    """Looks at samples `train/a.jpg`, `train/b.jpg` …, whose maps are `train/a.png` …; of `of` samples in all."""
    names = [f"{split}/{name}" for name in NAMES[: max(of, len(looks))]]
    files = FileSplit(Path(), [f"{name}.jpg" for name in names], 3, maps=[f"{name}.png" for name in names])
    found = Tally(files, range(len(looks)) if positions is None else positions, 3)
    for row, look in enumerate(looks):
        found.add(row, look)
    return found


def pixels(
    height: int = 8, width: int = 8, *, content: str = "", thumb: Any = 0, mean: float = 0.5, std: float = 0.2
) -> Pixels:
    count = height * width
    total, squares = (np.full(3, count * each) for each in (255 * mean, 255**2 * (std**2 + mean**2)))
    thumbs = np.broadcast_to(np.asarray(thumb, np.uint8), (8, 9))
    return Pixels((height, width), content.encode().ljust(16, b"\0"), thumbs, total, squares)


def labels(*values: int) -> Labels:
    return Labels((1, len(values)), bytes(16), np.bincount(np.array(values), minlength=256))


def of_sizes(*sizes: tuple[int, int] | None, **told: Any) -> Tally:
    return tally([Look(pixels=pixels(*size)) if size else Look() for size in sizes], **told)


def of_maps(*maps: Sequence[int], **told: Any) -> Tally:
    return tally([Look(labels=labels(*values)) for values in maps], **told)


def test_a_split_is_summed_up_over_the_pictures_that_could_be_read() -> None:
    sizes = (10, 40), None, (20, 20), (40, 10), (12, 24), (12, 24)
    looks = [Look(pixels=pixels(*size)) if size else Look() for size in sizes]
    looks[0].traits, looks[2].traits = ("grey", "alpha"), ("alpha",)
    looks[1].problems, looks[5].problems = {"unreadable image": "empty"}, {"size": "x", "unreadable image": "cut"}
    found = tally(looks, positions=(8, 7, 4, 3, 1, 0), of=9)
    assert found.facts((12, 24)) == {
        "images": 9, "looked_at": 6, "readable": 5,
        "height": {"min": 10, "median": 12, "max": 40}, "width": {"min": 10, "median": 24, "max": 40},
        "short_side": {"min": 10, "median": 12, "max": 20}, "aspect": {"min": 0.25, "median": 2, "max": 4},
        "smaller_than_crop": 3, "sizes": 4, "traits": {"alpha": 2, "grey": 1},
    }  # fmt: skip
    assert found.problems == {"unreadable image": [(1, "empty"), (5, "cut")], "size": [(5, "x")]}
    assert [found.name(1), found.labels_name(2)] == ["train/h.jpg", "train/e.png"]
    assert (found.readable.tolist(), found.mapped.tolist(), found.whole) == ([0, 2, 3, 4, 5], [], False)
    assert of_sizes(None).facts((9, 9)) == {"images": 1, "looked_at": 1, "readable": 0, "traits": {}}
    assert (of_sizes(None).statistics(), of_sizes(None).whole) == (None, True)


def test_class_maps_are_summed_up_by_value_and_by_image() -> None:
    wide = Tally(FileSplit(Path(), ["a.jpg", "b.jpg"], 3, maps=["a.png", "b.png"]), range(2), 3, 400)
    wide.add(0, Look(labels=labels(0, 0, 7)))
    wide.add(1, Look(labels=Labels((1, 3), bytes(16), np.bincount([7, 300, 300], minlength=400))))
    held = {int(value): int(wide.stored[value]) for value in np.flatnonzero(wide.stored)}
    assert held == {0: 2, 7: 2, 300: 2}
    images = wide.images_with()
    assert {int(value): int(images[value]) for value in np.flatnonzero(images)} == {0: 1, 7: 2, 300: 1}
    assert wide.holds(np.arange(400) == 300).tolist() == [False, True]


def test_a_defect_of_files_names_all_of_both_splits_and_the_first_ones_reason() -> None:
    problems: list[dict[str, str]] = [{"unreadable labels": "cut", "size": "4x4"}, {"unreadable image": "empty"}]
    train = tally([Look(problems=each, traits=("CMYK", "turned by EXIF")) for each in problems])
    also = {"unreadable image": "no JPEG", "labels in colours": "RGB", "labels without a class": "9 9 9"}
    traits = "turned by EXIF, its map not", "CMYK", "blank", "several pages"
    found = list(file_findings([train, tally([Look(), Look(problems=also, traits=traits)], split="val")]))
    assert [(each.level, each.kind, each.files) for each in found] == [
        ("error", "unreadable image", ("train/b.jpg", "val/b.jpg")), ("error", "unreadable labels", ("train/a.png",)),
        ("error", "labels in colours", ("val/b.png",)), ("error", "labels without a class", ("val/b.png",)),
        ("error", "size", ("train/a.jpg",)), ("warning", "blank", ("val/b.jpg",)),
        ("warning", "several pages", ("val/b.jpg",)), ("note", "CMYK", ("train/a.jpg", "train/b.jpg", "val/b.jpg")),
        ("warning", "turned by EXIF", ("val/b.jpg",)), ("note", "turned by EXIF", ("train/a.jpg", "train/b.jpg")),
    ]  # fmt: skip
    assert found[0].sentence.startswith("2 images that cannot be read: train/b.jpg for one (empty); ")
    assert found[1].sentence.startswith("1 class map that cannot be read: train/a.png (cut); ")


def kinds(found: Iterable[Any]) -> list[tuple[str, tuple[str, ...]]]:
    return [(each.kind, each.files) for each in found]


def test_pictures_are_small_long_or_large_beyond_a_bound_and_the_most_extreme_is_named() -> None:
    train = of_sizes((10, 20), (9, 20), (10, 19), (10, 40), (11, 45), (80, 19))
    validation = of_sizes((41, 50), (40, 99), (50, 42), split="val")
    found = list(size_findings([train, validation], (10, 20), 10))
    assert kinds(found) == [
        ("much larger than the crop", ("val/c.jpg", "val/a.jpg")),
        ("smaller than the crop", ("train/b.jpg", "train/c.jpg", "train/f.jpg")),
        ("long", ("train/f.jpg", "train/e.jpg")),
    ]
    assert [each.level for each in found] == ["warning", "note", "note"]
    for each, said in zip(found, ("(42x50)", "smaller than 20x10: train/b.jpg for one (20x9)", "(19x80)"), strict=True):
        assert said in each.sentence
    assert kinds(size_findings([train, validation], (10, 20), None)) == kinds(found[1:])


@pytest.mark.parametrize(
    ("mean", "std", "told"),
    [
        (0.59, 0.2, False),
        (0.61, 0.2, True),
        (0.39, 0.2, True),
        (0.5, 0.29, False),
        (0.5, 0.31, True),
        (0.5, 0.13, True),
    ],
)
def test_mean_and_deviation_are_doubtful_beyond_half_a_deviation_or_half_as_much_again(mean, std, told) -> None:
    measured = tally([Look(pixels=pixels(mean=mean, std=std))])
    found = list(statistics_findings(measured, [0.5] * 3, [0.2] * 3))
    assert [each.level for each in found] == ["warning"] * told
    if told:
        assert f"have mean [{mean:.3f}, {mean:.3f}, {mean:.3f}] and deviation [{std:.3f}, " in found[0].sentence
        assert "are [0.500, 0.500, 0.500] and [0.200, 0.200, 0.200]" in found[0].sentence
    assert not list(statistics_findings(measured, [0.1], [0.2]))  # of another number of channels
    one_channel = list(statistics_findings(measured, [0.5, 0.5, mean - 0.2], [0.2] * 3))
    assert len(one_channel) == 1


def test_copies_are_paired_with_the_first_one_and_told_by_where_they_lie() -> None:
    """Of one picture three copies, of which one is of validation; and near copies on both sides, and other labels."""
    shades = np.random.default_rng(0).integers(0, 256, (3, 8, 9))
    looks = [
        Look(pixels=pixels(content="one", thumb=shades[0]), labels=labels(0)), Look(),
        Look(pixels=pixels(content="two", thumb=shades[1]), class_id=1),
        Look(pixels=pixels(content="one", thumb=shades[0]), labels=labels(0)),
        Look(pixels=pixels(content="two again", thumb=shades[1])),
    ]  # fmt: skip
    train, validation = tally(looks), tally([*looks[1:3], looks[0]], split="val")
    validation.class_ids[1] = 2
    findings, pairs = duplicate_findings(train, validation)
    assert [(each.level, each.kind, each.files) for each in findings] == [
        ("warning", "duplicate between training and validation",
         ("train/a.jpg = val/c.jpg", "train/c.jpg = val/b.jpg")),
        ("warning", "duplicate within a split", ("train/a.jpg = train/d.jpg",)),
        ("note", "near-duplicate within a split", ("train/c.jpg = train/e.jpg",)),
        ("warning", "labelled differently", ("train/c.jpg = val/b.jpg",)),
    ]  # fmt: skip
    assert findings[0].sentence.startswith(
        "2 pairs between training and validation: val/c.jpg is the same file as train/a.jpg, for one; remove from"
    )
    assert findings[1].sentence.startswith("1 pair within a split: train/d.jpg is the same file as train/a.jpg; ")
    assert pairs == [
        Duplicate("duplicate", train, 0, train, 3), Duplicate("duplicate", train, 0, validation, 2),
        Duplicate("duplicate", train, 2, validation, 1), Duplicate("near-duplicate", train, 2, train, 4),
    ]  # fmt: skip
    validation.content[1] = np.void(b"two once more")
    across = duplicate_findings(train, validation)[0][2]
    assert (across.level, across.kind, across.files[0]) == (
        "warning", "near-duplicate between training and validation", "train/c.jpg = val/b.jpg",
    )  # fmt: skip
    assert duplicate_findings(tally([Look()]), tally([Look()])) == ([], [])


def test_pictures_are_nearly_the_same_beyond_a_correlation_and_in_shapes_that_hardly_differ() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(40, 200, (8, 9))
    noise = rng.normal(0, 1, (2, 8, 9)) * [[[8]], [[14]]]
    noise[:, :2] = 0  # the first of four quarters stays
    thumbs = np.stack([np.full((8, 9), 128), base, *(base + noise)]).astype(np.uint8)
    correlations = [np.corrcoef(base.ravel(), other.ravel())[0, 1] for other in thumbs[2:]]
    assert correlations[0] > 0.98 > correlations[1] > 0.94
    square = np.full((4, 2), 100)
    assert near_pairs(thumbs, square).tolist() == [[1, 2]]
    for width, alike in ((104, True), (106, False), (96, True), (94, False)):
        sizes = np.array([[100, 300], [100, 100], [100, width], [100, 100]])
        assert near_pairs(thumbs, sizes).tolist() == [[1, 2]] * alike, width
    pale = (128 + (base - base.mean()) / base.std() * np.array([[[6.5]], [[5.5]]])).round().astype(np.uint8)
    assert [len(near_pairs(np.stack([each, each]), square[:2])) for each in pale] == [1, 0]


def test_classes_that_never_occur_are_told_by_split_and_matter_in_training_where_they_are_measured() -> None:
    train, validation = of_maps([0, 0, 255], [1, 255, 255]), of_maps([2], [255], [1], split="val")
    reading = Reading(4, 255, False)
    found = absence_findings(train, validation, reading, "wxyz")
    assert [(each.level, each.kind, each.files) for each in found] == [
        ("warning", "classes absent in training", ()), ("note", "classes absent in validation", ()),
        ("warning", "nothing labelled", ("val/b.png",)),
    ]  # fmt: skip
    assert [each.sentence.partition(";")[0] for each in found[:2]] == [
        "2 of 4 classes do not occur in training (y, z)", "2 of 4 classes do not occur in validation (w, z)",
    ]  # fmt: skip
    [in_training, *_] = absence_findings(train, of_maps([0], [1], split="val"), reading, "wxyz")
    assert in_training.level == "note"  # of which nothing is measured either
    [six] = absence_findings(of_maps([0]), tally([]), Reading(7, 255, False), "abcdefg")
    assert "6 of 7 classes do not occur in training (b, c, d, e, f, g)" in six.sentence
    [many] = absence_findings(of_maps([0]), tally([]), Reading(8, 255, False), "abcdefgh")
    assert "7 of 8 classes do not occur in training (b, c, d, e, f, g, …)" in many.sentence
    ids = tally([Look(class_id=0), Look(class_id=2), Look(class_id=2), Look()])
    [absent] = absence_findings(ids, ids, Reading(3, 255, None), "xyz")[:1]
    assert "1 of 3 classes do not occur in training (y)" in absent.sentence
    assert {key: counts.tolist() for key, counts in class_counts(ids, Reading(3, 255, None)).items()} == {
        "images": [1, 0, 2]
    }


@pytest.mark.parametrize(("ignored", "told"), [(5, False), (6, True)])
def test_more_than_half_of_the_training_pixels_ignored_is_a_warning(ignored: int, told: bool) -> None:
    train = of_maps([*[255] * ignored, *[0] * (10 - ignored)])
    assert ignored_share(train, Reading(1, 255, False)) == pytest.approx(ignored / 10)
    for validation in (of_maps([0]), of_maps([0, 255, 255, 255])):  # of which the share does not matter
        found = [each.kind for each in absence_findings(train, validation, Reading(1, 255, False), "x")]
        assert found == ["ignored share"] * told


def test_the_histogram_has_a_row_for_each_class_and_the_sum_of_all_values_that_mean_it() -> None:
    tallies = {"training": of_maps([0, 0, 7, 9], [7, 9]), "validation": of_maps([9], split="val")}
    reading = Reading(3, 255, None, {0: 2, 7: 1, 9: 1, 255: "ignore"})
    assert histogram(tallies, reading, "xyz") == [
        {"class": 0, "name": "x", "training_pixels": 0, "training_images": 0,
         "validation_pixels": 0, "validation_images": 0},
        {"class": 1, "name": "y", "training_pixels": 4, "training_images": 4,
         "validation_pixels": 1, "validation_images": 1},
        {"class": 2, "name": "z", "training_pixels": 2, "training_images": 1,
         "validation_pixels": 0, "validation_images": 0},
    ]  # fmt: skip


def test_a_stray_value_is_told_of_the_map_that_holds_it_in_whichever_split() -> None:
    train, validation = of_maps([0, 1], [0, 2]), of_maps([0, 1], [1, 9, 8], [*range(2), *range(40, 46)], split="val")
    *_, stray = label_findings([train, validation], Reading(3, 255, False))
    assert (stray.level, stray.kind, stray.files) == ("error", "label out of range", ("val/b.png", "val/c.png"))
    assert "(holds 8, 9); correct the map" in stray.sentence  # what others hold is theirs
    *_, first = label_findings([tally([]), of_maps([*range(40, 46), 0], [0], split="val")], Reading(3, 255, False))
    assert "(holds 40, 41, 42, 43, 44, …)" in first.sentence
    half = [of_maps([0, 1], [0, 1, 4]), of_maps([1, 4], [1], split="val")]
    assert "correct the map" in label_findings(half, Reading(3, 255, False))[-1].sentence
    most = [of_maps([0, 1, 4]), of_maps([1, 4], [1], split="val")]
    assert "stored are 0, 1 and 4: set data.num_classes=" in label_findings(most, Reading(3, 255, False))[-1].sentence


def findings_of(train: Tally, validation: Tally, reading: Reading, *, named: bool = False) -> list[tuple[str, str]]:
    found, _ = judged((train, validation), reading, named=named)
    return [(each.level, each.kind) for each in found]


def test_a_validation_of_one_class_is_doubtful_whoever_reads_the_maps() -> None:
    train, validation = of_maps([0, 1], [0, 2]), of_maps([1, 255], [1], split="val")
    doubt = ("warning", "validation of one class")
    for reading in (Reading(3, 255, None), Reading(3, 255, None, {0: 0, 1: 1, 2: 2, 255: "ignore"})):
        assert findings_of(train, validation, reading) == [doubt]
    assert findings_of(train, validation, Reading(3, 255, False))[1:] == [doubt]
    part = of_maps([1, 255], [1], split="val", of=9)
    assert findings_of(train, part, Reading(3, 255, None)) == []  # two of nine maps, of which it may be chance
    assert findings_of(of_maps([1], [1]), validation, Reading(3, 255, None)) == [("error", "nothing to learn")]


def test_nothing_to_learn_is_told_of_the_split_in_which_it_is_and_sure_where_it_cannot_be_chance() -> None:
    reading = Reading(2, 255, None)
    [finding], _ = judged((of_maps([0, 1]), of_maps([255], split="val")), reading, named=False)
    assert finding.sentence.startswith("the class maps of validation hold 255 only (the one class map); ")
    assert finding.sentence.endswith("let the reader give classes from 0, and 255 for what counts for nothing")
    [finding], _ = judged((tally([]), of_maps([255], [255], split="val")), reading, named=False)
    assert finding.sentence.startswith("the class maps hold 255 only (all 2 class maps); ")
    assert judged((tally([]), of_maps([1], split="val")), reading, named=False)[0] == []  # an evaluation of one class
    assert findings_of(of_maps([0, 255], of=9), tally([]), reading) == [("warning", "nothing to learn")]
    assert judged((tally([]), tally([])), reading, named=False) == ([], reading)


def test_only_conventions_by_which_the_values_differ_are_alternatives() -> None:
    seen = [of_maps([0, 1, 2, 3], [0, 3]), of_maps([1, 2], split="val")]
    plain, reduced, camvid = Reading(3, 255, False), Reading(3, 255, True), Reading(3, 3, False)
    assert alternatives(seen, plain) == [reduced, camvid]
    assert alternatives(seen, Reading(3, 255, False, {0: 0, 1: 1, 2: 2, 3: "ignore"})) == []
    assert alternatives(seen, Reading(3, 255, None)) == []
    assert alternatives([tally([]), tally([])], plain) == []
    few = [of_maps(*[[0, 1, 2]] * 9, [0, 3]), tally([])]
    assert alternatives(few, plain) == [reduced, camvid]  # 3 is in one of ten maps: hardly what is ignored
    assert alternatives([of_maps([1, 3], [2, 3]), tally([])], plain)[0] == reduced  # nor beside no class 0


@pytest.mark.parametrize(
    ("maps", "two"),
    [
        ([[0, 1], [0, 255], [0, 1], [0, 255]], True), ([[0, 1], [0, 1], [0, 255]], False),
        ([[0, 1], [0, 255], [255], [1, 255]], False), ([[0, 1], [1], [255], [255, 2]], False),
        ([[1], [1], [255], [255]], False), ([], False),
    ],
)  # fmt: skip
def test_two_codings_are_two_of_each_and_never_both(maps: list[list[int]], two: bool) -> None:
    assert in_two_codings(maps) is two


def test_how_many_maps_were_looked_at_is_said_of_both_splits_together() -> None:
    one, two = of_maps([0]), of_maps([0], [1])
    assert [looked_at([each]) for each in (one, two)] == ["the one class map", "all 2 class maps"]
    part = of_maps([0], of=4)
    assert [looked_at(each) for each in ([one, part], [part])] == [
        "the 2 class maps looked at",
        "the 1 class map looked at",
    ]


def test_a_choice_says_what_each_way_means() -> None:
    ways = [Reading(2, 255, None, {0: 0, 9: 1}), Reading(2, 255, False), Reading(2, 2, False), Reading(2, 255, True)]
    assert choices(ways, Reading(2, 255, True)) == (
        "set 'data.values={0:0,9:1}' (each value as listed), data.reduce_zero_label=false (0 is a class), "
        "data.reduce_zero_label=false data.ignore_index=2 (0 is a class, 2 is none) or data.reduce_zero_label=true "
        "(0 is no class)"
    )
    assert choices(ways[1:2], Reading(3, 255, False)) == "set data.num_classes=2"


@pytest.mark.parametrize(
    ("num_classes", "maps", "named", "told"),
    [
        (4, [[0, 1], [1, 0, 255]], False, True), (3, [[0, 1], [1]], False, False), (4, [[0, 1], [1]], True, False),
        (4, [[0, 2], [1]], False, False), (4, [[0, 0], [0]], False, False),
    ],
)  # fmt: skip
def test_half_of_the_classes_or_more_above_all_that_is_stored_are_too_many(num_classes, maps, named, told) -> None:
    found = findings_of(of_maps(*maps), of_maps([0, 1], split="val"), Reading(num_classes, 255, False), named=named)
    assert (("warning", "number of classes") in found) is told
    part = findings_of(of_maps(*maps, of=9), tally([]), Reading(num_classes, 255, False), named=named)
    assert ("warning", "number of classes") not in part  # the others may hold more


def test_what_speaks_against_a_reduced_zero_is_a_doubt_and_with_255_beside_it_an_error() -> None:
    def told(maps: Sequence[Sequence[int]], reading: Reading) -> tuple[str, str]:
        [finding], _ = judged((of_maps(*maps), tally([])), reading, named=True)
        return finding.level, finding.kind

    ten = range(10)
    assert told([ten], Reading(10, 255, True)) == ("warning", "zero label")
    assert told([[*ten, 255]], Reading(10, 255, True)) == ("error", "zero label")
    assert told([[0, *range(2, 10)]], Reading(10, 255, True)) == ("note", "zero label open")  # one of nine is missing
    assert told([range(1, 10)], Reading(10, 255, True)) == ("note", "zero label open")
    eleven = [*range(1, 6), *range(7, 12)]  # of eleven one may be missing
    assert told([[0, *eleven]], Reading(12, 255, True)) == ("warning", "zero label")
    [finding], _ = judged((of_maps([0, 1, 3], [0, 3], [2, 3]), tally([])), Reading(3, 255, True), named=True)
    assert (finding.level, "100% of them hold 3" in finding.sentence) == ("warning", True)
    [error], best = judged((of_maps([0, 1, 2, 3], [0, 3]), tally([])), Reading(3, 255, False), named=True)
    assert ("where 3 is a class" in error.sentence, error.level) == (False, "error")  # the set names its classes
    assert best == Reading(3, 3, False)
