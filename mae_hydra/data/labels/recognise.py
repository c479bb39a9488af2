"""Whether label maps are among photos: who points `data=folder` at a folder of both would train on the maps too."""

import shlex
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from mae_hydra.data.dataset import spread
from mae_hydra.data.decoding.opening import opened
from mae_hydra.data.listing import JPEG_ENDINGS

SAMPLE = 32  # pictures that are looked at
MOST_PIXELS = 2**26  # of them together
MOST_COLOURS = 32  # of a label map
LEAST_PIXELS = 256  # smaller pictures have few colours anyway
LEAST_SHARE = 0.25  # of the pictures


def label_like_note(root: Path, names: Sequence[str]) -> list[str]:
    """One line where a quarter or more of the pictures look like label maps: few grey levels or colours, no JPEGs."""
    able = [name for name in names if not name.lower().endswith(JPEG_ENDINGS)]
    found: list[str] = []
    seen = pixels = 0
    for position in spread(len(able), SAMPLE):
        name = able[position]
        if pixels > MOST_PIXELS:
            break
        try:
            with opened(root / name) as picture:
                pixels += picture.size[0] * picture.size[1]
                seen += 1
                if _is_label_like(picture):
                    found.append(name)
        except Exception:  # whatever it is, it is said when it is to be trained on
            continue
    about = round(len(able) * len(found) / max(seen, 1))
    if about < LEAST_SHARE * len(names) or not found:
        return []
    beside = _photo_beside(found[0], names)
    return [
        f"warning: about {about} of {len(names)} pictures in {root} look like label maps, with few gray levels or "
        f"colors: {found[0]}{f' beside {beside}' if beside else ''} for one; give the photos' folder alone with "
        f"data.root=<folder>, or take what `mae-hydra check-data {shlex.quote(str(root))}` says for the photos alone"
    ]


def _is_label_like(picture: object) -> bool:
    values = np.asarray(picture)
    if values.shape[0] * values.shape[1] < LEAST_PIXELS:
        return False
    if values.ndim == 3:
        colours = values.reshape(-1, values.shape[2]).astype(np.uint64)
        values = (colours << (8 * np.arange(values.shape[2], dtype=np.uint64))).sum(1)
    return len(np.unique(values)) <= MOST_COLOURS


def _photo_beside(name: str, names: Sequence[str]) -> str | None:
    """Another picture that is called the same but for its folder and ending."""
    stem = PurePosixPath(name).stem
    same = [other for other in names if other != name and PurePosixPath(other).stem == stem]
    photos = [other for other in same if other.lower().endswith(JPEG_ENDINGS)]
    return next(iter([*photos, *same]), None)
