"""Files as other programs write them, spelt out from the published names, filled with seeded numbers."""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor

State = "OrderedDict[str, Tensor]"


class Numbers:
    """Seeded tensors by name, in the order of creation."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.state: OrderedDict[str, Tensor] = OrderedDict()

    def add(self, name: str, *shape: int) -> None:
        self.state[name] = 0.02 * torch.randn(*shape, generator=self.generator)

    def linear(self, name: str, inputs: int, outputs: int) -> None:
        self.add(f"{name}.weight", outputs, inputs)
        self.add(f"{name}.bias", outputs)

    def norm(self, name: str, width: int) -> None:
        self.add(f"{name}.weight", width)
        self.state[f"{name}.weight"] += 1
        self.add(f"{name}.bias", width)

    def batch_norm(self, name: str, width: int) -> None:
        self.norm(name, width)
        self.add(f"{name}.running_mean", width)
        self.add(f"{name}.running_var", width)
        self.state[f"{name}.running_var"] = 1 + self.state[f"{name}.running_var"].abs()
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(160000)


def vit_block(numbers: Numbers, name: str, width: int, mlp: int) -> None:
    numbers.norm(f"{name}.norm1", width)
    numbers.linear(f"{name}.attn.qkv", width, 3 * width)
    numbers.linear(f"{name}.attn.proj", width, width)
    numbers.norm(f"{name}.norm2", width)
    numbers.linear(f"{name}.mlp.fc1", width, mlp)
    numbers.linear(f"{name}.mlp.fc2", mlp, width)


def official(
    *,
    width: int,
    depth: int,
    patch: int,
    grid: int,
    mlp: int,
    decoder: tuple[int, int, int] | None = None,
    head: str = "",
) -> State:
    """`decoder`: (width, depth, mlp). `head`: "classifier" (mean pooling and fc_norm) or "probe", of 10 classes."""
    numbers = Numbers()
    numbers.add("cls_token", 1, 1, width)
    numbers.add("pos_embed", 1, 1 + grid * grid, width)
    numbers.add("patch_embed.proj.weight", width, 3, patch, patch)
    numbers.add("patch_embed.proj.bias", width)
    for index in range(depth):
        vit_block(numbers, f"blocks.{index}", width, mlp)
    numbers.norm("fc_norm" if head == "classifier" else "norm", width)
    if decoder is not None:
        numbers.add("mask_token", 1, 1, decoder[0])
        numbers.add("decoder_pos_embed", 1, 1 + grid * grid, decoder[0])
        numbers.linear("decoder_embed", width, decoder[0])
        for index in range(decoder[1]):
            vit_block(numbers, f"decoder_blocks.{index}", decoder[0], decoder[2])
        numbers.norm("decoder_norm", decoder[0])
        numbers.linear("decoder_pred", decoder[0], patch * patch * 3)
    if head == "classifier":
        numbers.linear("head", width, 10)
    elif head == "probe":  # batch normalisation without weight and bias, then the classifier
        numbers.batch_norm("head.0", width)
        del numbers.state["head.0.weight"], numbers.state["head.0.bias"]
        numbers.linear("head.1", width, 10)
    return numbers.state


def relative_index(grid: int) -> Tensor:
    """One pair at a time."""
    tokens, rows = 1 + grid * grid, (2 * grid - 1) ** 2 + 3
    index = torch.empty(tokens, tokens, dtype=torch.int64)
    for query in range(tokens):
        for key in range(tokens):
            (qh, qw), (kh, kw) = divmod(query - 1, grid), divmod(key - 1, grid)
            index[query, key] = (qh - kh + grid - 1) * (2 * grid - 1) + qw - kw + grid - 1
    index[0, :], index[:, 0], index[0, 0] = rows - 3, rows - 2, rows - 1
    return index


def mmseg_upernet(
    *, width: int, depth: int, heads: int, patch: int, grid: int, mlp: int, channels: int, auxiliary: int, classes: int
) -> State:
    """The state dict of mmsegmentation's UPerNet-MAE, 289 entries at a depth of 12."""
    numbers = Numbers()
    numbers.add("backbone.cls_token", 1, 1, width)
    numbers.add("backbone.pos_embed", 1, 1 + grid * grid, width)
    numbers.add("backbone.patch_embed.projection.weight", width, 3, patch, patch)
    numbers.add("backbone.patch_embed.projection.bias", width)
    index = relative_index(grid)
    for number in range(depth):
        layer = f"backbone.layers.{number}"
        numbers.add(f"{layer}.gamma_1", width)
        numbers.add(f"{layer}.gamma_2", width)
        numbers.norm(f"{layer}.ln1", width)
        numbers.add(f"{layer}.attn.relative_position_bias_table", (2 * grid - 1) ** 2 + 3, heads)
        numbers.state[f"{layer}.attn.relative_position_index"] = index.clone()
        numbers.linear(f"{layer}.attn.qkv", width, 3 * width)
        numbers.linear(f"{layer}.attn.proj", width, width)
        numbers.norm(f"{layer}.ln2", width)
        numbers.linear(f"{layer}.ffn.layers.0.0", width, mlp)
        numbers.linear(f"{layer}.ffn.layers.1", mlp, width)

    def conv_module(name: str, inputs: int, outputs: int, kernel: int) -> None:
        numbers.add(f"{name}.conv.weight", outputs, inputs, kernel, kernel)
        numbers.batch_norm(f"{name}.bn", outputs)

    def plain(name: str, *shape: int) -> None:
        numbers.add(f"{name}.weight", *shape)
        numbers.add(f"{name}.bias", shape[0])

    plain("neck.upsample_4x.0", width, width, 2, 2)
    numbers.batch_norm("neck.upsample_4x.1", width)
    plain("neck.upsample_4x.3", width, width, 2, 2)
    plain("neck.upsample_2x.0", width, width, 2, 2)
    plain("decode_head.conv_seg", classes, channels, 1, 1)
    for level in range(4):
        conv_module(f"decode_head.psp_modules.{level}.1", width, channels, 1)
    conv_module("decode_head.bottleneck", width + 4 * channels, channels, 3)
    for level in range(3):
        conv_module(f"decode_head.lateral_convs.{level}", width, channels, 1)
    for level in range(3):
        conv_module(f"decode_head.fpn_convs.{level}", channels, channels, 3)
    conv_module("decode_head.fpn_bottleneck", 4 * channels, channels, 3)
    plain("auxiliary_head.conv_seg", classes, auxiliary, 1, 1)
    conv_module("auxiliary_head.convs.0", width, auxiliary, 3)
    return numbers.state


def beit2mmseg(state: State) -> State:
    """What mmsegmentation's own converter makes of official weights: it leaves the patch projection's old name too."""
    names = {"norm1": "ln1", "norm2": "ln2", "mlp.fc1": "ffn.layers.0.0", "mlp.fc2": "ffn.layers.1"}
    converted: OrderedDict[str, Tensor] = OrderedDict()
    for name, tensor in state.items():
        if name.startswith("patch_embed.proj"):
            converted[name.replace("patch_embed.proj", "patch_embed.projection")] = tensor
            converted[name] = tensor
        elif name.startswith("blocks"):
            new = name.replace("blocks", "layers")
            for old, theirs in names.items():
                new = new.replace(f".{old}.", f".{theirs}.")
            converted[new] = tensor
        else:
            converted[name] = tensor
    return converted


TINY: dict[str, Any] = {"width": 16, "depth": 4, "patch": 8, "grid": 4, "mlp": 32}
TINY_OFFICIAL = TINY | {"decoder": (8, 1, 16)}
TINY_MMSEG = TINY | {"heads": 2, "channels": 8, "auxiliary": 8, "classes": 5}
BASE: dict[str, Any] = {"width": 768, "depth": 12, "patch": 16, "mlp": 3072}
