"""A part that is typed as a whole, `optimizer={_target_: torch.optim.SGD, _partial_: true, lr: 0.1}`.

Hydra merges such a word into what option files say of another class, whose arguments the typed one does not take.
"""

import re
from collections.abc import Sequence

from omegaconf import DictConfig, open_dict

from mae_hydra.configuration.command_words import key_of, parsed

WHOLE = re.compile(r"[a-z_]+=\{.*\b_target_\s*:.*\}")


def addable(words: Sequence[str]) -> list[str]:
    """Put two pluses before words that give a whole node: without them Hydra takes no argument that is new to it."""
    return [f"++{word}" if WHOLE.fullmatch(word) else word for word in words]


def take_whole_nodes(config: DictConfig, words: Sequence[str]) -> None:
    """Leave of every top node to which a word gives a `_target_`, in place, what words say and nothing else."""
    overrides = [
        override for override in parsed(words) if not override.is_delete() and not override.is_sweep_override()
    ]
    for override in overrides:
        value, key = override.value(), key_of(override.input_line or "")
        node = config.get(key) if "." not in key else None
        if not isinstance(value, dict) or "_target_" not in value or not isinstance(node, DictConfig):
            continue
        typed = {str(name) for name in value}
        below = (key_of(other.input_line or "") for other in overrides)
        typed |= {other.split(".")[1] for other in below if other.startswith(f"{key}.")}
        with open_dict(config):
            for name in [name for name in node if str(name) not in typed]:
                del node[name]
