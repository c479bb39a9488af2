"""The pages of what commands have found: an evaluation, the audit of a data set, the demo."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from markupsafe import Markup

from mae_hydra.configuration.from_file import read_rows
from mae_hydra.errors import UserError
from mae_hydra.experiment.read_runs import read_sweep, state_of
from mae_hydra.recorded.tables import table_or_none
from mae_hydra.report.page import Link, Page, code, duration, link_of, pairs, shown, table
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
    page.facts += [(name, shown(value)) for name, value in results.items() if isinstance(value, (int, float))]
    page.facts += [("checkpoint", Path(protocol["checkpoint"]).name), ("step", shown(protocol.get("step")))]
    for place in (directory, *sorted(path.parent for path in directory.glob("*/figures"))):
        named = f" of {place.name}" if place != directory else ""
        page.add(f"Pictures{named}", *_pictures(page, place / "figures"))
        page.add(f"Confusions{named}", _confusions(page, place))
        page.add(f"Classes{named}", *class_charts(page, place / OF_CLASSES))
    facts = {key: value for key, value in protocol.items() if not isinstance(value, (dict, list))}
    page.add("Protocol", pairs(facts), code(yaml.safe_dump(protocol, sort_keys=False), summary="the whole protocol"))


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
    page.facts += [(f"{level}s", str(levels.count(level))) for level in ("error", "warning", "note")]
    page.facts += [(f"{split} images", shown(facts["images"])) for split, facts in splits.items()]
    page.facts.append(("took", duration(audit["seconds"])))
    page.add("Findings", table(("level", "what", "files"), [(e["level"], e["sentence"], e["count"]) for e in findings]))
    page.add("Pictures", *_pictures(page, directory))
    rows = [
        (name, *(_spread(facts.get(name)) for facts in splits.values()))
        for name in dict.fromkeys(name for facts in splits.values() for name in facts)
    ]
    page.add("Splits", table(("what", *splits), rows))
    classes = audit["classes"]
    page.add("Classes", table(list(classes[0]), [list(row.values()) for row in classes]) if classes else "")
    page.add("Settings", code(yaml.safe_dump(dict(audit["settings"]), sort_keys=False)))


def _spread(value: Any) -> Any:
    return " / ".join(f"{key} {shown(each)}" for key, each in value.items()) if isinstance(value, dict) else value


def _demo(page: Page, directory: Path, results: Mapping[str, Any], link: Link) -> None:
    rows = results["runs"]
    metrics = [name for name in rows[0] if name.startswith("val/")]
    page.facts += [("seeds", str(len({row["seed"] for row in rows}))), ("took", duration(results["seconds"]))]
    found = [[row["start"], row["seed"], *(row.get(name) for name in metrics)] for row in rows]
    page.add("Few labels, the same budget: what pre-training is worth", table(["start", "seed", *metrics], found))
    page.add("Pictures", *_pictures(page, directory / "figures"))
    runs = read_sweep(directory) or read_sweep(directory / f"seed{rows[0]['seed']}")
    runs = [run for run in runs if run.name in STARTS]
    page.add("Curves", *overlaid_curves(page, runs, lambda run: STARTS[run.name], link))
    told = [
        [link_of(STARTS[run.name], link(run.directory)), state_of(run), *scores_of(run)[0][::-1], duration(run.seconds)]
        for run in runs
    ]
    page.add("Runs", table(["run", "state", "value", "of", "took"], told))


def _pictures(page: Page, folder: Path) -> list[Markup]:
    paths = sorted(path for path in folder.glob("*.png") if path.stem not in DRAWN)
    return [page.picture(read_pixels(path), path.stem) for path in paths]
