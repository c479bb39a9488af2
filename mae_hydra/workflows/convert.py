"""One checkpoint in another layout: checked as a whole model before anything is written."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mae_hydra import atomic
from mae_hydra.errors import UserError
from mae_hydra.models.encoders.blocks import NORM_EPS
from mae_hydra.recorded.configuration import model_configuration
from mae_hydra.recorded.sketch import sketch_of
from mae_hydra.weights import (
    Checkpoint,
    check_finite,
    collapse,
    describe,
    to_layout,
    write_checkpoint,
)
from mae_hydra.weights.write import FOLDERS, check_output
from mae_hydra.workflows.entry import UNKNOWN_TARGET


def convert(checkpoint: Checkpoint, output: str | Path, target: str, overrides: Sequence[str] = ()) -> list[str]:
    """Write `checkpoint` to `output` in the layout `target`; returns what there is to say of it, in lines.

    The tensors must be exactly those of the model that their shapes describe. `overrides` say what the file does not
    tell. UserError before anything is written or replaced.
    """
    output = Path(output)
    check_output(output, target)
    checkpoint, strange = _without_unknown_decoder(checkpoint)
    check_finite(checkpoint)
    description = describe(checkpoint)
    meta = dict(checkpoint.meta)
    config, notes = model_configuration(checkpoint, overrides)
    check_whole(checkpoint, config)
    meta["config"] = config  # which also tells heads and grid to whoever writes or reads next
    export = to_layout(checkpoint.tensors, target)
    aside = atomic.kept_aside(output, FOLDERS[target]) if target in FOLDERS else None
    write_checkpoint(output, target, export, meta, describe(replace(checkpoint, meta=meta)))
    lines = [
        f"read  {checkpoint.path}: {checkpoint.layout}, {description.size_name}, {len(checkpoint.tensors)} tensors",
        f"wrote {output}: {export.layout.name}, {len(export.tensors)} tensors",
    ]
    lines += [f"note: {note}" for note in notes]
    if aside is not None:
        lines.append(f"kept  {aside}: the folder that was there, with what else was in it")
    if description.kind == "mae" and description.norm_pix is None and target in ("native", "huggingface"):
        lines.append(f"note: {UNKNOWN_TARGET}; --norm-pix says it")
    if (
        description.norm_eps is not None
        and description.norm_eps != NORM_EPS
        and target not in ("native", "huggingface")
    ):
        lines.append(
            f"note: its LayerNorms add {description.norm_eps:g} to the variance, which the {target} layout cannot "
            f"tell; readers of that add {NORM_EPS:g}, and get slightly other numbers"
        )
    if left_out := (*export.left_out, *strange, *checkpoint.unused):
        lines.append(f"left out, without a place there: {'  '.join(collapse(left_out))}")
    lines += [f"note: {remark}" for remark in checkpoint.remarks]
    if checkpoint.meta.get("ignored"):
        lines.append(f"not built, only stood in for: {', '.join(checkpoint.meta['ignored'])}")
    return lines


def _without_unknown_decoder(checkpoint: Checkpoint) -> tuple[Checkpoint, tuple[str, ...]]:
    """The encoder alone where no decoder of ours has those parts, and the names of what is left behind."""
    if describe(checkpoint).decoder_form != "unknown":
        return checkpoint, ()
    encoder = {name: tensor for name, tensor in checkpoint.tensors.items() if name.startswith("encoder.")}
    return replace(checkpoint, tensors=encoder), tuple(name for name in checkpoint.tensors if name not in encoder)


def check_whole(checkpoint: Checkpoint, config: Mapping[str, Any]) -> None:
    """Every tensor of the model is there with its shape, and no other; nothing is allocated for it."""
    model = sketch_of(checkpoint, config)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    given = {_within(model, name): tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()}
    for complaint in _differences(wanted, given):
        raise UserError(f"{checkpoint.path} is no whole {type(model).__name__}: {complaint}")


def _within(model: torch.nn.Module, name: str) -> str:
    return name.removeprefix("encoder.") if hasattr(model, "cls_token") else name


def _differences(wanted: dict[str, tuple[int, ...]], given: dict[str, tuple[int, ...]]) -> Iterator[str]:
    for verb, names in (("lacks", wanted.keys() - given.keys()), ("also has", given.keys() - wanted.keys())):
        if names:
            yield f"it {verb} {'  '.join(collapse(sorted(names)))}"
    for name, shape in wanted.items():
        if given[name] != shape:
            yield f"{name} is {given[name]}, expected {shape}"
