"""What model a set of tensors is, read off their shapes and off what the file tells beside them."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from mae_hydra.errors import UserError
from mae_hydra.weights.grids import Grid, likely_grid
from mae_hydra.weights.layouts import Kind, num_cls_tokens
from mae_hydra.weights.metadata import encoder_settings, norm_eps
from mae_hydra.weights.read import Checkpoint

# Heads leave no trace in the shapes of plain attention. These are the widths of the ViT family and of MAE's decoder.
HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1536: 24, 3072: 32}
DECODER_HEADS = {512: 16}
DecoderForm = Literal["plain", "cross", "crossmae", "unknown"]
SIZES = {
    (192, 12): "Ti",
    (384, 12): "S",
    (768, 12): "B",
    (1024, 24): "L",
    (1280, 32): "H",
    (1536, 48): "1B",  # these two of Pixio alone
    (3072, 48): "5B",
}


@dataclass(frozen=True)
class Stack:
    """A stack of Transformer blocks. `heads`: None where neither shapes nor file tell."""

    dim: int
    depth: int
    heads: int | None
    mlp_ratio: float


@dataclass(frozen=True)
class Description:
    """`head_norm`, `batch_norm`: in front of a classifier's last layer.

    `decoder_form`, `encoder_blocks_read`: which decoder it is, and of how many of the encoder's blocks it reads tokens.
    `num_positions`: of patches. `grid`: theirs, (h, w); None where it cannot be told.
    `pools`: how many scales a head pools at.
    `norm_pix`: whether a MAE's targets were normalised; None where the file does not say. `norm_eps`: likewise, what
    its LayerNorms add to the variance.
    """

    kind: Kind
    encoder: Stack
    patch_size: int
    channels: int
    num_cls_tokens: int
    num_positions: int
    grid: Grid | None
    relative_positions: bool
    layer_scale: bool
    final_norm: bool
    head_norm: bool
    batch_norm: bool
    decoder: Stack | None
    decoder_form: DecoderForm | None
    encoder_blocks_read: int
    num_classes: int | None
    head_width: int | None
    pools: int
    auxiliary_width: int | None
    norm_pix: bool | None
    norm_eps: float | None
    mask_ratio: float | None
    dtype: str
    parameters: int

    @property
    def size_name(self) -> str:
        """ "ViT-B/16", or what there is to say of a size without a name."""
        stack = self.encoder
        name = SIZES.get((stack.dim, stack.depth))
        return f"ViT-{name}/{self.patch_size}" if name else f"ViT of {stack.depth} blocks of width {stack.dim}"

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(H, W) in pixels that the positions are for."""
        return None if self.grid is None else (self.grid[0] * self.patch_size, self.grid[1] * self.patch_size)


def describe(checkpoint: Checkpoint) -> Description:
    """UserError where the tensors are not those of one model: something essential missing, or of a strange shape."""
    tensors, meta, where = checkpoint.tensors, checkpoint.meta, str(checkpoint.path)
    projection = _required(tensors, "encoder.patch_embed.proj.weight", 4, where)
    positions = _required(tensors, "encoder.pos_embed", 3, where)
    if projection.shape[2] != projection.shape[3]:
        raise UserError(
            f"{where} has patches of {projection.shape[2]}x{projection.shape[3]} pixels; they must be square"
        )
    kind = checkpoint.kind
    form = _decoder_form(tensors) if kind == "mae" else None
    known_decoder = form not in (None, "unknown")
    classify = tensors.get("head.classify.weight", tensors.get("head.linear.weight"))
    if classify is not None and classify.ndim < 2:
        raise UserError(
            f"the last layer of {where} has a weight of {classify.ndim} dimensions, which classifies nothing"
        )
    auxiliary = tensors.get("auxiliary.conv.conv.weight")
    told_mask_ratio = meta.get("mask_ratio")
    return Description(
        kind=kind,
        encoder=_stack(tensors, "encoder.", _encoder_heads(tensors, meta), where),
        patch_size=projection.shape[2],
        channels=projection.shape[1],
        num_cls_tokens=num_cls_tokens(tensors),
        num_positions=positions.shape[1] - num_cls_tokens(tensors),
        grid=likely_grid(tensors, meta),
        relative_positions="encoder.blocks.0.attn.relative_position_bias_table" in tensors,
        layer_scale="encoder.blocks.0.gamma_1" in tensors,
        final_norm="encoder.norm.weight" in tensors,
        head_norm="head.norm.weight" in tensors,
        batch_norm="head.batch_norm.running_mean" in tensors,
        decoder=_stack(tensors, "decoder.", _decoder_heads(tensors, meta), where) if known_decoder else None,
        decoder_form=form,
        encoder_blocks_read=_encoder_blocks_read(tensors, form),
        num_classes=None if classify is None else classify.shape[0],
        head_width=classify.shape[1] if classify is not None and kind == "segmentation" else None,
        pools=len({name.split(".")[2] for name in tensors if name.startswith("head.pools.")}),
        auxiliary_width=None if auxiliary is None or auxiliary.ndim != 4 else auxiliary.shape[0],
        norm_pix=_norm_pix(meta),
        norm_eps=norm_eps(meta),
        mask_ratio=told_mask_ratio if isinstance(told_mask_ratio, float) else None,
        dtype=", ".join(
            str(dtype).removeprefix("torch.")
            for dtype, _ in Counter(t.dtype for t in tensors.values() if t.is_floating_point()).most_common()
        ),
        parameters=sum(t.numel() for name, t in tensors.items() if not _is_buffer(name)),
    )


