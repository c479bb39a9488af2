"""The pages of what commands have found: an evaluation, the audit of a data set, the demo."""

import csv
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import yaml
from markupsafe import Markup

from mae_hydra.configuration.from_file import read_rows
from mae_hydra.errors import UserError
from mae_hydra.experiment.read_runs import is_percent, read_sweep, state_of, with_unit
from mae_hydra.recorded.tables import table_or_none
from mae_hydra.report.page import Link, Page, code, duration, in_percent, link_of, pairs, shown, table
from mae_hydra.report.run_page import OF_CLASSES, class_charts, confusions_chart, read_pixels, scores_of
from mae_hydra.report.sweep_page import overlaid_curves

STARTS = {"pretrain": "masked autoencoder", "pretrained": "pre-trained", "scratch": "from scratch"}  # of the demo
DRAWN = ("classes", "confusion_matrix", "curves")  # figures that a page draws itself


def found_page(page: Page, directory: Path, link: Link) -> str | None:
    """Fill `page` with what a command has left in `directory`, and say what it is; None where nothing is known."""
    results, audit = (table_or_none(directory / name) or {} for name in ("results.json", "report.json"))
    try:
        if "protocol" in results:
            _evaluation(page, directory, results)
            return "evaluation"
        if "findings" in audit:
            _audit(page, directory, audit)
            return "data set"
        if "runs" in results:
            _demo(page, directory, results, link)
            return "demo"
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(
            f"{directory} is not as evaluate, check-data or demo leave it ({error!r}); make it anew with another --out"
        ) from error
    return None


def _evaluation(page: Page, directory: Path, results: Mapping[str, Any]) -> None:
    protocol = results["protocol"]
    scores = {name: value for name, value in results.items() if isinstance(value, float)}
    page.facts += [(name, with_unit(name, value)) for name, value in scores.items()]
    there = protocol.get("validation_images")
    counted = shown(results.get("images"))
    page.facts.append(("images", counted if there in (None, results.get("images")) else f"{counted} of {there}"))
    root = Path(str((protocol.get("data") or {}).get("root") or "")).name
    page.facts += [("data", f"{root}, split {protocol.get('split')}".removeprefix(", ")), *_weights(protocol)]
    changed = protocol.get("differs_from_training") or {}
    told = [(key, *map(_short, (each.get("training"), each.get("now")))) for key, each in changed.items()]
    page.add("What differs from training", table(("key", "training", "here"), told))
    for place in (directory, *sorted(path.parent for path in directory.glob("*/figures"))):
        named = f" of {place.name}" if place != directory else ""
        page.add(f"Pictures{named}", *_pictures(page, place / "figures"))
        page.add(f"Confusions{named}", _confusions(page, place))
        page.add(f"Classes{named}", *class_charts(page, place / OF_CLASSES))
    facts = {key: value for key, value in protocol.items() if not isinstance(value, (dict, list))}
    page.add("Protocol", pairs(facts), code(yaml.safe_dump(protocol, sort_keys=False), summary="the whole protocol"))


