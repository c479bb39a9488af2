"""Weights of one model into another, by a strict rule of what may be new and what may be left over."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from mae_hydra.errors import UserError
from mae_hydra.weights.adapt_shapes import ADAPTABLE, adapted
from mae_hydra.weights.class_order import rows_by_name
from mae_hydra.weights.describe import HEADS
from mae_hydra.weights.fit_grid import by, fit_grid, with_positions
from mae_hydra.weights.grids import POSITIONS, RELATIVE_TABLE, known_grid, likely_grid
from mae_hydra.weights.layouts import num_cls_tokens
from mae_hydra.weights.metadata import encoder_settings, norm_eps
from mae_hydra.weights.read import Checkpoint, check_values
from mae_hydra.weights.report import Row, TransferReport
from mae_hydra.weights.rules import NORM, check_rule, refuse_names


def transfer(
    model: nn.Module, checkpoint: Checkpoint, adapt: Collection[str] = (), class_names: Sequence[str] = ()
) -> TransferReport:
    """Start `model` from a checkpoint of the same kind, or a segmentation model from a pre-trained one.

    Position tables of another grid are resized; the rows of last layers follow the names of the classes, where the file
    and `class_names`, those of the data, tell them. What else may differ must be asked for in `adapt`: "channels" (of
    the images) and "classes" (the last layers start anew). What the rule does not allow is a UserError that names the
    tensors; the model is changed only when everything fits.
    """
    state, report = fitted_state(model, checkpoint, adapt, class_names)
    for name in report.taken():
        check_values(name, state[name], checkpoint.path)
    model.load_state_dict(state)
    return report


def fitted_state(
    model: nn.Module, checkpoint: Checkpoint, adapt: Collection[str] = (), class_names: Sequence[str] = ()
) -> tuple[dict[str, Tensor], TransferReport]:
    """What `transfer` would fill `model` with, and its report; the values are not looked at.

    Nothing is changed, and `model` may be on the meta device.
    """
    checkpoint = _of_the_encoder(model, checkpoint)
    strangers = set(adapt) - set(ADAPTABLE)
    if strangers:
        raise UserError(f"what may be adapted is {', '.join(ADAPTABLE)}; got {', '.join(sorted(strangers))}")
    wanted = model.state_dict()
    rows = rows_by_name(checkpoint, wanted, class_names, adapt)
    adaptation = adapted(rows.tensors, wanted, adapt)
    adaptation.notes.update(rows.notes)
    adaptation.dropped.update(rows.dropped)
    adaptation = adaptation._replace(tensors=with_positions(adaptation.tensors, wanted, checkpoint))
    given = replace(checkpoint, tensors=adaptation.tensors)
    _check_encoder(model, wanted, given)
    check_rule(wanted, adaptation.tensors, given, adaptation.dropped)
    grids = known_grid(adaptation.tensors, checkpoint.meta), likely_grid(adaptation.tensors, checkpoint.meta)
    fitted: dict[str, Tensor] = {}
    report = []
    for name, own in wanted.items():
        if name not in adaptation.tensors:
            report.append(Row(name, "new", adaptation.dropped.get(name, "")))
            continue
        tensor, note = fit_grid(model, name, adaptation.tensors[name], own, grids, given)
        _check_shape(name, tensor, own, given)
        fitted[name] = tensor
        changed = tensor is not checkpoint.tensors.get(name, tensor) and name not in rows.notes
        report.append(Row(name, "resized" if changed else "loaded", note or adaptation.notes.get(name, "")))
    report += [
        Row(name, "unused") for name in (*(n for n in adaptation.tensors if n not in wanted), *checkpoint.unused)
    ]
    trust = "sha256 verified" if checkpoint.verified else "" if checkpoint.checked else "a file without checksums"
    details = ", ".join(filter(None, [checkpoint.layout, checkpoint.part, trust]))
    source = f"{checkpoint.name or checkpoint.path} ({details})"
    return wanted | fitted, TransferReport(source, tuple(report), tuple(_remarks(model, wanted, checkpoint)))


def _of_the_encoder(model: nn.Module, checkpoint: Checkpoint) -> Checkpoint:
    """The tensors as the encoder names them, where it reads files of its own kind (`from_timm`) and this may be one.

    UserError where it is none, and no model of ours either.
    """
    reads = getattr(getattr(model, "encoder", None), "from_timm", None)
    if reads is not None and "config" not in checkpoint.meta:
        renamed = reads(checkpoint.as_found)
        if renamed:
            tensors = {f"encoder.{name}": tensor for name, tensor in renamed.items()}
            unused = tuple(name for name in checkpoint.as_found if f"model.{name}" not in renamed)
            return replace(checkpoint, tensors=tensors, layout="timm", unused=unused, remarks=(), refusal=None)
    if checkpoint.refusal is not None:
        raise checkpoint.refusal
    return checkpoint


def _remarks(model: nn.Module, wanted: Collection[str], checkpoint: Checkpoint) -> Iterator[str]:
    yield from checkpoint.remarks
    if NORM in wanted and NORM not in checkpoint.tensors:
        yield "this encoder was trained without a final norm: encoder.norm starts as one that scales and shifts nothing"
    heads, usual = getattr(getattr(model, "encoder", None), "num_heads", None), _usual_heads(checkpoint)
    if None not in (heads, usual) and heads != usual:
        yield (
            f"the file does not tell its attention heads: {usual} are usual at its width, and the model has {heads}; "
            "with others the weights compute something else (backbone.num_heads)"
        )
    eps, own = norm_eps(checkpoint.meta), getattr(getattr(model, "encoder", None), "norm_eps", None)
    if eps is not None and own is not None and eps != own:
        yield (
            f"LayerNorms of the file add {eps:g} to the variance, the model's {own:g}: the same image gives slightly "
            f"other features (+backbone.norm_eps={eps:g} takes the file's)"
        )


def _usual_heads(checkpoint: Checkpoint) -> int | None:
    """Heads of an encoder of this width, where the file does not tell its own; None where there are no usual ones."""
    positions = checkpoint.tensors.get(POSITIONS)
    told = "num_heads" in encoder_settings(checkpoint.meta) or RELATIVE_TABLE in checkpoint.tensors  # shaped by heads
    return None if told or positions is None else HEADS.get(positions.shape[-1])


def load_exact(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Fill `model` with the weights of exactly this model: every name and every shape, nothing resized.

    A bare encoder as the model takes the tensors of one.
    """
    wanted, given = model.state_dict(), _exactly(model, checkpoint)
    for name in wanted:
        check_values(name, given[name], checkpoint.path)
    model.load_state_dict(given)


