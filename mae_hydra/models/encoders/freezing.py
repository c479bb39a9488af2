"""Which part of an encoder learns: all of it, its last blocks, or nothing (partial fine-tuning, paper figure 9)."""

from typing import Any

from torch import nn

HALF = 0.5  # of the last block: its MLP


def freeze(encoder: Any, trainable_blocks: int | float | None) -> list[nn.Module]:
    """Leave the last `trainable_blocks` depths of blocks and what follows them trainable, by the encoder's `depth_of`.

    Returns what must stay in eval mode. None: all of the encoder learns. 0: nothing does (a linear probe). 0.5, of a
    VisionTransformer: the MLP of the last block alone, the paper's "half block".
    """
    if trainable_blocks is None:
        return []
    depth = encoder.num_depths - 2
    halvable = hasattr(encoder, "blocks")
    if trainable_blocks not in (*((HALF,) if halvable else ()), *range(depth + 1)):
        half = "0.5 for the last MLP alone, " if halvable else ""
        raise ValueError(
            f"trainable_blocks must be a number of blocks from 0 to {depth}, {half}or null for the whole encoder, got "
            f"{trainable_blocks}"
        )
    if trainable_blocks == 0:
        encoder.requires_grad_(False)
        return [encoder]
    first = encoder.num_depths - 1 - (int(trainable_blocks) or 1)  # of the depths that learn
    for name, parameter in encoder.named_parameters():
        if encoder.depth_of(name) < first:
            parameter.requires_grad_(False)
    if trainable_blocks == HALF:
        for module in _attention_of(encoder.blocks[-1]):
            module.requires_grad_(False)
        gamma = getattr(encoder.blocks[-1], "gamma_1", None)  # LayerScale's, of the attention
        if gamma is not None:
            gamma.requires_grad_(False)
    return _frozen_parts(encoder) + (_attention_of(encoder.blocks[-1]) if trainable_blocks == HALF else [])


def keep_frozen(frozen: list[nn.Module]) -> None:
    """To be called at the end of a model's `train()`: no drop path in what does not learn, and no statistics."""
    for module in frozen:
        module.eval()


def _frozen_parts(module: nn.Module) -> list[nn.Module]:
    """The largest parts that have parameters, and none that learns."""
    frozen: list[nn.Module] = []
    for child in module.children():
        parameters = list(child.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            frozen.append(child)
        else:
            frozen += _frozen_parts(child)
    return frozen


def _attention_of(block: Any) -> list[nn.Module]:
    """The first half of a block."""
    parts = [block.norm1, block.attn]
    return [*parts, block.drop_path1] if hasattr(block, "drop_path1") else parts
