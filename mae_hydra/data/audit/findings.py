"""From tallies to sentences: damaged files, peculiar pictures, duplicates, and the configured mean and deviation."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mae_hydra.data.audit.duplicates import equal_groups, near_pairs
from mae_hydra.data.audit.listing import Finding, Level, found
from mae_hydra.data.audit.look import APART, TURNED
from mae_hydra.data.audit.tally import Tally
from mae_hydra.data.augment.crop_notes import MOST_REDUCTION

# level, says, and both readings
TURNED_APART: tuple[Level, str, str] = (
    "warning",
    "turned upright by EXIF beside a class map that is taken as it is",
    "right where the map was drawn on the upright picture; where it was drawn on the pixels as stored, the two do not "
    "belong together: then remove the orientation from the photos (exiftool -Orientation= -overwrite_original)",
)
MOST_SHIFT = 0.5  # of a channel's mean, in configured deviations
MOST_FACTOR = 1.5  # between a channel's deviation and the configured one
MOST_ASPECT = 4.0

# kind of a look's problem -> (level, says, the way out, noun)
_PROBLEMS: dict[str, tuple[Level, str, str, str]] = {
    "unreadable image": ("error", "that cannot be read", "replace or remove", "image"),
    "unreadable labels": ("error", "that cannot be read", "replace, or remove with the image", "class map"),
    "labels in colours": (
        "error",
        "without class numbers",
        "write 8-bit PNGs whose gray value or palette index is the class",
        "class map",
    ),
    "labels without a class": (
        "error",
        "with what data.values or data.colours does not have",
        "add it there, as a class or as ignore, or correct the map",
        "class map",
    ),
    "size": ("error", "whose class map is of another size", "make image and map one size", "image"),
    "damaged image": (
        "warning",
        "with damage that hides a part of the pixels",
        "parts may be gray or shifted, so look, and replace or remove",
        "image",
    ),
}
# trait -> (level, says, what follows from it)
_TRAITS: dict[str, tuple[Level, str, str]] = {
    "blank": ("warning", "of a single color", "probably in place of a lost picture; remove"),
    "several pages": ("warning", "with several pages or pictures", "only the first is read; split"),
    "grey": ("note", "without color", "read with three equal channels"),
    "CMYK": ("note", "in CMYK", "converted to RGB without a color profile, which shifts colors"),
    "16 bits": ("note", "with more than 8 bits a channel", "scaled to 8 as data.range says"),
    "alpha": ("note", "with an alpha channel", "dropped when read, and what was transparent shows its hidden color"),
    "palette": ("note", "with a palette", "read as RGB"),
    APART: TURNED_APART,
    TURNED: ("note", "turned by the EXIF orientation", "read upright"),
    "named as another format": ("note", "in another format than the name says", "read by content, not by name"),
}


def file_findings(tallies: Sequence[Tally]) -> Iterator[Finding]:
    """What is wrong or peculiar with files, one finding for each kind."""
    for kind, (level, says, way, noun) in _PROBLEMS.items():
        those = [(tally, row, why) for tally in tallies for row, why in tally.problems.get(kind, ())]
        if those:
            names = [tally.labels_name(row) if noun == "class map" else tally.name(row) for tally, row, _ in those]
            yield found(level, kind, names, says, way, noun=noun, why=those[0][2])
    for trait, (level, says, way) in _TRAITS.items():
        names = [tally.name(row) for tally in tallies for row in tally.traits.get(trait, ())]
        if names:
            yield found(level, trait.partition(",")[0], names, says, way)


def size_findings(tallies: Sequence[Tally], crop: tuple[int, int], short: int | None) -> Iterator[Finding]:
    """Pictures that a crop does not fit into, such that are mostly outside of it, and such that lose most of their
    pixels on the way to a shorter side of `short` (None: none does); the most extreme one is named."""
    all_of_them = [(tally, int(row), *tally.sizes[row].tolist()) for tally in tallies for row in tally.readable]
    small = sorted(
        (each for each in all_of_them if each[2] < crop[0] or each[3] < crop[1]), key=lambda each: min(each[2:])
    )
    long = [each for each in all_of_them if max(each[2:]) > MOST_ASPECT * min(each[2:])]
    long.sort(key=lambda each: min(each[2:]) / max(each[2:]))
    smaller = f"smaller than {crop[1]}x{crop[0]}"
    large = [each for each in all_of_them if short is not None and min(each[2:]) > MOST_REDUCTION * short]
    large.sort(key=lambda each: -min(each[2:]))
    if large:
        _, _, height, width = large[0]
        says = f"more than {MOST_REDUCTION:g} times as large as the {short} pixels of a side that training shows"
        way = (
            "most of their detail is gone then: augment.short=<pixels> keeps more for segmentation (inference=slide "
            "follows it), a lower augment.scale for pre-training, and a larger data.image_size for both"
        )
        names = [tally.name(row) for tally, row, _, _ in large]
        yield found("warning", "much larger than the crop", names, says, way, why=f"{width}x{height}")
    for kind, those, says, way in (
        ("smaller than the crop", small, smaller, "enlarged or padded when read, as the augmentation says"),
        ("long", long, f"more than {MOST_ASPECT:g} times as long as wide", "crops show little of such a picture"),
    ):
        if those:
            names = [tally.name(row) for tally, row, _, _ in those]
            yield found("note", kind, names, says, way, why=f"{those[0][3]}x{those[0][2]}")


def statistics_findings(tally: Tally, mean: Sequence[float], std: Sequence[float]) -> Iterator[Finding]:
    """Whether the configured mean and deviation are those of the training pixels, roughly."""
    measured = tally.statistics()
    if measured is None or len(measured[0]) != len(mean):
        return
    shift = max(abs(m - c) / s for m, c, s in zip(measured[0], mean, std, strict=True))
    factor = max(max(m / s, s / max(m, 1e-6)) for m, s in zip(measured[1], std, strict=True))
    if shift > MOST_SHIFT or factor > MOST_FACTOR:
        sentence = (
            f"the training pixels have mean {_list(measured[0])} and deviation {_list(measured[1])}, configured are "
            f"{_list(mean)} and {_list(std)}; when training from scratch set data.mean and data.std to the former, "
            "with weights that were trained otherwise keep theirs"
        )
        yield Finding("warning", "mean and deviation", sentence)


class Duplicate(NamedTuple):
    """Two samples that are one picture: kind ("duplicate" or "near-duplicate"), tally and row of each."""

    kind: str
    tally: Tally
    row: int
    other_tally: Tally
    other_row: int


def duplicate_findings(train: Tally, validation: Tally) -> tuple[list[Finding], list[Duplicate]]:
    """Findings, and the pairs behind them; pictures of both splits stand in one row."""
    rows = [(tally, int(row)) for tally in (train, validation) for row in tally.readable]
    names = [tally.name(row) for tally, row in rows]
    held_out = np.array([tally is validation for tally, _ in rows], dtype=bool)
    labels = [(tally.labels_content[row].tobytes(), tally.class_ids[row]) for tally, row in rows]
    content = np.array([tally.content[row] for tally, row in rows], dtype="V16")
    groups = equal_groups(content) if rows else []
    # Training comes first in the row: a group that spans both splits pairs its validation images with a training one.
    exact = [(int(group[0]), int(other)) for group in groups for other in group[1:]]
    copies = {other for _, other in exact}
    kept = np.array([place for place in range(len(rows)) if place not in copies], dtype=np.int64)
    near = []
    if len(kept):
        thumbs = np.stack([rows[place][0].thumbs[rows[place][1]] for place in kept])
        sizes = np.stack([rows[place][0].sizes[rows[place][1]] for place in kept])
        near = [(int(kept[one]), int(kept[other])) for one, other in near_pairs(thumbs, sizes)]
    findings = []
    for kind, pairs in (("duplicate", exact), ("near-duplicate", near)):
        for across in (True, False):
            those = [(one, other) for one, other in pairs if (held_out[one] != held_out[other]) == across]
            if those:
                findings.append(_duplicates(kind, those, names, across))
    differing = [(one, other) for one, other in exact if labels[one] != labels[other]]
    if differing:
        what = "are given different labels; keep the right one"
        text = f"{_pairs(len(differing))} of equal images {what} ({_and(differing[0], names)} for one)"
        findings.append(Finding("warning", "labelled differently", text, _files(differing, names)))
    together = [("duplicate", pair) for pair in exact] + [("near-duplicate", pair) for pair in near]
    return findings, [Duplicate(kind, *rows[one], *rows[other]) for kind, (one, other) in together]


def _duplicates(kind: str, pairs: Sequence[tuple[int, int]], names: Sequence[str], across: bool) -> Finding:
    level: Level = "note" if kind == "near-duplicate" and not across else "warning"
    says = "the same file as" if kind == "duplicate" else "nearly the same picture as"
    where = "between training and validation" if across else "within a split"
    one, other = names[pairs[0][1]], names[pairs[0][0]]
    way = {
        ("duplicate", True): "remove from training, or validation measures memory",
        ("duplicate", False): "remove, or the picture counts twice",
        ("near-duplicate", True): "look at duplicates.png, and remove from training what is the same scene",
        ("near-duplicate", False): "look at duplicates.png",
    }[kind, across]
    sentence = f"{_pairs(len(pairs))} {where}: {one} is {says} {other}{'' if len(pairs) == 1 else ', for one'}; {way}"
    return Finding(level, f"{kind} {where}", sentence, _files(pairs, names))


def _pairs(count: int) -> str:
    return f"{count} pair{'' if count == 1 else 's'}"


def _and(pair: tuple[int, int], names: Sequence[str]) -> str:
    return f"{names[pair[0]]} and {names[pair[1]]}"


def _files(pairs: Sequence[tuple[int, int]], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{names[one]} = {names[other]}" for one, other in pairs)


def _list(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:.3f}" for value in values) + "]"
