"""Files of one purpose, by where they lie and how they are called: which part of a path is a split, a role, a suffix.

Nothing is opened here.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from mae_hydra.data.looking.found import Split
from mae_hydra.data.shards.files import SPLIT_WORDS

Role = Literal["image", "map"]
Path_ = tuple[str, ...]

_WORDS = "training|train|validation|valid|val|dev|testing|test"
_GLUED = "annot|label|mask|gt|image|img"  # CamVid's trainannot
_SPLIT = re.compile(rf"(?<![a-z])({_WORDS})(?![a-z])|^({_WORDS})(?=(?:{_GLUED})[a-z]*$)", re.IGNORECASE)
_MAP = re.compile(
    r"mask|label|annot|(?<![a-z])ann(?![a-z])|(?<![a-z])gts?(?![a-z])|gtfine|gtcoarse|truth|segm|"
    r"(?<![a-z])seg(?![a-z])|manual|targets?(?![a-z])|colou?rmap|trainid|instance|(?<![a-z])maps?(?![a-z])"
)
_IMAGE = re.compile(
    r"image|(?<![a-z])ims?gs?(?![a-z])|imgs?(?![a-z])|leftimg|photo|picture|rgb|(?<![a-z])sat(?![a-z])|"
    r"input|frame|ortho"
)
_LAST_WORDS = re.compile(r"(?:[_\-. ][^_\-. ]*[A-Za-z][^_\-. ]*)+$")
_BETWEEN = "_-. "
_LEAST_SHARE = 0.1  # of the files of a folder that a suffix has


class File(NamedTuple):
    """`split`: None without one. `wild`: the folders that `*` stands for. `stem`: the name without its ending."""

    path: str
    split: Split | None
    wild: Path_
    stem: str


@dataclass(frozen=True)
class Group:
    """Files `<folder>/<stem><suffix><ending>`; the stems of `files` still have the suffix."""

    folder: Path_
    suffix: str
    endings: tuple[str, ...]
    files: tuple[File, ...]

    def hint(self) -> Role | None:
        """What the names say: the suffix first, then the folders from the inside."""
        named = (role_of(text) for text in (self.suffix, *reversed(self.folder)))
        return next((role for role in named if role), None)


def role_of(text: str) -> Role | None:
    text = text.lower()
    return "map" if _MAP.search(text) else "image" if _IMAGE.search(text) else None


def split_of(name: str) -> tuple[str, Split] | None:
    """A folder's name with `{split}` in place of its split, and the split; None where it has none."""
    found = _SPLIT.search(name)
    if found is None:
        return None
    word = found[0]
    side = next((side for side, words in SPLIT_WORDS.items() if word.lower() in words), "train")
    return f"{name[: found.start()]}{{split}}{name[found.end() :]}", Split(side, word)


def groups_of(paths: Iterable[str], *, apart: bool = False) -> list[Group]:
    """The files in groups; each ending apart. `apart`: folders whose files have the same names are no classes, whatever
    they are called."""
    placed: dict[str, list[str]] = defaultdict(list)  # names by folder: millions of files lie in few folders
    for path in paths:
        folder, _, name = path.rpartition("/")
        placed[folder].append(name)
    known = {folder: _with_split(folder.split("/") if folder else []) for folder in placed}
    stems: dict[Path_, set[str]] = defaultdict(set)
    for folder, names in placed.items():
        stems[known[folder][0]] |= {name.rpartition(".")[0] for name in names}
    merged = _merged(stems, apart)
    by_ending: dict[tuple[Path_, str], list[File]] = defaultdict(list)
    for folder, names in placed.items():
        place, split = known[folder]
        pattern = merged[place]
        wild = tuple(name for name, each in zip(place, pattern, strict=True) if each == "*")
        for name in names:
            stem, _, ending = name.rpartition(".")
            by_ending[pattern, f".{ending.lower()}"].append(File(f"{folder}/{name}".lstrip("/"), split, wild, stem))
    groups = []
    for (pattern, ending), of_ending in sorted(by_ending.items()):
        for suffix, files in sorted(_by_suffix(of_ending).items()):
            groups.append(Group(pattern, suffix, (ending,), tuple(files)))
    return groups


def _with_split(folders: Sequence[str]) -> tuple[Path_, Split | None]:
    for position, name in enumerate(folders):
        found = split_of(name)
        if found:
            return (*folders[:position], found[0], *folders[position + 1 :]), found[1]
    return tuple(folders), None


def _merged(stems: Mapping[Path_, set[str]], apart: bool) -> dict[Path_, Path_]:
    """Each folder, with `*` where several folders of one kind lie beside one another."""
    has_maps = any(role_of(name) == "map" for place in stems for name in place)

    def alternatives(above: Path_, places: Sequence[Sequence[Path_]]) -> bool:
        """Whether these are several forms of the same pictures (two seasons, two sets of classes)."""
        if not apart and (not has_maps or not (any(role_of(name) for name in above) or _are_maps(places))):
            return False
        sets = [frozenset(stem for place in each for stem in stems[place]) for each in places]
        return all(2 * len(sets[0] & other) > len(sets[0] | other) for other in sets[1:])

    return _merge(list(stems), (), alternatives)


def _are_maps(places: Sequence[Sequence[Path_]]) -> bool:
    """Whether maps lie in each of some folders, and photos in none (Mapillary's v1.2/labels and v2.0/labels)."""
    roles = [{role_of(name) for place in each for name in place} for each in places]
    return all("map" in each and "image" not in each for each in roles)


def _merge(
    places: Sequence[Path_], above: Path_, alternatives: Callable[[Path_, Sequence[Sequence[Path_]]], bool]
) -> dict[Path_, Path_]:
    depth = len(above)
    result = {place: place for place in places if len(place) == depth}
    children: dict[str, list[Path_]] = defaultdict(list)
    for place in places:
        if len(place) > depth:
            children[place[depth]].append(place)
    inner = {name: _merge(those, (*above, name), alternatives) for name, those in children.items()}
    alike: dict[frozenset[Path_], list[str]] = defaultdict(list)
    for name, below in inner.items():
        if role_of(name) is None and "{split}" not in name:
            alike[frozenset(place[depth + 1 :] for place in below.values())].append(name)
    starred: set[str] = set()
    for names in alike.values():
        if len(names) > 1 and not alternatives(above, [children[name] for name in names]):
            starred |= set(names)
    for name, below in inner.items():
        for place, pattern in below.items():
            result[place] = (*pattern[:depth], "*", *pattern[depth + 1 :]) if name in starred else pattern
    return result


def _by_suffix(files: Sequence[File]) -> dict[str, list[File]]:
    """Files by the words at the end of their names that many share ("_gtFine_labelIds"); "" for all others."""
    suffixes = [_last_words(file.stem) for file in files]
    counts = Counter(suffix for each in suffixes for suffix in each)
    least = max(2, _LEAST_SHARE * len(files))
    found: dict[str, list[File]] = defaultdict(list)
    for file, those in zip(files, suffixes, strict=True):
        shared = (each for each in those if counts[each] >= least)
        named = (each for each in those if role_of(each) and not re.search(r"\d", each))  # of a file that is alone
        found[next(shared, "") or next(named, "")].append(file)
    return found


def _last_words(stem: str) -> list[str]:
    """The ends of a name that consist of words, "_big_label" and "_label" of "tile_07_big_label"; not with its first
    word, which names the picture."""
    found = _LAST_WORDS.search(stem)
    if found is None or not found.start():
        return []
    end = found[0]
    return [end[place:] for place, letter in enumerate(end) if letter in _BETWEEN]
