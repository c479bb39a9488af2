"""What `mae-hydra convert --inspect` shows of a checkpoint."""

from collections.abc import Iterable, Iterator
from typing import Any

from rich.table import Table

from mae_hydra.configuration.construct import targets
from mae_hydra.errors import UserError
from mae_hydra.names import clean, harmless
from mae_hydra.recorded.sketch import sketch_of
from mae_hydra.terminal import plain_console
from mae_hydra.weights import (
    BY_TARGET,
    WORDS,
    Checkpoint,
    Description,
    check_exact,
    check_finite,
    collapse,
    describe,
    to_layout,
)
from mae_hydra.weights.grids import known_grid
from mae_hydra.workflows.fits import fits

PATCHES = "encoder.patch_embed.proj.weight"  # of every Vision Transformer of ours
UNCHECKED = "none: this kind of file has no checksums, so a number that changed on the way cannot be told"


def show(checkpoint: Checkpoint) -> None:
    """Print the table; problems that would stop a conversion are rows of it."""
    show_rows(str(checkpoint.path), rows(checkpoint))


def show_rows(title: str, facts: Iterable[tuple[str, str]]) -> None:
    """Print facts as a table of two columns."""
    table = Table(title=clean(title), title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, harmless(value))
    plain_console().print(table)


def rows(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """(what, value) pairs, for a person to read."""
    if PATCHES not in checkpoint.tensors and "config" in checkpoint.meta:
        yield from _rows_of_own_parts(checkpoint)
        return
    model, meta = describe(checkpoint), checkpoint.meta
    encoder = model.encoder
    yield "layout", checkpoint.layout
    yield "model", f"{WORDS[model.kind]}, {model.size_name}"
    if checkpoint.part:
        yield "part", f"{checkpoint.part!r} of the file"
    yield "parameters", f"{model.parameters:,} in {len(checkpoint.tensors)} tensors, {model.dtype}"
    yield "encoder", f"width {encoder.dim}, depth {encoder.depth}, {_heads(encoder.heads)}, {_form(model)}"
    yield "patch, channels", f"{model.patch_size} pixels, {model.channels} channels"
    yield "positions", _positions(model, known_grid(checkpoint.tensors, meta) is not None)
    if model.decoder is not None:
        yield "decoder", f"width {model.decoder.dim}, depth {model.decoder.depth}, {_heads(model.decoder.heads)}"
        yield "target", _target(model.norm_pix)
    elif model.decoder_form == "unknown":
        yield "decoder", "of parts that have other names than ours"
    else:
        yield "decoder", "none"
    yield "head", _head(model)
    yield from _classes(meta)
    yield "trained", _trained(meta)
    yield from _fits(checkpoint)
    if checkpoint.unused:
        yield (
            "beside it",
            f"{'  '.join(collapse(sorted(checkpoint.unused)))} ({len(checkpoint.unused)} tensors, unused)",
        )
    for remark in checkpoint.remarks:
        yield "note", remark
    yield "converts to", _converts(checkpoint)
    if not checkpoint.checked:
        yield "checksums", UNCHECKED
    if "ignored" in meta:
        yield "not built", f"{', '.join(meta['ignored'])} (Python objects beside the tensors; nothing was executed)"
    try:
        check_finite(checkpoint)
    except UserError as error:
        yield "problem", str(error)


def _rows_of_own_parts(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """Describe a run's model whose encoder is none of ours, by its configuration and its tensors."""
    meta, tensors = checkpoint.meta, checkpoint.tensors
    dtypes = ", ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}))
    yield "layout", checkpoint.layout
    for key, target in targets(meta["config"].get("model"), "model"):
        yield key, str(target)
    yield "parameters", f"{sum(tensor.numel() for tensor in tensors.values()):,} in {len(tensors)} tensors, {dtypes}"
    yield from _classes(meta)
    yield "trained", _trained(meta)
    try:
        check_exact(sketch_of(checkpoint, meta["config"]), checkpoint)
        yield "fits", "mae_hydra.load, evaluate, init_from= of a model with an encoder like it"
    except UserError as error:
        yield "does not fit", f"mae_hydra.load: {error}"
    yield "converts to", "nothing: other layouts are of Vision Transformers of the usual names"
    try:
        check_finite(checkpoint)
    except UserError as error:
        yield "problem", str(error)


def _classes(meta: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "class_names" in meta:
        names = meta["class_names"]
        yield "classes", f"{len(names)}: {', '.join(names[:8])}{', …' if len(names) > 8 else ''}"


def _heads(heads: int | None) -> str:
    return "heads unknown" if heads is None else f"{heads} heads"


def _form(model: Description) -> str:
    extras = [
        word
        for word, there in (
            (f"{model.num_cls_tokens} cls tokens", model.num_cls_tokens > 1),
            ("relative position bias", model.relative_positions),
            ("LayerScale", model.layer_scale),
            ("final norm", model.final_norm),
        )
        if there
    ]
    eps = [] if model.norm_eps is None else [f"LayerNorm epsilon {model.norm_eps:g}"]
    return ", ".join(["with " + ", ".join(extras) if extras else "plain", *eps])


def _positions(model: Description, known: bool) -> str:
    if model.grid is None:
        return f"{model.num_positions} patches, in no square grid and the file does not say in which"
    (rows, columns), (height, width) = model.grid, model.image_size or (0, 0)
    guessed = "" if known else " (if they are a square, which the file does not tell)"
    return f"{rows}x{columns} patches, images of {height}x{width}{guessed}"


def _target(norm_pix: bool | None) -> str:
    if norm_pix is None:
        return "not told by the file: mae_pretrain_*_full predict normalized pixels, mae_visualize_* plain ones"
    return "pixels normalized per patch" if norm_pix else "plain pixels"


def _head(model: Description) -> str:
    if model.num_classes is None:
        return "none"
    if model.kind == "segmentation":
        auxiliary = (
            "no auxiliary head" if model.auxiliary_width is None else f"auxiliary {model.auxiliary_width} channels"
        )
        return f"{model.num_classes} classes, {model.head_width} channels, {model.pools} pooling scales, {auxiliary}"
    return f"{model.num_classes} classes"


def _trained(meta: dict[str, Any]) -> str:
    counts = [f"{name} {meta[name]}" for name in ("step", "epoch") if name in meta]
    return ", ".join(counts) if counts else "not told by the file"


def _fits(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """What can be done with it; each was tried, on models without memory."""
    tried = list(fits(checkpoint))
    yield "fits", "\n".join(use for use, reason in tried if not reason) or "nothing"
    refusals: dict[str, list[str]] = {}
    for use, reason in tried:
        if reason:
            refusals.setdefault(reason, []).append(use)
    for reason, uses in refusals.items():
        yield "does not fit", f"{', '.join(uses)}: {reason}"


def _converts(checkpoint: Checkpoint) -> str:
    """The layouts that can hold it."""
    possible = []
    for target in BY_TARGET:
        try:
            left_out = to_layout(checkpoint.tensors, target).left_out
        except UserError:
            continue
        possible.append(f"{target} ({len(left_out)} tensors left out)" if left_out else target)
    return ", ".join(possible)
