"""From a directory to its page."""

from pathlib import Path

from mae_hydra import atomic
from mae_hydra.errors import UserError
from mae_hydra.experiment.gather import read_run, read_sweep
from mae_hydra.owned import Owned
from mae_hydra.report.page import Page
from mae_hydra.report.run_page import run_page
from mae_hydra.report.sweep_page import sweep_page

EXPECTED = (
    "expected is a directory with status.json, outputs/runs/<name>/<date>, or a directory of such, "
    "outputs/sweeps/<sweep>"
)


def write_report(directory: Path, out: Path | None = None) -> Path:
    """Write `index.html` and its figures to `out` (by default `directory`/report) and give the page's path.

    `directory` is that of a run, or of a sweep, which may both be under way.
    """
    place = directory / "report" if out is None else out
    atomic.check_writable(place, "give another folder with --out")
    page = Page(Owned(place, "report", trusted=out is None))
    run = read_run(directory)
    if run is not None:
        run_page(page, run)
        return page.write(title=str(run.config.get("name", run.name)), kind="run")
    runs = read_sweep(directory)
    if not runs:
        raise UserError(f"{directory} is {_what_it_is_not(directory)}")
    sweep_page(page, runs, directory if out is None else out)
    return page.write(title=directory.resolve().name, kind="sweep")


def _what_it_is_not(directory: Path) -> str:
    """Say what to give instead: the newest runs below it, where there are some."""
    if not directory.exists():
        return f"not there: {EXPECTED}"
    found = [file for deep in ("*/*", "*/*/*") for file in directory.glob(f"{deep}/status.json")]
    below = sorted(found, key=lambda file: file.stat().st_mtime, reverse=True)
    if not below:
        return f"neither a run nor a sweep: {EXPECTED}"
    newest = ", ".join(str(file.parent) for file in below[:3])
    return f"neither a run nor a sweep: it holds {len(below)} runs; name one, of which the newest are {newest}"