def check_exact(model: nn.Module, checkpoint: Checkpoint) -> None:
    """UserError where names or shapes are not exactly those of `model`, which may be a sketch on the meta device."""
    _exactly(model, checkpoint)


def _exactly(model: nn.Module, checkpoint: Checkpoint) -> dict[str, Tensor]:
    wanted, given = model.state_dict(), checkpoint.tensors
    if "cls_token" in wanted:
        given = {name.removeprefix("encoder."): tensor for name, tensor in given.items()}
    refuse_names("lacks", wanted.keys() - given.keys(), checkpoint)
    refuse_names("also has", given.keys() - wanted.keys(), checkpoint)
    for name, own in wanted.items():
        _check_shape(name, given[name], own, checkpoint)
    return given


def _check_encoder(model: nn.Module, wanted: Mapping[str, Tensor], checkpoint: Checkpoint) -> None:
    """One sentence about the backbones instead of two hundred about their tensors."""
    in_file, in_model = _encoder_size(checkpoint.tensors), _encoder_size(wanted)
    heads = encoder_settings(checkpoint.meta).get("num_heads")  # heads leave no trace in the shapes
    own_heads = getattr(getattr(model, "encoder", None), "num_heads", None)
    if heads is not None and own_heads is not None:
        in_file, in_model = in_file | {"heads": heads}, in_model | {"heads": own_heads}
    differing = [name for name in in_model.keys() & in_file.keys() if in_file[name] != in_model[name]]
    if differing:
        file_says, model_says = (
            ", ".join(f"{name} {size[name]}" for name in sorted(differing)) for size in (in_file, in_model)
        )
        raise UserError(
            f"the encoder in {checkpoint.path} has {file_says}, the model's has {model_says}: "
            f"choose what the file was made with (backbone=…{_tokens(in_file)}; channels come from data=…, or use "
            "init_adapt=[channels])"
        )


def _tokens(size: Mapping[str, Any]) -> str:
    count = size.get("cls tokens", 1)
    return f" backbone.num_cls_tokens={count}" if count > 1 else ""


def _encoder_size(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the shapes tell of an encoder; a tensor that is missing or strange tells nothing."""
    size: dict[str, Any] = {}
    projection = tensors.get("encoder.patch_embed.proj.weight")
    if projection is not None and projection.ndim == 4:
        size = {"width": projection.shape[0], "channels": projection.shape[1], "patch size": projection.shape[2]}
    if "encoder.cls_token" in tensors:
        size["cls tokens"] = num_cls_tokens(tensors)
    blocks = [int(name.split(".")[2]) for name in tensors if re.match(r"encoder\.blocks\.\d+\.", name)]
    return size | ({"depth": 1 + max(blocks)} if blocks else {})


def _check_shape(name: str, tensor: Tensor, own: Tensor, checkpoint: Checkpoint) -> None:
    if tensor.shape != own.shape:
        way_out = "build the model with the sizes of the file"
        if re.search(r"\.(classify|linear)\.", name):
            way_out += ", or let the last layers start anew with init_adapt=[classes]"
        raise UserError(f"{name} is {by(tensor.shape)} in {checkpoint.path}, {by(own.shape)} in the model: {way_out}")
