"""From a directory to its page."""

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote

from mae_hydra import atomic
from mae_hydra.errors import UserError
from mae_hydra.experiment.many.label_study import is_study, read_study
from mae_hydra.experiment.many.listing import newest_first, read_row, run_directories, sweeps_of
from mae_hydra.experiment.read_runs import read_run, read_sweep
from mae_hydra.names import clean
from mae_hydra.owned import Owned
from mae_hydra.report.comparison_page import comparison_page, names_of
from mae_hydra.report.folder_page import folder_page
from mae_hydra.report.found_pages import found_page
from mae_hydra.report.page import Link, Page
from mae_hydra.report.run_page import run_page
from mae_hydra.report.study_page import study_page
from mae_hydra.report.sweep_page import sweep_page

EXPECTED = (
    "expected is a directory with status.json, outputs/runs/<name>/<date>, one of such, outputs/sweeps/<sweep>, any "
    "folder above them, or that of an evaluation, of a demo or of check-data"
)


def write_report(
    directory: Path, out: Path | None = None, *, with_pages: bool = False, link: Link | None = None
) -> Path:
    """Write `index.html` and its figures to `out` (by default `directory`/report) and give the page's path.

    `directory` is that of a run, of a sweep, of a study, or any folder with runs below it, which may all be under way;
    or that of an evaluation, a demo or the audit of a data set. The page of several runs leads to the pages that they
    have; `with_pages`: they are made first, where they are missing or older than what they tell. `link`: where the
    pages are served, their addresses.
    """
    place = directory / "report" if out is None else out
    atomic.check_writable(place, "give another folder with --out")
    page = Page(Owned(place, "report", trusted=out is None))
    link = link or partial(_written_page, place)
    run = read_run(directory)
    if run is not None:
        run_page(page, run)
        return page.write(title=str(run.config.get("name", run.name)), kind="run")
    found = list(run_directories(directory)) if directory.is_dir() else []
    if is_study(directory):
        if with_pages:
            _write_pages(found)
        study_page(page, read_study(directory), directory, directory if out is None else out, link)
        return page.write(title=directory.resolve().name, kind="study")
    kind = found_page(page, directory, link)
    if kind is not None:
        return page.write(title=directory.resolve().name, kind=kind)
    runs = read_sweep(directory)
    jobs = {run.directory for run in runs}
    if runs and all(each in jobs or each.parent in jobs for each in found):  # with more below it is no sweep
        if with_pages:
            _write_pages([run.directory for run in runs])
        sweep_page(page, runs, directory if out is None else out, link)
        return page.write(title=directory.resolve().name, kind="sweep")
    if not directory.exists():
        raise UserError(f"{directory} is not there: {EXPECTED}")
    if not found:
        raise UserError(f"{directory} is neither a run nor a sweep, and none lies below it: {EXPECTED}")
    rows = newest_first(read_row(each, directory) for each in found)
    folders = [row.run.directory for row in rows] + [sweep.directory for sweep in sweeps_of(rows)]
    if with_pages:
        _write_pages(folders)
    folder_page(page, rows, link)
    return page.write(title=directory.resolve().name, kind=f"folder of {len(rows)} runs")


def _written_page(place: Path, directory: Path) -> str | None:
    """The address of a page that is there, from the page in `place`."""
    page = directory / "report" / "index.html"
    return quote(os.path.relpath(page.resolve(), place.resolve())) if page.is_file() else None


def _write_pages(directories: Sequence[Path]) -> None:
    """Write the pages that are missing or old; one that cannot be made is said, and stops no other."""
    for number, directory in enumerate(directories, 1):
        page = directory / "report" / "index.html"
        records = [*directory.glob("*.json*"), *directory.glob("*/status.json"), *directory.glob("*/metrics.jsonl")]
        newest = max((file.stat().st_mtime for file in records if file.is_file()), default=0.0)
        if page.is_file() and page.stat().st_mtime > newest:
            continue
        print(f"{number} of {len(directories)}: {clean(directory)}", flush=True)
        try:
            write_report(directory)
        except (UserError, OSError) as error:
            print(f"no page: {clean(error)}", file=sys.stderr)


def write_comparison(directories: Sequence[Path], out: Path, *, trusted: bool = False) -> Path:
    """Write the page of a few runs beside each other to `out` and give its path; `trusted`: the folder is ours."""
    atomic.check_writable(out, "give another folder with --out")
    page, names = Page(Owned(out, "compare", trusted=trusted)), names_of(directories)
    runs = [run for run in map(read_run, directories) if run is not None]
    comparison_page(page, runs, names, partial(_written_page, out))
    return page.write(title=f"{len(directories)} runs beside each other", kind="comparison")
