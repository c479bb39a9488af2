"""The page of many runs: a list to sort and filter, their curves in one plot, pictures, and links to their own pages.

The list is made here and works without a script; `folder.js` sorts, filters and draws what is in the page. Whatever
comes from a run is text or a number in JSON, so that no name of a run or a class can be anything else.
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image
from rich.filesize import decimal

from mae_hydra.errors import UserError
from mae_hydra.experiment.many.filters import COLUMNS
from mae_hydra.experiment.many.listing import Row, Sweep, common_words, own_words, sweeps_of
from mae_hydra.experiment.read_runs import METRICS
from mae_hydra.lines import of_a_step, read_lines
from mae_hydra.names import clean
from mae_hydra.report.page import Link, Page, code, jpeg, link_of, shown, table
from mae_hydra.report.run_page import read_pixels
from mae_hydra.report.sweep_page import CELL, task_of
from mae_hydra.terminal import ago

MOST_CURVES = 400  # runs whose curves are in the page
POINTS = 150  # of a curve
MOST_PICTURES = 48
THUMB = 360  # pixels of its width
MOST_FAILED = 20
HEAD = ("run", "task", "state", "step", "best", "last", "typed", "age", "took", "size")


def folder_page(page: Page, rows: Sequence[Row], link: Link) -> None:
    """`link`: the address of the page of a run or a sweep by its directory, None where there is none."""
    states = [row.state for row in rows]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))
    page.facts += [("runs", str(len(rows))), ("states", counts), ("size", decimal(sum(row.size for row in rows)))]
    shared = common_words(rows)
    note = f"Typed for all: {' '.join(shared)}" if shared else ""
    page.add("All runs", _controls(), _list(rows, link), note)
    page.add(
        "Curves of the chosen runs", Markup('<div id="curves" class="quiet">drawn by the script of this page</div>')
    )
    page.add("Sweeps", _sweeps(sweeps_of(rows), link))
    page.add("Pictures", *_pictures(rows, link))
    failed = [row for row in rows if row.run.status["error"] and row.state != "completed"]
    told = [code(f"{row.name}\n{row.run.status['error']}") for row in failed[:MOST_FAILED]]
    left_out = f"The newest {MOST_FAILED} of {len(failed)}." if len(failed) > MOST_FAILED else ""
    page.add("What failed", *told, left_out)
    page.data = {"runs": [_told(row) for row in rows], "curves": curves_of(rows[:MOST_CURVES])}
    page.script = resources.files("mae_hydra.report").joinpath("folder.js").read_text(encoding="utf-8")


def id_of(row: Row) -> str:
    """What a run is called in addresses and in the page: never anything of its name itself."""
    return id_of_path(row.run.directory)


def id_of_path(directory: Path) -> str:
    """Give a directory twelve hex digits that a page can refer to."""
    return hashlib.sha256(str(directory).encode(errors="surrogateescape")).hexdigest()[:12]


def _controls() -> Markup:
    return Markup(
        '<div class="controls"><input id="filter" type="search" aria-label="filter" autocomplete="off" '
        'spellcheck="false" placeholder="filter: task=segment val/mIoU>30 words"> '
        '<button id="choose" type="button">curves of the shown</button> '
        '<button id="none" type="button">of none</button> <span id="count" class="quiet"></span></div>'
    )


def _list(rows: Sequence[Row], link: Link) -> Markup:
    head = Markup("").join(Markup('<th scope="col"><button type="button">{}</button></th>').format(n) for n in HEAD)
    lines = zip(rows, own_words(rows), strict=True)
    body = Markup("\n").join(_line(row, link(row.run.directory), words) for row, words in lines)
    return Markup(
        '<div class="tall" role="region" aria-label="all runs" tabindex="0"><table id="list" class="cards">'
        "<thead><tr><td></td>{}</tr></thead><tbody>{}</tbody></table></div>"
    ).format(head, body)


def _line(row: Row, address: str | None, words: str) -> Markup:
    scores = [(row.best, row.best_step), (row.last, row.last_step)]
    numbers = [(row.step, shown(row.step)), *((value, _at(value, step)) for value, step in scores)]
    times = [(row.age, ago(row.age)), (row.took, ago(row.took)), (row.size, decimal(row.size))]
    texts = (("run", link_of(row.name, address)), ("task", clean(row.task)), ("state", row.state))
    typed = Markup('<td class="words" data-name="typed" title="{0}"><div>{0}</div></td>').format(clean(words))
    cells = [
        Markup('<td data-name="curve"><input type="checkbox" aria-label="curve of {}"></td>').format(clean(row.name)),
        *(Markup('<td class="{0}" data-name="{0}">{1}</td>').format(*each) for each in texts),
        *map(_number, HEAD[3:6], numbers),
        typed if words else Markup('<td class="words"></td>'),
        *map(_number, HEAD[7:], times),
    ]
    return Markup('<tr data-id="{}" class="{}">{}</tr>').format(id_of(row), row.state, Markup("").join(cells))


def _at(value: float | None, step: int | None) -> str:
    return shown(value) if step is None else f"{shown(value)} at {step}"


def _number(name: str, value: tuple[float | None, str]) -> Markup:
    number, text = value
    return Markup('<td class="number" data-name="{}" data-value="{}">{}</td>').format(
        name, "" if number is None else number, text
    )


def _sweeps(sweeps: Iterable[Sweep], link: Link) -> Markup:
    rows = []
    for sweep in sweeps:
        best = sweep.best
        value = "" if best is None else f"{best.run.monitor} {_at(best.last, best.last_step)}"
        name = link_of(sweep.name, link(sweep.directory))
        rows.append([name, len(sweep.jobs), sweep.states, value, "" if best is None else Path(best.name).name])
    return table(("sweep", "jobs", "states", "best", "job"), rows)


def _pictures(rows: Sequence[Row], link: Link) -> list[Markup | str]:
    """What each of the newest runs made of the first images, small."""
    found: list[Markup] = []
    for row in rows:
        figures = row.run.directory / "figures"
        cells = figures / "cells.png"  # without the paper of a sheet
        paths = [cells] if cells.is_file() else sorted(figures.glob("*.png"))
        if paths and len(found) < MOST_PICTURES:
            try:
                about = paths[0].stat()
                source = _thumb(paths[0], about.st_mtime_ns, about.st_size)
            except (OSError, UserError):  # it is being replaced, or damaged: the run's own page says so
                continue
            image = Markup('<img alt="" src="{}">').format(source)
            name = link_of(row.name, link(row.run.directory))
            found.append(
                Markup('<figure data-id="{}">{}<figcaption>{}</figcaption></figure>').format(id_of(row), image, name)
            )
    return [Markup('<div class="thumbs">{}</div>').format(Markup("").join(found))] if found else []


@lru_cache(maxsize=1024)
def _thumb(path: Path, changed: int, size: int) -> str:
    """Its address; made once for each state of the file."""
    pixels = read_pixels(path)
    picture = Image.fromarray(pixels[: 2 * CELL] if path.stem == "cells" else pixels)
    picture.thumbnail((THUMB, 2 * THUMB), Image.Resampling.LANCZOS)
    return jpeg(np.asarray(picture))


def _told(row: Row) -> dict[str, Any]:
    """What the page's filter may ask of a run; the configuration by what was typed."""
    facts = {name: clean(value) if isinstance(value := of(row), str) else value for name, of in COLUMNS.items()}
    typed = dict(word.lstrip("+").partition("=")[::2] for word in row.words)
    return {"id": id_of(row), "measures": task_of(row.run), "facts": {**typed, **row.run.metrics, **facts}}


