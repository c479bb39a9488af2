"""The page of a sweep: which setting was best, how each key matters, and the same pictures across all of them."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from markupsafe import Markup

from mae_hydra.errors import UserError
from mae_hydra.experiment.comparable import unlike
from mae_hydra.experiment.read_runs import (
    SEED,
    Run,
    columns,
    error_of,
    grid_in,
    is_percent,
    over_seeds,
    settings_of,
    state_of,
    table_of,
    values_of,
    varying,
    with_unit,
    write_table,
)
from mae_hydra.figures import (
    Marginal,
    Panel,
    Series,
    TrialPoint,
    curves,
    heat_map,
    marginals,
    parallel_coordinates,
    search_figure,
    series_of,
    sheet,
)
from mae_hydra.launching.trials import COMPLETE, RUNNING, read_study
from mae_hydra.recorded.tables import table_or_none
from mae_hydra.report.page import Link, Page, code, duration, in_percent, legend, link_of, pairs, shown, strip, table
from mae_hydra.report.run_page import command_of, pictures, provenance, read_pixels, scores_of, what_of

MOST_CURVES = 24
MOST_STRIPS = 12
MOST_ROWS = 6  # pictures of each
WITH_PAGES = "mae-hydra report <this sweep> --pages writes a page for each job; its row then leads there."
ONE_SEED = "One run of each setting cannot tell how much of a difference is chance; seed=0,1,2 in the sweep does."
CELL = 224  # of the cells.png that evaluators leave behind


def sweep_page(page: Page, runs: Sequence[Run], directory: Path, link: Link) -> None:
    """`directory`: where the table goes as results.json and results.csv; `link`: the address of a run's own page."""
    for name in ("results.json", "results.csv") if directory == page.owned.folder else ():
        page.owned.claim(directory / name)
    grid = grid_in(runs[0].directory.parent)
    write_table(table_of(runs, grid), directory)
    keys = varying(runs) or grid
    metrics = columns(runs)
    target = list(metrics)[-1]  # what the sweep is for: of several stages the last one's
    best = _best(runs, target, metrics[target])
    states = [state_of(run) for run in runs]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))
    seeds = Counter(str({k: v for k, v in settings_of(run).items() if k != SEED}) for run in _complete(runs))
    most = max(seeds.values(), default=1)
    note = unlike(run.config for run in runs) if target == "val/loss" else ""
    page.add("Losses that do not compare", note)
    page.facts += [("jobs", counts), ("swept", ", ".join(keys) or "nothing")]
    if best is None or note:
        page.facts.append(("judged by", target))
    else:
        page.facts.append((f"best final {target}", with_unit(target, values_of(best)[target])))
        judged = best.stages.get(target.partition(": ")[0], best)
        told = [pairs(dict(scores_of(best))), ONE_SEED if most == 1 and len(seeds) > 1 else ""]
        told += [*pictures(page, judged, "best_"), code(command_of(best))]
        page.add("The best run", link_of(_named(best, keys), link(best.directory)), *told)
    least = min(seeds.values(), default=1)
    page.facts += [("runs of a setting", str(most) if least == most else f"{least} to {most}"), *_shared(runs)]
    page.facts.append(("took", duration(sum(run.total_seconds for run in runs))))
    swept = [key for key in keys if key != SEED]
    searched = _search(page, runs[0].directory.parent, target)
    page.add("The search", *searched)
    page.add("What each setting is worth", *_marginals(page, runs, swept if not searched else [], metrics))
    page.add("Pairs of settings", *_pairs(page, runs, swept, target, metrics[target]))
    means = over_seeds(_in_order(runs, swept))
    page.add("Over seeds", table(_headed(means[0]), means[1]) if means else "")
    hint = "" if any(link(run.directory) for run in runs) else WITH_PAGES
    page.add("All jobs", _jobs(runs, keys, metrics, None if note else best, link), hint)
    ordered = _in_order(runs, keys)
    page.add("Curves", *overlaid_curves(page, ordered, partial(_label, keys=keys), link))
    page.add("The same pictures", *same_pictures(page, ordered, partial(_label, keys=keys), link))
    page.add("What did not complete", *(code(f"{run.name}\n{error_of(run)}") for run in runs if error_of(run)))
    page.add("Where it came from", *_provenance(runs))


