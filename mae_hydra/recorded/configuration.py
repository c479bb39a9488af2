"""What is done with a run or a checkpoint starts from the configuration that it carries; new words go on top.

A value that no new word reaches, directly or through an interpolation, is exactly the recorded one, whatever today's
option files say. They are asked for three things only: the node of a group that is chosen anew; which values follow
another one (`interpolations.restore`); and an argument that is newer than the record (`newer`). What a file says is a
text: no interpolation in it is resolved.
"""

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

from mae_hydra.configuration import resolvers
from mae_hydra.configuration.changes import Change, at, changes
from mae_hydra.configuration.check import GROUPS, check
from mae_hydra.configuration.command_words import named_targets, readable
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import targets
from mae_hydra.configuration.from_file import literal
from mae_hydra.configuration.hydra_errors import explain
from mae_hydra.configuration.interpolations import resolved, restore
from mae_hydra.configuration.option_files import Tree, groups, option, paths
from mae_hydra.configuration.suggest import ADDED, known_keys
from mae_hydra.configuration.trust import Origin, judge
from mae_hydra.errors import UserError
from mae_hydra.recorded.choose import choose
from mae_hydra.recorded.infer_configuration import configuration_of, overrides_of
from mae_hydra.recorded.newer import with_newer_arguments, with_newer_groups
from mae_hydra.recorded.places import with_places
from mae_hydra.weights import Checkpoint, is_address, read_checkpoint

MODEL_PARTS = ("backbone", "head", "model")
ALL_PARTS = tuple(group for group in GROUPS if group not in ("callbacks", "logger", "paths"))
BUILT = ("data", "engine")  # of every run; a classifier has no inference


@dataclass(frozen=True)
class Recorded:
    """`tree`: the whole configuration, resolved. `record`: what was recorded; None of a file that carries nothing, and
    whose model was told from the weights.

    `named`: the targets that the new words brought, which are a person's and not a file's. `typed`: the keys that they
    set. `notes`: what a person should know, in sentences.
    """

    tree: Tree
    record: Tree | None = None
    named: frozenset[str] = frozenset()
    typed: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)

    @property
    def config(self) -> DictConfig:
        return literal(self.tree)

    def origin(self, part: str) -> Origin:
        """Who says what is built of a part: a person, where a new word chose it."""
        return "person" if self.record is None or targets_in(self.tree[part]) & self.named else "file"

    def changes(self) -> dict[str, Change]:
        """What is no longer as in training."""
        return {} if self.record is None else changes(self.tree, self.record)


def recorded(
    checkpoint: Checkpoint, words: Sequence[str] = (), parts: Sequence[str] = (), more: Sequence[Path] = ()
) -> Recorded:
    """The configuration of `checkpoint` with `words`, as they are typed, on top.

    `parts`: what of it will be built, and has to fit this version. `more`: folders with option files of one's own.
    UserError where a word makes no sense, or the record lacks a part or has arguments that this version does not know.
    """
    words = readable(words)
    record = checkpoint.meta.get("config")
    if record and not of_a_model_alone(record):
        placed, notes = with_places(with_newer_groups(record), checkpoint.path)
        chosen = _read(words, more)[0]
        for part in parts:
            if not isinstance(placed.setdefault(part, {} if part in chosen else None), Mapping):
                raise UserError(_not_carried(part, record, checkpoint.path))
        result = _on_top(literal(placed), words, choices_of(checkpoint), parts, more)
        _refuse_what_is_not_said(result, parts, checkpoint.path)
        _judge(result, parts, checkpoint.path)
        # What lies elsewhere than in training is a change too, also where the run's own file says so.
        return replace(result, record=resolved(literal(with_newer_groups(record))), notes=[*notes, *result.notes])
    composed = compose_config(overrides_of(checkpoint, words))
    composed.data.batch_size = 1  # pictures of any size
    return replace(_on_top(composed, words, {}, parts, more, restoring=False), record=None)


def of_a_model_alone(record: Mapping[str, Any]) -> bool:
    """Whether a recorded configuration tells of nothing but the model, as one that was told from weights does."""
    return not any(group in record for group in GROUPS if group not in MODEL_PARTS)


