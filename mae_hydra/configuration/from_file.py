"""What was written down by an earlier run, or by somebody else: taken as it stands, and never as a program."""

import json
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from mae_hydra.configuration.command_words import parsed, typed_texts
from mae_hydra.errors import UserError, short

MOST_BYTES = 1 << 19  # of a configuration or a list of overrides; the largest recipe has a hundredth of it
DEEPEST = 32  # levels of a configuration
MOST_VALUES = 100_000
MOST_JSON = 1 << 26  # bytes
HYDRAS_OWN = re.compile(r"(\A|[+~@:./])hydra\b")  # in the key of an override
REFERENCE = re.compile(r"\$\{[^${}:]*\}")  # ${model.name}, the innermost one


def literal(config: Mapping[str, Any]) -> DictConfig:
    """A configuration with every value as it is written: `${oc.env:TOKEN}` in it is a text like any other.

    What was recorded has been resolved, so whatever looks like an interpolation was put there by somebody else.
    """
    made = OmegaConf.create(bounded({name: value for name, value in config.items() if name != "hydra"}))
    assert isinstance(made, DictConfig)
    return made


def read_recorded(file: Path) -> Any:
    """The plain values of a YAML file of a run; UserError where it is damaged, not YAML, or wants objects built."""
    again = f"it was changed or damaged; get it again, or leave {file.name} out"
    try:
        size = file.stat().st_size
        if size > MOST_BYTES:
            raise UserError(f"{file} has {size:,} bytes, which no record of a run has; {again}")
        content = _loaded(_regular(file).read_text(encoding="utf-8"))
        bounded(content)
        return content
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read ({short(' '.join(str(error).split()))}); {again}") from error
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from error


def _regular(file: Path) -> Path:
    """The file, for reading; ValueError where opening it would wait for a writer, or never end."""
    if not stat.S_ISREG(file.stat().st_mode):
        raise ValueError("it is no regular file")
    return file


def _loaded(text: str) -> Any:
    """The same as yaml.safe_load, by libyaml where PyYAML has it: four times as fast, which a list of many runs needs.

    Its composer calls itself for every level, in C, without a limit: so the levels are counted before.
    """
    if not yaml.__with_libyaml__:
        return yaml.safe_load(text)
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > 2 * DEEPEST:
            raise ValueError(f"more than {DEEPEST} levels")
    return yaml.load(text, Loader=yaml.CSafeLoader)


def read_json(file: Path) -> Any:
    """What a JSON file of a run holds, None where there is none; UserError where it cannot be read."""
    try:
        with _regular(file).open("rb") as stream:
            text = stream.read(MOST_JSON + 1)
        if len(text) > MOST_JSON:
            raise ValueError(f"more than {MOST_JSON:,} bytes")
        return json.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read ({short(error)}); get it again, or remove it") from error


def read_rows(file: Path, scores: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows of a table with a name each, [] where there is none; UserError where one of `scores` is no number."""
    rows = read_json(file)
    cells = (int, float, str, type(None))
    if rows is None:
        return []
    whole = isinstance(rows, list) and all(isinstance(row, dict) and isinstance(row.get("name"), str) for row in rows)
    if not whole or not all(isinstance(cell, cells) for row in rows for cell in row.values()):
        raise UserError(f"{file} is not a table of a run; get it again, or remove it")
    numbers = (int, float, type(None))
    for name in scores:
        if any(name in row for row in rows) and not all(isinstance(row.get(name, ""), numbers) for row in rows):
            raise UserError(f"{file} has {name} that are no numbers; get it again, or remove it")
    return rows


def check_overrides(words: Sequence[str], where: str) -> None:
    """UserError unless each is an override of a run's own configuration. `where`: the file that they come from.

    One about Hydra would have it import and call what it names, and one may call a function: those that a person types
    are judged as theirs, a file's are not taken.
    """
    for word in words:
        said = [word, *typed_texts(parsed([word]))]  # a text may be written so that it is told only when it is read
        if word.startswith("-") or of_hydra(word) or any(calls(text) for text in said) or _leaves(word, said):
            raise UserError(
                f"{where}: {short(word)} is not taken from a file, because it could start other programs or tell what "
                "only this machine knows; take it out, and type it where it is meant"
            )


def _leaves(word: str, said: Sequence[str]) -> bool:
    """Whether a word could choose an option file outside the folders of option files."""
    key = word.partition("=")[0]
    return "." not in key and key != "init_from" and any(".." in text.split("/") for text in said)


def of_hydra(word: str) -> bool:
    """Whether an override is about Hydra itself, or puts something there."""
    return HYDRAS_OWN.search(word.partition("=")[0]) is not None


def calls(text: str) -> bool:
    """Whether a text would call a function where OmegaConf resolves it: `${oc.env:HOME}`, also with a name that another
    interpolation gives. `${model.name}` only refers."""
    while (shorter := REFERENCE.sub("x", text)) != text:
        text = shorter
    return ":" in text.partition("${")[2]


def check_addresses(config: DictConfig, typed: Sequence[str], where: str) -> None:
    """UserError where the data of a recorded `config` lie at an address that none of the words `typed` now says, or
    one below it."""
    said = [text.rstrip("/") for text in typed_texts(parsed(typed)) if "://" in text]
    for key, value in _texts(OmegaConf.to_container(config.data, resolve=True), "data"):
        if "://" in value and not any(value.rstrip("/") == text or value.startswith(f"{text}/") for text in said):
            raise UserError(
                f"{where} reads {key} = {short(value)}, and no connection is opened because a file says so; "
                f"where that is right, add {key}={short(value)}"
            )


def wrong_kind(content: Any, kinds: Mapping[str, tuple[type, ...] | Callable[[Any], bool]]) -> str | None:
    """What is wrong with the values of a table read from a file, by the kinds that they must be of; None: nothing.

    `kinds`: by dotted key, the classes of a value or what tells whether it is right. A key may be missing.
    """
    if not isinstance(content, dict):
        return "it holds no table"
    for key, kind in kinds.items():
        *above, last = key.split(".")
        node: Any = content
        for name in above:
            node = node.get(name) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last not in node:
            continue
        value = node[last]
        right = isinstance(value, kind) and not isinstance(value, bool) if isinstance(kind, tuple) else kind(value)
        if not right:
            return f"its {key} is {short(repr(value), 40)}"
    return None


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _texts(each, f"{key}.{name}")
    elif isinstance(value, list):
        for position, each in enumerate(value):
            yield from _texts(each, f"{key}[{position}]")


def bounded(value: Any) -> Any:
    """A copy in which OmegaConf sees no interpolation; ValueError where it is too deep or too much."""
    return _escaped(value, 0, [0])


def _escaped(value: Any, depth: int, count: list[int]) -> Any:
    count[0] += 1
    if depth > DEEPEST or count[0] > MOST_VALUES:
        raise ValueError(f"more than {DEEPEST} levels or {MOST_VALUES:,} values")
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", value)
    if isinstance(value, Mapping):
        return {
            name if isinstance(name, int) else str(name): _escaped(each, depth + 1, count)
            for name, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_escaped(each, depth + 1, count) for each in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise ValueError(f"a value of the kind {type(value).__name__}")
