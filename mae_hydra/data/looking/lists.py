"""Text files that name pictures: one stem or path a line, or a photo and its class map, or a photo and its class."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from mae_hydra.data.listing import EXTENSIONS
from mae_hydra.data.looking.found import Found
from mae_hydra.data.looking.walk import walk
from mae_hydra.errors import UserError

ENDINGS = (".txt", ".csv", ".lst", ".list", ".tsv")
MOST_LISTS = 12  # that are opened
MOST_LINES = 200  # that are looked at
MOST_BYTES = 2**16  # of a list that is read
MOST_NEAR, SECONDS = 100_000, 10.0  # files beside a list that are looked for


def lines_of(root: Path, files: Iterable[str], pictures: Sequence[str]) -> dict[str, str]:
    """The lists among `files`, and what each of their lines is, in words."""
    names = {PurePosixPath(path).name for path in pictures}
    stems = {PurePosixPath(path).stem for path in pictures}
    found: dict[str, str] = {}
    for file in [path for path in files if path.lower().endswith(ENDINGS)][:MOST_LISTS]:
        rows = _rows(root / file)
        if kind := _kind(rows, names, stems):
            found[file] = kind
    return found


def look_at_list(path: Path) -> Found:
    """A list by itself: what its lines are, and whether the files that it names are there."""
    rows = _rows(path)
    if rows is None or not rows:
        raise UserError(f"{path} is no list of pictures: it holds no lines of text; give a folder or a tar")
    near = walk(path.parent, most=MOST_NEAR, seconds=SECONDS).files
    pictures = [name for name in near if name.lower().endswith(EXTENSIONS)]
    kind = _kind(rows, {PurePosixPath(name).name for name in pictures}, {PurePosixPath(name).stem for name in pictures})
    notes = []
    if kind:
        wanted = [cell for row in rows for cell in row if _pictured(cell)]
        gone = [cell for cell in wanted if not (path.parent / cell).is_file()]
        if gone:
            notes.append(
                f"{len(gone)} of {len(wanted)} files that were looked for are not below {path.parent}: {gone[0]}"
            )
    return Found(path, "list", lists={path.name: kind or "lines of text, no names of pictures"}, notes=tuple(notes))


def _rows(path: Path) -> list[list[str]] | None:
    """The first lines in cells; None where it is no text."""
    try:
        with path.open("rb") as file:
            head = file.read(MOST_BYTES)
        text = head.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
    lines = [line for line in text.splitlines()[:MOST_LINES] if line.strip() and not line.startswith("#")]
    cut = "," if any("," in line for line in lines[:3]) else "\t" if any("\t" in line for line in lines[:3]) else None
    return [[cell.strip().lstrip("/") for cell in line.split(cut)] for line in lines]


def _pictured(cell: str) -> bool:
    return cell.lower().endswith(EXTENSIONS)


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
