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
from mae_hydra.data.shards.columns import (
    check_alike,
    classes_of,
    image_column,
    label_column,
    named_column,
    refuse_others,
)
from mae_hydra.data.shards.table_set import LabelledTableSet, TableSet
from mae_hydra.data.shards.tables import ENDINGS, Table, arrow, by_side, is_address, missing_of, tables_of
from mae_hydra.errors import UserError, short

CONVERTED = "refs/convert/parquet"  # where the hub keeps tables of sets that have none themselves
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
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
    tables = tables_of(place, subset)
    sides = by_side(tables, dict(splits))
    if "train" not in sides:
        raise UserError(f"no table of data.path={path} is for training ({', '.join(sides)}); tell which: data.splits")
    first = sides["train"][0]
    every = [table for side in ("train", "validation") for table in sides.get(side, [])]
    root = Path(place) if not is_address(place) else Path("/")
    column = image_column(first, image, mask)
    check_alike(every, column)
    coding: Coding | None = None
    classes: dict[Any, int] | None = None
    beside: str | None = None
    facts: dict[str, Any] = {"num_classes": 0, "class_names": (), "palette": np.zeros((0, 3), np.uint8)}
    if settings.num_classes and mask is not None:
        beside = named_column(first, "data.mask", mask)
        check_alike(every, beside, whole=True)
        maps = settings.maps(root, settings.num_classes)
        coding, facts = maps.coding, maps.facts
    elif settings.num_classes:
        beside = label_column(first, label)
        check_alike(every, beside, whole=True)
        told = class_list(root, settings.classes, None).names
        names, classes = classes_of(sides["train"], beside, told, settings.num_classes)
        refuse_others(every, beside, classes)
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
        for each in filter(None, (column, beside)):
            check_alike([first, *sides["test"]], each)
        if classes and beside:
            refuse_others(sides["test"], beside, classes)
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
        notes=(*_gap_notes(place, tables), *settled.notes),
    )


def _gap_notes(place: str, tables: Sequence[Table]) -> list[str]:
    """What to say where tables are missing that the names of the others tell of."""
    missing = [] if place.lower().endswith(ENDINGS) else missing_of(table.name for table in tables)  # one may be meant
    if not missing:
        return []
    those = "1 table is" if len(missing) == 1 else f"{len(missing)} tables are"
    return [
        f"warning: by the names of the others {those} missing, {missing[0]} for one, and what is there is taken for "
        "the whole; get the set again if that was not meant"
    ]


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
    partial: str | None = None
    for offline in (True, False):  # what has been fetched is not looked for again
        for branch in [revision] if revision else [None, CONVERTED]:
            try:
                found = snapshot_download(path, revision=branch, local_files_only=offline, **wanted)
            except Exception as error:  # of the network, the hub, the disk
                reason = error
                continue
            names = [file.relative_to(found).as_posix() for file in Path(found).rglob("*.parquet")]
            if names and not (offline and missing_of(names)):  # of a download that was stopped the rest is fetched
                return str(found)
            partial = found if names else partial
    if partial is not None:
        return str(partial)
    why = f" ({short(reason)})" if reason else ""
    raise UserError(f"data.path={path} is not there, and the hub gives no tables of that name{why}")
