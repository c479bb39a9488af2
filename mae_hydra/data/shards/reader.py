"""`data=shards`: photos in tar files (webdataset's layout), on this machine or elsewhere; classes, class maps or none.

Made for sets that one disk does not hold or whose files a file system cannot serve one by one. See `files` for how
shards are named, `order` for the order of an epoch, `cache` for shards that lie elsewhere.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mae_hydra.data.dataset import ImageData
from mae_hydra.data.decoding.measure_range import settle
from mae_hydra.data.labels.coding import Coding
from mae_hydra.data.readers.class_list import class_list
from mae_hydra.data.readers.folder import split_by_name
from mae_hydra.data.readers.map_settings import MapSettings
from mae_hydra.data.settings import data_factory
from mae_hydra.data.shards.cache import ShardCache, is_address
from mae_hydra.data.shards.files import Shard, list_shards, split_of
from mae_hydra.data.shards.index import Endings
from mae_hydra.data.shards.shard_set import LabelledShards, LabelledShardsHere, ShardSet, ShardsHere
from mae_hydra.errors import UserError

_WANTED = (
    "expected is a folder of shards as `mae-hydra make-shards` writes them, its address (https://...), or a pattern of "
    "tar files: 'data.root=\"photos/train-{0000..0146}.tar\"'"
)


@data_factory
def shards(
    settings: MapSettings,
    *,
    root: str | None,
    validation: str | None,
    validation_fraction: float,
    window: int,
    cache: str,
    cache_gb: float,
    image_suffix: str | None = None,
    map_ending: str | None = None,
) -> ImageData:
    """Photos in shards, with class ids, with class maps, or without.

    `image_suffix`: what follows the first dot in the names of the images ("jpg"), where samples hold other pictures.
    `map_ending`: what follows it in the names of their class maps ("map.png"); None: as the list of the shards says.
    `validation`: a pattern or folder of shards; None: those that `root`'s list names, else the share
    `validation_fraction` of the shards, chosen by their names. `window`: how many samples are shuffled among themselves
    (a few shards' worth). `cache`, `cache_gb`: where copies of shards from elsewhere are kept, and how much of them.
    `num_classes` 0: without labels, whether there are some or not.
    """
    channels, num_classes = settings.wanted, settings.num_classes
    if not 0 < validation_fraction < 1:
        raise ValueError(f"data.validation_fraction must lie in (0, 1), got {validation_fraction}")
    if window < 1:
        raise ValueError(f"data.window must be at least 1 sample, got {window}")
    if not cache_gb > 0:
        raise ValueError(f"data.cache_gb must be positive, got {cache_gb}")
    if root is None or not str(root):
        raise UserError(f"data.root is not set; {_WANTED}")
    copies = ShardCache(Path(cache).expanduser(), int(cache_gb * 1e9))
    told_endings = Endings(*(each and each.lower().lstrip(".") for each in (image_suffix, map_ending)))
    found = list_shards(os.path.expanduser(root), copies, _WANTED, endings=told_endings)
    notes = list(found.notes)
    train, held_out = found.splits.get("train", []), found.splits.get("validation", [])
    if validation is not None:
        told = list_shards(os.path.expanduser(validation), copies, _WANTED, key="data.validation", endings=told_endings)
        held_out = told.splits.get("validation") or told.all_shards()
        train, held_out = _apart(train or found.all_shards(), held_out, notes)
    if not train:
        raise UserError(
            f"every shard of data.root={root} is for validation or tests by its name ({found.all_shards()[0].name}); "
            "give the folder of the training shards, or name these by a pattern, data.root='<folder>/*.tar'"
        )
    if not held_out:
        places = [shard.place for shard in train]
        start = os.path.commonprefix(places).rpartition("/")[0]  # noqa: RUF071 - also of addresses, up to a slash
        # By their names below it, so that they are the same ones wherever the shards lie.
        by_name = {shard.place.removeprefix(start): shard for shard in train}
        sides = split_by_name(list(by_name), validation_fraction)
        train, held_out = ([by_name[place] for place in side] for side in sides)
        if train == held_out:
            notes.append("note: there is one shard, which is trained on and validated with")
    place = Path(os.path.expanduser(root))
    names = class_list(place, settings.classes, None).names or found.classes
    facts: dict[str, Any] = {"class_names": _class_names(names, num_classes)}
    coding: Coding | None = None
    if num_classes and found.endings.map:
        maps = settings.maps(place, num_classes, found.classes, found.palette)
        coding, facts = maps.coding, maps.facts
    of_set: dict[str, Any] = {"cache": copies, "channels": channels, "num_classes": num_classes, "window": window}
    of_set["endings"] = found.endings
    training, validating = (_set_of(those, coding, **of_set) for those in (train, held_out))
    measured = training.sample_of_images()
    settled = settle(
        settings.range,
        channels,
        len(measured),
        lambda number: training.stored(measured[number]).encoded,
        bits=settings.depth,
    )
    training.pixel_range = validating.pixel_range = settled.pixel_range
    return settings.image_data(
        training,
        validating,
        "map" if coding else "class" if num_classes else "none",
        **facts,
        pixel_range=settled.pixel_range,
        notes=(*notes, *settled.notes),
    )


def _set_of(shards: Sequence[Shard], coding: Coding | None, **settings: Any) -> ShardSet:
    elsewhere = any(is_address(shard.place) for shard in shards)
    if coding is None:
        return (ShardSet if elsewhere else ShardsHere)(shards, **settings)
    found = (LabelledShards if elsewhere else LabelledShardsHere)(shards, **settings)
    found.coding = coding
    return found


def _apart(train: list[Shard], held_out: list[Shard], notes: list[str]) -> tuple[list[Shard], list[Shard]]:
    """Training shards without those of validation; `notes` says how many were in both."""
    names = {_place(shard) for shard in held_out}
    rest = [shard for shard in train if _place(shard) not in names]
    if len(rest) < len(train):
        notes.append(f"note: {len(train) - len(rest)} shards of data.validation are in data.root too: not trained on")
    tests = [shard for shard in rest if split_of(shard.name) == "test"]
    return [shard for shard in rest if shard not in tests], held_out


def _place(shard: Shard) -> str:
    return shard.place if is_address(shard.place) else os.path.realpath(shard.place)


def _class_names(known: tuple[str, ...] | None, num_classes: int) -> tuple[str, ...]:
    if not num_classes:
        return ()
    if known is not None and len(known) != num_classes:
        raise UserError(
            f"the shards are of {len(known)} classes and data.num_classes is {num_classes}; "
            f"set data.num_classes={len(known)}"
        )
    return known or tuple(f"class {number}" for number in range(num_classes))