def _weights(protocol: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The run, or the file, that was evaluated."""
    path, step = Path(str(protocol["checkpoint"])), protocol.get("step")
    named = f"{path.parents[1].name}, {path.name}" if path.parent.name == "checkpoints" else path.name
    return [("weights", named if step is None else f"{named}, step {step}")]


def _short(value: Any) -> str:
    return shown(value) if isinstance(value, (str, int, float)) or value is None else str(value)


def _confusions(page: Page, place: Path) -> Markup:
    """Which class was taken for which, from the pairs that were confused."""
    rows, file = read_rows(place / OF_CLASSES), place / "confusions.csv"
    if not rows or not file.is_file() or "Acc" not in rows[0]:
        return Markup("")
    names = [str(row["name"]) for row in rows]
    percent = np.diag([row["Acc"] or 0.0 for row in rows])
    with file.open(newline="", encoding="utf-8") as lines:
        for pair in csv.DictReader(lines):
            percent[names.index(pair["labelled"]), names.index(pair["predicted"])] = float(pair["percent"])
    return confusions_chart(page, percent, names)


def _audit(page: Page, directory: Path, audit: Mapping[str, Any]) -> None:
    findings, splits = audit["findings"], audit["splits"]
    levels = [each["level"] for each in findings]
    page.facts.append(("data", Path(str(audit["settings"].get("root") or "")).name))
    page.facts += [(f"{level}s", str(levels.count(level))) for level in ("error", "warning", "note")]
    page.facts += [(f"{split} images", shown(facts["images"])) for split, facts in splits.items()]
    page.facts.append(("took", duration(audit["seconds"])))
    page.add("Findings", table(("level", "what", "files"), [(e["level"], e["sentence"], e["count"]) for e in findings]))
    page.add("Pictures", *_pictures(page, directory))
    rows = [
        (name.replace("_", " "), *told)
        for name in dict.fromkeys(name for facts in splits.values() for name in facts)
        if any(told := [_spread(name, facts.get(name)) for facts in splits.values()])
    ]
    page.add("Splits", table(("what", *splits), rows))
    classes = audit["classes"]
    heads = [name.replace("_", " ") for name in classes[0]] if classes else []
    page.add("Classes", table(heads, [list(row.values()) for row in classes]))
    page.add("Settings", code(yaml.safe_dump(dict(audit["settings"]), sort_keys=False)))


def _spread(name: str, value: Any) -> str:
    """A fact of a split as text; of a spread one number where all images have the same."""
    if isinstance(value, dict):
        same = len(set(map(shown, value.values()))) == 1
        return shown(next(iter(value.values()))) if same else " / ".join(f"{k} {shown(v)}" for k, v in value.items())
    return f"{100 * value:.2f} %" if name.endswith("_share") and isinstance(value, float) else shown(value)


def _demo(page: Page, directory: Path, results: Mapping[str, Any], link: Link) -> None:
    rows = results["runs"]
    metrics = [name for name in rows[0] if name.startswith("val/")]
    seeds = len({row["seed"] for row in rows})
    for start in dict.fromkeys(row["start"] for row in rows):
        values = [row[metrics[0]] for row in rows if row["start"] == start]
        spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
        unit = " %" if is_percent(metrics[0]) else ""
        page.facts.append((f"{metrics[0]}, {start}", f"{fmean(values):.1f}{spread}{unit}"))
    page.facts += [("seeds", str(seeds)), ("took", duration(results["seconds"]))]
    found = [[row["start"], row["seed"], *(row.get(name) for name in metrics)] for row in rows]
    heads = [in_percent(name, is_percent(name)) for name in metrics]
    alone = "One seed cannot tell how much is chance: mae-hydra demo --seeds 0,1,2 adds two." if seeds == 1 else ""
    page.add("Few labels, the same budget: what pre-training is worth", table(["start", "seed", *heads], found), alone)
    page.add("Pictures", *_pictures(page, directory / "figures"))
    runs = read_sweep(directory) or read_sweep(directory / f"seed{rows[0]['seed']}")
    runs = [run for run in runs if run.name in STARTS]
    page.add("Curves", *overlaid_curves(page, runs, lambda run: STARTS[run.name], link))
    told = [
        [link_of(STARTS[run.name], link(run.directory)), state_of(run), run.monitor, best, duration(run.seconds)]
        for run in runs
        for best in [next((value for _, value in scores_of(run)), "")]
    ]
    page.add("Runs", table(["run", "state", "judged by", "best", "took"], told))


def _pictures(page: Page, folder: Path) -> list[Markup]:
    paths = sorted(path for path in folder.glob("*.png") if path.stem not in DRAWN)
    return [page.picture(read_pixels(path), path.stem) for path in paths]
