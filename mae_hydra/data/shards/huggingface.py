"""`data=huggingface`: tables of images with labels or class maps, of the hub or as they lie here."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mae_hydra.data.dataset import ImageData, ImageSet, spread
from mae_hydra.data.decoding.measure_range import settle
from mae_hydra.data.labels.coding import Coding
from mae_hydra.data.readers.class_list import class_list
from mae_hydra.data.readers.folder import split_by_name
from mae_hydra.data.readers.map_settings import MapSettings
from mae_hydra.data.settings import data_factory
from mae_hydra.data.shards.table_set import LabelledTableSet, TableSet
from mae_hydra.data.shards.tables import Table, arrow, by_side, features_of, is_address, tables_of
from mae_hydra.errors import UserError, short

CONVERTED = "refs/convert/parquet"  # where the hub keeps tables of sets that have none themselves
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
IMAGES, LABELS = (
    ("image", "img", "photo", "picture", "jpg", "png"),
    ("label", "labels", "class", "target", "fine_label"),
)
MEASURED = 64  # pictures by which a range is told


@data_factory
def huggingface(
    settings: MapSettings,
    *,
    path: str | None,
    subset: str | None,
    revision: str | None,
    streaming: bool,
    image: str | None,
    label: str | None,
    mask: str | None,
    splits: Mapping[str, str | None],
    validation_fraction: float,
    window: int,
) -> ImageData:
    """The images of tables; `conf/data/huggingface.yaml` says what each key means. UserError names what is not there.

    With `mask` told class maps, else with `num_classes` the classes of the column `label`, else the images alone.
    """
    if not 0 < validation_fraction < 1:
        raise ValueError(f"data.validation_fraction must lie in (0, 1), got {validation_fraction}")
    if window < 1:
        raise ValueError(f"data.window must be at least 1 sample, got {window}")
    arrow()
    place = _place(path, revision, streaming)
    sides = by_side(tables_of(place, subset), dict(splits))
    if "train" not in sides:
        raise UserError(f"no table of data.path={path} is for training ({', '.join(sides)}); tell which: data.splits")
    first = sides["train"][0]
    root = Path(place) if not is_address(place) else Path("/")
    column = image_column(first, image, mask)
    coding: Coding | None = None
    classes: dict[Any, int] | None = None
    beside: str | None = None
    facts: dict[str, Any] = {"num_classes": 0, "class_names": (), "palette": np.zeros((0, 3), np.uint8)}
    if settings.num_classes and mask is not None:
        beside = _column(first, "data.mask", mask)
        maps = settings.maps(root, settings.num_classes)
        coding, facts = maps.coding, maps.facts
    elif settings.num_classes:
        beside = label_column(first, label)
        told = class_list(root, settings.classes, None).names
        names, classes = classes_of(sides["train"], beside, told, settings.num_classes)
        facts = {"class_names": names}

    def rows_of(tables: Sequence[Table], rows: np.ndarray | None = None) -> TableSet:
        how: dict[str, Any] = {"image": column, "label": beside, "classes": classes}
        how |= {"channels": settings.wanted, "window": window}
        if coding is None:
            return TableSet(tables, rows, **how)
        labelled = LabelledTableSet(tables, rows, **how)
        labelled.coding = coding
        return labelled

    if "validation" in sides:
        train, validation = rows_of(sides["train"]), rows_of(sides["validation"])
    else:
        places = {name: place for place, name in enumerate(rows_of(sides["train"]).names())}
        parts = split_by_name(list(places), validation_fraction)
        rows = (np.sort([places[name] for name in part]) for part in parts)
        train, validation = (rows_of(sides["train"], each) for each in rows)
    some = spread(len(train), MEASURED)
    settled = settle(
        settings.range,
        settings.wanted,
        len(some),
        lambda number: train.stored(some[number]).encoded,
        bits=settings.depth,
    )
    train.pixel_range = validation.pixel_range = settled.pixel_range

    def test() -> ImageSet:
        if "test" not in sides:
            raise UserError(f"no table of data.path={path} is for testing; tell which: data.splits")
        found = rows_of(sides["test"])
        found.pixel_range = settled.pixel_range
        return found

    return settings.image_data(
        train,
        validation,
        "map" if coding else "class" if classes else "none",
        test=test,
        **facts,
        pixel_range=settled.pixel_range,
        notes=settled.notes,
    )


def _place(path: str | None, revision: str | None, streaming: bool) -> str:
    """Where the tables lie: a path here, or an address. Of the hub they are fetched, unless they are streamed."""
    if not path:
        raise UserError("data.path is not set; give a folder or file of tables (.parquet), or org/name of the hub")
    here = Path(path).expanduser()
    if is_address(path) or here.exists():
        return path if is_address(path) else str(here)
    if not HUB_NAME.fullmatch(path):
        raise UserError(f"data.path={path} is not there, and it is no name of a data set of the hub, org/name")
    if streaming:
        return f"hf://datasets/{path}@{(revision or CONVERTED).replace('/', '%2F')}"
    from huggingface_hub import snapshot_download

    wanted: dict[str, Any] = {"repo_type": "dataset", "allow_patterns": ["*.parquet", "**/*.parquet"]}
    reason: Exception | None = None
    for offline in (True, False):  # what has been fetched is not looked for again
        for branch in [revision] if revision else [None, CONVERTED]:
            try:
                found = snapshot_download(path, revision=branch, local_files_only=offline, **wanted)
            except Exception as error:  # of the network, the hub, the disk
                reason = error
                continue
            if any(Path(found).rglob("*.parquet")):
                return str(found)
    why = f" ({short(reason)})" if reason else ""
    raise UserError(f"data.path={path} is not there, and the hub gives no tables of that name{why}")


def _column(table: Table, key: str, name: str) -> str:
    if name not in table.schema.names:
        raise UserError(f"{key}={name} is no column of {table.name}; there are {', '.join(table.schema.names)}")
    return name


def picture_columns(table: Table) -> list[str]:
    """Those that hold files, as bytes or as {"bytes": …}."""
    pa = arrow()

    def holds_pictures(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return any(kind.field(place).name == "bytes" for place in range(kind.num_fields))
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    return [name for name in table.schema.names if holds_pictures(table.schema.field(name).type)]


def image_column(table: Table, told: str | None, mask: str | None) -> str:
    """The column of the images; UserError where it is not clear which."""
    if told is not None:
        return _column(table, "data.image", told)
    found = [name for name in picture_columns(table) if name != mask]
    usual = [name for name in found if name.lower() in IMAGES]
    if len(found) == 1 or len(usual) == 1:
        return (usual or found)[0]
    several = f"several columns hold pictures ({', '.join(found)})" if found else "no column holds pictures"
    raise UserError(f"of {table.name} {several}: data.image says which; there are {', '.join(table.schema.names)}")


def label_column(table: Table, told: str | None) -> str:
    """The column of the classes; UserError where it is not clear which."""
    if told is not None:
        return _column(table, "data.label", told)
    features = features_of(table)
    found = [name for name, each in features.items() if isinstance(each, dict) and each.get("_type") == "ClassLabel"]
    found = found if len(found) == 1 else [name for name in table.schema.names if name.lower() in LABELS]
    if len(found) == 1:
        return found[0]
    raise UserError(
        f"which column of {table.name} holds the classes is not clear ({', '.join(table.schema.names)}): tell it with "
        "data.label, or class maps with data.mask"
    )


def classes_of(
    tables: Sequence[Table], column: str, told: Sequence[str] | None, num_classes: int | None
) -> tuple[tuple[str, ...], dict[Any, int]]:
    """The names of the classes, and the number of each value of the column; `num_classes` None: as many as there are.

    UserError where these are others.
    """
    named = features_of(tables[0]).get(column)
    names = told or (named.get("names") if isinstance(named, dict) else None)
    numbers = arrow().types.is_integer(tables[0].schema.field(column).type)
    if not names and not (numbers and num_classes):
        cells = (table.read(group, [column]).column(column) for table in tables for group in range(len(table.sizes)))
        found = {value for each in cells for value in each.unique().to_pylist() if value is not None}
        names = [str(number) for number in range(max(found, default=0) + 1)] if numbers else sorted(map(str, found))
    elif not names:
        names = [str(number) for number in range(num_classes or 0)]
    values: dict[Any, int] = {number if numbers else name: number for number, name in enumerate(names)}
    if num_classes is not None and len(names) != num_classes:
        raise UserError(f"the tables are of {len(names)} classes; set data.num_classes={len(names)}")
    return tuple(map(str, names)), values
