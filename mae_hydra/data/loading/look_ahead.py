"""What validation will meet, looked at before the first step: a bad file would end the run at its first evaluation.

All headers are read (sizes, pairs of image and map; PNGs whole, because their orientation may stand behind the pixels),
then the values of class maps as far as a time allows; threads do it, because decoding leaves Python's lock. What was
good is remembered by the files' names, sizes and times, of the KEPT sets that were looked at last.

Sizes are (H, W) in pixels.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mae_hydra import atomic
from mae_hydra.data.dataset import Foreseeable, Header, ImageSet, LabelledSet, spread
from mae_hydra.errors import UserError

THREADS = 8  # more than most machines have cores: files wait for their disk
SECONDS = 5.0  # for the values of class maps; their headers are all read
KEPT = 64  # sets that are remembered in a folder
SOME = 64  # training pictures whose sizes are looked at

_OWN = re.compile(r"[0-9a-f]{16}\.json")

Advance = Callable[[int, int, str], None]
"""Told on the way: how many of how many, and of what."""


@dataclass(frozen=True)
class Seen:
    """`sizes`: all that occur. `num_labels`: class maps whose values are good, of `num_images` in all."""

    sizes: tuple[tuple[int, int], ...]
    num_labels: int
    num_images: int


def some_headers(images: ImageSet) -> list[Header]:
    """Of a few pictures, spread evenly; none where only pixels tell."""
    headers = []
    if isinstance(images, Foreseeable):
        for index in spread(len(images), SOME):
            with suppress(UserError):  # it is named when it is its turn
                headers.append(images.header(index))
    return headers


def look_ahead(
    images: ImageSet, memory: Path | None, advance: Advance = lambda done, total, what: None, seconds: float = SECONDS
) -> Seen | None:
    """Look at all of a set; None where it cannot be looked at without its pixels.

    `memory`: a folder in which is written what was good, so that the next start need not look again; None: nowhere.
    UserError for samples that cannot be evaluated, with the first of them.
    """
    if not isinstance(images, Foreseeable):
        return None
    beside = None if memory is None else memory / f"{images.digest()}.json"
    known = _remembered(beside, len(images))
    if known is None:
        headers = _headers(images, advance)
        modes = [header.mode for header in headers]
        known = {"sizes": sorted({header.size for header in headers}), "rare": _first_of_each(modes), "labels": 0}
    if isinstance(images, LabelledSet) and known["labels"] < len(images):
        order = _order(known["rare"], len(images))
        known["labels"] = _look_at_labels(images.labels, order, known["labels"], advance, seconds)
    _remember(beside, known | {"images": len(images)})
    return Seen(tuple((int(height), int(width)) for height, width in known["sizes"]), known["labels"], len(images))


def _headers(images: Foreseeable, advance: Advance) -> list[Header]:
    total = len(images)  # type: ignore[arg-type]
    headers: list[Header] = []
    errors: list[UserError] = []
    for done, found in enumerate(_in_threads(images.header, range(total)), start=1):
        if isinstance(found, UserError):
            errors.append(found)
        else:
            headers.append(found)
        advance(done, total, "validation files")
    _refuse(errors, total)
    return headers


def _look_at_labels(
    labels: Callable[[int], Any], order: Sequence[int], begin: int, advance: Advance, seconds: float
) -> int:
    """How many of the maps in `order` have been looked at, those before `begin` included."""
    errors: list[UserError] = []
    ends = time.monotonic() + seconds
    position, group = begin, 4 * THREADS
    while position < len(order) and time.monotonic() < ends:
        part = order[position : position + group]
        errors += [found for found in _in_threads(labels, part) if isinstance(found, UserError)]
        position += len(part)
        advance(position, len(order), "validation maps")
    _refuse(errors, len(order))
    return position


def _refuse(errors: Sequence[UserError], total: int) -> None:
    if errors:
        raise UserError(
            f"{len(errors)} of {total} validation samples cannot be used, and the first evaluation would end the run: "
            f"{errors[0]} (mae-hydra check-data names all)"
        )


def _in_threads(look: Callable[[int], Any], positions: Iterable[int]) -> Iterator[Any]:
    """What `look` gives for each position, or the UserError that it raises."""

    def safely(position: int) -> Any:
        try:
            return look(position)
        except UserError as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(safely, positions)


def _first_of_each(modes: Sequence[str]) -> list[int]:
    """The first map of each kind: should time run out, none is of a kind that cannot be read."""
    return sorted({mode: position for position, mode in reversed(list(enumerate(modes)))}.values())


def _order(first: Sequence[int], size: int) -> list[int]:
    """`first`, then all others, spread over the set."""
    step = max(size // 64, 1)
    spread = [position for offset in range(step) for position in range(offset, size, step)]
    chosen = set(first)
    return [*first, *(position for position in spread if position not in chosen)]


def _remembered(beside: Path | None, size: int) -> dict[str, Any] | None:
    if beside is None:
        return None
    try:
        known = json.loads(beside.read_text())
        good = known["images"] == size and known["sizes"] and isinstance(known["labels"], int)
        return {key: known[key] for key in ("sizes", "rare", "labels")} if good else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(beside: Path | None, known: dict[str, Any]) -> None:
    if beside is None:
        return
    with suppress(OSError):  # a read-only disk: it is looked at again the next time
        beside.parent.mkdir(parents=True, exist_ok=True)
        with atomic.writing(beside) as temporary:
            temporary.write_text(json.dumps(known))
        remembered = [path for path in beside.parent.glob("*.json") if _OWN.fullmatch(path.name)]
        for path in sorted(remembered, key=lambda path: path.stat().st_mtime)[:-KEPT]:
            path.unlink(missing_ok=True)
