"""What was found, as tables on the console."""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mae_hydra.data.looking import Found, Labels, Part, Split
from mae_hydra.data.looking.found import side_order
from mae_hydra.names import clean

MOST_ROWS = 24  # of stored values or colours
MOST_COLUMNS = 2  # of the table
MOST_PARTS = 8  # in a line each
MOST_NAMES = 6


def show(console: Console, found: Found) -> None:
    """The parts, then values or colours, then single lines."""
    console.print(f"{clean(found.root)}: {_title(found)}", soft_wrap=True)
    parts = list(_parts_of(found))
    if parts:
        console.print(_parts_table(parts[:MOST_COLUMNS]))
    for name, part in parts[MOST_COLUMNS : MOST_COLUMNS + MOST_PARTS]:
        console.print(f"{name} too: {clean(part.pattern())}, {_counts(part.counts)}", soft_wrap=True)
    if len(parts) > MOST_COLUMNS + MOST_PARTS:
        console.print(f"and {len(parts) - MOST_COLUMNS - MOST_PARTS} more places of pictures", soft_wrap=True)
    if found.pairs is not None:
        console.print(_pairs_line(found), soft_wrap=True)
        if stored := _labels_table(found.pairs.labels):
            console.print(stored[0], soft_wrap=True)
            console.print(stored[1])
    if found.map_labels is not None and (stored := _labels_table(found.map_labels)):
        console.print(stored[0], soft_wrap=True)
        console.print(stored[1])
    for split, names in found.classes.items():
        where = f"{clean(split.name)}: " if split.name else ""
        console.print(f"{where}{len(names)} class folders ({_some(names)})", soft_wrap=True)
    if found.names:
        console.print(f"{len(found.names)} classes are named: {_some(found.names)}", soft_wrap=True)
    for file, kind in found.lists.items():
        console.print(f"list {clean(file)}: {kind}", soft_wrap=True)
    if found.passed_over:
        shown = ", ".join(
            f"{n} {clean(ending) or 'without an ending'}" for ending, n in list(found.passed_over.items())[:8]
        )
        console.print(f"other files: {shown}", soft_wrap=True)
    for note in found.notes:
        console.print(clean(note), soft_wrap=True)


def _parts_of(found: Found) -> Iterable[tuple[str, Part]]:
    """Each part, and what it is in words."""
    if found.pairs is not None:
        yield "photos", found.pairs.images
        yield "class maps", found.pairs.maps
        for other in found.pairs.others:
            yield "other class maps", other
        return
    for part in found.photos:
        yield "photos", part
    for part in found.maps:
        yield "class maps", part


def _title(found: Found) -> str:
    return {
        "maps": "photos with class maps" if found.pairs else "class maps without photos",
        "classes": "photos in class folders",
        "photos": "photos",
        "shards": "photos in tar files",
        "tables": "photos in tables",
        "list": "a list",
        "nothing": "no pictures",
    }[found.kind]


def _parts_table(parts: Sequence[tuple[str, Part]]) -> Table:
    """A column for each part."""
    table = Table(show_header=False)
    for _ in range(len(parts) + 1):
        table.add_column(overflow="fold")
    rows: dict[str, list[str]] = {"": [], "where": [], "files": []}
    splits = sorted({split for _, part in parts for split in part.counts if split.name}, key=side_order)
    rows |= {f"of {split.name}": [] for split in splits}
    rows |= {"width x height": [], "mode": [], "bits": [], "bands": [], "looked at": []}
    for name, part in parts:
        pixels = part.pixels
        shown = _spread(pixels.sizes)
        cells = [name, part.pattern(), str(part.total), *(str(part.counts.get(split, 0)) for split in splits), shown]
        cells += [" ".join(mode for mode, _ in pixels.modes) or "-"]
        cells += [" or ".join(map(str, each)) or "-" for each in (pixels.bits, pixels.bands)]
        cells += [str(pixels.read)]
        for row, cell in zip(rows.values(), cells, strict=True):
            row.append(cell)
    for title, cells in rows.items():
        table.add_row(title, *(Text(clean(cell)) for cell in cells))
    return table


def _spread(sizes: Sequence[tuple[int, int]]) -> str:
    """Write the smallest, the median and the largest size."""
    texts = [f"{width}x{height}" for height, width in sizes]
    if len(set(texts)) < 2:
        return texts[0] if texts else "-"
    return f"{texts[0]} to {texts[-1]}, median {texts[1]}"


def _counts(counts: Mapping[Split, int]) -> str:
    return ", ".join(f"{count} {split.name}".strip() for split, count in counts.items())


def _pairs_line(found: Found) -> str:
    pairs = found.pairs
    assert pairs is not None
    alone = (sum(pairs.images_alone.values()), "photos"), (sum(pairs.maps_alone.values()), "class maps")
    rest = ", ".join(f"{count} {noun} alone" for count, noun in alone if count)
    return f"pairs: {_counts(pairs.counts)}" + (f" ({rest})" if rest else "")


def _labels_table(labels: Labels) -> tuple[str, Table] | None:
    """Stored numbers or colours and their share of the pixels."""
    shares = labels.shares()
    rows = [(str(value), share) for value, share in shares.items()]
    rows += [(" ".join(map(str, colour)), share) for colour, share in labels.colours]
    if not rows:
        return None
    what = "stored values" if shares else "colors (red green blue)"
    title = f"{len(rows)} {what} of {labels.read} of {labels.of} class maps, and their share of the pixels"
    table = Table(show_header=False)
    shown = rows[:MOST_ROWS]
    columns = 1 if len(shown) <= 3 else 4
    for start in range(0, len(shown), columns):
        cells = [f"{name}: {share:.2%}" for name, share in shown[start : start + columns]]
        table.add_row(*cells, *[""] * (columns - len(cells)))
    more = f" ({len(rows) - len(shown)} more are not shown)" if len(rows) > len(shown) else ""
    return f"{title}{more}:", table


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(clean, names[:MOST_NAMES])) + (", …" if len(names) > MOST_NAMES else "")
