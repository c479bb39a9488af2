"""Labels in forms that are not read, and packed files: what to do about each, in a sentence."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mae_hydra.data.readers.text_cells import rows_of, text_of

_PEEKED, _MOST_BYTES, _LINES = 3, 2**16, 8  # files of an ending that are opened, and how much of each is read
_DRAW = "draw class maps from them (PNGs of class numbers, called as their photos), and look again"
_BY_ENDING = (
    (r"\.(nii|nii\.gz|dcm|mha|mhd|nrrd)", "volumes", "write their slices as PNGs, TIFFs or arrays (.npy)"),
    (r"\.mat", "arrays of MATLAB", "write their maps as PNGs of class numbers (scipy.io.loadmat)"),
    (r"\.(geojson|shp|gpkg)", "outlines on the ground", "burn them into rasters of class numbers (gdal_rasterize)"),
    (r"\.(h5|hdf5|npz|lmdb|mdb|tfrecord|zarr)", "packed arrays", "write photos and class maps as files"),
    (r"\.(zip|rar|7z|tgz|tar\.\w+|gz|bz2|xz)", "packed files", "unpack them, and look again"),
)
_JSON = {  # what stands in it -> what it is
    ("annotations", "categories"): "outlines of objects (COCO's JSON)",
    ("info", "licenses", "images"): "outlines of objects (COCO's JSON)",
    ("shapes", "imagePath"): "outlines of objects (LabelMe's JSON)",
    ("objects", "classTitle"): "outlines of objects (Supervisely's JSON)",
    ("_via_img_metadata", "regions"): "outlines of objects (VIA's JSON)",
}
_CODES = ("rle", "encodedpixels", "encoded_pixels", "segmentation")  # columns of run lengths


def foreign_labels(root: Path, others: Sequence[str]) -> Iterator[str]:
    """What is to be said of the files `others` below `root`, which are no pictures."""
    told: set[str] = set()
    for pattern, what, way in _BY_ENDING:
        those = [file for file in others if file not in told and re.search(f"{pattern}$", file.lower())]
        told.update(those)
        if those:
            yield _sentence(those, what, way)
    for ending, kind_of in ((".json", _of_json), (".txt", _of_text), (".csv", _of_table)):
        those = [file for file in others if file.lower().endswith(ending)]
        kinds = {kind: file for file in reversed(those[:_PEEKED]) if (kind := kind_of(root / file))}
        for kind, file in kinds.items():
            yield _sentence(
                [file, *(each for each in those if each != file)] if len(kinds) == 1 else [file], kind, _DRAW
            )


def _sentence(files: Sequence[str], what: str, way: str) -> str:
    if len(files) == 1:
        return f"{files[0]} holds {what}, which are not read: {way}"
    return f"{len(files)} files like {files[0]} hold {what}, which are not read: {way}"


def _beginning(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return text_of(file.read(_MOST_BYTES), cut=True)
    except (OSError, ValueError):
        return ""


def _of_json(path: Path) -> str:
    text = _beginning(path)
    return next((kind for keys, kind in _JSON.items() if all(json.dumps(key) in text for key in keys)), "")


def _of_text(path: Path) -> str:
    """YOLO's lines: a class and numbers between 0 and 1."""
    lines = [line.split() for line in _beginning(path).splitlines()[:_LINES] if line.strip()]
    number = re.compile(r"0|1|[01]?\.\d+")
    fits = [len(line) >= 5 and line[0].isdecimal() and all(map(number.fullmatch, line[1:])) for line in lines]
    return "boxes or outlines of objects (YOLO's lines)" if fits and all(fits) else ""


def _of_table(path: Path) -> str:
    rows = rows_of(_beginning(path).splitlines()[:1])
    return "masks in run lengths" if rows and any(cell.lower() in _CODES for cell in rows[0]) else ""