def curves_of(rows: Sequence[Row]) -> dict[str, dict[str, list[list[float]]]]:
    """By the id of each run its training loss and what the runs are judged by: [steps, values]."""
    keys = ("train/loss", *dict.fromkeys(row.run.monitor for row in rows))
    found = {}
    for row in rows:
        path = row.run.directory / METRICS
        try:
            about = path.stat()
        except OSError:
            continue
        found[id_of(row)] = _curves(path, keys, about.st_mtime_ns, about.st_size)
    return found


@lru_cache(maxsize=4096)
def _curves(path: Path, keys: Sequence[str], changed: int, size: int) -> dict[str, list[list[float]]]:
    rows = read_lines(path, of_a_step).rows
    found = {key: _thinned([(row["step"], row[key]) for row in rows if row.get(key) is not None]) for key in keys}
    return {key: curve for key, curve in found.items() if curve[0]}


def _thinned(points: Sequence[tuple[float, float]]) -> list[list[float]]:
    """At most POINTS of a curve, each the mean of its neighbours."""
    many = -(-len(points) // POINTS)
    parts = [points[start : start + many] for start in range(0, len(points), many)] if points else []
    return [[part[-1][0] for part in parts], [float(f"{fmean(value for _, value in part):.5g}") for part in parts]]
