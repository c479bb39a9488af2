"""An independent, slow, literal computation of the models from their state dicts, written from the formulas."""

import math

import torch
from torch import Tensor

State = dict[str, Tensor]


def part(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * weight + bias


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def attention(x: Tensor, state: State, heads: int, bias: Tensor | float = 0.0) -> Tensor:
    """`bias`: (heads, N, N), added to the scaled scores."""
    dim = x.shape[2]
    width = dim // heads
    q, k, v = (x @ state["qkv.weight"].T + state["qkv.bias"]).split(dim, dim=-1)
    output = torch.empty_like(x)
    for sample in range(len(x)):
        for head in range(heads):
            columns = slice(head * width, (head + 1) * width)
            scores = q[sample, :, columns] @ k[sample, :, columns].T / math.sqrt(width)
            scores = scores + (bias if isinstance(bias, float) else bias[head])
            output[sample, :, columns] = scores.softmax(-1) @ v[sample, :, columns]
    return output @ state["proj.weight"].T + state["proj.bias"]


def relative_bias(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """(heads, 1 + hw, 1 + hw), one pair at a time."""
    height, width = grid
    tokens = 1 + height * width
    bias = table.new_empty(table.shape[1], tokens, tokens)
    for query in range(tokens):
        for key in range(tokens):
            if query == 0 and key == 0:
                row = len(table) - 1
            elif key == 0:
                row = len(table) - 2
            elif query == 0:
                row = len(table) - 3
            else:
                (qh, qw), (kh, kw) = divmod(query - 1, width), divmod(key - 1, width)
                row = (qh - kh + height - 1) * (2 * width - 1) + qw - kw + width - 1
            bias[:, query, key] = table[row]
    return bias


def block(x: Tensor, state: State, heads: int, grid: tuple[int, int] | None = None) -> Tensor:
    bias = 0.0 if grid is None else relative_bias(state["attn.relative_position_bias_table"], grid)
    mixed = attention(layer_norm(x, state["norm1.weight"], state["norm1.bias"]), part(state, "attn."), heads, bias)
    x = x + state.get("gamma_1", 1.0) * mixed
    inner = layer_norm(x, state["norm2.weight"], state["norm2.bias"]) @ state["mlp.fc1.weight"].T
    changed = gelu(inner + state["mlp.fc1.bias"]) @ state["mlp.fc2.weight"].T + state["mlp.fc2.bias"]
    return x + state.get("gamma_2", 1.0) * changed


def patches_of(images: Tensor, size: int) -> Tensor:
    """(B, N, size * size * C): rows of patches, pixel by pixel, channel last; one patch at a time."""
    rows, columns = images.shape[2] // size, images.shape[3] // size
    parts = []
    for row in range(rows):
        for column in range(columns):
            window = images[:, :, row * size : (row + 1) * size, column * size : (column + 1) * size]
            parts.append(torch.stack([window[:, :, i, j] for i in range(size) for j in range(size)], 1).flatten(1))
    return torch.stack(parts, 1)


def embed(images: Tensor, state: State, size: int) -> Tensor:
    """Patch embedding plus position, before cls tokens are put in front."""
    kernel = state["patch_embed.proj.weight"].permute(0, 2, 3, 1).flatten(1)
    return (
        patches_of(images, size) @ kernel.T
        + state["patch_embed.proj.bias"]
        + state["pos_embed"][:, cls_tokens(state) :]
    )


def cls_tokens(state: State) -> int:
    return state["cls_token"].shape[1]


def mae(
    images: Tensor, state: State, noise: Tensor, count: int, size: int, heads: tuple[int, int]
) -> dict[str, Tensor]:
    """prediction, target, hidden (as floats), and the official mean loss of MAE for normalised images."""
    encoder, decoder = part(state, "encoder."), part(state, "decoder.")
    shuffle = noise.argsort(1)
    restore = shuffle.argsort(1)
    rows = torch.arange(len(images))[:, None]
    x = embed(images, encoder, size)[rows, shuffle[:, :count]]
    first = cls_tokens(encoder)
    cls = (encoder["cls_token"] + encoder["pos_embed"][:, :first]).expand(len(images), -1, -1)
    x = torch.cat([cls, x], 1)
    for index in range(depth_of(encoder)):
        x = block(x, part(encoder, f"blocks.{index}."), heads[0])
    x = layer_norm(x, encoder["norm.weight"], encoder["norm.bias"])

    x = x @ decoder["embed.weight"].T + decoder["embed.bias"]
    masked = decoder["mask_token"].expand(len(images), noise.shape[1] - count, -1)
    x = torch.cat([x[:, :first], torch.cat([x[:, first:], masked], 1)[rows, restore]], 1) + decoder["pos_embed"]
    for index in range(depth_of(decoder)):
        x = block(x, part(decoder, f"blocks.{index}."), heads[1])
    x = layer_norm(x, decoder["norm.weight"], decoder["norm.bias"])
    prediction = (x @ decoder["pred.weight"].T + decoder["pred.bias"])[:, first:]

    pixels = patches_of(images, size)
    centred = pixels - pixels.mean(-1, keepdim=True)
    variance = centred.pow(2).sum(-1, keepdim=True) / (pixels.shape[-1] - 1)
    target = centred / (variance + 1e-6) ** 0.5
    hidden = (restore >= count).to(images.dtype)
    per_patch = ((prediction - target) ** 2).mean(-1)
    plain = ((prediction - pixels) ** 2).mean(-1)
    return {
        "prediction": prediction,
        "target": target,
        "hidden": hidden,
        "loss": (per_patch * hidden).sum() / hidden.sum(),
        "plain_loss": (plain * hidden).sum() / hidden.sum(),
    }


def depth_of(state: State) -> int:
    return 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))


