"""What was written down by an earlier run, or by somebody else: taken as it stands, and never as a program."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from mae_hydra.archive import short
from mae_hydra.errors import UserError

MOST_BYTES = 1 << 19  # of a configuration or a list of overrides; the largest recipe has a hundredth of it
DEEPEST = 32  # levels of a configuration
MOST_VALUES = 100_000
HYDRAS_OWN = re.compile(r"(\A|[+~@:])hydra\b")  # in the key of an override
CALLED = re.compile(r"\$\{[^${}]*:")  # ${oc.env:HOME}: a function, and its argument; ${model.name} is only a reference


def literal(config: Mapping[str, Any]) -> DictConfig:
    """A configuration with every value as it is written: `${oc.env:TOKEN}` in it is a text like any other.

    What was recorded has been resolved, so whatever looks like an interpolation was put there by somebody else.
    """
    made = OmegaConf.create(_escaped(config, 0, [0]))
    assert isinstance(made, DictConfig)
    return made


def read_recorded(file: Path) -> Any:
    """The plain values of a YAML file of a run; UserError where it is damaged, not YAML, or wants objects built."""
    again = f"it was changed or damaged; get it again, or leave {file.name} out"
    try:
        size = file.stat().st_size
        if size > MOST_BYTES:
            raise UserError(f"{file} has {size:,} bytes, which no record of a run has; {again}")
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        _escaped(content, 0, [0])
        return content
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read ({short(' '.join(str(error).split()))}); {again}") from error
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from error


def recorded_overrides(file: Path) -> list[str] | None:
    """The overrides that a run was started with, from its overrides.yaml; None where that holds none.

    UserError where one is not about the run but about Hydra, which would import and call what it names, or where one
    calls a function: those that a person types are judged as theirs, a file's are not taken.
    """
    content = read_recorded(file)
    if not isinstance(content, list):
        return None
    words = [str(each) for each in content]
    check_overrides(words, str(file))
    return words


def check_overrides(words: Sequence[str], where: str) -> None:
    """UserError unless each is an override of a run's own configuration. `where`: the file that they come from."""
    for word in words:
        if word.startswith("-") or HYDRAS_OWN.search(word.partition("=")[0]) or CALLED.search(word):
            raise UserError(
                f"{where}: {short(word)} is not taken from a file, because it could start other programs or tell what "
                "only this machine knows; take it out, and type it where it is meant"
            )


def _escaped(value: Any, depth: int, count: list[int]) -> Any:
    """A copy in which OmegaConf sees no interpolation; ValueError where it is too deep or too much."""
    count[0] += 1
    if depth > DEEPEST or count[0] > MOST_VALUES:
        raise ValueError(f"more than {DEEPEST} levels or {MOST_VALUES:,} values")
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", value)
    if isinstance(value, Mapping):
        return {str(name): _escaped(each, depth + 1, count) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_escaped(each, depth + 1, count) for each in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise ValueError(f"a value of the kind {type(value).__name__}")
