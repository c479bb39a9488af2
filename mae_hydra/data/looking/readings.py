"""By which conventions the numbers in class maps may be classes, the likeliest first."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mae_hydra.data.audit.conventions import judged, likely_ignored
from mae_hydra.data.audit.label_scan import Sampled
from mae_hydra.data.label_table import IGNORE, UNLABELLED, Reading, conventions, ranges, readings_of
from mae_hydra.data.labels.coding import MOST_STORED
from mae_hydra.data.looking.found import SIDES, Found, Labels
from mae_hydra.data.looking.pixels import MOST_COLOURS

NUM_ADE20K = 150
LEAST_SHARE = 0.2  # of the numbers up to the highest one that occur where they are classes
MOST_LISTED = 16  # numbers far apart that are classes one by one
_MANY = 32  # values, of which a set that is named ADE20K has more


def readings_for(labels: Labels, found: Found) -> list[Reading]:
    """By which conventions the stored numbers may be classes, the likeliest first; none where they are no numbers."""
    shares = labels.shares()
    if max(shares, default=0) > UNLABELLED:
        return _wide_readings(shares)
    if not shares or labels.problem:
        return []
    present = np.zeros(256, bool)
    present[list(shares)] = True
    readings = readings_of(present)
    count = len(found.names) or (NUM_ADE20K if "ADE" in str(found.root) and max(shares) > _MANY else 0)
    if count and 1 <= count <= 255:
        told = [each for each in conventions(count) if each.table().accepted[present].all()]
        readings = [*told, *(each for each in readings if each.values is not None and each.num_classes == count)]
    whole = labels.read == labels.of
    seen = [_sampled(labels.maps[side], whole) for side in SIDES if side in labels.maps]
    judging = (seen[0], seen[1] if len(seen) > 1 else Sampled([]))

    maps = [counts for each in labels.maps.values() for counts in each]
    # Where every map holds every value, that one is in all of them tells nothing.
    everywhere = all(counts.keys() == shares.keys() for counts in maps)

    def doubts(reading: Reading) -> tuple[int, int]:
        findings, _ = judged(judging, reading, named=bool(found.names))
        errors = sum(finding.level == "error" for finding in findings)
        is_last = not reading.reduce_zero_label and reading.ignore_index == reading.num_classes
        ade20k = reading.reduce_zero_label and reading.num_classes == NUM_ADE20K
        likely = ade20k or (is_last and not everywhere and likely_ignored(judging, reading.num_classes))
        return errors, 0 if likely else 2 if is_last else 1

    good = [each for each in readings if doubts(each)[0] == 0]
    return sorted(good, key=doubts)


def _wide_readings(shares: Mapping[int, float]) -> list[Reading]:
    """Of numbers above 255: so many classes, or a few numbers far apart; none where they look like instances."""
    values = [value for value in shares if value != MOST_STORED]
    top = max(values, default=0)
    if min(values, default=-1) < 0 or top >= MOST_STORED:
        return []
    if top > UNLABELLED and len(values) > LEAST_SHARE * top:
        found = [Reading(top + 1, top + 1, False)]
        return found if 0 not in values else [*found, Reading(top, top, True)]
    if len(values) > MOST_LISTED:
        return []
    listed: dict[int, int | str] = {value: number for number, value in enumerate(values)}
    if MOST_STORED in shares:
        listed[MOST_STORED] = IGNORE
    return [Reading(len(values), UNLABELLED, None, listed)]


def _sampled(maps: Sequence[Mapping[int, int]], whole: bool) -> Sampled:
    """Class maps that were read, as conventions are judged by them."""
    rows = [np.zeros(256, np.int64) for _ in maps]
    for row, counts in zip(rows, maps, strict=True):
        row[list(counts)] = list(counts.values())
    return Sampled(range(len(rows) + (not whole)), list(range(len(rows))), rows)


def words_of(reading: Reading) -> dict[str, Any]:
    if reading.values is not None:
        return {"num_classes": reading.num_classes, "values": dict(reading.values)}
    keys: dict[str, Any] = {"num_classes": reading.num_classes}
    if not reading.reduce_zero_label:
        keys["reduce_zero_label"] = False
    if reading.ignore_index != UNLABELLED:
        keys["ignore_index"] = reading.ignore_index
    return keys


def meaning(reading: Reading) -> str:
    """A convention in words."""
    count = f"{reading.num_classes} classes"
    if reading.values is not None:
        return f"{count}, each value as listed"
    if reading.reduce_zero_label:
        return f"{count}, 0 is no class and ignored"
    other = "" if reading.ignore_index >= UNLABELLED else f", {reading.ignore_index} is ignored"
    return f"{count}, 0 is a class{other}"


def why_none(labels: Labels) -> str:
    if labels.problem.startswith("holds JPEG"):
        return f"a class map {labels.problem}; of two tones alone it could be told which is which"
    if labels.colours:
        count = len(labels.colours)
        return f"the class maps hold {count}{' or more' if count > MOST_COLOURS else ''} colors, too many for classes"
    values = labels.shares()
    if values and max(values) > 255:
        return (
            f"the class maps hold {len(values)} numbers up to {max(values)}, of which no classes can be told (numbers "
            "of instances, depth?); data.values says what each means"
        )
    if labels.problem:
        return f"a class map {labels.problem}"
    shown = ranges(np.array(sorted(values))) if values else "nothing that could be read"
    return f"the class maps hold {shown}, of which no classes can be told"