def feature_maps(images: Tensor, state: State, size: int, heads: int, grid: tuple[int, int]) -> list[Tensor]:
    """Outputs of all blocks of an encoder with relative positions, as maps."""
    cls = (state["cls_token"] + state["pos_embed"][:, :1]).expand(len(images), -1, -1)
    x = torch.cat([cls, embed(images, state, size)], 1)
    maps = []
    for index in range(depth_of(state)):
        x = block(x, part(state, f"blocks.{index}."), heads, grid)
        maps.append(x[:, 1:].transpose(1, 2).reshape(len(images), -1, *grid))
    return maps


def batch_norm(x: Tensor, state: State, training: bool) -> Tensor:
    if training:
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
    else:
        mean, variance = state["running_mean"], state["running_var"]
    centred = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
    return centred * state["weight"][:, None, None] + state["bias"][:, None, None]


def conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Same-sized convolution as a sum over shifted 1x1 products."""
    reach = weight.shape[2] // 2
    height, width = x.shape[2:]
    padded = torch.nn.functional.pad(x, (reach,) * 4)
    total = x.new_zeros(len(x), len(weight), height, width)
    for row in range(weight.shape[2]):
        for column in range(weight.shape[3]):
            window = padded[:, :, row : row + height, column : column + width]
            total = total + torch.einsum("bchw,dc->bdhw", window, weight[:, :, row, column])
    return total if bias is None else total + bias[:, None, None]


def conv_block(x: Tensor, state: State, training: bool) -> Tensor:
    return batch_norm(conv(x, state["conv.weight"]), part(state, "norm."), training).clamp(min=0)


def transposed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """2x2 transposed convolution of stride 2: every pixel becomes its own 2x2 square."""
    batch, _, height, width = x.shape
    squares = torch.einsum("bchw,cdij->bdhiwj", x, weight)
    return squares.reshape(batch, -1, 2 * height, 2 * width) + bias[:, None, None]


def bilinear(x: Tensor, size: tuple[int, int]) -> Tensor:
    """align_corners=False, from its definition, one axis after the other."""
    for axis, target in ((2, size[0]), (3, size[1])):
        source = x.shape[axis]
        centre = ((torch.arange(target, dtype=x.dtype) + 0.5) * source / target - 0.5).clamp(0, source - 1)
        low = centre.floor().long()
        high = (low + 1).clamp(max=source - 1)
        share = (centre - low).reshape([-1 if dim == axis else 1 for dim in range(4)])
        x = x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share
    return x


def average_pool(x: Tensor, scale: int) -> Tensor:
    height, width = x.shape[2:]
    rows = [(math.floor(i * height / scale), math.ceil((i + 1) * height / scale)) for i in range(scale)]
    columns = [(math.floor(i * width / scale), math.ceil((i + 1) * width / scale)) for i in range(scale)]
    cells = [torch.stack([x[:, :, a:b, c:d].mean((2, 3)) for c, d in columns], -1) for a, b in rows]
    return torch.stack(cells, -2)


def pyramid(maps: list[Tensor], state: State, training: bool) -> list[Tensor]:
    up = gelu(
        batch_norm(transposed(maps[0], state["up4.0.weight"], state["up4.0.bias"]), part(state, "up4.1."), training)
    )
    up = transposed(up, state["up4.3.weight"], state["up4.3.bias"])
    batch, dim, height, width = maps[3].shape
    windows = maps[3][:, :, : height // 2 * 2, : width // 2 * 2].reshape(batch, dim, height // 2, 2, width // 2, 2)
    double = transposed(maps[1], state["up2.weight"], state["up2.bias"])
    return [up, double, maps[2], windows.amax((3, 5))]


def upper_head(levels: list[Tensor], state: State, scales: list[int], training: bool) -> Tensor:
    """Without the dropout."""
    coarse = levels[3]
    size = tuple(coarse.shape[2:])
    pooled = [
        bilinear(conv_block(average_pool(coarse, scale), part(state, f"pools.{i}.1."), training), size)
        for i, scale in enumerate(scales)
    ]
    top = conv_block(torch.cat([coarse, *pooled], 1), part(state, "bottleneck."), training)
    lateral = [conv_block(levels[i], part(state, f"laterals.{i}."), training) for i in range(3)] + [top]
    for i in (3, 2, 1):
        lateral[i - 1] = lateral[i - 1] + bilinear(lateral[i], tuple(lateral[i - 1].shape[2:]))
    outputs = [conv_block(lateral[i], part(state, f"smooths.{i}."), training) for i in range(3)] + [top]
    fine = tuple(outputs[0].shape[2:])
    fused = conv_block(torch.cat([bilinear(x, fine) for x in outputs], 1), part(state, "fuse."), training)
    return conv(fused, state["classify.weight"], state["classify.bias"])


def fcn_head(features: Tensor, state: State, training: bool) -> Tensor:
    """Without the dropout."""
    inner = conv_block(features, part(state, "conv."), training)
    return conv(inner, state["classify.weight"], state["classify.bias"])


def cross_entropy_sum(logits: Tensor, labels: Tensor, ignore: int) -> Tensor:
    """Pixel by pixel, over a log-softmax at the size of the labels."""
    logs = bilinear(logits, tuple(labels.shape[1:])).log_softmax(1)
    total = logits.new_zeros(())
    for sample in range(len(labels)):
        for row in range(labels.shape[1]):
            for column in range(labels.shape[2]):
                label = int(labels[sample, row, column])
                if label != ignore:
                    total = total - logs[sample, label, row, column]
    return total