def _required(tensors: Mapping[str, Tensor], name: str, ndim: int, where: str) -> Tensor:
    tensor = tensors.get(name)
    if tensor is None:
        raise UserError(f"{where} has no {name}, without which it is no Vision Transformer of this kind")
    if tensor.ndim != ndim or 0 in tensor.shape:
        raise UserError(f"{name} in {where} has shape {tuple(tensor.shape)}; it should have {ndim} dimensions")
    return tensor


def _stack(tensors: Mapping[str, Tensor], part: str, heads: int | None, where: str) -> Stack:
    pattern = re.compile(rf"{re.escape(part)}blocks\.(\d+)\.")
    numbers = {int(match[1]) for match in map(pattern.match, tensors) if match}
    if numbers != set(range(len(numbers))) or not numbers:
        raise UserError(f"{where} has blocks {sorted(numbers)} in its {part[:-1]}; there is a gap")
    mlp = _required(tensors, f"{part}blocks.0.mlp.fc1.weight", 2, where)
    return Stack(mlp.shape[1], len(numbers), heads, mlp.shape[0] / mlp.shape[1])


def _encoder_heads(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> int | None:
    recorded = encoder_settings(meta).get("num_heads")
    table = tensors.get("encoder.blocks.0.attn.relative_position_bias_table")
    if isinstance(recorded, int):
        return recorded
    return table.shape[1] if table is not None and table.ndim == 2 else HEADS.get(tensors["encoder.pos_embed"].shape[2])


def _decoder_heads(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> int | None:
    for node in (meta.get("decoder"), _config(meta, "decoder")):
        if isinstance(node, Mapping) and isinstance(node.get("num_heads"), int):
            return node["num_heads"]
    embed = tensors.get("decoder.embed.weight")
    return None if embed is None else DECODER_HEADS.get(embed.shape[0])


def _decoder_form(tensors: Mapping[str, Tensor]) -> DecoderForm:
    if any(name.startswith(("decoder.dec_norms.", "decoder.wfm.")) for name in tensors):
        return "unknown"
    if "decoder.blocks.0.attn.q.weight" in tensors:
        return "cross" if "decoder.embed.weight" in tensors else "crossmae"
    return "plain"


def _encoder_blocks_read(tensors: Mapping[str, Tensor], form: DecoderForm | None) -> int:
    weights = tensors.get("decoder.block_weights")
    if weights is None or weights.ndim != 2:
        return 1
    return weights.shape[1] - (form == "crossmae")  # which reads the embedded input as well


def _norm_pix(meta: Mapping[str, Any]) -> bool | None:
    for recorded in (meta.get("norm_pix"), _config(meta, "norm_pix")):
        if isinstance(recorded, bool):
            return recorded
    return None


def _config(meta: Mapping[str, Any], key: str) -> Any:
    """An argument of the model in the configuration of a run."""
    model = (meta.get("config") or {}).get("model")
    return model.get(key) if isinstance(model, Mapping) else None


def _is_buffer(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))
