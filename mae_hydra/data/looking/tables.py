"""A folder of tables, Parquet or Arrow, looked at: columns of pictures, of classes, and what class maps hold."""

from contextlib import suppress
from pathlib import Path

from mae_hydra.data.looking.found import Found, Part, Split, side_order
from mae_hydra.data.looking.pixels import Budget, look_at, summary
from mae_hydra.data.looking.tars import are_maps, labels_of
from mae_hydra.data.shards.columns import classes_of, image_column, label_column, picture_columns
from mae_hydra.data.shards.tables import ENDINGS, by_side, tables_of
from mae_hydra.errors import UserError

LOOKS, MAPS = 8, 64  # rows whose pictures are opened, by column
USUAL = {"train": "train", "validation": "validation", "test": "test"}


def holds_tables(files: list[str]) -> bool:
    return any(file.lower().endswith(ENDINGS) for file in files)


def look_at_tables(root: Path) -> Found:
    """What the tables below `root` hold. UserError where one cannot be read, or pyarrow is not installed."""
    sides = by_side(tables_of(str(root), None), USUAL)
    tables = sides.get("train") or next(iter(sides.values()))
    first, budget = tables[0], Budget()
    pictures = picture_columns(first)
    try:
        image = image_column(first, None, None)
    except UserError as error:
        return Found(root, "tables", notes=(str(error),))
    group = first.read(0, pictures)
    looks = {
        column: [
            look_at(
                cell["bytes"] if isinstance(cell, dict) else cell, f"{first.name}:{row}", budget, as_map=column != image
            )
            for row, cell in enumerate(group.column(column).slice(0, LOOKS if column == image else MAPS).to_pylist())
            if cell
        ]
        for column in pictures
    }
    maps = [column for column in pictures if column != image and are_maps(looks[column])]
    counts = {Split(side, side): sum(sum(table.sizes) for table in each) for side, each in sides.items()}
    ordered = {split: counts[split] for split in sorted(counts, key=side_order)}
    names: tuple[str, ...] = ()
    with suppress(UserError):
        names = classes_of(tables, label_column(first, None), None, None)[0]
    return Found(
        root,
        "tables",
        photos=(Part("", f" ({image})", ENDINGS[:1], ordered, summary(looks[image])),),
        names=() if maps else names,
        num_classes=len(names),
        map_ending=maps[0] if maps else "",
        map_labels=labels_of(looks[maps[0]], sum(sum(table.sizes) for table in tables)) if maps else None,
        notes=(f"columns: {', '.join(first.schema.names)}",),
    )
