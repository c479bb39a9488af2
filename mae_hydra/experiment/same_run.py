"""Whether what is about to go on in a run directory is the run that began there: its configuration and its images.

What a checkpoint says of itself counts first, because it is what is gone on from; then the files beside it. So a run is
compared also where its status is gone.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig

from mae_hydra.configuration.check import GROUPS
from mae_hydra.configuration.from_file import bounded, literal, read_recorded, wrong_kind
from mae_hydra.configuration.interpolations import resolved
from mae_hydra.configuration.key_meaning import Decides, differences, told
from mae_hydra.data import Comparable, ImageData, ImageSet
from mae_hydra.errors import UserError
from mae_hydra.experiment.holder import Refused
from mae_hydra.experiment.provenance import parent_of
from mae_hydra.experiment.resuming import to_go_on
from mae_hydra.recorded.newer import with_newer_arguments, with_newer_groups
from mae_hydra.recorded.tables import DATA, table_or_none
from mae_hydra.weights import read_checkpoint


class Trained(NamedTuple):
    """What a run directory tells of what was trained in it: resolved configuration and data, None where untold.

    `newer`: sentences, one for each argument that this version needs and the run's did not have.
    """

    config: Mapping[str, Any] | None
    data: Mapping[str, Any] | None
    newer: Sequence[str] = ()


def saved_steps(run_dir: Path) -> list[Path]:
    """The checkpoints of a run, the newest first."""
    folder = run_dir / "checkpoints"
    return [folder / "last.pt", *sorted(folder.glob("step-*.pt"), reverse=True), folder / "best.pt"]


def read_told(checkpoint: Path) -> dict[str, Any] | None:
    """What a checkpoint of a run holds, its tensors left on the disk; None where there is none that can be read."""
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # a damaged file can fail in any way; who restores it says so
        return None
    return content if isinstance(content, dict) else None


def what_was_trained(run_dir: Path) -> Trained | None:
    """Read what was trained in `run_dir`; None where nothing was: then there is nothing to mix up."""
    contents = (read_told(path) for path in saved_steps(run_dir) if path.is_file())
    newest = next((content for content in contents if content is not None), None)
    if newest is None:
        if not any(path.is_file() for path in saved_steps(run_dir)):
            return None
        newest = {}
    meta = newest.get("meta")
    origin = meta.get("origin") if isinstance(meta, dict) else None
    data = origin.get("data") if isinstance(origin, dict) else None
    config, newer = _completed(_bounded(newest.get("config")) or recorded_config(run_dir))
    return Trained(config, data if wrong_kind(data, DATA) is None else table_or_none(run_dir / "data.json"), newer)


def _completed(config: Mapping[str, Any] | None) -> tuple[Mapping[str, Any] | None, Sequence[str]]:
    """Complete a record with what an earlier version did not know, as today's option files have it."""
    if config is None:
        return None, ()
    try:
        config = with_newer_groups(config)
        whole, notes = with_newer_arguments(literal(config), [group for group in GROUPS if group in config])
    except UserError:  # it has arguments that are gone: the comparison names them
        return config, ()
    return resolved(whole) if notes else config, notes


def recorded_config(run_dir: Path) -> Mapping[str, Any] | None:
    """`config.yaml`, or None where there is none that can be read."""
    try:
        tree = _bounded(read_recorded(run_dir / "config.yaml"))
    except UserError:
        return None
    return None if tree is None else with_newer_groups(tree)


def _bounded(config: Any) -> Mapping[str, Any] | None:
    """A configuration, or None for what none of a run is like: too deep, too large, empty."""
    try:
        return config if isinstance(config, dict) and config and bounded(config) else None
    except ValueError:
        return None


def refuse_another(run_dir: Path, config: Mapping[str, Any], trained: Trained) -> None:
    """Refused where `config` (resolved) is not what was trained in `run_dir`, naming the keys that differ."""
    if trained.config is None:
        raise Refused(
            f"nothing in {run_dir} tells how its checkpoints were trained; start a new run from their weights with "
            "init_from="
        )
    changed = differences(trained.config, config, Decides.WEIGHTS)
    if "init_from" in changed and same_weights(run_dir, config["init_from"]):
        del changed["init_from"]
    if changed:
        raise Refused(
            f"{run_dir} holds a run of another configuration ({told(changed)}); go on with its own: "
            f"{to_go_on(run_dir)}, or start a new run"
        )


