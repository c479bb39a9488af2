"""The words of `data=classification` for photos in class folders, or with lists that tell their classes."""

from pathlib import PurePosixPath
from typing import Any

from mae_hydra.data.looking.found import Found
from mae_hydra.data.looking.places import split_of
from mae_hydra.data.looking.segmentation_words import USUAL, lists_of, splits_of
from mae_hydra.data.readers.split_lists import entries_of
from mae_hydra.errors import UserError


def classification_words(found: Found, base: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The words besides the root, and what to know of them; `base`: the folder of the class folders, or of all."""
    keys: dict[str, Any] = {"images": base or "."}
    in_folders = {split.side: split.name for split in found.classes if split.side}
    told = _by_side(found)
    named = dict(in_folders)
    if "{split}" in base:
        told = {side: file for side, file in told.items() if side not in in_folders}
        there = {split.side: split.name for part in found.photos for split in part.counts}
        named |= {side: there[side] for side in told if side in there}
        splits = splits_of(named)
        if splits != USUAL:
            keys["splits"] = splits
    lists = told or ({} if "{split}" in base else lists_of(found))
    if lists:
        keys["lists"] = lists
    columns = {found.class_lists[file] for file in told.values()}
    if columns and columns != {(0, 1)}:
        keys["columns"] = list(columns.pop())
    keys["num_classes"] = len(_classes(found, lists, keys))
    return keys, _said({*named, *lists})


def _by_side(found: Found) -> dict[str, str]:
    """The lists that tell classes, by the split that they are called; one without a split's name is for training."""
    sides: dict[str, str] = {}
    for file in found.class_lists:
        split = split_of(PurePosixPath(file).stem) or (split_of(file) if "/" in file else None)
        if split is not None:
            sides.setdefault(split[1].side, file)
    return sides or ({} if found.classes else {"train": next(iter(found.class_lists))} if found.class_lists else {})


def _classes(found: Found, lists: dict[str, str], keys: dict[str, Any]) -> set[str]:
    """Those of training."""
    names = {name for split, folders in found.classes.items() if split.side in ("train", "") for name in folders}
    if names or "train" not in lists:
        return names or {name for folders in found.classes.values() for name in folders}
    image, other = keys.get("columns", (0, 1))
    try:
        return {entry.label for entry in entries_of(found.root, lists["train"], "", (image, other))}
    except UserError:
        return set()


def _said(sides: set[str]) -> tuple[str, ...]:
    if "validation" in sides:
        return ()
    return (
        "no split is for validation: a share of the training photos, chosen by their names, is "
        "(data.validation_fraction)",
    )
