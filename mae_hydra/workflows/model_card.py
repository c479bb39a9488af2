"""The model card of a published model: README.md, written from what the run recorded and from nothing else."""

import hashlib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mae_hydra.configuration.changes import at, shown
from mae_hydra.experiment.provenance import sha256_of
from mae_hydra.experiment.read_runs import METRICS
from mae_hydra.lines import is_number, of_a_step, read_lines
from mae_hydra.names import clean, shortened
from mae_hydra.recorded.tables import table_or_none
from mae_hydra.weights import Checkpoint

SEAL = re.compile(r"<!-- written by mae-hydra publish ([0-9a-f]{16}); edited, it is left as it is -->\n?\Z")
LICENSE = (
    "**License: not chosen yet.** Put one here and behind `license:` at the top, and mind the terms of the data and of "
    "the weights that the training began from."
)
MOST_CLASSES = 40  # that are written out; config.json has all


@dataclass(frozen=True)
class Scores:
    """`where`: by which protocol, on which data, in words. `values`: by name."""

    where: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Facts:
    """`meta`: what the published weights tell. `config`: config.json. `words`: what followed `python train.py`."""

    what: str
    meta: Mapping[str, Any]
    config: Mapping[str, Any]
    words: Sequence[str]
    scores: Sequence[Scores]


def card(facts: Facts) -> str:
    """The text of README.md, with a seal by which it is known again as long as nobody edits it."""
    text = "\n".join(_lines(facts)) + "\n"
    return text + f"<!-- written by mae-hydra publish {_digest(text)}; edited, it is left as it is -->\n"


def is_edited(path: Path) -> bool:
    """Whether there is a card that is no longer as it was written."""
    if not path.is_file():
        return False
    text = path.read_text(encoding="utf-8", errors="replace")
    match = SEAL.search(text)
    return match is None or _digest(text[: match.start()]) != match[1]


def scores_of(checkpoint: Checkpoint) -> list[Scores]:
    """What is on record of these very weights: the evaluation at their step, and later ones of the same file."""
    run, step = checkpoint.path.parent.parent, checkpoint.meta.get("step")
    if checkpoint.path.parent.name != "checkpoints":
        return []
    rows = read_lines(run / METRICS, of_a_step).rows if (run / METRICS).is_file() else []
    at_step = {name: value for row in rows if row["step"] == step for name, value in row.items()}
    last = max((row["step"] for row in rows), default=None)
    results = table_or_none(run / "results.json") if step is not None and step == last else None
    values = _evaluated(at_step) or _evaluated(results or {})
    own = [Scores(f"the training's own evaluation, at step {step}", values)] if values else []
    return [*own, *_later(run / "evaluations", sha256_of(checkpoint.path))]


def _evaluated(row: Mapping[str, Any]) -> dict[str, float]:
    kept = {name: value for name, value in row.items() if "/" in name and not name.startswith(("train/", "perf/"))}
    return {name: value for name, value in kept.items() if is_number(value)}


def _later(folder: Path, weights: str) -> Iterator[Scores]:
    for file in sorted(folder.glob("*/results.json")):
        results = table_or_none(file) or {}
        protocol = at(results, "protocol")
        if protocol.get("sha256") != weights:
            continue  # of other weights
        inference, data = (str(at(protocol, name).get("_target_", "")) for name in ("inference", "data"))
        names = [name.rpartition(".")[2] for name in (data, inference) if name]
        values = {name: value for name, value in results.items() if is_number(value) and name != "images"}
        if values:
            yield Scores(f"mae-hydra evaluate, {', '.join(names)}, {results.get('images')} images", values)


def _lines(facts: Facts) -> Iterator[str]:
    config, record = facts.config, facts.meta["config"]
    name = clean(str(record.get("name", "model")))
    yield from ("---", "library_name: mae_hydra", f"pipeline_tag: {config['pipeline_tag']}", "license: other")
    yield from ("tags:", "- mae_hydra", "- masked-autoencoder", f"- {config['model_type']}", "---", "")
    yield from (f"# {_plain(name)}", "", f"{facts.what[0].upper()}{facts.what[1:]}.", "", LICENSE, "")
    yield from ("## Use", "", "```python", "import mae_hydra", "")
    yield 'model = mae_hydra.load("<this folder, or hf-hub:org/name>")  # in eval mode, with its normalization'
    yield from ("```", "```", "mae-hydra evaluate <this folder>", "mae-hydra convert --inspect <this folder>")
    yield from ("python train.py … init_from=<this folder>", "```", "")
    yield from _pictures(config)
    yield from _data(facts)
    yield from _recipe(facts)
    yield from _scores(facts.scores)


