"""Which of the state dicts in a file is meant: the weights, an average of them, a student or a teacher.

A word behind the path chooses: `file.pth@ema` is the average, whatever it is called there, `file.pth@student` what has
that name. Without a word it is what training went on with; of our own runs the average, which is what they evaluate.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

STATE_KEYS = ("model", "state_dict", "module")  # where training programs keep the weights within a file
OWN_AVERAGE = "average"
AVERAGES = (OWN_AVERAGE, "state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "teacher")
EMA = "ema"  # the word for any of them
FEWEST = 8  # tensors of a model; a loss has one or two of its own


class Part(NamedTuple):
    """`name`: its key, "" where the tensors lie open. `others`: keys of further ones. `obeyed`: it is as was asked."""

    state: Mapping[Any, Any]
    name: str = ""
    others: tuple[str, ...] = ()
    obeyed: bool = True


def split_word(path: Path) -> tuple[Path, str]:
    """The file, and the word behind it; only where that file is there, for a name may have an @ of its own."""
    match = re.fullmatch(r"(.+)@([\w.-]+)", str(path))
    return (Path(match[1]), match[2]) if match and not path.exists() and Path(match[1]).exists() else (path, "")


def choose(content: Mapping[Any, Any], word: str) -> Part:
    """The state dict in what a file of torch.save holds."""
    parts = {str(key): state for key, value in content.items() if (state := _state(value)) is not None}
    asked = next((key for key in AVERAGES if key in parts), word) if word == EMA else word
    name = asked if asked in parts else _usual(content, parts)
    state = parts.get(name, content.get(name, content) if name else content)
    return Part(state, name, tuple(key for key in parts if key != name), obeyed=not word or asked == name)


def remark(path: Path, name: str, others: tuple[str, ...]) -> str | None:
    """What there is to say where a file holds more than was taken; of our own averages nothing, they are the rule."""
    if not others or name == OWN_AVERAGE:
        return None
    averages = [key for key in others if is_average(key)]
    word = EMA if averages else others[0]
    taken = f"{name!r} was taken" if name else "what lies beside was taken"
    return f"the file holds {', '.join(map(repr, others))} as well; {taken}, and {path}@{word} takes the other"


def is_average(name: str) -> bool:
    """Whether a key, or the beginning of a tensor's name, speaks of averaged weights."""
    words = set(name.replace(".", "_").split("_"))
    return name in AVERAGES or bool(words & {"ema", "teacher", "momentum", "target", "averaged"})


def _usual(content: Mapping[Any, Any], parts: Mapping[str, Any]) -> str:
    average = content.get(OWN_AVERAGE)
    if isinstance(average, Mapping) and isinstance(average.get("model"), Mapping):
        return OWN_AVERAGE
    named = next((key for key in STATE_KEYS if isinstance(content.get(key), Mapping)), None)
    if named is not None:
        return named
    if any(isinstance(value, Tensor) for value in content.values()):
        return ""
    return "teacher" if "teacher" in parts else next(iter(parts), "")


def _state(value: Any) -> Mapping[Any, Any] | None:
    """A state dict of a model, lying open or under one more key."""
    if not isinstance(value, Mapping):
        return None
    if _arrays(value) >= FEWEST:
        return value
    inner: Mapping[Any, Any] = next((value[key] for key in STATE_KEYS if isinstance(value.get(key), Mapping)), {})
    return inner if _arrays(inner) >= FEWEST else None


def _arrays(state: Mapping[Any, Any]) -> int:
    """How many tensors with a shape; the sums of a log, of any number of names, have none."""
    return sum(isinstance(entry, Tensor) and entry.ndim > 0 for entry in state.values())
