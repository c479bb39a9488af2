"""An audit of a data set: every file read as training would read it, and all its defects told at once.

`audit` lists (`audit_listing`), looks at every sample in worker processes (`audit_look`), sums up (`audit_tally`) and
judges (`audit_labels`, `audit_findings`).
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mae_hydra.data.audit.conventions import alternatives
from mae_hydra.data.audit.findings import (
    Duplicate,
    duplicate_findings,
    file_findings,
    size_findings,
    statistics_findings,
)
from mae_hydra.data.audit.labels import absence_findings, histogram, ignored_share, label_findings
from mae_hydra.data.audit.listing import Finding, Listing, list_ade20k, list_folder, list_imagenet, list_samples
from mae_hydra.data.audit.listing_pairs import KEYS, list_segmentation
from mae_hydra.data.audit.look import Look, Split
from mae_hydra.data.audit.tally import Tally
from mae_hydra.data.dataset import height_width, spread
from mae_hydra.data.decoding.bands import check_bands, shown_channels
from mae_hydra.data.label_table import Reading
from mae_hydra.data.listing import existing_folder
from mae_hydra.data.loading.serving import serve
from mae_hydra.data.readers.ade20k import ade20k
from mae_hydra.data.readers.folder import folder
from mae_hydra.data.readers.imagenet import imagenet
from mae_hydra.data.readers.segmentation import segmentation

__all__ = ["Audit", "Finding", "Listing", "Tally", "audit", "list_files", "list_samples"]

BATCH = 8  # samples a worker hands over at a time
_LEVELS = ("error", "warning", "note")
_READERS: dict[Any, tuple[Callable[..., Listing], tuple[str, ...]]] = {
    ade20k: (list_ade20k, ("channels", "num_classes", "range")),
    imagenet: (list_imagenet, ("channels", "num_classes", "range")),
    folder: (list_folder, ("channels", "validation_fraction", "range")),
    segmentation: (list_segmentation, KEYS),
}


@dataclass(frozen=True)
class Audit:
    """What an audit found: `findings`, errors first; `facts` by split; `classes`, one row each; and the rest to draw.

    `alternatives`: what the class maps may be besides the configured `reading`.
    `statistics`: mean and deviation of the training pixels, units of 0..1.
    `seconds`: of looking at the samples.
    """

    listing: Listing
    reading: Reading
    alternatives: Sequence[Reading]
    tallies: Mapping[str, Tally]
    findings: Sequence[Finding]
    facts: Mapping[str, Mapping[str, Any]]
    classes: Sequence[Mapping[str, Any]]
    duplicates: Sequence[Duplicate]
    statistics: tuple[list[float], list[float]] | None
    seconds: float

    @property
    def num_errors(self) -> int:
        return sum(finding.level == "error" for finding in self.findings)

    @property
    def num_looked_at(self) -> int:
        return sum(len(tally) for tally in self.tallies.values())


def list_files(reader: Any, settings: Mapping[str, Any]) -> Listing | None:
    """The listing of the files that `reader` would read with `settings`; None where it is no reader of this package."""
    if reader not in _READERS:
        return None
    lister, keys = _READERS[reader]
    bands = settings.get("bands")
    check_bands(settings["channels"], bands, settings.get("shown_bands"))
    root = existing_folder(settings["root"], "give the folder of the data set with data.root=<folder>")
    told = {key: settings[key] for key in keys if key in settings}
    listing = lister(Path(root), **told | ({"channels": tuple(bands)} if bands else {}))
    for split in listing.splits.values():
        split.shown = shown_channels(settings["channels"], bands, settings.get("shown_bands"))
    return listing


def audit(
    listing: Listing,
    settings: Mapping[str, Any],
    *,
    limit: int | None,
    num_workers: int,
    refusal: str | None,
    advance: Callable[[int, int], None],
    short: int | Literal["size"] | None = "size",
) -> Audit:
    """Look at every sample, or at `limit` of each split, spread evenly; `advance(done, total)` is called on the way.

    `settings` are those of the data node: channels, mean, std, image_size, ignore_index, reduce_zero_label and values
    are used.
    `short`: the shorter side that training brings pictures to; "size": that of image_size, None: their own.
    `refusal`: why the reader will not open this set, told where no error found here explains it.
    """
    positions = {name: spread(len(split), limit) for name, split in listing.splits.items()}
    tallies = {name: Tally(split, positions[name], settings["channels"]) for name, split in listing.splits.items()}
    total = sum(map(len, positions.values()))
    began = time.monotonic()
    for done, (split, row, look) in enumerate(_looks(listing.splits, positions, num_workers), start=1):
        tallies[split].add(row, look)
        advance(done, total)
    seconds = time.monotonic() - began
    stored = settings.get("reduce_zero_label"), settings.get("values")
    reading = listing.reading or Reading(listing.num_classes, settings["ignore_index"], *stored)
    findings, duplicates = _judge(listing, tallies, reading, settings, short)
    if refusal and not any(finding.level == "error" for finding in findings):
        findings.append(Finding("error", "refused", refusal))
    crop = height_width(settings["image_size"])
    facts = {
        name: tally.facts(crop) | ({"ignored_share": ignored_share(tally, reading)} if len(tally.mapped) else {})
        for name, tally in tallies.items()
    }
    return Audit(
        listing=listing,
        reading=reading,
        alternatives=alternatives(list(tallies.values()), reading) if reading.fits() else [],
        tallies=tallies,
        findings=sorted(findings, key=lambda finding: _LEVELS.index(finding.level)),
        facts=facts,
        classes=histogram(tallies, reading, listing.class_names) if _have_labels(tallies) else [],
        duplicates=duplicates,
        statistics=next(iter(tallies.values())).statistics(),
        seconds=seconds,
    )


def _judge(
    listing: Listing,
    tallies: Mapping[str, Tally],
    reading: Reading,
    settings: Mapping[str, Any],
    short: int | Literal["size"] | None,
) -> tuple[list[Finding], list[Duplicate]]:
    train, validation = tallies.values()
    crop = height_width(settings["image_size"])
    both = train, validation
    findings = [
        *listing.findings,
        *file_findings(both),
        *size_findings(both, crop, min(crop) if short == "size" else short),
    ]
    if len(train.mapped) or len(validation.mapped):
        findings += label_findings(both, reading, named=listing.named)
    if _have_labels(tallies) and reading.fits():
        findings += absence_findings(train, validation, reading, listing.class_names)
    findings += statistics_findings(train, settings["mean"], settings["std"])
    told, duplicates = duplicate_findings(train, validation)
    return findings + told, duplicates


def _have_labels(tallies: Mapping[str, Tally]) -> bool:
    return any(len(tally.mapped) or (tally.class_ids >= 0).any() for tally in tallies.values())


class _Looks:
    """A look by (split, row, position), as a worker takes it."""

    def __init__(self, splits: Mapping[str, Split]) -> None:
        self._splits = splits

    def __getitem__(self, key: tuple[str, int, int]) -> tuple[str, int, Look]:
        split, row, position = key
        return split, row, self._splits[split].look(position)


def _looks(
    splits: Mapping[str, Split], positions: Mapping[str, Sequence[int]], num_workers: int
) -> Iterator[tuple[str, int, Any]]:
    keys = [(name, row, position) for name in splits for row, position in enumerate(positions[name])]
    batches = [keys[start : start + BATCH] for start in range(0, len(keys), BATCH)]
    for batch in serve(_Looks(splits), batches, list, min(num_workers, len(batches)), False):
        yield from batch
