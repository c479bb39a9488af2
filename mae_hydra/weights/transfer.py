"""Weights of one model into another, by a strict rule of what may be new and what may be left over."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

from torch import Tensor, nn

from mae_hydra.errors import UserError
from mae_hydra.weights.adapt import ADAPTABLE, adapted
from mae_hydra.weights.layouts import Kind, kind_of
from mae_hydra.weights.read import Checkpoint, check_values
from mae_hydra.weights.report import Row, TransferReport, collapse
from mae_hydra.weights.resize import (
    Grid,
    encoder_settings,
    grid_of_positions,
    resize_positions,
    resize_relative_table,
)

POSITIONS = "encoder.pos_embed"


class Rule(NamedTuple):
    """Regular expressions for the names that may be `new` (not in the file) and `unused` (in the file only)."""

    new: tuple[str, ...]
    unused: tuple[str, ...]


SAME = Rule((), ())
TO_SEGMENTATION = Rule(
    new=(
        r"encoder\.blocks\.\d+\.(gamma_[12]|attn\.relative_position_bias_table)",
        r"(pyramid|head|auxiliary)\..+",
    ),
    unused=(r"decoder\..+", r"encoder\.norm\.(weight|bias)"),
)
LEFT_BEHIND = (r"(decoder|head|pyramid|auxiliary)\..+",)  # what a pre-trained encoder comes with
# A classifier has one norm: of averaged tokens its own, new one, or the encoder's before its cls token.
TO_CLASSIFIER = Rule(new=(r"head\..+",), unused=(*LEFT_BEHIND, r"encoder\.norm\.(weight|bias)"))
TO_PATCHES = Rule(new=(r"head\..+",), unused=LEFT_BEHIND)
# (what the file holds, what the model is) -> rule; every other pair must be the same name for name.
RULES: dict[tuple[Kind, Kind], Rule] = {
    **dict.fromkeys(product(("mae", "encoder"), ("classifier", "probe")), TO_CLASSIFIER),
    **dict.fromkeys(product(("mae", "encoder"), ("patch_segmentation",)), TO_PATCHES),
    ("mae", "segmentation"): TO_SEGMENTATION,
    ("encoder", "segmentation"): TO_SEGMENTATION,
    ("classifier", "segmentation"): Rule(TO_SEGMENTATION.new, (*TO_SEGMENTATION.unused, r"head\.(norm|linear)\..+")),
    ("probe", "segmentation"): Rule(TO_SEGMENTATION.new, (*TO_SEGMENTATION.unused, r"head\.(batch_norm|linear)\..+")),
    ("mae", "encoder"): Rule((), (r"decoder\..+",)),
}


def transfer(model: nn.Module, checkpoint: Checkpoint, adapt: Collection[str] = ()) -> TransferReport:
    """Start `model` from a checkpoint of the same kind, or a segmentation model from a pre-trained one.

    Position tables of another grid are resized. What else may differ must be asked for in `adapt`: "channels" (of the
    images) and "classes" (the last layers start anew). What the rule does not allow is a UserError that names the
    tensors; the model is changed only when everything fits.
    """
    strangers = set(adapt) - set(ADAPTABLE)
    if strangers:
        raise UserError(f"what may be adapted is {', '.join(ADAPTABLE)}; got {', '.join(sorted(strangers))}")
    wanted = model.state_dict()
    found = adapted(checkpoint.tensors, wanted, adapt)
    given = replace(checkpoint, tensors=found.tensors)
    _check_encoder(model, wanted, given)
    _check_rule(wanted, found.tensors, given, found.dropped)
    positions = found.tensors.get(POSITIONS)
    source = None if positions is None or positions.ndim != 3 else grid_of_positions(positions, checkpoint.meta)
    fitted: dict[str, Tensor] = {}
    rows = []
    for name, own in wanted.items():
        if name not in found.tensors:
            rows.append(Row(name, "new", found.dropped.get(name, "")))
            continue
        tensor, note = _fit_grid(model, name, found.tensors[name], own, source, given)
        _check_shape(name, tensor, own, given)
        check_values(name, tensor, given.path)
        fitted[name] = tensor
        note = note or found.notes.get(name, "")
        rows.append(Row(name, "resized" if note else "loaded", note))
    rows += [Row(name, "unused") for name in found.tensors if name not in wanted]
    model.load_state_dict(wanted | fitted)
    return TransferReport(f"{checkpoint.path} ({checkpoint.layout})", tuple(rows))


def load_exact(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Fill `model` with the weights of exactly this model: every name and every shape, nothing resized.

    A bare encoder as the model takes the tensors of one.
    """
    wanted, found = model.state_dict(), _exactly(model, checkpoint)
    for name in wanted:
        check_values(name, found[name], checkpoint.path)
    model.load_state_dict(found)


def check_exact(model: nn.Module, checkpoint: Checkpoint) -> None:
    """UserError where names or shapes are not exactly those of `model`, which may be a sketch on the meta device."""
    _exactly(model, checkpoint)


