"""Which photo belongs to which class map: by split, folder and stem, without what each kind has at its end."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mae_hydra.data.dataset import spread
from mae_hydra.data.looking.found import Split
from mae_hydra.data.looking.places import File, Group

VOTES = 64  # names by which suffixes are guessed
LEAST_SHARE = 0.5  # of the maps that must have a photo
_BETWEEN = "_-. "
_PLAIN = Split("", "")

Key = tuple[object, ...]


@dataclass(frozen=True)
class Match:
    """Two groups as they pair: with these suffixes, `both`, and the files of either that are alone, by split."""

    images: Group
    maps: Group
    image_suffix: str
    map_suffix: str
    both: dict[Split, int]
    images_alone: dict[Split, int]
    maps_alone: dict[Split, int]

    @property
    def total(self) -> int:
        return sum(self.both.values())


def match(images: Group, maps: Group) -> Match | None:
    """How they pair best; None where less than half of the maps have a photo."""
    best: Match | None = None
    for by in ((True, True), (True, False), (False, True), (False, False)):
        for suffixes in _suffixes(images, maps):
            found = _matched(images, maps, suffixes, by)
            if found is not None and (best is None or found.total > best.total):
                best = found
                if best.total == len(maps.files):
                    return best
    return best if best is not None and best.total >= LEAST_SHARE * len(maps.files) else None


def _matched(images: Group, maps: Group, suffixes: tuple[str, str], by: tuple[bool, bool]) -> Match | None:
    known = [
        [file for file in group.files if file.stem.endswith(suffix)]
        for group, suffix in zip((images, maps), suffixes, strict=True)
    ]
    ours, theirs = (
        {_key(file, suffix, *by): file for file in files} for files, suffix in zip(known, suffixes, strict=True)
    )
    if (len(ours), len(theirs)) != tuple(map(len, known)):
        return None  # several files of one key
    if len(ours) <= len(images.files) * LEAST_SHARE or len(theirs) < len(maps.files):
        return None  # most have other suffixes
    both = ours.keys() & theirs.keys()
    if not both:
        return None
    counts = Counter(_side(ours[key], theirs[key]) for key in both)
    alone = [Counter(file.split or _PLAIN for key, file in each.items() if key not in both) for each in (ours, theirs)]
    return Match(images, maps, *suffixes, dict(counts), dict(alone[0]), dict(alone[1]))


def _side(image: File, labels: File) -> Split:
    return image.split or labels.split or _PLAIN


def _key(file: File, suffix: str, by_split: bool, by_wild: bool) -> Key:
    stem = file.stem[: len(file.stem) - len(suffix)]
    side = file.split.side if file.split and by_split else None
    return (side, file.wild if by_wild else (), stem)


def _suffixes(images: Group, maps: Group) -> Iterator[tuple[str, str]]:
    known = [("", ""), (images.suffix, maps.suffix), ("", maps.suffix), (images.suffix, "")]
    yield from dict.fromkeys([*known, *_voted(images.files, maps.files)])


def _voted(images: Sequence[File], maps: Sequence[File]) -> list[tuple[str, str]]:
    """What stands behind the longest common beginning of a map's name and a photo's, where most say the same."""
    stems = sorted({file.stem for file in images})
    votes: Counter[tuple[str, str]] = Counter()
    for position in spread(len(maps), VOTES):
        stem = maps[position].stem
        place = bisect_left(stems, stem)
        near = stems[max(place - 1, 0) : place + 1]
        shared, other = max((_num_shared(stem, each), each) for each in near)
        cut = _at_a_boundary(shared, stem, other)
        if cut:
            votes[other[cut:], stem[cut:]] += 1
    return [suffixes for suffixes, _ in votes.most_common(2)]


def _num_shared(one: str, other: str) -> int:
    """How many letters they begin alike with."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _at_a_boundary(cut: int, *names: str) -> int:
    """As many letters, at most `cut`, as end a word in both names."""
    while cut and any(len(name) > cut and name[cut] not in _BETWEEN for name in names):
        cut -= 1
    return cut
