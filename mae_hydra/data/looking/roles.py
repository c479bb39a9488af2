"""Which pictures are class maps, and of which photos: by their names, and by what is in them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mae_hydra.data.dataset import spread
from mae_hydra.data.looking.pairing import Match, match
from mae_hydra.data.looking.pixels import Budget, Look, look_at
from mae_hydra.data.looking.places import File, Group, role_of

FIRST = 6  # pictures of a group by which its role is told
_RANKS = ("trainid", "manual", "gt", "label", "ann", "seg", "")  # of several maps of the same photos
_LAST = ("colo", "instance", "depth")


def told_apart(
    groups: Sequence[Group], looks: Mapping[int, list[Look]]
) -> tuple[list[Group], list[Group], list[Match]]:
    """Photos, class maps, and how these pair. What only looks like class maps and pairs with nothing is photos, where
    it lies among such or alone: digits and drawings have few values too."""
    maps = [group for group in groups if id(group) in looks and _is_map(group, looks[id(group)])]
    unnamed = [group for group in maps if group.hint() != "map"]
    if unnamed and len(maps) == len(groups) > 1:  # too small or too plain to tell by themselves
        photo = max(unnamed, key=lambda group: _variety(looks[id(group)]))
        maps = [group for group in maps if group is not photo]
    plain = {file for group in maps if _is_plain(looks[id(group)]) for file in group.files}
    matches = _matches(_but(groups, maps), maps, plain)
    paired = {file for pair in matches for file in pair.maps.files}
    places = {group.folder for group in _but(groups, maps)}
    maps = [
        group
        for group in maps
        if group.hint() == "map" or paired.intersection(group.files) or (places and group.folder not in places)
    ]
    return _joined(_but(groups, maps)), maps, matches


def are_plainly_apart(groups: Sequence[Group], looks: Mapping[int, list[Look]]) -> bool:
    """Whether some groups are class maps and the others photos by what is in them alone, all of the same sizes."""
    every = [looks.get(id(group), []) for group in groups]
    maps = [those for those in every if all(look.is_map_like() for look in those)]
    photos = [those for those in every if not any(look.is_map_like() for look in those)]
    sizes = [{look.size for those in part for look in those} for part in (maps, photos)]
    return all(every) and bool(maps and photos) and len(maps) + len(photos) == len(every) and sizes[0] == sizes[1]


def _but(groups: Sequence[Group], others: Sequence[Group]) -> list[Group]:
    left_out = set(map(id, others))
    return [group for group in groups if id(group) not in left_out]


def first_looks(root: Path, group: Group, budget: Budget) -> list[Look]:
    return read(root, [group.files[place] for place in spread(len(group.files), FIRST)], budget, _wanted(group))


def _wanted(group: Group) -> bool | None:
    """Whether JPEGs are decoded as well: those that are called class maps."""
    return True if group.hint() == "map" else None


def read(root: Path, files: Iterable[File], budget: Budget, as_map: bool | None) -> list[Look]:
    looks: list[Look] = []
    for file in files:
        if looks and budget.spent():
            break
        looks.append(look_at(root / file.path, file.path, budget, as_map=as_map))
    return looks


def _is_map(group: Group, looks: Sequence[Look]) -> bool:
    """By what is in them; the name decides where that says nothing."""
    hint, like = group.hint(), sum(look.is_map_like() for look in looks)
    if hint == "map":
        told = any(look.values or look.colours for look in looks)
        return not told or 2 * like >= len(looks) or any(ending in (".jpg", ".jpeg") for ending in group.endings)
    return hint is None and 2 * like > len(looks)


def _is_plain(looks: Sequence[Look]) -> bool:
    """Whether one value is all that was seen in them."""
    return len({value for look in looks for value in (look.values or look.colours or {})}) == 1


def _variety(looks: Sequence[Look]) -> tuple[bool, int]:
    """How little the pictures look like class maps: whether other than pure colours are in them, and how many."""
    colours = {colour for look in looks for colour in (look.colours or look.values or {})}
    pure = all(part in (0, 255) for colour in colours for part in (colour if isinstance(colour, tuple) else (colour,)))
    return not pure, len(colours)


def _joined(groups: Sequence[Group]) -> list[Group]:
    """Files of one place, whatever their ending and those suffixes that do not say what they are ("_left")."""
    places: dict[tuple[tuple[str, ...], str], list[Group]] = {}
    for group in groups:
        named = group.suffix if role_of(group.suffix) else ""
        places.setdefault((group.folder, named), []).append(group)
    return [
        Group(
            folder,
            suffix,
            tuple(sorted({e for g in those for e in g.endings})),
            tuple(f for g in those for f in g.files),
        )
        if len(those) > 1
        else those[0]
        for (folder, suffix), those in places.items()
    ]


def union(folder: tuple[str, ...], suffix: str, groups: Sequence[Group]) -> Group:
    endings = sorted({ending for group in groups for ending in group.endings})
    return Group(folder, suffix, tuple(endings), tuple(file for group in groups for file in group.files))


def _with_joined(groups: Sequence[Group]) -> list[Group]:
    joined = _joined(groups)
    known = set(map(id, joined))
    return [*joined, *(group for group in groups if id(group) not in known)]


def _matches(photos: Sequence[Group], maps: Sequence[Group], plain: set[File]) -> list[Match]:
    """The pairings of the best photos, the likeliest class maps first, those of one value last. Suffixes may be a part
    of the stem or not."""
    images, labels = _with_joined(photos), _with_joined(maps)
    found = [pair for each in labels for group in images if (pair := match(group, each))]
    if not found:
        return []
    # Of all pairs those of one set of photos.
    found.sort(
        key=lambda pair: (
            plain.issuperset(pair.maps.files),
            2 * pair.total < len(pair.images.files),
            _rank(pair.maps),
            -pair.total,
            pair.images.hint() != "image",
            pair.images.folder,
        )
    )
    best, *rest = (pair for pair in found if pair.images is found[0].images)
    used = set(best.maps.files)
    return [best, *(pair for pair in rest if used.isdisjoint(pair.maps.files))]


def _rank(maps: Group) -> int:
    """How likely maps are those of classes; what a folder is called counts before what files are."""
    places = "/".join(maps.folder).lower(), maps.suffix.lower()
    if last := [place for place in places if any(word in place for word in _LAST)]:
        return len(_RANKS) + (last[0] is places[0])
    return next(number for number, word in enumerate(_RANKS) if word in "/".join(places))
