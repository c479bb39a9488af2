"""The words of a command line: which are options of the program, and what the others say, as Hydra reads them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from mae_hydra.configuration.construct import targets

ADDRESS = re.compile(r"(hf-hub:|timm/|https?://)[^,'\"]*\Z", re.IGNORECASE)  # of weights; with commas it is a sweep
TAKING = (
    "--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package", "-p", "--cfg", "-c",
    "--experimental-rerun",
)  # fmt: skip


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options with their values, and the overrides; Hydra reads the overrides only where they stand together."""
    options: list[str] = []
    overrides: list[str] = []
    before = ""  # the option whose value may follow
    for word in words:
        optional = before.startswith("-") and "=" not in word and not word.startswith("~")  # of --info, say
        if word.startswith("-"):
            options.append(word)
            before = "" if "=" in word else word
        elif before in TAKING or optional:
            options.append(word)
            before = ""
        else:
            overrides.append(word)
            before = ""
    return options, overrides


def _pattern_quoted(word: str) -> str:
    key, equals, value = word.partition("=")
    if not (equals and "{split}" in value and re.fullmatch(r"[+~]*[\w.]+", key)) or set(value) & set("'\"[],:"):
        return word
    return f"{key}={quoted(value)}"


def values(words: Sequence[str], *flags: str) -> list[str]:
    """What a command line gives `--flag value` or `--flag=value`."""
    given: list[str] = []
    for position, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag in flags:
            given += [value] if equals else words[position + 1 : position + 2]
    return given


def key_of(word: str) -> str:
    """`++model.mask_ratio=0.5` -> model.mask_ratio; `optimizer@optimizer=lars` -> optimizer."""
    return re.split(r"[=@:]", word.lstrip("+~"))[0].replace("/", ".").strip()


def parsed(words: Sequence[str]) -> list[Override]:
    """The overrides among the words; what is none is left out, Hydra itself says so."""
    read, parser = [], OverridesParser.create()
    for word in split(words)[1]:
        try:
            read.append(parser.parse_override(word))
        except HydraException:
            continue
    return read


def named_targets(overrides: Sequence[Override]) -> frozenset[str]:
    """The targets that are typed in these words."""
    named: set[str] = set()
    for override in overrides:
        value = None if override.is_delete() else override.value()
        if re.split(r"[./]", str(override.key_or_group))[-1] == "_target_":
            named.add(str(value))
        named |= {str(target) for _, target in targets(value, "")}
    return frozenset(named)


def texts(value: Any) -> Iterator[str]:
    """Every text in a value of an override, the names in its dictionaries too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, child in value.items():
            yield from (*texts(str(name)), *texts(child))
    elif isinstance(value, Sequence):
        for child in value:
            yield from texts(child)


def typed_texts(overrides: Sequence[Override]) -> frozenset[str]:
    """Every text that is typed as a value in these words."""
    return frozenset(
        text for override in overrides if not override.is_sweep_override() for text in texts(override.value())
    )


def word(key: str, value: object) -> str:
    """`key=value` as Hydra reads it, whatever characters the value has."""
    text = str(value)
    return f"{key}={text}" if re.fullmatch(r"[\w/.+-]+", text, re.ASCII) else f"{key}={quoted(text)}"


def quoted(text: str) -> str:
    """A text that Hydra reads as it stands, also as one of a list."""
    escaped = re.sub(r"(\\+)($|')", r"\1\1\2", text).replace("'", r"\'")
    return f"'{escaped}'"


def readable(words: Sequence[str]) -> list[str]:
    """The words as Hydra reads them: a shell takes the quotes away that were typed.

    Addresses of weights, which may hold # and =, and patterns with `{split}` get quotes of Hydra's own. What the agent
    of W&B adds for itself (`_wandb=…`) is no word for us.
    """
    own = [word for word in words if not word.lstrip("-+").startswith("_wandb=")]
    return [_pattern_quoted(_quoted_address(word)) for word in own]


def _quoted_address(each: str) -> str:
    key, _, value = each.partition("=")
    return word(key, value) if key_of(each) == "init_from" and ADDRESS.match(value) else each


def searching(addresses: Sequence[str]) -> list[str]:
    """The word that makes Hydra look for option files in these places too; none where there are none."""
    return [f"hydra.searchpath=[{','.join(map(quoted, addresses))}]"] if addresses else []
