"""Lines of text in cells, as people and spreadsheets write them: at commas, semicolons, tabs or blanks."""

import codecs
import csv
from collections.abc import Iterable, Sequence

from mae_hydra.data.listing import WITH_ARRAYS

MOST_OF_A_CELL = 2**28  # letters: run-length codes of masks stand in such
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # of Excel's "Unicode text"


def text_of(encoded: bytes, *, cut: bool = False) -> str:
    """The text of a file in UTF-8 or, where it begins as such, UTF-16; ValueError saying what to do about another.

    `cut`: it is the beginning of a file, which may end within a letter.
    """
    encoding = "utf-16" if encoded.startswith(_UTF_16) else "utf-8-sig"
    try:
        return codecs.getincrementaldecoder(encoding)().decode(encoded, not cut)
    except UnicodeDecodeError as error:
        line = encoded[: error.start].count(b"\n") + 1
        raise ValueError(f"line {line} is not in UTF-8: save it so (in Excel as CSV UTF-8)") from error


def separator_of(lines: Sequence[str]) -> str:
    """A comma; a semicolon (Excel's in much of Europe) or tab that every line has, where not every one has a comma."""
    commas = all("," in line for line in lines)
    return next((each for each in (";", "\t") if lines and not commas and all(each in line for line in lines)), ",")


def rows_of(lines: Iterable[str]) -> list[list[str]]:
    """The cells of each line that is neither empty nor a comment."""
    wanted = _told([line for line in lines if not line.lstrip().startswith("#")])
    separator = separator_of(wanted)
    return [_cells_of(line, separator) for line in wanted]


def table_rows(text: str) -> list[list[str]]:
    """The cells of each line of a table, between separators alone; lines without any are left out."""
    lines = _told(text.splitlines())
    return [row for row in _split(lines, separator_of(lines)) if any(row)]


def _told(lines: Iterable[str]) -> list[str]:
    """Those that say something, without what Excel is told by some in the first."""
    wanted = [line for line in lines if line.strip()]
    return wanted[1:] if wanted and wanted[0].strip().lower() in ("sep=;", "sep=,") else wanted


def _split(lines: Iterable[str], separator: str) -> list[list[str]]:
    """Cells that may stand in quotes; ValueError where one has no end."""
    csv.field_size_limit(MOST_OF_A_CELL)
    try:
        return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator, skipinitialspace=True)]
    except csv.Error as error:
        raise ValueError(str(error)) from error


def is_pictured(cell: str) -> bool:
    """Whether it is the name of a file with a picture."""
    return cell.lower().endswith(WITH_ARRAYS)


def _cells_of(line: str, separator: str) -> list[str]:
    """Cut at separators, else at tabs, else at blanks that are in no picture's name."""
    if separator in line:
        return _split([line], separator)[0]
    if "\t" in line:
        return [cell.strip().strip('"') for cell in line.split("\t")]
    cells = [cell.strip('"') for cell in line.split()]
    pictured = [place for place, cell in enumerate(cells) if is_pictured(cell)]
    if len(pictured) == 1:  # a name may have blanks in it
        last = pictured[0] + 1
        return [" ".join(line.split()[:last]).strip('"') if last < len(cells) else line.strip(), *cells[last:]]
    return cells
