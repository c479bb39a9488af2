"""The page of a sweep: which setting was best, how each key matters, and the same pictures across all of them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from markupsafe import Markup

from mae_hydra.experiment.read_runs import (
    SEED,
    Run,
    columns,
    error_of,
    over_seeds,
    settings_of,
    state_of,
    table_of,
    values_of,
    varying,
    write_table,
)
from mae_hydra.figures import Marginal, Panel, curves, heat_map, marginals, parallel_coordinates, series_of, sheet
from mae_hydra.recorded.tables import table_or_none
from mae_hydra.report.page import Page, code, duration, shown, table
from mae_hydra.report.run_page import command_of, provenance, read_pixels

MOST_CURVES = 24
MOST_STRIPS = 12
CELL = 224  # of the cells.png that evaluators leave behind


def sweep_page(page: Page, runs: Sequence[Run], directory: Path) -> None:
    """`directory`: where the table goes as results.json and results.csv."""
    for name in ("results.json", "results.csv") if directory == page.owned.folder else ():
        page.owned.claim(directory / name)
    write_table(table_of(runs), directory)
    keys = varying(runs)
    metrics = columns(runs)
    target = list(metrics)[-1]  # what the sweep is for: of several stages the last one's
    best = _best(runs, target, metrics[target])
    states = [state_of(run) for run in runs]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))
    page.facts += [("jobs", counts), ("swept", ", ".join(keys) or "nothing")]
    page.facts += [("judged by", target), ("took", duration(sum(run.total_seconds for run in runs)))]
    if best is not None:
        page.facts.append((f"best {target}", shown(values_of(best)[target])))
        page.add("The best run", _named(best, keys), code(command_of(best)))
    swept = [key for key in keys if key != SEED]
    page.add("What each setting is worth", *_marginals(page, runs, swept, metrics))
    page.add("Pairs of settings", *_pairs(page, runs, swept, target, metrics[target]))
    seeds = over_seeds(_in_order(runs, swept))
    page.add("Over seeds", table(*seeds) if seeds else "")
    page.add("All jobs", _jobs(runs, keys, metrics, best))
    ordered = _in_order(runs, keys)
    page.add("Curves", *overlaid_curves(page, ordered, partial(_label, keys=keys)))
    page.add("The same pictures", *same_pictures(page, ordered, partial(_label, keys=keys)))
    page.add("What failed", *(code(f"{run.name}\n{error_of(run)}") for run in runs if error_of(run)))
    page.add("Where it came from", *_provenance(runs))


def _complete(runs: Sequence[Run]) -> list[Run]:
    """Pick the runs whose values are final: the latest score of a run that trains is not compared with them."""
    return [run for run in runs if state_of(run) == "completed"]


def _best(runs: Sequence[Run], metric: str, higher: bool) -> Run | None:
    found = [run for run in _complete(runs) if metric in values_of(run)]
    return (max if higher else min)(found, key=lambda run: values_of(run)[metric]) if found else None


def _named(run: Run, keys: Sequence[str]) -> str:
    settings = settings_of(run)
    return ", ".join(f"{key} = {shown(settings.get(key))}" for key in keys) or run.name


def _label(run: Run, keys: Sequence[str]) -> str:
    settings = settings_of(run)
    return " ".join(f"{key.rsplit('.', 1)[-1]} {shown(settings.get(key))}" for key in keys) or run.name


def _in_order(runs: Sequence[Run], keys: Sequence[str]) -> list[Run]:
    def place(run: Run) -> list[tuple[bool, Any]]:
        settings = settings_of(run)
        return [(isinstance(settings.get(key), str), settings.get(key) if key in settings else "") for key in keys]

    try:
        return sorted(runs, key=place)
    except TypeError:  # a key that is a number here and a word there
        return list(runs)


def _points(runs: Sequence[Run], key: str, metric: str) -> dict[Any, list[float]]:
    found: dict[Any, list[float]] = {}
    for run in _in_order(_complete(runs), [key]):
        setting, value = settings_of(run).get(key), values_of(run).get(metric)
        if setting is not None and value is not None:
            found.setdefault(setting, []).append(value)
    return found


def _marginals(page: Page, runs: Sequence[Run], keys: Sequence[str], metrics: Mapping[str, bool]) -> list[Markup | str]:
    panels = [
        Marginal(key, metric, points, higher)
        for key in keys
        for metric, higher in metrics.items()
        if len(points := _points(runs, key, metric)) > 1
    ]
    if not panels:
        return []
    spread = any(len(values) > 1 for panel in panels for values in panel.points.values())
    caption = "Mean over all other settings and seeds; bars are standard deviations." if spread else ""
    return [page.chart(marginals(panels), "marginals", caption)]


def _pairs(page: Page, runs: Sequence[Run], keys: Sequence[str], metric: str, higher: bool) -> list[Markup | str]:
    parts: list[Markup | str] = []
    for first, second in combinations(keys[:4], 2):
        found: dict[tuple[Any, Any], list[float]] = {}
        for run in _complete(runs):
            settings, value = settings_of(run), values_of(run).get(metric)
            if first in settings and second in settings and value is not None:
                found.setdefault((settings[first], settings[second]), []).append(value)
        if len({a for a, _ in found}) > 1 and len({b for _, b in found}) > 1:
            means = {pair: fmean(values) for pair, values in found.items()}
            figure = heat_map(means, keys=(first, second), metric=metric, higher_is_better=higher)
            parts.append(page.chart(figure, f"heat_map_{_plain(first)}_{_plain(second)}"))
    if len(keys) > 1:
        done = [run for run in _complete(runs) if metric in values_of(run)]
        rows = [settings_of(run) | {metric: values_of(run)[metric]} for run in done]
        rows = [row for row in rows if all(key in row for key in keys)]
        if len(rows) > 2:
            figure = parallel_coordinates(rows, keys=keys, metric=metric, higher_is_better=higher)
            parts.append(page.chart(figure, "parallel", "A line for each job; the darker, the better."))
    return parts


def _jobs(runs: Sequence[Run], keys: Sequence[str], metrics: Mapping[str, bool], best: Run | None) -> Markup:
    ordered = _in_order(runs, keys)
    rows = [
        [settings_of(run).get(key) for key in keys]
        + [state_of(run), *(values_of(run).get(metric) for metric in metrics), duration(run.total_seconds)]
        for run in ordered
    ]
    marked = ordered.index(best) if best in ordered else None
    return table([*keys, "state", *metrics, "took"], rows, marked=marked)


def overlaid_curves(page: Page, runs: Sequence[Run], label: Callable[[Run], str]) -> list[Markup | str]:
    """Training loss and what each stage is judged by, all runs in one plot."""
    ordered = runs[:MOST_CURVES]
    parts = [("", ordered)]
    parts += [
        (name, [run.stages[name] for run in ordered if name in run.stages])
        for name in dict.fromkeys(name for run in ordered for name in run.stages)
    ]
    panels = []
    for stage, members in parts:
        names = [label(run) for run in ordered if not stage or stage in run.stages]
        logs = [member.rows() for member in members]
        for metric in dict.fromkeys(["train/loss", *(member.monitor for member in members)]):
            series = [series_of(log, metric, name) for log, name in zip(logs, names, strict=True)]
            series = [each for each in series if each.x]
            if series:
                panels.append(Panel(f"{stage}: {metric}" if stage else metric, series, smooth=metric == "train/loss"))
    if not panels:
        return []
    left_out = f"The first {MOST_CURVES} of {len(runs)}." if len(runs) > MOST_CURVES else ""
    return [page.chart(curves(panels), "curves", left_out)]


def same_pictures(page: Page, runs: Sequence[Run], label: Callable[[Run], str]) -> list[Markup | str]:
    """Show each stage's pictures once, then what each run made of them, one column a run."""
    parts: list[Markup | str] = []
    stages = ["", *dict.fromkeys(name for run in runs for name in run.stages)]
    for stage in stages:
        same: list[tuple[str, np.ndarray]] = []
        for run in runs:
            if len(same) == MOST_STRIPS:  # of a thousand runs no further pictures are held
                break
            member = run.stages.get(stage) if stage else run
            path = None if member is None else member.directory / "figures" / "cells.png"
            pixels = read_pixels(path) if path is not None and path.is_file() else None
            if pixels is not None and (not same or pixels.shape == same[0][1].shape):
                same.append((label(run), pixels))
        if len(same) < 2:
            continue
        given = _columns(same[0][1])[:-1]
        made = [_columns(pixels)[-1] for _, pixels in same]
        rows = [list(row) for row in zip(*given, *made, strict=True)]
        names = (["image"] if len(given) == 1 else ["image", "truth"]) + [name for name, _ in same]
        drawn = sheet(rows[:6], columns=names, cell=128, group=0)
        parts.append(page.picture(drawn, f"strips_{stage or 'run'}", stage))
    return parts


def _columns(pixels: np.ndarray) -> list[list[np.ndarray]]:
    """Columns of square cells, each from top to bottom."""
    tall, wide = pixels.shape[0] // CELL, pixels.shape[1] // CELL
    grid = pixels[: tall * CELL, : wide * CELL].reshape(tall, CELL, wide, CELL, 3)
    return [[grid[row, :, column] for row in range(tall)] for column in range(wide)]


def _provenance(runs: Sequence[Run]) -> list[Markup | str]:
    commits = {str(_commit(run)) for run in runs}
    mixed = "" if len(commits) == 1 else f"Jobs were trained with {len(commits)} states of the code: {sorted(commits)}."
    return [mixed, *provenance(runs[0])]


def _commit(run: Run) -> Any:
    return (table_or_none(run.directory / "git.json") or {}).get("commit")


def _plain(key: str) -> str:
    return key.replace(".", "_").replace("/", "_")
