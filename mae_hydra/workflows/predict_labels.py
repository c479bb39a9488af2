"""How predicted class maps are written: the number of each class, its colour, and the table that says so.

Shape letters: C classes, H W pixels.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mae_hydra import atomic
from mae_hydra.data.labels.coding import coding_of
from mae_hydra.errors import UserError
from mae_hydra.owned import Owned
from mae_hydra.weights import Checkpoint

TABLE = "classes.json"  # beside the maps: {"names": [...], "palette": [[r, g, b], ...], "stored": [...]}


class LabelFiles:
    """Indexed PNGs, in which class k has the number `stored[k]`, uint8 (C,): k, or with `as_stored` what the data set
    that the model was trained on has for it. Numbers above 255 are grey levels of 16 bits, without colours."""

    def __init__(
        self, checkpoint: Checkpoint, class_names: Sequence[str], palette: np.ndarray, *, as_stored: bool
    ) -> None:
        self.class_names, self.palette = class_names, palette
        self.stored = (
            _stored(checkpoint, class_names)
            if as_stored
            else np.arange(len(class_names), dtype=np.uint8 if len(class_names) <= 256 else np.uint16)
        )
        self.colours = np.zeros((256 if self.stored.dtype == np.uint8 else 2**16, 3), np.uint8)
        self.colours[self.stored] = palette

    def picture(self, classes: np.ndarray) -> Image.Image:
        """A class map (H, W) as an indexed picture; viewers show the colours of the classes."""
        values = np.ascontiguousarray(self.stored[classes])
        if values.dtype == np.uint16:
            return Image.fromarray(values)
        picture = Image.frombytes("P", classes.shape[::-1], values.tobytes())
        picture.putpalette(self.colours[: int(self.stored.max()) + 1].ravel().tolist())
        return picture

    def check(self, folder: Path) -> None:
        """UserError where the maps in `folder` are of other classes, or written with other numbers."""
        file = folder / TABLE
        if file.is_file() and file.read_text(encoding="utf-8") != self._table():
            raise UserError(
                f"{file} tells of other classes or other numbers than these maps will have; give another --out, or "
                "--overwrite"
            )

    def write_table(self, folder: Path, owned: Owned) -> None:
        """`classes.json`: names and colours, as beside a data set, and the number that stands for each class."""
        file = folder / TABLE
        if not file.is_file() or file.read_text(encoding="utf-8") != self._table():
            folder.mkdir(parents=True, exist_ok=True)
            with atomic.writing(owned.claim(file)) as temporary:
                temporary.write_text(self._table(), encoding="utf-8")

    def _table(self) -> str:
        rows = {"names": list(self.class_names), "palette": self.palette.tolist(), "stored": self.stored.tolist()}
        return json.dumps(rows, ensure_ascii=False) + "\n"


def _stored(checkpoint: Checkpoint, class_names: Sequence[str]) -> np.ndarray:
    data: Any = (checkpoint.meta.get("config") or {}).get("data")
    if not isinstance(data, dict):
        raise UserError(
            f"--as-stored: {checkpoint.path} does not tell how its data set stores labels; leave it out, class k is "
            f"then written as k, or give a run of this program"
        )
    reduced, ignored = bool(data.get("reduce_zero_label")), int(data.get("ignore_index", 255))
    if data.get("colours"):
        raise UserError(
            "--as-stored: the data set of the training stores colors; leave it out, the maps have the colors of the "
            "classes as their palette"
        )
    told: dict[str, Any] = {"values": data.get("values"), "ignore_values": data.get("ignore_values") or ()}
    try:
        coding = coding_of(
            num_classes=len(class_names), names=class_names, ignore_index=ignored, reduce_zero_label=reduced, **told
        )
        if coding.wide:
            return _of_spans(coding.wide, len(class_names))
        return coding.reading.table().stored()
    except ValueError as error:
        raise UserError(f"--as-stored: {error}; leave it out, class k is then written as k") from error


def _of_spans(spans: Sequence[tuple[tuple[int, int], int]], num_classes: int) -> np.ndarray:
    """uint16 (C,): the smallest stored number of each class; ValueError where a class has none."""
    found: dict[int, int] = {}
    for (low, _), number in spans:
        found[number] = min(low, found.get(number, low))
    if missing := sorted(set(range(num_classes)) - set(found)):
        raise ValueError(f"no stored value means class {missing[0]}")
    return np.array([found[number] for number in range(num_classes)], np.uint16)