def edited_since(run_dir: Path, trained: Trained) -> str:
    """Say what config.yaml has otherwise than the checkpoint, which alone counts."""
    told_beside = recorded_config(run_dir)
    if told_beside is None or trained.config is None:
        return ""
    changed = differences(trained.config, told_beside, Decides.WEIGHTS)
    changed.pop("init_from", None)  # its file may have moved
    return told(changed)


def changed_settings(config: Mapping[str, Any], trained: Trained) -> str:
    """Say what differs from what was trained, and may; "" where nothing does."""
    before = trained.config or config
    changed = differences(before, config, Decides.RUNNING, Decides.SCORES)
    return told(changed, most=8)


def scores_differ(config: Mapping[str, Any], trained: Trained) -> bool:
    """Whether scores from here on are of something else than those before."""
    return bool(differences(trained.config or config, config, Decides.SCORES))


def facts_of(config: DictConfig, data: ImageData) -> dict[str, Any]:
    """What is compared when a run goes on, for data.json and every checkpoint."""
    root = config.data.get("root")
    there = root if root is None or "://" in str(root) else os.path.abspath(os.path.expanduser(str(root)))
    splits = {"train": _split(data.train), "validation": _split(data.validation)}
    return {"root": there, "classes": list(data.class_names), **splits}


def _split(image_set: ImageSet) -> dict[str, Any]:
    return {
        "images": len(image_set),
        "contents": image_set.contents() if isinstance(image_set, Comparable) else "embedded",
    }


def refuse_other_classes(run_dir: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refused where the data call a class otherwise than they did: a row of the last layer would change its meaning."""
    were, are = before.get("classes") or [], now.get("classes") or []
    changed = [number for number, names in enumerate(zip(were, are, strict=False)) if len(set(names)) > 1]
    if changed:
        one = changed[0]
        raise Refused(
            f"{run_dir} was trained on other names of {len(changed)} classes, or another order of them: class {one} "
            f"was {were[one]} and is {are[one]} now; give the data their names back, or start a new run from its "
            "weights (init_from=), which goes by the names"
        )


def refuse_another_range(run_dir: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refused where other numbers of pictures of more than 8 bits would become 0 and 255 than those that did."""
    was, is_now = before.get("range"), now.get("range")
    if was is not None and was != is_now:
        raise Refused(
            f"{run_dir} was trained with {was} as black and white of each channel, and the pictures that are there now "
            f"measure {is_now}; give it the pictures back, or start a new run from its weights with data.range={was}"
        )


def refuse_other_images(run_dir: Path, before: Mapping[str, Any], now: Mapping[str, Any], allowed: bool) -> str:
    """Say which images have changed, where they may; "" where none has. Refused where they must not.

    `before` and `now` are of `facts_of`; `allowed` is `resume_data=changed`. The validation images may always change.
    """
    said = []
    if differ(before, now, "train"):
        were, are = (_images(facts, "train") for facts in (before, now))
        others = " others" if were[0] == are[0] else ""
        sentence = f"{were[0]} images{were[1]}, now {are[0]}{others}{are[1]}"
        if not allowed:
            raise Refused(
                f"{run_dir} was trained on {sentence}: another order, another length of an epoch, another run; give "
                "its own images (data.root=), start a new run from its weights (init_from=), or go on knowingly with "
                "resume_data=changed"
            )
        said.append(f"other training images: {sentence}; the schedule stays what it was, epochs are counted in the new")
    if differ(before, now, "validation"):
        were, are = (_images(facts, "validation") for facts in (before, now))
        said.append(f"other validation images: {were[0]}{were[1]} before, {are[0]}{are[1]} now")
    if not said and before.get("root") != now.get("root") and before.get("root") is not None:
        said.append(f"the same images in {now.get('root')}")
    return "; ".join(said)


def differ(before: Mapping[str, Any], now: Mapping[str, Any], split: str) -> bool:
    """Whether the images of a split are others than before, as far as that is told."""
    ours, theirs = before.get(split) or {}, now[split]
    known = [key for key in ("images", "contents") if ours.get(key) is not None]
    return any(ours[key] != theirs[key] for key in known)


def _images(facts: Mapping[str, Any], split: str) -> tuple[int | str, str]:
    root, count = facts.get("root"), facts[split].get("images")
    return "other" if count is None else count, "" if root is None else f" in {root}"


def same_weights(run_dir: Path, path: object, *, download: bool = False) -> bool:
    """Whether a file is, by another name, the one that the run began from.

    `download`: whether a person has typed it.
    """
    parent = table_or_none(run_dir / "parent.json")
    if parent is None or not isinstance(path, str):
        return False
    try:
        return parent_of(read_checkpoint(path, download=download, of_any=True))["sha256"] == parent.get("sha256")
    except UserError:
        return False
