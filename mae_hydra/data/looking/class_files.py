"""Files beside pictures that tell the classes, as tools leave them (`_classes.csv`, `class_dict.csv`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mae_hydra.data.readers.class_list import class_list
from mae_hydra.errors import UserError

KNOWN = (
    "_classes.csv", "class_dict.csv", "classes.csv", "label_colors.csv",
    "class_names.txt", "classes.txt", "label_names.txt",
)  # fmt: skip
Colour = tuple[int, int, int]


class ClassFile(NamedTuple):
    """`name`: below the root. `colours`: none where the file tells none."""

    name: str = ""
    classes: tuple[str, ...] = ()
    colours: tuple[Colour, ...] = ()


def class_file_of(root: Path, files: Sequence[str]) -> ClassFile:
    """The outermost of them that can be read; an empty one where there is none, or where two name other classes."""
    named = sorted(
        (file for file in files if file.rpartition("/")[2].lower() in KNOWN), key=lambda f: (f.count("/"), f)
    )
    found: list[ClassFile] = []
    for file in named:
        try:
            told = class_list(root, file, None)
        except (UserError, ValueError):
            continue
        palette = [] if told.palette is None else told.palette.tolist()
        found.append(ClassFile(file, told.names or (), tuple((r, g, b) for r, g, b in palette)))
    return found[0] if len({each[1:] for each in found}) == 1 else ClassFile()
