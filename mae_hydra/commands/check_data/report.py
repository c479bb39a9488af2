"""What an audit leaves behind: tables on the screen, report.json, and sheets of samples and of duplicates."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mae_hydra.data.audit.dataset import Audit, Tally
from mae_hydra.data.label_table import UNLABELLED, LabelTable
from mae_hydra.errors import UserError
from mae_hydra.evaluation.pictures import as_rgb
from mae_hydra.experiment.status import write_json
from mae_hydra.figures import fit, legend_of, overlay, save, sheet
from mae_hydra.figures.gallery import gallery
from mae_hydra.names import clean
from mae_hydra.owned import Owned

COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}
CELL = 224
NUM_SAMPLES = 8
NUM_PAIRS = 8
MOST_ROWS = 30  # of the class table; more classes are cut to the most frequent and the rarest


def write(found: Audit, settings: Mapping[str, Any], owned: Owned) -> list[Path]:
    """report.json, and the pictures; gives the paths of the latter."""
    out = owned.folder
    measured = found.statistics and dict(zip(("mean", "std"), found.statistics, strict=True))
    configured = {key: list(settings[key]) for key in ("mean", "std")}
    report = {
        "settings": settings,
        "errors": found.num_errors,
        "findings": [
            {
                "level": each.level,
                "kind": each.kind,
                "sentence": each.sentence,
                "count": len(each.files),
                "files": each.files,
            }
            for each in found.findings
        ],
        "splits": found.facts,
        "statistics": {"measured": measured, "configured": configured},
        "classes": found.classes,
        "seconds": found.seconds,
        "images_per_second": _rate(found),
    }
    write_json(owned.claim(out / "report.json"), report)
    pictures = {"samples.png": _samples(found), "duplicates.png": _duplicates(found)}
    for name, pixels in pictures.items():
        if out / name in owned:
            (out / name).unlink(missing_ok=True)  # of an earlier audit
        if pixels is not None:
            save(pixels, owned.claim(out / name))
    return [out / name for name, pixels in pictures.items() if pixels is not None]


def show(console: Console, found: Audit, settings: Mapping[str, Any], out: Path, pictures: Sequence[Path]) -> None:
    """Findings first, then the facts, then where to read on."""
    if found.findings:
        table = Table(title="Findings", title_justify="left", show_header=False, show_lines=True)
        for each in found.findings:
            table.add_row(Text(each.level, style=COLOURS[each.level]), Text(clean(each.sentence)))
        console.print(table)
    if found.num_looked_at:
        console.print(_facts_table(found))
    if found.classes:
        console.print(_class_table(found))
    if found.statistics:
        values = [*found.statistics, settings["mean"], settings["std"]]
        mean, std, configured_mean, configured_std = (" ".join(f"{value:.3f}" for value in each) for each in values)
        line = f"training pixels: mean {mean}, deviation {std} (configured: {configured_mean}, {configured_std})"
        console.print(line, highlight=False, soft_wrap=True)
    counts = [sum(each.level == level for each in found.findings) for level in COLOURS]
    verdict = ", ".join(_many(count, level) for count, level in zip(counts, COLOURS, strict=True))
    text = Text(f"{verdict}", style=COLOURS["error"] if found.num_errors else "green")
    text.append(f" · {_many(found.num_looked_at, 'sample')} in {found.seconds:.1f} s ({_rate(found):.0f}/s)", "default")
    console.print(text, soft_wrap=True)
    console.print(" ".join(map(clean, [out / "report.json", *pictures])), highlight=False, soft_wrap=True)


def _facts_table(found: Audit) -> Table:
    table = Table(title="Splits", title_justify="left")
    table.add_column("")
    for split in found.facts:
        table.add_column(split, justify="right")
    rows: dict[str, list[str]] = {}
    for facts in found.facts.values():
        for name, value in _words(facts):
            rows.setdefault(name, []).append(value)
    for name, values in rows.items():
        table.add_row(name, *values)
    return table


def _words(facts: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    share = facts.get("ignored_share")
    yield "images", str(facts["images"])
    yield "looked at", str(facts["looked_at"])
    yield "readable", str(facts["readable"])
    for name in ("width", "height", "short_side", "aspect"):
        spread = facts.get(name)
        text = "-" if spread is None else f"{spread['min']:g} / {spread['median']:g} / {spread['max']:g}"
        yield f"{name.replace('_', ' ')}: min / median / max", text
    yield "different sizes", str(facts.get("sizes", "-"))
    yield "smaller than the crop", str(facts.get("smaller_than_crop", "-"))
    yield "pixels ignored", "-" if share is None else f"{share:.1%}"


def _class_table(found: Audit) -> Table:
    """Share of labelled pixels, or number of images, of each class in each split."""
    columns = [column for column in found.classes[0] if column not in ("class", "name")]
    totals = {column: sum(row[column] for row in found.classes) or 1 for column in columns}
    rows, title = list(found.classes), "Classes, as configured"
    if len(rows) > MOST_ROWS:
        half = MOST_ROWS // 2
        order = sorted(rows, key=lambda row: -row[columns[0]])
        rows = order[:half] + order[-half:]
        title += f": the {half} most frequent and the {half} rarest of {len(order)} (all in report.json)"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in columns:
        split, _, what = column.rpartition("_")
        table.add_column(f"{split}\n{'pixels, %' if what == 'pixels' else 'images'}", justify="right")
    for row in rows:
        values = [
            f"{100 * row[column] / totals[column]:.2f}" if column.endswith("_pixels") else str(row[column])
            for column in columns
        ]
        absent = any(row[column] == 0 for column in columns)
        table.add_row(
            Text(clean(f"{row['class']} {row['name']}")), *values, style=COLOURS["warning"] if absent else None
        )
    return table


def _samples(found: Audit) -> np.ndarray | None:
    """Draw some samples of each split, with their labels over them, or the name of their class below."""
    chosen = [pair for tally in found.tallies.values() for pair in _some_of(tally, NUM_SAMPLES // 2)]
    if not chosen:
        return None
    if any(len(tally.mapped) for tally in found.tallies.values()):
        return _overlays(found, chosen)
    names = found.listing.class_names
    captions = [
        names[tally.class_ids[row]] if 0 <= tally.class_ids[row] < len(names) else tally.name(row)
        for tally, row in chosen
    ]
    pictures = [_shown(tally, row)[0] for tally, row in chosen]
    return gallery(pictures, captions, columns=4, title="Samples of training, then of validation", cell=CELL)


def _some_of(tally: Tally, count: int) -> list[tuple[Tally, int]]:
    broken = {row for rows in tally.problems.values() for row, _ in rows}
    labelled = tally.mapped if len(tally.mapped) else tally.readable
    good = [int(row) for row in labelled if int(row) not in broken]
    count = min(count, len(good))
    return [(tally, good[number * len(good) // count]) for number in range(count)]


def _overlays(found: Audit, chosen: Sequence[tuple[Tally, int]]) -> np.ndarray:
    """Image and class map in one reading, or in both where the data leaves open which is meant."""
    doubt = any(finding.kind in ("zero label", "zero label open") for finding in found.findings)
    readings = [found.reading, *(found.alternatives if doubt else ())]
    readings = [reading for reading in readings if reading.fits()]
    tables = [reading.table() for reading in readings]
    rows, maps = [], []
    for tally, row in chosen:
        image, stored = _shown(tally, row)
        assert stored is not None
        large = fit(image, CELL)
        classes = [fit(_drawn(table, stored), CELL, "nearest") for table in tables]
        maps += classes
        palette = found.listing.palette
        rows.append([large, *(overlay(large, each, palette, opacity=0.6, boundaries=True) for each in classes)])
    titles = [reading.convention().replace("data.", "") for reading in readings]
    columns = ["image", *(titles if doubt else ["labels"])]
    half = -(-len(rows) // 2)
    pairs = [left + right for left, right in zip(rows[:half], [*rows[half:], []], strict=False)]
    return sheet(
        pairs,
        columns=columns * (2 if len(rows) > 1 else 1),
        title="Samples of training (left) and of validation (right)" if len(rows) > 1 else "Sample",
        legend=legend_of(maps, found.listing.class_names, found.listing.palette),
        cell=CELL,
        group=len(columns),
    )


def _drawn(table: LabelTable, stored: np.ndarray) -> np.ndarray:
    """Classes (H, W), and what is none for all that counts for nothing."""
    nothing = max(UNLABELLED, table.num_classes)
    return np.where(table.counted, table.class_of, nothing).astype(np.uint16)[stored]


def _duplicates(found: Audit) -> np.ndarray | None:
    """Pairs of pictures that look alike, and where none does, of equal files; those across the splits first."""
    across = sorted(found.duplicates, key=lambda pair: (pair.kind == "duplicate", pair.tally is pair.other_tally))
    pictures, captions = [], []
    for pair in across[:NUM_PAIRS]:
        for tally, row in ((pair.tally, pair.row), (pair.other_tally, pair.other_row)):
            pictures.append(_shown(tally, row)[0])
            captions.append(tally.name(row))
    return (
        gallery(pictures, captions, columns=4, group=2, title="Pairs that look alike", cell=CELL) if pictures else None
    )


def _shown(tally: Tally, row: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Image, RGB uint8 (H, W, 3), and its class map as stored."""
    try:
        image, stored = tally.split.sample(tally.positions[row])
    except UserError:  # its class map is broken, which is a finding; or the file has just gone
        return np.full((CELL, CELL, 3), 235, np.uint8), None
    return as_rgb(image, tally.split.shown), stored


def _rate(found: Audit) -> float:
    return found.num_looked_at / max(found.seconds, 1e-9)


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
