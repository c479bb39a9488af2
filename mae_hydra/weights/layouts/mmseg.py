"""Names of mmsegmentation (0.x and 1.x alike): its UPerNet-MAE of 289 entries, and the output of its own converter.

The relative-position index of every block (int64, 1025 x 1025 at 512 pixels) follows from the grid: dropped on the way
in, written again on the way out.
"""

from collections.abc import Collection

from torch import Tensor

from mae_hydra.errors import UserError
from mae_hydra.relative_positions import relative_position_index, square_grid
from mae_hydra.weights.layouts import official
from mae_hydra.weights.layouts.layout import Layout
from mae_hydra.weights.layouts.names import Pair, State

BLOCK: tuple[Pair, ...] = (
    ("ln1.*", "norm1.*"),
    ("ln2.*", "norm2.*"),
    ("ffn.layers.0.0.*", "mlp.fc1.*"),
    ("ffn.layers.1.*", "mlp.fc2.*"),
    ("attn.*", "attn.*"),
    ("gamma_#", "gamma_#"),
)
CONVOLUTIONS = (  # a convolution with batch normalisation each
    ("decode_head.psp_modules.#.1", "head.pools.#.1"),
    ("decode_head.bottleneck", "head.bottleneck"),
    ("decode_head.lateral_convs.#", "head.laterals.#"),
    ("decode_head.fpn_convs.#", "head.smooths.#"),
    ("decode_head.fpn_bottleneck", "head.fuse"),
    ("auxiliary_head.convs.0", "auxiliary.conv"),
)


def encoder(prefix: str) -> tuple[Pair, ...]:
    """List the pairs of names of mmsegmentation's encoder under `prefix`, theirs and ours."""
    return (
        (f"{prefix}cls_token", "encoder.cls_token"),
        (f"{prefix}pos_embed", "encoder.pos_embed"),
        (f"{prefix}patch_embed.projection.*", "encoder.patch_embed.proj.*"),
        *((f"{prefix}layers.#.{theirs}", f"encoder.blocks.#.{ours}") for theirs, ours in BLOCK),
    )


UPERNET_NAMES: tuple[Pair, ...] = (
    *encoder("backbone."),
    ("neck.upsample_4x.*", "pyramid.up4.*"),
    ("neck.upsample_2x.0.*", "pyramid.up2.*"),
    ("decode_head.conv_seg.*", "head.classify.*"),
    ("auxiliary_head.conv_seg.*", "auxiliary.classify.*"),
    *((f"{theirs}.conv.*", f"{ours}.conv.*") for theirs, ours in CONVOLUTIONS),
    *((f"{theirs}.bn.*", f"{ours}.norm.*") for theirs, ours in CONVOLUTIONS),
)


def _is_upernet(names: Collection[str]) -> bool:
    return {"backbone.cls_token", "decode_head.conv_seg.weight", "neck.upsample_2x.0.weight"} <= set(names)


def _is_converter_output(names: Collection[str]) -> bool:
    return {"cls_token", "patch_embed.projection.weight", "layers.0.attn.qkv.weight"} <= set(names)


def _without_indices(tensors: State) -> dict[str, Tensor]:
    return official.merge_biases(tensors, "backbone.", "layers")  # for its BEiT backbone, which has no key bias


def _with_indices(tensors: State) -> dict[str, Tensor]:
    """An index buffer behind every table, int64, as their models register it."""
    complete: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        complete[name] = tensor
        if name.endswith("attn.relative_position_bias_table"):
            stem = name.removesuffix("relative_position_bias_table")
            complete[f"{stem}relative_position_index"] = relative_position_index(_square_grid(name, tensor))
    return complete


def _square_grid(name: str, table: Tensor) -> tuple[int, int]:
    """mmsegmentation's models are square."""
    grid = square_grid(len(table))
    if grid is None:
        raise UserError(f"{name} has {len(table)} rows, which is no square grid; mmsegmentation's MAE is square")
    return grid


def _without_leftovers(tensors: State) -> dict[str, Tensor]:
    """Their converter writes the patch projection twice, under its old name too."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("patch_embed.proj.")}


def _with_leftovers(tensors: State) -> dict[str, Tensor]:
    """File for file what their converter writes; the old names are reported as unexpected there, and harmless."""
    doubled: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith("patch_embed.projection."):
            doubled[name.replace("projection", "proj")] = tensor
        doubled[name] = tensor
    return doubled


UPERNET = Layout("mmsegmentation, UPerNet", _is_upernet, UPERNET_NAMES, _without_indices, _with_indices)
CONVERTED = Layout(
    "mmsegmentation, converted encoder",
    _is_converter_output,
    # Everything but the encoder's embedding and blocks is copied as it was.
    (*encoder(""), ("norm.*", "encoder.norm.*"), *official.DECODER, *official.CLASSIFIER),
    _without_leftovers,
    _with_leftovers,
)
