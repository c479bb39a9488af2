"""Weights of one model into another, by a strict rule of what may be new and what may be left over."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

from torch import Tensor, nn

from mae_hydra.errors import UserError, short
from mae_hydra.relative_positions import num_relative_positions
from mae_hydra.weights.adapt import ADAPTABLE, adapted
from mae_hydra.weights.class_order import rows_by_name
from mae_hydra.weights.grids import POSITIONS, RELATIVE_TABLE, Grid, known_grid, likely_grid
from mae_hydra.weights.layouts import Kind, kind_of, num_cls_tokens
from mae_hydra.weights.read import Checkpoint, check_values
from mae_hydra.weights.report import Row, TransferReport, collapse
from mae_hydra.weights.resize import resize_positions, resize_relative_table
from mae_hydra.weights.told import encoder_settings, norm_eps


class Rule(NamedTuple):
    """Regular expressions for the names that may be `new` (not in the file) and `unused` (in the file only)."""

    new: tuple[str, ...]
    unused: tuple[str, ...]


NORM = "encoder.norm.weight"
SAME = Rule((), ())
NOT_OF_THE_ENCODER = r"(?!encoder\.).+"
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


def _rule_of(theirs: Checkpoint, wanted: Collection[str]) -> Rule:
    """The rule of a pair of kinds; a model with parts of its own takes an encoder of the same names."""
    kinds = (theirs.kind, kind_of(wanted))
    if "other" not in kinds or _parts(theirs.tensors) == _parts(wanted):
        return RULES.get(kinds, SAME)
    return Rule((NOT_OF_THE_ENCODER,), (NOT_OF_THE_ENCODER,))


def _parts(names: Collection[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


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
    found = adapted(rows.tensors, wanted, adapt)
    found.notes.update(rows.notes)
    found.dropped.update(rows.dropped)
    found = found._replace(tensors=_with_positions(found.tensors, wanted, checkpoint))
    given = replace(checkpoint, tensors=found.tensors)
    _check_encoder(model, wanted, given)
    _check_rule(wanted, found.tensors, given, found.dropped)
    grids = known_grid(found.tensors, checkpoint.meta), likely_grid(found.tensors, checkpoint.meta)
    fitted: dict[str, Tensor] = {}
    report = []
    for name, own in wanted.items():
        if name not in found.tensors:
            report.append(Row(name, "new", found.dropped.get(name, "")))
            continue
        tensor, note = _fit_grid(model, name, found.tensors[name], own, grids, given)
        _check_shape(name, tensor, own, given)
        fitted[name] = tensor
        changed = tensor is not checkpoint.tensors.get(name, tensor) and name not in rows.notes
        report.append(Row(name, "resized" if changed else "loaded", note or found.notes.get(name, "")))
    report += [Row(name, "unused") for name in (*(n for n in found.tensors if n not in wanted), *checkpoint.unused)]
    unchecked = "" if checkpoint.checked else "a file without checksums"
    told = ", ".join(filter(None, [checkpoint.layout, checkpoint.part, unchecked]))
    source = f"{checkpoint.name or checkpoint.path} ({told})"
    return wanted | fitted, TransferReport(source, tuple(report), tuple(_remarks(model, wanted, checkpoint)))


def _of_the_encoder(model: nn.Module, checkpoint: Checkpoint) -> Checkpoint:
    """The tensors as the encoder names them, where it reads files of its own kind (`from_timm`) and this may be one.

    UserError where it is none, and no model of ours either.
    """
    reads = getattr(getattr(model, "encoder", None), "from_timm", None)
    if reads is not None and "config" not in checkpoint.meta:
        found = reads(checkpoint.as_found)
        if found:
            tensors = {f"encoder.{name}": tensor for name, tensor in found.items()}
            unused = tuple(name for name in checkpoint.as_found if f"model.{name}" not in found)
            return replace(checkpoint, tensors=tensors, layout="timm", unused=unused, remarks=(), refusal=None)
    if checkpoint.refusal is not None:
        raise checkpoint.refusal
    return checkpoint


def _remarks(model: nn.Module, wanted: Collection[str], checkpoint: Checkpoint) -> Iterator[str]:
    yield from checkpoint.remarks
    if NORM in wanted and NORM not in checkpoint.tensors:
        yield "this encoder was trained without a final norm: encoder.norm starts as one that scales and shifts nothing"
    told, own = norm_eps(checkpoint.meta), getattr(getattr(model, "encoder", None), "norm_eps", None)
    if told is not None and own is not None and told != own:
        yield (
            f"LayerNorms of the file add {told:g} to the variance, the model's {own:g}: the same image gives slightly "
            f"other features (+backbone.norm_eps={told:g} takes the file's)"
        )


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
    rule = _rule_of(checkpoint, wanted)
    new = (*rule.new, r"encoder\.norm\.(weight|bias)") if rule is not SAME and _reads_maps(found) else rule.new
    missing = [n for n in wanted if n not in found and n not in dropped and not _allowed(n, new)]
    left_over = [name for name in found if name not in wanted and not _allowed(name, rule.unused)]
    _refuse("lacks", missing, checkpoint)
    _refuse("also has", left_over, checkpoint)


def _reads_maps(tensors: Collection[str]) -> bool:
    """Whether these are of a CrossMAE, ours or theirs, which has no final norm to give."""
    return NORM not in tensors and any(re.match(r"decoder\.(block_norms|dec_norms|wfm)\.", name) for name in tensors)


def _allowed(name: str, patterns: Iterable[str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _refuse(verb: str, names: Collection[str], checkpoint: Checkpoint) -> None:
    if names:
        noun = "tensor" if len(names) == 1 else "tensors"
        raise UserError(
            f"{checkpoint.path} ({checkpoint.layout}) does not fit the model: it {verb} {len(names)} {noun}: "
            f"{'  '.join(collapse(sorted(map(short, names))))}. "
            "Give a checkpoint of the same model, or a pre-trained MAE of the same backbone"
        )


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


def _with_positions(
    tensors: dict[str, Tensor], wanted: Mapping[str, Tensor], checkpoint: Checkpoint
) -> dict[str, Tensor]:
    """With zeros in the place of the absolute positions that a model with a relative table may do without.

    Files of square grids have got theirs when they were read; of a rectangle the model tells the grid.
    """
    table, own = tensors.get(RELATIVE_TABLE), wanted.get(RELATIVE_TABLE)
    if table is None or own is None or POSITIONS in tensors:
        return tensors
    if len(table) != len(own):
        raise UserError(
            f"{checkpoint.path} has a table of {len(table)} relative positions, {len(own)} are in the model, and it "
            "does not say for which grid of patches; set data.image_size to that of the file"
        )
    return {**tensors, POSITIONS: table.new_zeros(wanted[POSITIONS].shape)}


def _fit_grid(
    model: nn.Module,
    name: str,
    tensor: Tensor,
    own: Tensor,
    grids: tuple[Grid | None, Grid | None],
    checkpoint: Checkpoint,
) -> tuple[Tensor, str]:
    """The tensor for the model's grid, and what there is to say of it. `grids`: the file's, as known and as guessed."""
    positions = name.endswith("pos_embed") and tensor.ndim == 3
    table = name.endswith("relative_position_bias_table") and tensor.ndim == 2
    if not positions and not table:
        return tensor, ""
    target, (known, source), first = _grid_around(model, name), grids, num_cls_tokens(checkpoint.tensors)
    if target is None:  # of an encoder that resizes its own
        return tensor, ""
    if known is None and tensor.shape == own.shape:
        # As many rows as the model wants are the model's: a guess would tear a rectangle apart.
        square = target[0] == target[1]
        return tensor, "" if square else f"taken as {_by(target)} patches, which the file does not tell"
    if source == target:
        return tensor, ""
    if source is None:
        raise UserError(
            f"{checkpoint.path} has positions for {checkpoint.tensors[POSITIONS].shape[1] - first} patches and does "
            "not say in which grid; set data.image_size so that the model has as many"
        )
    rows = source[0] * source[1] + first if positions else num_relative_positions(source)
    if rows != tensor.shape[1 if positions else 0]:
        raise UserError(
            f"{name} in {checkpoint.path} has {tuple(tensor.shape)} values, which fit no {_by(source)} grid"
        )
    if positions:
        return resize_positions(tensor, source, target, first), f"{_by(source)} → {_by(target)} patches, bicubic"
    return resize_relative_table(tensor, source, target), f"{_by(source)} → {_by(target)} patches, BEiT's spacing"


def _grid_around(model: nn.Module, name: str) -> Grid | None:
    """The grid of the closest module around a parameter that has one; None where none has."""
    path = name.split(".")[:-1]
    while path:
        grid = getattr(model.get_submodule(".".join(path)), "grid", None)
        if grid is not None:
            return grid
        path.pop()
    return None


def _check_shape(name: str, tensor: Tensor, own: Tensor, checkpoint: Checkpoint) -> None:
    if tensor.shape != own.shape:
        way_out = "build the model with the sizes of the file"
        if re.search(r"\.(classify|linear)\.", name):
            way_out += ", or let the last layers start anew with init_adapt=[classes]"
        raise UserError(f"{name} is {_by(tensor.shape)} in {checkpoint.path}, {_by(own.shape)} in the model: {way_out}")


def _by(size: Iterable[int]) -> str:
    return "x".join(map(str, size)) or "a single number"
