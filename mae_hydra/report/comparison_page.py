"""The page of a few runs beside each other: what differs, and their curves and pictures together."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mae_hydra.experiment.compare import compare, distinct
from mae_hydra.experiment.read_runs import Run, state_of, with_unit
from mae_hydra.names import clean
from mae_hydra.report.page import Link, Page, code, duration, link_of, table
from mae_hydra.report.run_page import command_of, scores_of
from mae_hydra.report.sweep_page import overlaid_curves, same_pictures, task_of

LONGEST_NAME = 18  # letters; longer ones would leave no room beside them


def comparison_page(page: Page, runs: Sequence[Run], names: Sequence[str], link: Link) -> None:
    """`names`: what each run is called here, no two alike; `link`: the address of a run's own page."""
    labels = {run.directory: name for run, name in zip(runs, names, strict=True)}

    def label(run: Run) -> str:
        return labels[run.directory]

    page.facts += [("runs", str(len(runs))), *_best(runs, label)]
    rows = []
    for run in runs:
        found = ", ".join(f"{name} {value}" for name, value in scores_of(run))
        name = link_of(label(run), link(run.directory))
        rows.append([name, str(run.directory), state_of(run), found, duration(run.seconds)])
    page.add("What they found", table(["run", "directory", "state", "value", "took"], rows))
    page.add("Curves", *overlaid_curves(page, runs, label, link))
    page.add("The same pictures", *same_pictures(page, runs, label, link))
    differences = distinct(compare([run.directory for run in runs]))
    differing = [[each.part, each.name, *each.shown] for each in differences if each.part != "typed"]
    page.add("What differs", table(["of", "key", *names], differing))
    page.add("What was typed", *(code(f"{label(run)}\n{command_of(run)}") for run in runs))


def _best(runs: Sequence[Run], label: Callable[[Run], str]) -> list[tuple[str, str]]:
    """The best of runs that are judged by the same score; losses of different tasks are not the same."""
    done = [run for run in runs if state_of(run) == "completed" and run.value is not None]
    if len({(run.monitor, task_of(run) if run.monitor.endswith("loss") else "") for run in runs}) > 1 or len(done) < 2:
        return []
    values = {run.directory: run.value or 0.0 for run in done}
    best = (max if done[0].higher_is_better else min)(done, key=lambda run: values[run.directory])
    return [(f"best final {best.monitor}", f"{with_unit(best.monitor, values[best.directory])}, {label(best)}")]


def names_of(directories: Sequence[Path]) -> list[str]:
    """What each run is called beside the others: its directory's name, or a letter where those are long or alike."""
    names = [clean(directory.resolve().name) for directory in directories]
    if len(set(names)) == len(names) and max(map(len, names)) <= LONGEST_NAME:
        return names
    return [chr(ord("A") + n) if len(names) <= 26 else str(n + 1) for n in range(len(names))]
