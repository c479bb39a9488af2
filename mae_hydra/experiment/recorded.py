"""What is done with a run or a checkpoint starts from the configuration that it carries; new words go on top.

A value that no new word reaches, directly or through an interpolation, is exactly the recorded one, whatever today's
option files say. They are asked for three things only: the node of a group that is chosen anew; which values follow
another one (`literal.restore`); and an argument that is newer than the record (`complete`). What a file says is text:
no interpolation in it is resolved.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mae_hydra.errors import UserError
from mae_hydra.experiment import resolvers
from mae_hydra.experiment.changes import HOW, Change, at, changes, shown
from mae_hydra.experiment.complete import complete
from mae_hydra.experiment.compose import compose_config
from mae_hydra.experiment.construct import OWN, TRUST
from mae_hydra.experiment.identify import configuration_of, overrides_of
from mae_hydra.experiment.literal import literal, resolved, restore
from mae_hydra.experiment.mistakes import explain
from mae_hydra.experiment.option_files import UNSET, Tree, groups, option
from mae_hydra.experiment.status import flatten, read_json
from mae_hydra.weights import Checkpoint

OF_THE_MODEL = ("image_size", "channels", "mean", "std")  # of the data's keys: what the weights were made for
MODEL_PARTS = ("backbone", "head", "model")
OF_A_TRAINING = ("experiment", "sweep", "debug")


@dataclass(frozen=True)
class Recorded:
    """`tree`: the whole configuration, resolved. `record`: what was recorded; None of a file that carries nothing, and
    whose model was told from the weights.

    `brought`: the groups whose targets the new words chose, which are a person's and not a file's. `typed`: the keys
    that they set. `notes`: what a person should know, in sentences.
    """

    tree: Tree
    record: Tree | None = None
    brought: frozenset[str] = frozenset()
    typed: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)

    @property
    def config(self) -> DictConfig:
        return literal(self.tree)

    def changes(self) -> dict[str, Change]:
        """What is no longer as in training."""
        return {} if self.record is None else changes(self.tree, self.record)


def recorded(
    checkpoint: Checkpoint, words: Sequence[str] = (), parts: Sequence[str] = (), more: Sequence[Path] = ()
) -> Recorded:
    """The configuration of `checkpoint` with `words`, as they are typed, on top.

    `parts`: what of it will be built, and has to fit this version. `more`: folders with option files of one's own.
    UserError where a word makes no sense, or the record has arguments that this version does not know.
    """
    record = checkpoint.meta.get("config")
    if record:
        for part in parts:
            if not isinstance(record.get(part), Mapping):
                raise UserError(f"{checkpoint.path} carries a configuration without {part}: it is not this program's")
        return _on_top(literal(record), words, choices_of(checkpoint), parts, more)
    composed = compose_config(overrides_of(checkpoint, words))
    composed.data.batch_size = 1  # pictures of any size
    return replace(_on_top(composed, words, {}, parts, more, restoring=False), record=None)


def model_configuration(checkpoint: Checkpoint, words: Sequence[str] = ()) -> tuple[Tree, list[str]]:
    """The resolved configuration whose `model` is that of `checkpoint`, and what there is to say of it."""
    record = checkpoint.meta.get("config")
    if not record:
        return configuration_of(checkpoint, words), []
    if words:
        found = recorded(checkpoint, words, MODEL_PARTS)
        return found.tree, found.notes
    config = literal(record)
    tree: Any = OmegaConf.to_container(config, resolve=False)
    notes = complete(tree.get("model"), "model")
    return resolved(OmegaConf.create(tree)), notes


def of_a_file() -> tuple[str, ...]:
    """Where the targets that a file names may lie: in this package, and in those that the environment names."""
    return (*OWN, *(f"{name.strip()}." for name in os.environ.get(TRUST, "").split(",") if name.strip()))


def choices_of(checkpoint: Checkpoint) -> dict[str, str]:
    """The options that the run chose, by group, as far as it or its checkpoint tells."""
    environment = at(checkpoint.meta, "origin.environment")
    if not environment and checkpoint.path.parent.name == "checkpoints":
        environment = read_json(checkpoint.path.parent.parent / "environment.json") or {}
    return {str(group): str(name) for group, name in at(environment, "choices").items()}


def _on_top(
    config: DictConfig,
    words: Sequence[str],
    choices: Mapping[str, str],
    parts: Sequence[str],
    more: Sequence[Path],
    *,
    restoring: bool = True,
) -> Recorded:
    resolvers.register()
    chosen, keys = _read(words, more)
    typed = frozenset(str(override.key_or_group) for override in keys)
    record = resolved(config)
    try:
        if restoring and words:
            restore(config, with_paths=any(key.startswith("paths.") for key in typed))
        config["paths"] = compose_config([]).paths  # of this machine, not of the training's
        notes = []
        for group, name in chosen.items():
            notes += _choose(config, record, group, name, choices.get(group), keys, more)
        OmegaConf.set_struct(config, True)
        ConfigLoaderImpl._apply_overrides_to_config(keys, config)
        tree: Any = OmegaConf.to_container(config, resolve=False)
        notes += [said for part in parts for said in complete(tree.get(part), part, typed)]
        made = resolved(OmegaConf.create(tree))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error, words, known=[*flatten(record)])) from error
    brought = {*chosen, *(key.split(".")[0] for key in typed if key.endswith("_target_"))}
    return Recorded(made, record, frozenset(brought), typed, notes)


def _read(words: Sequence[str], more: Sequence[Path]) -> tuple[dict[str, str], list[Override]]:
    """The groups that are chosen, and everything else that was typed."""
    try:
        parsed = OverridesParser.create().parse_overrides(list(words))
    except HydraException as error:
        raise UserError(explain(error, words)) from error
    known = groups(more) if words else set()
    chosen: dict[str, str] = {}
    keys: list[Override] = []
    for override in parsed:
        key, line = str(override.key_or_group), override.input_line
        if override.is_sweep_override():
            raise UserError(f"{line} is a sweep or a list; write '{key}=[a,b]' for a list")
        if key in OF_A_TRAINING:
            raise UserError(f"{line} is for a training; give the keys that are to differ, such as data.root=…")
        if key in known and not override.is_delete() and isinstance(override.value(), str):
            chosen[key] = str(override.value())
        else:
            keys.append(override)
    return chosen, keys


def _choose(
    config: DictConfig,
    record: Tree,
    group: str,
    name: str,
    before: str | None,
    keys: Sequence[Override],
    more: Sequence[Path],
) -> list[str]:
    """Put the option `group=name` in its place, and say what stays as it was all the same.

    What was chosen in training stays what it was. So do the data where they are the very files of the training under
    another name: their labels mean what they meant. Other data are for the same model.
    """
    there = at(record, group)
    node = {key: there.get(key, value) if value == UNSET else value for key, value in option(group, name, more).items()}
    typed = {str(override.key_or_group): override for override in keys}
    other = config.copy()
    other[group] = node
    said = resolved(other)[group]
    same_target = said.get("_target_") == there.get("_target_")
    if before == name and same_target:
        return _stays(group, name, said, there, typed, "the training chose it too")
    if group == "data" and there:
        root = typed["data.root"].value() if "data.root" in typed else said.get("root")
        own: Any = OmegaConf.to_container(config.data, resolve=False)
        if _same_place(root, there.get("root")):
            config["data"] = own if same_target else node | {k: own[k] for k in node if k in own and k != "_target_"}
            return _stays(group, name, said, there, typed, "these are the files of the training")
        node |= {key: own[key] for key in (*OF_THE_MODEL, "batch_size") if key in node and key in own}
    config[group] = node
    return []


def _stays(
    group: str, name: str, said: Tree, there: Mapping[str, Any], typed: Mapping[str, Any], why: str
) -> list[str]:
    """A note where the option says otherwise than what was recorded, which stays."""
    before = flatten(there)
    kept = [
        f"{group}.{key} is {shown(before[key])} ({group}={name} says {shown(value)})"
        for key, value in flatten(said).items()
        if key in before and before[key] != value and key not in HOW and f"{group}.{key}" not in typed
    ]
    return [f"as in training, because {why}: {', '.join(kept)}"] if kept else []


def _same_place(first: Any, second: Any) -> bool:
    if not (isinstance(first, str) and isinstance(second, str)):
        return False
    return first == second or Path(first).expanduser().resolve() == Path(second).expanduser().resolve()
