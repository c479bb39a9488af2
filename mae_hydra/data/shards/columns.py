"""Which columns of tables hold images, classes and class maps, and what stands in them."""

from collections.abc import Mapping, Sequence
from typing import Any

from mae_hydra.data.shards.tables import Table, arrow, features_of
from mae_hydra.errors import UserError

IMAGES, LABELS = (
    ("image", "img", "photo", "picture", "jpg", "png"),
    ("label", "labels", "class", "target", "fine_label"),
)
NUMBERS, FRACTIONS, TRUTH = "whole numbers", "floating-point numbers", "truth values"  # of a column of classes


def named_column(table: Table, key: str, name: str) -> str:
    if name not in table.schema.names:
        raise UserError(f"{key}={name} is no column of {table.name}; there are {', '.join(table.schema.names)}")
    return name


def picture_columns(table: Table) -> list[str]:
    """Those that hold files, as bytes or as {"bytes": …}."""
    pa = arrow()

    def holds_pictures(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return any(kind.field(place).name == "bytes" for place in range(kind.num_fields))
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    return [name for name in table.schema.names if holds_pictures(table.schema.field(name).type)]


def image_column(table: Table, told: str | None, mask: str | None) -> str:
    """The column of the images; UserError where it is not clear which."""
    if told is not None:
        return named_column(table, "data.image", told)
    found = [name for name in picture_columns(table) if name != mask]
    usual = [name for name in found if name.lower() in IMAGES]
    if len(found) == 1 or len(usual) == 1:
        return (usual or found)[0]
    several = f"several columns hold pictures ({', '.join(found)})" if found else "no column holds pictures"
    raise UserError(f"of {table.name} {several}: data.image says which; there are {', '.join(table.schema.names)}")


def label_column(table: Table, told: str | None) -> str:
    """The column of the classes; UserError where it is not clear which."""
    if told is not None:
        return named_column(table, "data.label", told)
    features = features_of(table)
    found = [name for name, each in features.items() if isinstance(each, dict) and each.get("_type") == "ClassLabel"]
    found = found if len(found) == 1 else [name for name in table.schema.names if name.lower() in LABELS]
    if len(found) == 1:
        return found[0]
    raise UserError(
        f"which column of {table.name} holds the classes is not clear ({', '.join(table.schema.names)}): tell it with "
        "data.label, or class maps with data.mask"
    )


def check_alike(tables: Sequence[Table], column: str, *, whole: bool = False) -> None:
    """UserError where a column is not in every table, of one kind and with the same names of classes; with `whole`
    also where rows have nothing in it."""
    first, *others = tables
    kind, named = _kind(first, column), _names_of(first, column)
    for table in others:
        if column not in table.schema.names:
            there = ", ".join(table.schema.names)
            raise UserError(f"{table.name} has no column {column}, which {first.name} has; there are {there}")
        if (own := _kind(table, column)) != kind:
            raise UserError(
                f"the column {column} holds {kind} in {first.name} and {own} in {table.name}; write all tables alike"
            )
        if (names := _names_of(table, column)) != named and names and named:
            place = next((place for place, pair in enumerate(zip(named, names, strict=False)) if pair[0] != pair[1]), 0)
            raise UserError(
                f"the classes of {column} are called differently: {place} is {named[place]} in {first.name} and "
                f"{names[place]} in {table.name}; write all tables alike"
            )
    if whole and (without := sum(table.num_missing(column) for table in tables)):
        rows = sum(sum(table.sizes) for table in tables)
        raise UserError(f"{without} of {rows} rows have nothing in the column {column}; write tables without them")


def _kind(table: Table, column: str) -> str:
    """What stands in a column, in words."""
    types, kind = arrow().types, table.schema.field(column).type
    kind = kind.value_type if types.is_dictionary(kind) else kind
    if column in picture_columns(table):
        return "pictures"
    known = {
        NUMBERS: types.is_integer,
        FRACTIONS: types.is_floating,
        TRUTH: types.is_boolean,
        "texts": lambda each: types.is_string(each) or types.is_large_string(each),
    }
    return next((words for words, holds in known.items() if holds(kind)), str(kind))


def _names_of(table: Table, column: str) -> list[str] | None:
    """The classes, as Hugging Face's library declares them."""
    named = features_of(table).get(column)
    return named.get("names") if isinstance(named, dict) else None


def classes_of(
    tables: Sequence[Table], column: str, told: Sequence[str] | None, num_classes: int | None
) -> tuple[tuple[str, ...], dict[Any, int]]:
    """The names of the classes, and the number of each value of the column; `num_classes` None: as many as there are.

    UserError where these are others, or where the column holds neither whole numbers nor texts.
    """
    kind = _kind(tables[0], column)
    if kind not in (NUMBERS, FRACTIONS, TRUTH, "texts"):
        raise UserError(
            f"the column {column} of {tables[0].name} holds {kind}; classes are whole numbers or texts, data.label "
            "says where they stand"
        )
    names: Sequence[str] | None = told or _names_of(tables[0], column)
    if kind == TRUTH:
        names = names or ["false", "true"]
        values: dict[Any, int] = {False: 0, True: 1}
    elif kind == "texts":
        names = names or sorted(_found(tables, column))
        values = {name: number for number, name in enumerate(names)}
    else:
        if kind == FRACTIONS or not (names or num_classes):
            numbers = _found(tables, column)
            if strange := sorted(each for each in numbers if each < 0 or each != int(each)):
                raise UserError(f"the column {column} holds {strange[0]:g}; classes are whole numbers from 0, or texts")
            names = names or [str(number) for number in range(int(max(numbers, default=0)) + 1)] * (not num_classes)
        names = names or [str(number) for number in range(num_classes or 0)]
        values = {number: number for number in range(len(names))}
    if num_classes is not None and len(names) != num_classes:
        raise UserError(f"the tables are of {len(names)} classes; set data.num_classes={len(names)}")
    return tuple(map(str, names)), values


def refuse_others(tables: Sequence[Table], column: str, classes: Mapping[Any, int]) -> None:
    """UserError where a table has something else in the column than `classes`; of whole numbers its headers tell."""
    numbers = _kind(tables[0], column) == NUMBERS
    for table in tables:
        found = table.bounds(column) if numbers else None
        others = [each for each in found or sorted(_found([table], column)) if each not in classes]
        if others:
            more = numbers and others[-1] >= len(classes)
            raise UserError(
                f"{table.name} has {others[-1]!r} in the column {column}, which is none of the {len(classes)} classes; "
                f"correct the table or data.label{f', or set data.num_classes={others[-1] + 1}' if more else ''}"
            )


def _found(tables: Sequence[Table], column: str) -> set[Any]:
    """What stands in a column; UserError where rows have nothing in it."""
    cells = (table.read(group, [column]).column(column) for table in tables for group in range(len(table.sizes)))
    found = {value for each in cells for value in each.unique().to_pylist()}
    if any(value is None or value != value for value in found):
        raise UserError(f"rows have nothing in the column {column}; write tables without them")
    return found