def _not_carried(part: str, record: Mapping[str, Any], path: Path) -> str:
    if part in record:
        return f"{path} carries a {part} that is no configuration; it is damaged"
    return (
        f"{path} carries a configuration without {part}, and what that was cannot be told; choose it anew "
        f"({part}=<option>), or get the checkpoint again"
    )


def _refuse_what_is_not_said(result: Recorded, parts: Sequence[str], path: Path) -> None:
    """UserError where a value is still to be given, or a part does not tell what it is."""
    missing = sorted(key for key in OmegaConf.missing_keys(result.config) if key.partition(".")[0] in parts)
    if missing:
        raise UserError(f"{', '.join(missing)} must be given a value, e.g. {missing[0]}=…")
    for part in parts:
        node = result.tree[part]
        if "_target_" not in node and (part in BUILT or (part == "inference" and node)):
            raise UserError(
                f"{path} carries a {part} without a _target_, which says what it is; choose it anew "
                f"({part}=<option>), or get the checkpoint again"
            )


def model_configuration(checkpoint: Checkpoint, words: Sequence[str] = ()) -> tuple[Tree, list[str]]:
    """The resolved configuration whose `model` is that of `checkpoint`, and what there is to say of it."""
    record = checkpoint.meta.get("config")
    if not record or (words and not all(part in record for part in MODEL_PARTS)):  # of a model alone
        return configuration_of(checkpoint, words), []
    if words:
        result = recorded(checkpoint, words, MODEL_PARTS)
        return result.tree, result.notes
    config, notes = with_newer_arguments(literal(record), ["model"])
    return resolved(config), notes


def composed(words: Sequence[str]) -> DictConfig:
    """The configuration of `python train.py <words>`; where the first word is a run or a checkpoint, its own with the
    others on top. UserError where something in it does not fit."""
    if words and names_weights(words[0]):
        checkpoint = read_checkpoint(words[0], prefer="best", download=True)
        result = recorded(checkpoint, words[1:], ALL_PARTS if "config" in checkpoint.meta else ())
        if result.record is not None:
            _judge(result, list(result.tree), checkpoint.path)  # all that the check below looks up, loggers too
        config = result.config
    else:
        config = compose_config(words)
    check(config)
    return config


def names_weights(word: str) -> bool:
    """Whether a word of a command line is a run, a checkpoint or an address of one, and no override."""
    return is_address(word) or ("=" not in word and Path(word).expanduser().exists())


def _judge(result: Recorded, parts: Sequence[str], path: Path) -> None:
    """UserError where the file names a target that is not built from a file; nothing is imported for it."""
    config = result.config
    for part in parts:
        for key, target in targets(config[part], part):
            try:
                judge(target, key, "person" if target in result.named else "file")
            except UserError as error:
                raise UserError(f"{path}: {error}") from error


def targets_in(node: Any) -> set[str]:
    """Every `_target_` below a node of plain containers."""
    return {str(target) for _, target in targets(node, "")}


def choices_of(checkpoint: Checkpoint) -> dict[str, str]:
    """The options that the training chose, by group, as far as the checkpoint tells."""
    choices = at(checkpoint.meta, "origin.environment.choices")
    return {str(group): str(name) for group, name in choices.items()}


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
        config["paths"] = paths()  # of this machine, not of the training's
        notes, names = [], set(named_targets(keys))
        for group, name in chosen.items():
            node = option(group, name, more)
            names |= targets_in(node)
            notes += choose(config, record, group, name, node, choices.get(group), keys)
        OmegaConf.set_struct(config, True)
        ConfigLoaderImpl._apply_overrides_to_config(keys, config)
        OmegaConf.set_struct(config, False)
        config, said = with_newer_arguments(config, parts, typed)
        made = resolved(config)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error, words, known=known_keys(config))) from error
    return Recorded(made, record, frozenset(names), typed, [*notes, *said])


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
        if key in ADDED:
            raise UserError(f"{line} is for a training; give the keys that are to differ, such as data.root=…")
        if key in known and not override.is_delete() and isinstance(override.value(), str):
            chosen[key] = str(override.value())
        else:
            keys.append(override)
    return chosen, keys
