"""What is typed for a way of reading a folder: a command for a shell, or an option file and a command with it."""

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mae_hydra.data.looking.advice import Way
from mae_hydra.errors import UserError

HEAD = "# Written by mae-hydra check-data"
OF_THE_LABELS = ("num_classes", "values", "colours", "reduce_zero_label", "ignore_index")


def command(way: Way) -> str:
    """What to type, quoted for a shell."""
    words = [f"model={way.model}", f"data={way.data}", *way.words, *words_of(way.keys)]
    return typed(["python", "train.py", *words])


def typed(words: Sequence[str]) -> str:
    """Quote a name for a shell; what a terminal would obey instead of show is written in bash's escapes."""
    return " ".join(shlex.quote(each) if each.isprintable() else f"$'{_escaped(each)}'" for each in words)


def _escaped(word: str) -> str:
    return "".join(
        f"\\x{byte:02x}" if byte < 32 or byte > 126 or byte in b"\\'" else chr(byte) for byte in os.fsencode(word)
    )


def instead(way: Way, best: Way) -> str:
    """What to type for `way`: of what is typed for the best, only the words that differ, where these are few."""
    if (way.model, way.data) != (best.model, best.data):
        return command(way)
    own = {key: value for key, value in way.keys.items() if key in OF_THE_LABELS or best.keys.get(key) != value}
    return typed(words_of(own))


def words_of(keys: Mapping[str, Any]) -> list[str]:
    """Write keys and values as the words that are typed for them."""
    from mae_hydra.configuration.command_words import word

    said = []
    for key, value in keys.items():
        if isinstance(value, Mapping):
            inner = ",".join(f"{each}:{_inner(number)}" for each, number in value.items())
            said.append(f"data.{key}={{{inner}}}")
        elif isinstance(value, list):
            said.append(f"data.{key}=[{','.join(map(_inner, value))}]")
        elif value is None:
            said.append(f"data.{key}=null")
        elif isinstance(value, bool):
            said.append(f"data.{key}={str(value).lower()}")
        elif isinstance(value, str) and "{split}" in value and not set(value) & set("'\"[],: "):
            said.append(f"data.{key}={value}")  # a pattern, which is quoted where words are read
        else:
            said.append(word(f"data.{key}", value))
    return said


def _inner(value: object) -> str:
    """A value of a mapping, as Hydra reads it there."""
    from mae_hydra.configuration.command_words import word

    return "null" if value is None else word("", value).removeprefix("=")


def check_option_file(save: Path) -> None:
    """UserError where a `data=<name>` would not find it, or somebody else's file is there."""
    if save.suffix != ".yaml" or save.parent.name != "data":
        raise UserError(
            f"--save {save}: option files of data lie in a folder data/ and end in .yaml; "
            "give --save conf/local/data/<name>.yaml"
        )
    if os.path.lexists(save) and not (save.is_file() and save.read_text(errors="replace").startswith(HEAD)):
        raise UserError(f"{save} is there, and it was not mae-hydra check-data that wrote it; give another name")


def saved(way: Way, save: Path) -> str:
    """The way with its data node in an option file."""
    from omegaconf import OmegaConf

    from mae_hydra import atomic

    place = "root" if "root" in way.keys else "path"
    keys = {**way.keys, place: str(Path(way.keys[place]).absolute())}
    content = OmegaConf.to_yaml(OmegaConf.create({"defaults": [way.data], **keys}))
    save.parent.mkdir(parents=True, exist_ok=True)
    with atomic.writing(save) as temporary:
        Path(temporary).write_text(f"{HEAD} {shlex.quote(keys[place])}\n{content}", encoding="utf-8")
    words = ["--config-dir", str(save.parent.parent), f"model={way.model}", f"data={save.stem}", *way.words]
    return typed(["python", "train.py", *words])
