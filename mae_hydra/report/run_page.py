"""The page of one run: what it found, how it went, and where it came from."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from markupsafe import Markup
from PIL import Image

from mae_hydra.configuration.from_file import read_rows
from mae_hydra.errors import UserError
from mae_hydra.experiment.compare import typed
from mae_hydra.experiment.read_runs import Run, error_of, is_percent, state_of, with_unit
from mae_hydra.figures import Panel, class_bars, confusion_matrix, curves, series_of
from mae_hydra.recorded.tables import read_table, table_or_none
from mae_hydra.report.page import Page, code, duration, in_percent, pairs, shown, table

MOST_BARS = 150  # classes in one figure
NO_SHEETS = ("cells", "confusion_shares", "confusions")  # figures of a run that a page takes apart or draws anew
OF_CLASSES, SCORES = "per_class.json", ("IoU", "accuracy")
OF_A_CLASS = {"IoU", "BIoU", "Acc", "Dice", "Precision", "accuracy"}  # these are percent
CURVES = {
    "train/loss": "Training loss",
    "train/grad_norm": "Norm of the gradient",
    "train/lr": "Learning rate",
    "perf/images_per_second": "Images a second",
}


def run_page(page: Page, run: Run) -> None:
    """Fill `page` with all that one run has recorded."""
    rows, damaged = run.rows(), run.damaged_lines
    page.facts += [
        ("state", state_of(run)),
        *scores_of(run),
        *what_of(run),
        ("steps", shown(rows[-1]["step"]) if rows else "0"),
        *([("damaged lines", f"{damaged} of metrics.jsonl, left out")] if damaged else []),
        ("took", duration(run.seconds)),
        ("seed", shown(run.config.get("seed"))),
    ]
    page.add("What was typed", code(command_of(run)), error_of(run), *_way_on(run))
    page.add("Curves", _curves(page, run), _scored_once(run))
    page.add("Pictures", *pictures(page, run), _confusions(page, run))
    page.add("Classes", *class_charts(page, run.directory / "tables" / OF_CLASSES))
    for path in sorted((run.directory / "tables").glob("*.json")):
        if path.name != OF_CLASSES and (found := read_rows(path)):
            page.add(f"Table: {path.stem.replace('_', ' ')}", _table(found))
    for name, stage in run.stages.items():
        facts = dict(scores_of(stage)) | {"state": stage.state, "took": duration(stage.seconds)}
        drawn = _curves(page, stage, f"{name}_"), *pictures(page, stage, f"{name}_")
        page.add(f"Then: {name}", pairs(facts), *drawn, code(command_of(stage)))
    page.add("Where it came from", *provenance(run))


def _way_on(run: Run) -> list[Markup | str]:
    """How a run that has not come to its end goes on, where it has saved a state."""
    if run.state not in ("interrupted", "failed") or not (run.directory / "checkpoints" / "last.pt").exists():
        return []
    return [
        "It goes on from its last checkpoint with",
        code(f"python train.py resume={shlex.quote(str(run.directory))}"),
    ]


def scores_of(run: Run) -> list[tuple[str, str]]:
    """What a run is judged by, the best and the last with their steps; and what its stages found."""
    name = run.monitor
    points = [(row[name], row["step"]) for row in run.rows() if row.get(name) is not None]
    found = []
    if points:
        best, last = (max if run.higher_is_better else min)(points, key=lambda point: point[0]), points[-1]
        told = {"best": best, "last": last} if best[1] != last[1] else {"best and last": last}
        found += [(f"{which} {name}", _at(name, *point)) for which, point in told.items()]
    elif run.value is not None:
        found.append((name, with_unit(name, run.value)))
    for stage, run_after in run.stages.items():
        found += [(f"{stage}: {each}", value) for each, value in scores_of(run_after)]
    return found


def _at(name: str, value: float, step: int) -> str:
    return f"{with_unit(name, value)} at step {step}"


def what_of(run: Run) -> list[tuple[str, str]]:
    """Which model learned on which data, and from which weights, as far as that was recorded."""
    records = (table_or_none(run.directory / f"{name}.json") or {} for name in ("environment", "data", "parent"))
    environment, data, parent = records
    choices, size = environment.get("choices") or {}, (run.config.get("data") or {}).get("image_size")
    images, sides = (data.get("train") or {}).get("images"), size if isinstance(size, list) else [size, size]
    told = [choices.get("data"), f"{images} images" if images else "", "x".join(map(str, sides)) if size else ""]
    path = Path(str(parent.get("path", "")))
    start = path.parents[1].name if path.parent.name == "checkpoints" else path.name
    step = f", step {parent['step']}" if parent.get("step") is not None else ""
    facts = {
        "model": choices.get("model"),
        "data": ", ".join(str(each) for each in told if each),
        "began from": start and start + step,
    }
    return [(name, str(value)) for name, value in facts.items() if value]


def command_of(run: Run) -> str:
    """What starts the same run again; of a job of a sweep file, the sweep of this one job."""
    swept = any(override.lstrip("+").startswith("sweep=") for override in run.overrides)
    folders = (read_table(run.directory / "environment.json") or {}).get("config_folders", [])
    own = [word for folder in folders for word in ("--config-dir", folder)]
    return shlex.join(["python", "train.py", *(["-m"] if swept else []), *own, *run.overrides])


def provenance(run: Run) -> list[Markup]:
    """Machine, packages, code and configuration, as they were recorded."""
    names = ("environment.json", "git.json", "data.json", "parent.json")
    environment, git, data, parent = (read_table(run.directory / name) or {} for name in names)
    facts = {name: environment.get(name) for name in ("host", "platform", "python", "cpus")}
    facts |= {"accelerators": ", ".join(map(str, environment.get("accelerators", []))) or "none"}
    facts |= {"commit": git.get("commit"), "branch": git.get("branch")}
    facts |= {"changed since the commit": None if git.get("dirty") is None else "yes" if git["dirty"] else "no"}
    for split, known in ((split, data[split]) for split in ("train", "validation") if split in data):
        facts[f"{split} images"] = f"{known.get('images')} (digest of their names: {known.get('listing')})"
    facts["began from"] = _one_line(parent)
    facts |= {"command": typed(environment), "started in": environment.get("folder")}
    facts |= {"own option files": ", ".join(map(str, environment.get("config_folders") or [])) or None}
    facts |= {f"${name}": value for name, value in environment.get("variables", {}).items()}
    facts |= {name: version for name, version in environment.get("packages", {}).items() if version}
    parts = [pairs({name: value for name, value in facts.items() if value is not None})]
    parts.append(code(yaml.safe_dump(run.config, sort_keys=False), summary="the whole configuration"))
    diff = run.directory / "git.diff"
    if diff.is_file() and diff.stat().st_size:
        parts.append(code(diff.read_text(errors="replace"), summary="how the code differed from its commit"))
    return parts


def read_pixels(path: Path) -> np.ndarray:
    """Read a picture of a run as RGB uint8 (H, W, 3); a UserError where it is none."""
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is not the picture that a run writes ({error}); get it again, or remove it") from error


def pictures(page: Page, run: Run, prefix: str = "") -> list[Markup]:
    """The sheets that a run's evaluations have left, in the state of the last one."""
    paths = sorted(path for path in (run.directory / "figures").glob("*.png") if path.stem not in NO_SHEETS)
    return [page.picture(read_pixels(path), prefix + path.stem) for path in paths]


