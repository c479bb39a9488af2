"""What a set with class maps is told of them beside its files: `conf/data/_maps.yaml`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mae_hydra.data.labels.coding import Coding, coding_of
from mae_hydra.data.readers.class_list import class_list, names_and_palette
from mae_hydra.data.settings import FileSettings


class Maps(NamedTuple):
    """How the maps of a set are read. `named`: the set names its classes; `palette`: uint8 (C, 3)."""

    coding: Coding
    names: tuple[str, ...]
    palette: np.ndarray
    named: bool

    @property
    def facts(self) -> dict[str, Any]:
        """What `ImageData` is told of it."""
        return {
            "num_classes": len(self.names),
            "class_names": self.names,
            "palette": self.palette,
            "reading": self.coding.reading,
            "assumed_names": not self.named,
        }


@dataclass(frozen=True, kw_only=True)
class MapSettings(FileSettings):
    """Those of a set that may have class maps."""

    classes: str | Sequence[str] | None = None
    palette: str | Sequence[Any] | None = None
    values: Mapping[Any, int | str] | None = None
    colours: Mapping[Any, int | str] | None = None
    ignore_values: Sequence[int] | None = None
    reduce_zero_label: bool = False

    def maps(self, root: Path, num_classes: int, known: Sequence[str] | None = None, colours: Any = None) -> Maps:
        """`known`, `colours`: names and palette where none are told. UserError or ValueError where that cannot be."""
        told = class_list(root, self.classes, self.palette)
        if told.names is None and known is not None:
            told = told._replace(names=tuple(known))
        if told.palette is None and colours is not None and len(colours) == num_classes:
            told = told._replace(palette=np.array(colours, dtype=np.uint8).reshape(num_classes, 3))
        names, palette = names_and_palette(told, num_classes)
        coding = coding_of(
            num_classes=num_classes,
            names=told.names,
            ignore_index=self.ignore_index,
            ignore_values=self.ignore_values or (),
            reduce_zero_label=self.reduce_zero_label,
            values=self.values,
            colours=self.colours,
        )
        coding.reading.table()  # says what cannot be before any map is read
        return Maps(coding, names, palette, told.names is not None)
