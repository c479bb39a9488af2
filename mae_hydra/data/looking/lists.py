"""Text files that name pictures: one stem or path a line, or a photo and its class map, or a photo and its class."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from mae_hydra.data.listing import WITH_ARRAYS
from mae_hydra.data.looking.found import Found
from mae_hydra.data.looking.walk import walk
from mae_hydra.data.readers.split_lists import ENDINGS
from mae_hydra.data.readers.text_cells import is_pictured, rows_of, text_of
from mae_hydra.errors import UserError

CLASS_HEADS = ("class", "label", "category", "target", "class_name", "classname", "label_name", "class_id", "wnid")
MOST_LISTS = 12  # that are opened
MOST_LINES = 200  # that are looked at
MOST_BYTES = 2**16  # of a list that is read
MOST_NEAR, SECONDS = 100_000, 10.0  # files beside a list that are looked for


def lines_of(root: Path, files: Iterable[str], pictures: Sequence[str]) -> dict[str, str]:
    """The lists among `files`, and what each of their lines is, in words."""
    names = {PurePosixPath(path).name for path in pictures}
    stems = {PurePosixPath(path).stem for path in pictures}
    found: dict[str, str] = {}
    for file in _first_lists(files):
        rows = _rows(root / file)
        if kind := _kind(rows, names, stems):
            found[file] = kind
    return found


def class_lists_of(root: Path, files: Iterable[str], pictures: Sequence[str]) -> dict[str, tuple[int | str, int | str]]:
    """The lists that tell a class of each picture, and in which columns: numbers, or headings where there are some."""
    names = {name for path in pictures for name in (PurePosixPath(path).name, PurePosixPath(path).stem)}
    found: dict[str, tuple[int | str, int | str]] = {}
    for file in _first_lists(files):
        rows = _rows(root / file) or []
        width = min((len(row) for row in rows), default=0)
        known = [sum(PurePosixPath(row[place]).name in names for row in rows) for place in range(width)]
        named = [place for place, count in enumerate(known) if 2 * count > len(rows)]
        if width < 2 or not named or sum(is_pictured(rows[-1][place]) for place in named) > 1:
            continue
        image = max(named, key=lambda place: len({row[place] for row in rows}))
        headed = len(rows) > 1 and PurePosixPath(rows[0][image]).name not in names
        heads = [cell.lower() for cell in rows[0]] if headed else []
        told = [place for place, head in enumerate(heads) if head in CLASS_HEADS]
        after = [*range(image + 1, width), *range(image)]
        place = told[0] if told else next((p for p in after if _repeats([row[p] for row in rows[headed:]])), after[0])
        found[file] = (rows[0][image], rows[0][place]) if headed else (image, place)
    return found


def _repeats(cells: Sequence[str]) -> bool:
    """Whether what stands in a column may be classes: several, and each of several pictures."""
    return 1 < len(set(cells)) <= len(cells) / 2


def _first_lists(files: Iterable[str]) -> list[str]:
    """Those that are opened: the outer ones first."""
    lists = [path for path in files if path.lower().endswith(ENDINGS)]
    return sorted(lists, key=lambda path: (path.count("/"), path))[:MOST_LISTS]


def look_at_list(path: Path) -> Found:
    """A list by itself: what its lines are, and whether the files that it names are there."""
    rows = _rows(path)
    if rows is None or not rows:
        raise UserError(f"{path} is no list of pictures: it holds no lines of text; give a folder or a tar")
    near = walk(path.parent, most=MOST_NEAR, seconds=SECONDS).files
    pictures = [name for name in near if name.lower().endswith(WITH_ARRAYS)]
    kind = _kind(rows, {PurePosixPath(name).name for name in pictures}, {PurePosixPath(name).stem for name in pictures})
    notes = []
    if kind:
        wanted = [cell for row in rows for cell in row if is_pictured(cell)]
        gone = [cell for cell in wanted if not (path.parent / cell).is_file()]
        if gone:
            notes.append(
                f"{len(gone)} of {len(wanted)} files that were looked for are not below {path.parent}: {gone[0]}"
            )
    return Found(path, "list", lists={path.name: kind or "lines of text, no names of pictures"}, notes=tuple(notes))


def _rows(path: Path) -> list[list[str]] | None:
    """The first lines in cells; None where it is no text. What is not in UTF-8 is said by who reads all of it."""
    try:
        with path.open("rb") as file:
            head = file.read(MOST_BYTES)
        try:
            text = text_of(head, cut=len(head) == MOST_BYTES)
        except ValueError:
            text = head.decode("cp1252")
        lines = text.splitlines()
        if len(head) == MOST_BYTES and len(lines) > 1:
            lines.pop()  # cut anywhere
        return [[cell.replace("\\", "/").lstrip("/") for cell in row] for row in rows_of(lines[:MOST_LINES])]
    except (OSError, ValueError):
        return None


def _kind(rows: list[list[str]] | None, names: set[str], stems: set[str]) -> str:
    """What most lines are, "" where they name no picture that is there."""
    if not rows:
        return ""
    width = max(len(row) for row in rows)
    known = [
        sum(len(row) > place and PurePosixPath(row[place]).name in names for row in rows) for place in range(width)
    ]
    paths = [place for place in range(width) if 2 * known[place] > len(rows)]
    count = f"{len(rows)}{' or more' if len(rows) == MOST_LINES else ''} lines"
    if len(paths) >= 2:
        return f"{count}, a photo and its class map each"
    if paths and width > 1:
        return f"{count}, a picture and {'a class' if width == 2 else f'{width - 1} other words'} each"
    if paths:
        return f"{count}, a picture each"
    ordered = sorted(stems)
    if 2 * sum(_is_stem(row[0], ordered) for row in rows) > len(rows):
        return f"{count}, the name of a picture without its ending each"
    return ""


def _is_stem(cell: str, stems: Sequence[str]) -> bool:
    """Whether it is one of the sorted `stems`, or one without what follows a word in it ("a_1" of "a_1_img")."""
    name = PurePosixPath(cell).name
    place = bisect_left(stems, name)
    near = stems[place] if place < len(stems) else ""
    return bool(name) and near.startswith(name) and (near == name or near[len(name)] in "_-.")
