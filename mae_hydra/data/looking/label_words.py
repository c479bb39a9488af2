"""What class maps may mean by what they hold: words of `data=segmentation`, the likeliest first."""

from collections.abc import Mapping
from typing import Any

from mae_hydra.data.audit.conventions import in_two_codings
from mae_hydra.data.looking.found import Found, Labels
from mae_hydra.data.looking.readings import meaning, readings_for, words_of

MOST_COLOURS = 32
_BRIGHT = {"0-127": 0, "128-255": 1}
_END, _MIDDLE = 32, 0.1  # levels around 0 and 255 where a mask of both lies that JPEG changed, and the most between
_BETWEEN = 4  # values between in such a mask that was resized
_TWO_CODINGS = {0: 0, 1: 1, 255: 1}


def label_words(labels: Labels, found: Found) -> list[tuple[dict[str, Any], str]]:
    """What the maps may mean, the likeliest first: words, and what they say; none where nothing can be told."""
    if labels.problem.startswith("holds JPEG"):
        return [_bright("JPEG changes values")] if _is_of_two_tones(_levels(labels)) else []
    ways: list[tuple[dict[str, Any], str]] = []
    if labels.colours and len(labels.colours) <= MOST_COLOURS:
        colours = sorted(colour for colour, _ in labels.colours)
        named = found.class_file
        if set(colours) <= set(named.colours) and len(set(named.colours)) == len(named.colours):
            keys = {" ".join(map(str, colour)): number for number, colour in enumerate(named.colours)}
            return [({"num_classes": len(keys), "classes": named.name, "colours": keys}, f"as named in {named.name}")]
        keys = {" ".join(map(str, colour)): number for number, colour in enumerate(colours)}
        ways.append(({"num_classes": len(keys), "colours": keys}, f"{len(keys)} classes, a color each"))
        if not labels.clash:
            return ways
    if not labels.problem and _is_resized_mask(labels.shares()):
        ways.append(_bright("what lies between is of few pixels, as at edges of a resized mask"))
    if in_two_codings([list(counts) for each in labels.maps.values() for counts in each]):
        words = {"num_classes": 2, "values": dict(_TWO_CODINGS)}
        ways.append((words, "2 classes: 1 in some maps and 255 in others, and never in one"))
    for reading in readings_for(labels, found):
        words = words_of(reading)
        if reading.values is None:
            words.pop("reduce_zero_label", None)
            words |= {"reduce_zero_label": True} if reading.reduce_zero_label else {}
        ways.append((words, meaning(reading)))
    count, top = len(found.class_file.classes), max((value for value in labels.shares() if value != 255), default=0)
    if ways and "values" not in ways[0][0] and 0 < top < min(count, 255):
        words = {"num_classes": count, "classes": found.class_file.name}
        ways = [(words, f"{count} classes as named in {found.class_file.name}"), *ways]
    return ways


def _bright(why: str) -> tuple[dict[str, Any], str]:
    return {"num_classes": 2, "values": dict(_BRIGHT)}, f"2 classes, dark and bright ({why})"


def _levels(labels: Labels) -> dict[int, float]:
    """The share of each brightness; of colours that are none, -1."""
    levels = labels.shares()
    for colour, share in labels.colours:
        level = colour[0] if max(colour) - min(colour) <= _END else -1
        levels[level] = levels.get(level, 0.0) + share
    return levels


def _is_of_two_tones(levels: Mapping[int, float]) -> bool:
    """Whether nearly all pixels are about black or about white, and some of either are."""
    ends = (range(_END + 1), range(255 - _END, 256))
    dark, bright = (sum(levels.get(level, 0.0) for level in end) for end in ends)
    return min(dark, bright) > 0 and dark + bright >= (1 - _MIDDLE) * sum(levels.values())


def _is_resized_mask(shares: Mapping[int, float]) -> bool:
    """Whether it is about 0 and about 255, and a little of many values between: classes end long before 250."""
    bright = any(255 - _END < value < 255 for value in shares)
    between = [value for value in shares if _END < value < 255 - _END]
    dark = sum(share for value, share in shares.items() if value <= _END)
    of_between = sum(shares[value] for value in between)
    return dark > 0 and bright and len(between) >= _BETWEEN and of_between <= 2 * _MIDDLE