def _shared(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """What all jobs have in common of their model, their data and the weights that they began from."""
    first, *others = map(what_of, [run for run in runs if run.config] or runs)
    return [fact for fact in first if all(fact in other for other in others)]


def _headed(names: Iterable[str]) -> list[str]:
    """Names of columns, with the unit of those that are percent."""
    return [in_percent(name, is_percent(name)) for name in names]


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
        Marginal(key, in_percent(metric, is_percent(metric)), points, higher)
        for key in keys
        for metric, higher in metrics.items()
        if len(points := _points(runs, key, metric)) > 1
    ]
    if not panels:
        return []
    spread = any(len(values) > 1 for panel in panels for values in panel.points.values())
    caption = "Mean over all other settings and seeds; bars are standard deviations." if spread else ""
    return [page.chart(marginals(panels), "marginals", caption)]


def _search(page: Page, directory: Path, metric: str) -> list[Markup | str]:
    """What a search found; nothing of a grid."""
    try:
        study = read_study(directory)
    except UserError as error:
        return [str(error)]
    ended = [trial for trial in study.trials if trial.state != RUNNING] if study is not None else []
    if study is None or not ended:
        return []
    trials = [
        TrialPoint(each.number, each.params, each.state, each.value if each.state == COMPLETE else _last(each.steps))
        for each in ended
    ]
    logarithmic = [key for key, words in study.space.items() if "log" in words]
    higher = study.direction == "maximize"
    axis = in_percent(metric, is_percent(metric))
    figure = search_figure(trials, metric=axis, higher_is_better=higher, logarithmic=logarithmic)
    states = [trial.state for trial in study.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return [
        page.chart(
            figure,
            "search",
            f"{len(states)} trials: {counts}. A cross is a trial that was pruned, at the last value it had; a ring the "
            "best one. Importance: adjusted R² of a quadratic in each parameter, on ranks; interactions are not seen.",
        )
    ]


def _last(steps: Sequence[Sequence[float]]) -> float | None:
    return steps[-1][1] if steps else None


def _pairs(page: Page, runs: Sequence[Run], keys: Sequence[str], metric: str, higher: bool) -> list[Markup | str]:
    maps: list[Markup] = []
    parts: list[Markup | str] = []
    axis = in_percent(metric, is_percent(metric))
    for first, second in combinations(keys[:4], 2):
        found: dict[tuple[Any, Any], list[float]] = {}
        for run in _complete(runs):
            settings, value = settings_of(run), values_of(run).get(metric)
            if first in settings and second in settings and value is not None:
                found.setdefault((settings[first], settings[second]), []).append(value)
        if len({a for a, _ in found}) > 1 and len({b for _, b in found}) > 1:
            means = {pair: fmean(values) for pair, values in found.items()}
            figure = heat_map(means, keys=(first, second), metric=axis, higher_is_better=higher)
            maps.append(page.chart(figure, f"heat_map_{_plain(first)}_{_plain(second)}"))
    if maps:
        parts.append(Markup('<div class="charts">{}</div>').format(Markup("").join(maps)))
    if len(keys) > 1:
        done = [run for run in _complete(runs) if metric in values_of(run)]
        rows = [settings_of(run) | {axis: values_of(run)[metric]} for run in done]
        rows = [row for row in rows if all(key in row for key in keys)]
        if len(rows) > 2:
            figure = parallel_coordinates(rows, keys=keys, metric=axis, higher_is_better=higher)
            parts.append(page.chart(figure, "parallel", "A line for each job; the stronger, the better."))
    return parts


def _jobs(
    runs: Sequence[Run], keys: Sequence[str], metrics: Mapping[str, bool], best: Run | None, link: Link
) -> Markup:
    """A row leads to the page of its job."""
    ordered = _in_order(runs, keys)
    rows: list[list[Any]] = []
    for number, run in enumerate(ordered, 1):
        settings, values = settings_of(run), values_of(run)
        rows.append([link_of(str(number), link(run.directory)), *map(settings.get, keys), state_of(run)])
        rows[-1] += [*map(values.get, metrics), duration(run.total_seconds)]
    marked = ordered.index(best) if best in ordered else None
    return table(["job", *keys, "state", *_headed(metrics), "took"], rows, marked=marked)


def overlaid_curves(page: Page, runs: Sequence[Run], label: Callable[[Run], str], link: Link) -> list[Markup | str]:
    """Training loss and what each stage is judged by; all runs in one plot that measure the same."""
    ordered = runs[:MOST_CURVES]
    parts = [("", ordered)]
    parts += [
        (name, [run.stages[name] for run in ordered if name in run.stages])
        for name in dict.fromkeys(name for run in ordered for name in run.stages)
    ]
    panels = []
    for stage, members in parts:
        names = {member.directory: label(run) for run in ordered if (member := run.stages.get(stage) if stage else run)}
        for metric in dict.fromkeys(["train/loss", *(member.monitor for member in members)]):
            groups: dict[str, list[Series]] = {}
            for member in members:
                series = series_of(member.rows(), metric, names[member.directory])
                if series.x:  # losses of different tasks are no two values of one quantity
                    groups.setdefault(task_of(member) if metric.endswith("loss") else "", []).append(series)
            for task, found in groups.items():
                title = f"{stage}: {metric}" if stage else metric
                title += f" ({task})" if len(groups) > 1 else ""
                if any(len(series.x) > 1 for series in found):  # one value each is no curve: the table has it
                    panels.append(Panel(in_percent(title, is_percent(title)), found, smooth=metric == "train/loss"))
    left_out = f"The first {MOST_CURVES} of {len(runs)}." if len(runs) > MOST_CURVES else ""
    if not panels:
        return []
    chart = page.chart(curves(panels), "curves", left_out, legend=False)
    return [chart, legend({label(run): link(run.directory) for run in ordered})]


def same_pictures(page: Page, runs: Sequence[Run], label: Callable[[Run], str], link: Link) -> list[Markup | str]:
    """Show each stage's pictures once, then what each run made of them; as a figure one column a run."""
    parts: list[Markup | str] = []
    stages = ["", *dict.fromkeys(name for run in runs for name in run.stages)]
    for stage in stages:
        same: list[tuple[Run, np.ndarray]] = []
        for run in runs:
            if len(same) == MOST_STRIPS:  # of a thousand runs no further pictures are held
                break
            member = run.stages.get(stage) if stage else run
            path = None if member is None else member.directory / "figures" / "cells.png"
            try:
                found = read_pixels(path) if path is not None and path.is_file() else None
            except UserError as error:  # of one job: the others are shown all the same
                parts.append(str(error))
                continue
            if found is not None and (not same or found.shape == same[0][1].shape):
                same.append((run, found))
        if len(same) < 2:
            continue
        given = _columns(same[0][1])[:-1]
        made = [_columns(pixels)[-1] for _, pixels in same]
        rows = [list(row) for row in zip(*given, *made, strict=True)][:MOST_ROWS]
        names = (["image"] if len(given) == 1 else ["image", "truth"]) + [label(run) for run, _ in same]
        addresses = [None] * len(given) + [link(run.directory) for run, _ in same]
        pixels = sheet(rows, columns=names, cell=128, group=0)
        strips = [strip(row, names, addresses) for row in rows]
        parts.append(page.beside(pixels, strips, f"strips_{stage or 'run'}", stage))
    return parts


def _columns(pixels: np.ndarray) -> list[list[np.ndarray]]:
    """Columns of square cells, each from top to bottom."""
    tall, wide = pixels.shape[0] // CELL, pixels.shape[1] // CELL
    grid = pixels[: tall * CELL, : wide * CELL].reshape(tall, CELL, wide, CELL, 3)
    return [[grid[row, :, column] for row in range(tall)] for column in range(wide)]


def _provenance(runs: Sequence[Run]) -> list[Markup | str]:
    commits = {str(commit) for run in runs if (commit := _commit(run))}
    mixed = "" if len(commits) < 2 else f"Jobs were trained with {len(commits)} states of the code: {sorted(commits)}."
    return [mixed, *provenance(runs[0])]


def task_of(run: Run) -> str:
    """What its losses measure: the task, and the loss where one was chosen; they compare with no others."""
    choices = (table_or_none(run.directory / "environment.json") or {}).get("choices", {})
    chosen = str(choices.get("loss") or "none")
    task = str(run.status.get("task") or run.config.get("task") or "")
    return task if chosen == "none" else f"{task}, {chosen}"


def _commit(run: Run) -> Any:
    return (table_or_none(run.directory / "git.json") or {}).get("commit")


def _plain(key: str) -> str:
    return key.replace(".", "_").replace("/", "_")
