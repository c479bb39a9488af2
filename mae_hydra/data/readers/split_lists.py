"""Files that say which pictures a split consists of: a name a line, or a photo and its class map or its class.

Names are stems or paths, with or without suffix and ending; paths may begin on another machine.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

from mae_hydra.data.listing import WITH_ARRAYS
from mae_hydra.data.readers.text_cells import is_pictured, rows_of, text_of
from mae_hydra.errors import UserError

ENDINGS = (".txt", ".csv", ".lst", ".list", ".tsv")
MOST_BYTES = 2**28
Columns = tuple[int | str, int | str]
USUAL: Columns = (0, 1)


class Entry(NamedTuple):
    """One line: a photo, and its class map or its class ("": not told)."""

    image: str
    map: str = ""
    label: str = ""


def entries_of(root: Path, told: str, split: str, columns: Columns = USUAL) -> list[Entry]:
    """What a list names, in order; `told` itself where it is no name of a list. UserError where there is no such file.

    `split`: what stands for {split} in it. `columns`: where the photo stands and where what belongs to it, by number
    from 0 or by the heading.
    """
    name = told.replace("{split}", split)
    if not name.lower().endswith(ENDINGS):
        return [Entry(name)]
    path = root / Path(name).expanduser()
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"the list {path} is larger than {MOST_BYTES >> 20} MiB; is it one?")
        rows = rows_of(text_of(path.read_bytes()).splitlines())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot read the list {path}: {reason}; lists lie below data.root, data.lists says where"
        ) from error
    image, other = (_place(column, rows, path) for column in columns)
    headed = name.lower().endswith((".csv", ".tsv")) and len(rows) > 1
    if any(isinstance(column, str) for column in columns) or (
        headed and not is_pictured(_at(rows[0], image)) and is_pictured(_at(rows[1], image))
    ):
        rows = rows[1:]  # a line of headings
    if not rows:
        raise UserError(f"the list {path} names nothing; write a name a line, or correct data.lists")
    for column, place in zip(columns, (image, other), strict=True):
        widest = max(map(len, rows))
        if place >= widest and column not in USUAL:  # a list of names alone has one
            raise UserError(
                f"the list {path} has no column {column}: its lines have {widest}, counted from 0; correct data.columns"
            )
    return [_entry(_at(row, image), _at(row, other)) for row in rows]


def _place(column: int | str, rows: Sequence[Sequence[str]], path: Path) -> int:
    if isinstance(column, int):
        return column
    heads = [cell.lower() for cell in rows[0]] if rows else []
    if column.lower() not in heads:
        shown = ", ".join(rows[0]) if rows else "none"
        raise UserError(f"the list {path} has no column {column}; its first line is: {shown}; correct data.columns")
    return heads.index(column.lower())


def _at(row: Sequence[str], place: int) -> str:
    return row[place] if place < len(row) else ""


def _entry(image: str, other: str) -> Entry:
    return Entry(image, other) if is_pictured(image) and is_pictured(other) else Entry(image, label=other)


def chosen(wanted: Sequence[str], keys: Sequence[str], suffix: str) -> list[str | None]:
    """For each name of a list the one of `keys` that it means; None where none or several fit.

    A name fits a key that it is or ends with, or that ends with it where no other does.
    """
    known = set(keys)
    by_last: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        by_last[key.rpartition("/")[2]].append(key)

    def meant(name: str) -> str | None:
        stem = _stem(name, suffix)
        parts = stem.split("/")
        fits = [each for start in range(len(parts)) if (each := "/".join(parts[start:])) in known][:1]
        fits = fits or [key for key in by_last[parts[-1]] if f"/{key}".endswith(f"/{stem}")]
        return fits[0] if len(fits) == 1 else None

    return [meant(name) for name in wanted]


def _stem(name: str, suffix: str) -> str:
    text = normalize("NFC", name).replace("\\", "/").strip("/").removeprefix("./")
    if text.lower().endswith(WITH_ARRAYS):
        text = text.rpartition(".")[0]
    ending = next((each for each in WITH_ARRAYS if suffix.lower().endswith(each)), "")
    of_stem = suffix[: len(suffix) - len(ending)]
    return text.removesuffix(of_stem) if of_stem else text