def _confusions(page: Page, run: Run) -> Markup:
    """Which class was taken for which, drawn anew; of an older run as it was drawn."""
    shares, drawn = (run.directory / "figures" / f"{name}.png" for name in NO_SHEETS[1:])
    names = [str(row["name"]) for row in read_rows(run.directory / "tables" / OF_CLASSES)]
    if not shares.is_file():
        return page.picture(read_pixels(drawn), drawn.stem, sheet=False) if drawn.is_file() else Markup("")
    percent = read_pixels(shares)[..., 0].astype(float) / 2
    if percent.shape != (len(names), len(names)):
        return Markup("")
    return confusions_chart(page, percent, names)


def confusions_chart(page: Page, percent: np.ndarray, names: Sequence[str]) -> Markup:
    """`percent` (C, C): row = label, column = prediction."""
    return page.chart(confusion_matrix(percent, names, title="Which class was taken for which"), "confusions")


def _curves(page: Page, run: Run, prefix: str = "") -> Markup:
    rows = run.rows()
    found = [
        Panel(title, [series_of(rows, key, "")], smooth=key == "train/loss")
        for key, title in CURVES.items()
        if any(row.get(key) is not None for row in rows)
    ]
    found[1:1] = [
        Panel(in_percent(key, is_percent(key)), [series_of(rows, key, "")])
        for key, points in _scores(run).items()
        if len(points) > 1
    ]
    return page.chart(curves(found, columns=3), f"{prefix}curves") if found else Markup("")


def _scored_once(run: Run) -> Markup:
    """Scores of a single evaluation, which are no curve."""
    once = {name: points[0] for name, points in _scores(run).items() if len(points) == 1}
    return pairs({name: _at(name, *point) for name, point in once.items()})


def _scores(run: Run) -> dict[str, list[tuple[float, int]]]:
    """All that was found on validation images, with the steps."""
    found: dict[str, list[tuple[float, int]]] = {}
    for row in run.rows():
        for name in (name for name in row if name.startswith("val/") and row[name] is not None):
            found.setdefault(name, []).append((row[name], row["step"]))
    return found


def class_charts(page: Page, path: Path) -> list[Markup]:
    """Bars of the classes' scores in the table `path`, and the table."""
    rows = read_rows(path, SCORES)
    if not rows:
        return []
    score = next((name for name in SCORES if name in rows[0]), None)
    if score is None:
        return [_table(rows)]
    title = "IoU of every class" if score == "IoU" else "Accuracy of every class"
    values = {row["name"]: row[score] for row in rows}
    if len(values) > MOST_BARS:
        worst = sorted((name for name in values if values[name] is not None), key=lambda name: values[name])
        values = {name: values[name] for name in worst[:MOST_BARS]}
        title = f"{score} of the {MOST_BARS} worst of {len(rows)} classes"
    bars = class_bars({score: values}, title=title, x_label=f"{score}, %")
    listing = Markup("<details><summary>as a table</summary>{}</details>").format(_table(rows))
    return [page.chart(bars, "classes"), listing]


def _table(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Rows of a file; what a column lacks in one of them stays empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    heads = [in_percent(name, name.rpartition(" ")[2] in OF_A_CLASS) for name in columns]
    return table(heads, [[row.get(name) for name in columns] for row in rows])


def _one_line(values: Mapping[str, Any]) -> str | None:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or None
