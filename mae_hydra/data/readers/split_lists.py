"""Files that say which pictures a split consists of: a name a line, or a photo and its class map.

Names are stems or paths, with or without suffix and ending; paths may begin on another machine.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mae_hydra.data.listing import WITH_ARRAYS
from mae_hydra.errors import UserError

ENDINGS = (".txt", ".csv", ".lst", ".list", ".tsv")
MOST_BYTES = 2**28


class Entry(NamedTuple):
    """One line: a photo, and its class map ("": not told)."""

    image: str
    map: str = ""


def entries_of(root: Path, told: str, split: str) -> list[Entry]:
    """What a list names, in order; `told` itself where it is no name of a list. UserError where there is no such file.

    `split`: what stands for {split} in it.
    """
    name = told.replace("{split}", split)
    if not name.lower().endswith(ENDINGS):
        return [Entry(name)]
    path = root / Path(name).expanduser()
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"the list {path} is larger than {MOST_BYTES >> 20} MiB; is it one?")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot read the list {path}: {reason}; lists lie below data.root, data.lists says where"
        ) from error
    rows = [_cells(line) for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if (
        name.lower().endswith((".csv", ".tsv"))
        and len(rows) > 1
        and not _pictured(rows[0][0])
        and _pictured(rows[1][0])
    ):
        rows = rows[1:]  # a line of headings
    if not rows:
        raise UserError(f"the list {path} names nothing; write a name a line, or correct data.lists")
    return [Entry(row[0], row[1] if len(row) > 1 and _pictured(row[0]) and _pictured(row[1]) else "") for row in rows]


def chosen(wanted: Sequence[str], keys: Sequence[str], suffix: str) -> tuple[list[str], list[str]]:
    """The `keys` that a list wants, in the order of the keys, and the names that fit none.

    A name fits a key that it is or ends with, or that ends with it where no other does.
    """
    known = set(keys)
    by_last: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        by_last[key.rpartition("/")[2]].append(key)
    found: set[str] = set()
    unknown: list[str] = []
    for name in wanted:
        stem = _stem(name, suffix)
        parts = stem.split("/")
        fits = [each for start in range(len(parts)) if (each := "/".join(parts[start:])) in known][:1]
        fits = fits or [key for key in by_last[parts[-1]] if f"/{key}".endswith(f"/{stem}")]
        if len(fits) == 1:
            found.add(fits[0])
        else:
            unknown.append(name)
    return [key for key in keys if key in found], unknown


def _stem(name: str, suffix: str) -> str:
    text = name.replace("\\", "/").strip("/").removeprefix("./")
    if text.lower().endswith(WITH_ARRAYS):
        text = text.rpartition(".")[0]
    ending = next((each for each in WITH_ARRAYS if suffix.lower().endswith(each)), "")
    of_stem = suffix[: len(suffix) - len(ending)]
    return text.removesuffix(of_stem) if of_stem else text


def _cells(line: str) -> list[str]:
    cut = "," if "," in line else "\t" if "\t" in line else None
    cells = [cell.strip().strip('"') for cell in line.split(cut)]
    if cut is None and _pictured(line.strip()) and sum(map(_pictured, cells)) == 1:
        return [line.strip()]  # a name with blanks in it
    return cells


def _pictured(cell: str) -> bool:
    return cell.lower().endswith(WITH_ARRAYS)
