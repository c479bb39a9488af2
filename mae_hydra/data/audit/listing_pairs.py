"""What `data=segmentation` and its presets consist of, with all that is wrong with their names, lists and folders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mae_hydra.data.audit.listing import Finding, Level, Listing, found, settled_range
from mae_hydra.data.audit.look import FileSplit
from mae_hydra.data.decoding.bands import Channels, endings_of
from mae_hydra.data.decoding.pixel_range import AUTO, Told
from mae_hydra.data.labels.coding import coding_of
from mae_hydra.data.listing import passed_over_note
from mae_hydra.data.readers.class_list import ClassList, class_list, names_and_palette
from mae_hydra.data.readers.layout import Part
from mae_hydra.data.readers.pairs import parts_of
from mae_hydra.data.readers.segmentation import layout_of
from mae_hydra.errors import UserError

PLACES = ("images", "maps", "image_suffix", "map_suffix", "splits", "validation_fraction", "lists")
CODES = ("ignore_values", "reduce_zero_label", "values", "colours")
KEYS = (*PLACES, *CODES, "classes", "palette", "num_classes", "ignore_index", "channels", "range")
SPLITS = {"train": "training", "validation": "validation"}


def list_segmentation(root: Path, *, channels: Channels, range: Told = AUTO, **told: Any) -> Listing:
    """See `mae_hydra.data.segmentation`, of whose keys `told` are some."""
    try:
        return _listed(root, channels, range, told)
    except ValueError as error:  # keys that make no sense, whatever the files are
        raise UserError(f"data: {error}") from error


def _listed(root: Path, channels: Channels, range: Told, told: Mapping[str, Any]) -> Listing:
    listing = Listing({})
    places: dict[str, Any] = {key: told.get(key) for key in PLACES}
    layout = layout_of(root, **places, endings=endings_of(channels))
    names, classes = _classes(root, told, listing)
    coding = None
    if layout.maps:
        codes: dict[str, Any] = {key: told.get(key) for key in CODES}
        codes |= {"ignore_values": codes["ignore_values"] or (), "reduce_zero_label": bool(codes["reduce_zero_label"])}
        coding = coding_of(num_classes=listing.num_classes, names=classes, ignore_index=told["ignore_index"], **codes)
        listing.reading = coding.reading
    listing.named = names
    try:
        parts: Mapping[str, Part] = parts_of(layout)
    except UserError as error:
        listing.findings.append(Finding("error", "missing folder", str(error)))
        parts = {side: Part() for side in SPLITS}
    for side, part in parts.items():
        if side == "train" and layout.evaluates_only:
            listing.findings.append(Finding("note", "no training", "there is nothing to train on, only to evaluate on"))
            continue
        listing.findings += _defects(part, side, root, listed=bool(layout.lists.get(side)))
    pixel_range = settled_range(listing, range, channels, root, parts["train"].images)
    for side, part in parts.items():
        maps = part.maps if coding else None
        listing.splits[SPLITS[side]] = FileSplit(
            root, part.images, channels, maps=maps, pixel_range=pixel_range, coding=coding
        )
    return listing


def _classes(root: Path, told: Mapping[str, Any], listing: Listing) -> tuple[bool, Sequence[str] | None]:
    """Whether the classes are named, and how; the listing gets names, colours and their number."""
    names = ClassList()
    try:
        names = class_list(root, told.get("classes"), told.get("palette"))
        listing.num_classes = told["num_classes"]
        listing.class_names, listing.palette = names_and_palette(names, told["num_classes"])
    except UserError as error:
        listing.findings.append(Finding("error", "classes", str(error)))
        listing.num_classes = len(names.names) if names.names else told["num_classes"]
        listing.class_names, listing.palette = names_and_palette(ClassList(names.names), listing.num_classes)
    return names.names is not None, names.names


def _defects(part: Part, side: str, root: Path, *, listed: bool) -> list[Finding]:
    findings = []
    if part.alone:
        says = "without a class map of the same name"
        way = "add the map, or correct data.image_suffix or data.map_suffix"
        level: Level = "error" if listed or not part.images else "warning"
        findings.append(found(level, "image without class map", part.alone, f"of {side} {says}", way))
    if part.orphans:
        says, way = "without an image of the same name", "they are left out"
        findings.append(found("note", "class map without image", part.orphans, says, way, noun="class map"))
    if part.twice:
        files = [name for pair in part.twice for name in pair]
        findings.append(found("error", "one name twice", files, "named alike but for the ending", "keep one of each"))
    if part.unknown:
        says, way = f"that the list of {side} names are not there", "add them, or correct data.lists"
        findings.append(found("error", "listed and not there", part.unknown, says, way))
    if not part.images:
        way = "correct data.images, data.maps or data.splits"
        sentence = f"there is no photo of {side} with a class map in {root}; {way}"
        findings.append(Finding("error", "no images", sentence))
    for note in passed_over_note(f"the folders of {side}", part.passed_over):
        kind, _, sentence = note.partition(": ")
        findings.append(Finding("warning" if kind == "warning" else "note", "ignored files", sentence))
    return findings
