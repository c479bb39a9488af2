"""Which part of an encoder learns: all of it, its last blocks, or nothing (partial fine-tuning, paper figure 9)."""

from typing import Any

from torch import nn

from mae_hydra.models.encoders.vision_transformer import VisionTransformer

HALF = 0.5  # of the last block: its MLP


def freeze(encoder: VisionTransformer, trainable_blocks: int | float | None) -> list[nn.Module]:
    """Leave the last `trainable_blocks` blocks and the final norm trainable; returns what must stay in eval mode.

    None: all of the encoder learns. 0: nothing does (a linear probe). 0.5: the MLP of the last block alone, the paper's
    "half block". From one block on, the embedding and all blocks before are frozen.
    """
    depth = len(encoder.blocks)
    if trainable_blocks is None:
        return []
    if trainable_blocks not in (HALF, *range(depth + 1)):
        raise ValueError(
            f"trainable_blocks must be a number of blocks from 0 to {depth}, 0.5 for the last MLP alone, or null for "
            f"the whole encoder, got {trainable_blocks}"
        )
    if trainable_blocks == 0:
        encoder.requires_grad_(False)
        return [encoder]
    for parameter in (encoder.cls_token, encoder.pos_embed):
        parameter.requires_grad_(False)
    first = depth - int(trainable_blocks)
    frozen: list[nn.Module] = [encoder.patch_embed, *encoder.blocks[:first]]
    if trainable_blocks == HALF:
        frozen = [encoder.patch_embed, *encoder.blocks[:-1], *_attention_of(encoder.blocks[-1])]
    for module in frozen:
        module.requires_grad_(False)
    gamma = getattr(encoder.blocks[-1], "gamma_1", None)  # LayerScale's, of the attention
    if trainable_blocks == HALF and gamma is not None:
        gamma.requires_grad_(False)
    return frozen


def keep_frozen(frozen: list[nn.Module]) -> None:
    """To be called at the end of a model's `train()`: no drop path in what does not learn, and no statistics."""
    for module in frozen:
        module.eval()


def _attention_of(block: Any) -> list[nn.Module]:
    """The first half of a block."""
    parts = [block.norm1, block.attn]
    return [*parts, block.drop_path1] if hasattr(block, "drop_path1") else parts
