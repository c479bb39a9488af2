"""Where the weights start. Every module initialises itself when it is built; nothing is re-initialised later."""

import math

from torch import nn

TOKEN_STD = 0.02
CLASSIFIER_STD = 0.01


def xavier(module: nn.Module) -> None:
    """MAE: xavier-uniform Linears with zero bias (a fused qkv is one Linear of 3D outputs), LayerNorms at 1 and 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm):
            part.reset_parameters()


def patch_projection(projection: nn.Conv2d) -> None:
    """MAE: the projection is seen as a Linear over the values of a patch; its bias keeps the default of Conv2d."""
    nn.init.xavier_uniform_(projection.weight.view(projection.out_channels, -1))


def truncated_normal(module: nn.Module) -> None:
    """BEiT's Linears: weights from a normal of 0.02 cut at +-2 (absolute), zero bias; here the patch projection too."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(part.weight, std=TOKEN_STD)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def check_choice(init: str | None) -> None:
    """ValueError where `init` names no start of a plain stack of blocks."""
    if init not in (None, "xavier", "truncated_normal"):
        raise ValueError(f"init must be 'xavier', 'truncated_normal' or null, got {init!r}")


def shrink_residual_branches(blocks: nn.ModuleList) -> None:
    """BEiT: what block i (from 0) adds to the stream starts divided by sqrt(2 (i + 1))."""
    for name, weight in blocks.named_parameters():
        index, _, inner = name.partition(".")
        if inner in ("attn.proj.weight", "mlp.fc2.weight"):
            weight.data.div_(math.sqrt(2 * (int(index) + 1)))


def convolution(conv: nn.Conv2d) -> None:
    """UPerNet's Conv-BN-ReLU: normal of variance 2 / fan_out."""
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")


def classifier(conv: nn.Conv2d) -> None:
    """UPerNet's last 1x1 convolution: normal of 0.01, zero bias."""
    nn.init.normal_(conv.weight, std=CLASSIFIER_STD)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
