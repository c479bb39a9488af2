"""What the classes of a set are called and how they are drawn: a list, a text file, `classes.json` or a CSV."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mae_hydra.data.labels.coding import colour_of
from mae_hydra.data.labels.palette import distinct_colours
from mae_hydra.data.readers.text_cells import table_rows, text_of
from mae_hydra.errors import UserError

CLASSES_FILE = "classes.json"
MOST_BYTES = 2**24
_RGB = (("r", "red"), ("g", "green"), ("b", "blue"))
_NAMES = ("name", "class", "class_name", "label", "classname")
_NUMBERS = ("id", "index", "value", "pixel value", "class_id", "train_id", "trainid")  # by which they are in order
_FORMS = (
    'a text file with a name a line, {"names": [...], "palette": [[r, g, b], ...]} in a .json, or a .csv with the '
    "columns name, r, g, b"
)


class ClassList(NamedTuple):
    """`names`: None where nothing tells them. `palette`: uint8 (C, 3), None likewise."""

    names: tuple[str, ...] | None = None
    palette: np.ndarray | None = None


def class_list(root: Path, classes: str | Sequence[str] | None, palette: str | Sequence[Any] | None) -> ClassList:
    """What `data.classes` and `data.palette` tell, and where they do not, `classes.json` in the root.

    UserError where a file cannot be read, ValueError where a colour is none.
    """
    if classes is None:
        told = _of_file(root / CLASSES_FILE) if (root / CLASSES_FILE).is_file() else ClassList()
    elif isinstance(classes, str):
        told = _of_file(root / Path(classes).expanduser())
    else:
        told = ClassList(tuple(str(name) for name in classes))
    if palette is None:
        return told
    colours = [f"#{word}" for word in palette.replace("#", " ").split()] if isinstance(palette, str) else list(palette)
    return told._replace(palette=_palette([colour_of(each, "data.palette") for each in colours]))


def names_and_palette(told: ClassList, num_classes: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Of so many classes, made up where nothing tells them; UserError where they are of another number."""
    names = told.names
    if names is not None and len(names) != num_classes:
        raise UserError(
            f"data.classes names {len(names)} classes and data.num_classes is {num_classes}; "
            f"set data.num_classes={len(names)}"
        )
    if told.palette is not None and len(told.palette) != num_classes:
        raise UserError(
            f"there {_are(len(told.palette), 'color')} for {num_classes} classes; give one each with data.palette, or "
            "null for colors made up"
        )
    palette = distinct_colours(num_classes) if told.palette is None else told.palette
    return names or tuple(f"class {number}" for number in range(num_classes)), palette


def _of_file(path: Path) -> ClassList:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} is larger than {MOST_BYTES >> 20} MiB; data.classes wants {_FORMS}")
        text = text_of(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read the class names in {path} ({reason}); data.classes wants {_FORMS}") from error
    try:
        if path.suffix.lower() == ".json":
            return _of_json(text)
        if path.suffix.lower() == ".csv":
            return _of_csv(text)
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        raise UserError(f"cannot read the class names in {path} ({error}); data.classes wants {_FORMS}") from error
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not names:
        raise UserError(f"{path} names no class; data.classes wants {_FORMS}")
    return ClassList(names)


def _of_json(text: str) -> ClassList:
    content = json.loads(text)
    if isinstance(content, list):
        return ClassList(tuple(str(name) for name in content))
    colours = content.get("palette")
    names = tuple(str(name) for name in content["names"])
    return ClassList(names, None if colours is None else _palette([colour_of(each, "palette") for each in colours]))


def _of_csv(text: str) -> ClassList:
    rows = table_rows(text)
    head = [cell.lower() for cell in rows[0]] if rows else []
    place = next((head.index(each) for each in _NAMES if each in head), None)
    colours = [next((head.index(each) for each in names if each in head), None) for names in _RGB]
    if place is None:
        if any(each is not None for each in colours) or not rows:
            raise ValueError("no column is called name")
        place = 0  # no line of headings
    else:
        rows = rows[1:]
        numbers = next((head.index(each) for each in _NUMBERS if each in head), None)
        if numbers is not None and all(row[numbers].isdecimal() for row in rows):
            rows = sorted(rows, key=lambda row: int(row[numbers]))
    names = tuple(row[place] for row in rows)
    if any(each is None for each in colours):
        return ClassList(names)
    return ClassList(
        names, _palette([colour_of([row[each] for each in colours if each is not None], "") for row in rows])
    )


def _palette(colours: Sequence[tuple[int, int, int]]) -> np.ndarray:
    return np.array(colours, dtype=np.uint8).reshape(len(colours), 3)


def _are(count: int, noun: str) -> str:
    return f"is 1 {noun}" if count == 1 else f"are {count} {noun}s"