def _pictures(config: Mapping[str, Any]) -> Iterator[str]:
    size = "x".join(map(str, config.get("image_size", ())))
    trained = f", trained at {size} pixels" if size else ""
    yield f"Images are uint8 (B, {config['num_channels']}, H, W){trained}."
    if "image_mean" in config:
        mean, std = (", ".join(f"{value:g}" for value in config[name]) for name in ("image_mean", "image_std"))
        yield f"The model itself divides them by 255 and normalizes: mean {mean}; standard deviation {std}."
    yield ""


def _data(facts: Facts) -> Iterator[str]:
    data, origin = at(facts.meta["config"], "data"), at(facts.meta, "origin.data")
    if not data:
        return
    yield from ("## Data", "", "| | |", "|---|---|")
    yield _row("set", str(data.get("_target_", "")).rpartition(".")[2], data.get("root"))
    for split in ("train", "validation"):
        images = at(origin, split).get("images")
        if images is not None:
            yield _row(f"{split} images", images)
    for key in ("reduce_zero_label", "ignore_index", "values"):
        if data.get(key) is not None:
            yield _row(f"labels: {key}", data[key])
    names = list(facts.config.get("id2label", {}).values())
    if names:
        more = f", … ({len(names)} in all, see config.json)" if len(names) > MOST_CLASSES else ""
        yield _row("classes", ", ".join(names[:MOST_CLASSES]) + more)
    yield ""


def _recipe(facts: Facts) -> Iterator[str]:
    record, origin = facts.meta["config"], at(facts.meta, "origin")
    yield from ("## Recipe", "")
    if facts.words:
        command = " ".join(shlex.quote(word) for word in facts.words).replace("`", "'")
        yield from ("```", f"python train.py {command}", "```", "")
    yield from ("| | |", "|---|---|")
    for group in ("optimizer", "schedule", "augment", "loss"):
        if node := at(record, group):
            kept = {key: value for key, value in node.items() if not key.startswith("_") and _is_short(value)}
            settings = ", ".join(f"{key} {shown(value)}" for key, value in kept.items())
            yield _row(group, str(node.get("_target_", "")).rpartition(".")[2], settings)
    for name, value in (
        ("images a step", at(record, "engine").get("global_batch")),
        ("steps of these weights", facts.meta.get("step")),
        ("seed", record.get("seed")),
        ("began from", _parent(at(origin, "parent"))),
        ("packages", ", ".join(f"{name} {version}" for name, version in at(origin, "environment.packages").items())),
        ("commit", at(origin, "git").get("commit")),
    ):
        if value not in (None, ""):
            yield _row(name, value)
    yield ""


def _parent(parent: Mapping[str, Any]) -> str:
    if not parent:
        return "random initialization"
    return f"{parent.get('name') or parent.get('path')} (sha256 {parent.get('sha256')})"


def _scores(scores: Sequence[Scores]) -> Iterator[str]:
    yield from ("## Scores", "")
    if not scores:
        yield from ("None is on record of these weights.", "")
    for score in scores:
        yield from (f"By {_plain(score.where)}:", "", "| | |", "|---|---:|")
        yield from (_row(name, f"{value:.4g}") for name, value in score.values.items())
        yield ""


def _row(name: str, *values: Any) -> str:
    cell = "; ".join(_plain(shown(value)) for value in values if value not in (None, ""))
    return f"| {_plain(name)} | {cell} |"


def _plain(text: str) -> str:
    """A text of a record on one line, which makes no markup of its own."""
    return re.sub(r"([|`*_\[\]\\])", r"\\\1", shortened(clean(text), 2000)).replace("<", "&lt;")


def _is_short(value: Any) -> bool:
    return value is not None and not isinstance(value, Mapping) and len(str(value)) < 60


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]