def _exactly(model: nn.Module, checkpoint: Checkpoint) -> dict[str, Tensor]:
    wanted, found = model.state_dict(), checkpoint.tensors
    if "cls_token" in wanted:
        found = {name.removeprefix("encoder."): tensor for name, tensor in found.items()}
    _refuse("lacks", wanted.keys() - found.keys(), checkpoint)
    _refuse("also has", found.keys() - wanted.keys(), checkpoint)
    for name, own in wanted.items():
        _check_shape(name, found[name], own, checkpoint)
    return found


def _check_rule(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], checkpoint: Checkpoint, dropped: Collection[str]
) -> None:
    rule = RULES.get((checkpoint.kind, kind_of(wanted)), SAME)
    missing = [n for n in wanted if n not in found and n not in dropped and not _allowed(n, rule.new)]
    left_over = [name for name in found if name not in wanted and not _allowed(name, rule.unused)]
    _refuse("lacks", missing, checkpoint)
    _refuse("also has", left_over, checkpoint)


def _allowed(name: str, patterns: Iterable[str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _refuse(verb: str, names: Collection[str], checkpoint: Checkpoint) -> None:
    if names:
        noun = "tensor" if len(names) == 1 else "tensors"
        raise UserError(
            f"{checkpoint.path} ({checkpoint.layout}) does not fit the model: it {verb} {len(names)} {noun}: "
            f"{'  '.join(collapse(sorted(names)))}. "
            "Give a checkpoint of the same model, or a pre-trained MAE of the same backbone"
        )


def _check_encoder(model: nn.Module, wanted: Mapping[str, Tensor], checkpoint: Checkpoint) -> None:
    """One sentence about the backbones instead of two hundred about their tensors."""
    in_file, in_model = _encoder_size(checkpoint.tensors), _encoder_size(wanted)
    heads = encoder_settings(checkpoint.meta).get("num_heads")  # heads leave no trace in the shapes
    own_heads = getattr(model.get_submodule("encoder"), "num_heads", None)
    if heads is not None and own_heads is not None:
        in_file, in_model = in_file | {"heads": heads}, in_model | {"heads": own_heads}
    differing = [name for name in in_model.keys() & in_file.keys() if in_file[name] != in_model[name]]
    if differing:
        file_says, model_says = (
            ", ".join(f"{name} {size[name]}" for name in sorted(differing)) for size in (in_file, in_model)
        )
        raise UserError(
            f"the encoder in {checkpoint.path} has {file_says}, the model's has {model_says}: "
            "choose what the file was made with (backbone=…; channels come from data=…, or use init_adapt=[channels])"
        )


def _encoder_size(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the shapes tell of an encoder; a tensor that is missing or strange tells nothing."""
    size: dict[str, Any] = {}
    projection = tensors.get("encoder.patch_embed.proj.weight")
    if projection is not None and projection.ndim == 4:
        size = {"width": projection.shape[0], "channels": projection.shape[1], "patch size": projection.shape[2]}
    blocks = [int(name.split(".")[2]) for name in tensors if re.match(r"encoder\.blocks\.\d+\.", name)]
    return size | ({"depth": 1 + max(blocks)} if blocks else {})


def _fit_grid(
    model: nn.Module, name: str, tensor: Tensor, own: Tensor, source: Grid | None, checkpoint: Checkpoint
) -> tuple[Tensor, str]:
    """The tensor, and how it was resized ("" if it was not)."""
    positions = name.endswith("pos_embed") and tensor.ndim == 3
    table = name.endswith("relative_position_bias_table") and tensor.ndim == 2
    if not positions and not table:
        return tensor, ""
    target = _grid_around(model, name)
    if source is None and tensor.shape == own.shape:
        source = target
    if source == target:
        return tensor, ""
    if source is None:
        raise UserError(
            f"{checkpoint.path} has positions for {tensor.shape[1] - 1} patches and does not say in which grid; "
            f"set data.image_size so that the model has as many"
        )
    rows = source[0] * source[1] + 1 if positions else (2 * source[0] - 1) * (2 * source[1] - 1) + 3
    if rows != tensor.shape[1 if positions else 0]:
        raise UserError(
            f"{name} in {checkpoint.path} has {tuple(tensor.shape)} values, which fit no {_by(source)} grid"
        )
    resize = resize_positions if positions else resize_relative_table
    return resize(tensor, source, target), f"{_by(source)} → {_by(target)} patches, bicubic"


def _grid_around(model: nn.Module, name: str) -> Grid:
    """The grid of the closest module around a parameter that has one."""
    path = name.split(".")[:-1]
    while path:
        grid = getattr(model.get_submodule(".".join(path)), "grid", None)
        if grid is not None:
            return grid
        path.pop()
    raise AssertionError(f"no module around {name} has a grid")


def _check_shape(name: str, tensor: Tensor, own: Tensor, checkpoint: Checkpoint) -> None:
    if tensor.shape != own.shape:
        way_out = "build the model with the sizes of the file"
        if re.search(r"\.(classify|linear)\.", name):
            way_out += ", or let the last layers start anew with init_adapt=[classes]"
        raise UserError(f"{name} is {_by(tensor.shape)} in {checkpoint.path}, {_by(own.shape)} in the model: {way_out}")


def _by(size: Iterable[int]) -> str:
    return "x".join(map(str, size)) or "a single number"
