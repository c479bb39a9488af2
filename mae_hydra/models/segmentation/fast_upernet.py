"""UPerNet for evaluation: the same answers for less work.

What depends on the weights alone is worked out once (batch norms and linear layers that follow each other become one,
position biases are spread out), maps are convolved before they are enlarged, and the auxiliary head is left out. The
model itself is not touched, and nothing of this is in its state dict.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt
from torch import Tensor, nn

from mae_hydra.models.segmentation.convolution import ConvNormReLU
from mae_hydra.models.segmentation.losses.binary import two_logits
from mae_hydra.models.segmentation.pyramid import FeaturePyramid
from mae_hydra.models.segmentation.resized_convolution import Resizing, add_resized_convolution, resizing, tap_weights
from mae_hydra.models.segmentation.upernet_head import UPerHead, resize

ALIGNED = 16  # CUDA's memory-efficient attention copies a bias whose rows do not begin at multiples of this


@dataclass(frozen=True)
class Shortcuts:
    """Which work is spared; any choice gives the same answers.

    `fold`: batch norms go into the convolutions before them, and the pyramid's last transposed convolutions into the
    lateral ones after them. `low_resolution_first`: 3x3 convolutions of enlarged maps run before the enlarging.
    `cached_bias`: relative position biases are spread out once, not at every call (one float per head, query and key).
    """

    fold: bool = True
    low_resolution_first: bool = True
    cached_bias: bool = True


class FastUPerNet:
    """Called as a `UPerNet` is, in eval mode and without gradients; while that is in training mode, it is the model.

    What was worked out is kept with the model until `model.train()`, shared by all objects like this one, and made anew
    whenever a weight has changed, moved or got another dtype since. (Writing through `parameter.data` escapes that
    check: torch does not count such writes.)
    """

    def __init__(self, model: Any, shortcuts: Shortcuts = Shortcuts()) -> None:
        self.model, self.shortcuts = model, shortcuts
        self.encoder, self.prepare = model.encoder, model.prepare

    @staticmethod
    def fits(model: Any) -> bool:
        """Whether a model is what this is the fast form of: a UPerNet on an encoder of one grid."""
        pyramid = getattr(model, "pyramid", None)
        return (
            isinstance(model.head, UPerHead)
            and isinstance(pyramid, FeaturePyramid)
            and pyramid.enlarges
            and hasattr(model.encoder, "grid")
        )

    def parameters(self) -> Iterator[nn.Parameter]:
        return self.model.parameters()

    @torch.no_grad()
    def __call__(self, images: UInt[Tensor, "b c h w"] | Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes h w"]:
        """Logits at the size of the images."""
        if self.model.training:
            return self.model(images)
        return resize(self.low_resolution_logits(images), images.shape[2:])

    @torch.no_grad()
    def low_resolution_logits(
        self, images: UInt[Tensor, "b c h w"] | Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b classes _ _"]:
        derived = self._derived()
        images = self.model.prepare(images)
        if derived.biases is None:  # an encoder need not take them
            return derived.logits(self.model.encoder.feature_maps(images))
        return derived.logits(self.model.encoder.feature_maps(images, derived.biases))

    def _derived(self) -> "Derived":
        dtype = _compute_dtype(self.model)
        state = _state(self.model, dtype)
        derived = self.model.derived.get(self.shortcuts)
        if derived is None or derived.state != state:
            derived = self.model.derived[self.shortcuts] = Derived(self.model, self.shortcuts, dtype, state)
        return derived


class Derived:
    """What follows from the weights of a model; it holds no reference to the model, but to parts of its head."""

    def __init__(self, model: Any, shortcuts: Shortcuts, dtype: torch.dtype, state: tuple) -> None:
        self.state = state
        self.biases = _biases(model, dtype) if shortcuts.cached_bias else None
        fold, head, pyramid = shortcuts.fold, model.head, model.pyramid
        pools: Any = head.pools
        self.pyramid, self.laterals = pyramid, head.laterals
        self.enlarge = _Enlarge(pyramid, head.laterals, dtype) if fold else None
        self.third = _Step(head.laterals[2], fold, dtype)
        self.pools = [(pool[0], _Step(pool[1], fold, dtype)) for pool in pools]
        self.smooths = [_Step(smooth, fold, dtype) for smooth in head.smooths]

        height, width = model.encoder.grid
        half, fine = (height // 2, width // 2), (4 * height, 4 * width)
        levels = [(2 * height, 2 * width), (height, width), half]
        cells = [_pair(pool[0].output_size) for pool in pools]
        kind: Any = _LowResolutionFirst if shortcuts.low_resolution_first else _FullResolution
        self.bottleneck = kind(head.bottleneck, fold, dtype, cells, half)
        self.fuse = kind(head.fuse, fold, dtype, levels, fine)
        self.classify = (head.classify.weight.to(dtype), _maybe(head.classify.bias, dtype))

    def logits(self, maps: list[Tensor]) -> Tensor:
        """Class logits, contiguous, from the encoder's maps."""
        maps = [level.to(self.classify[0].dtype) for level in maps]
        if self.enlarge is None:
            maps = self.pyramid(maps)
            levels = [self.laterals[0](maps[0]), self.laterals[1](maps[1])]
        else:
            levels = self.enlarge(maps[0], maps[1])
        levels.append(self.third(maps[2]))
        coarsest = self.pyramid.down2(maps[3]) if self.enlarge is not None else maps[3]
        coarse = self.bottleneck([coarsest, *(step(pool(coarsest)) for pool, step in self.pools)])
        above = coarse
        for index in (2, 1, 0):
            above = levels[index] = levels[index] + resize(above, levels[index].shape[2:])
        levels = [smooth(level) for smooth, level in zip(self.smooths, levels, strict=True)]
        # Contiguous while it is small: enlarged and added up, it is sixteen times as large.
        return two_logits(F.conv2d(self.fuse([*levels, coarse]), *self.classify)).contiguous()


class _Step:
    """A ConvNormReLU, its norm folded into its convolution or left where it is."""

    def __init__(self, block: nn.Module, fold: bool, dtype: torch.dtype) -> None:
        assert isinstance(block, ConvNormReLU)
        self.norm = None if fold else block.norm
        self.padding = block.conv.padding
        self.bias: Tensor | None
        weight, self.bias = _folded(block, dtype) if fold else (block.conv.weight.to(dtype), None)
        self.weight = weight.contiguous(memory_format=torch.channels_last)

    def __call__(self, maps: Tensor) -> Tensor:
        return self.finish(F.conv2d(maps, self.weight, self.bias, padding=self.padding))

    def finish(self, maps: Tensor) -> Tensor:
        return F.relu_(maps if self.norm is None else self.norm(maps))


class _FullResolution(_Step):
    """The convolution of a list of maps, all resized to the first one's size."""

    def __init__(self, block: nn.Module, fold: bool, dtype: torch.dtype, *_sizes: Any) -> None:
        super().__init__(block, fold, dtype)

    def __call__(self, maps: Any) -> Tensor:
        size = maps[0].shape[2:]
        return super().__call__(torch.cat([maps[0], *(resize(level, size) for level in maps[1:])], dim=1))


class _LowResolutionFirst(_Step):
    """The same, each map after the first convolved at its own size, `sources`; the first one's is `target`."""

    def __init__(
        self, block: nn.Module, fold: bool, dtype: torch.dtype, sources: list[tuple[int, int]], target: tuple[int, int]
    ) -> None:
        super().__init__(block, fold, dtype)
        device, (out_dim, channels) = self.weight.device, self.weight.shape[:2]
        widths = [channels - len(sources) * out_dim, *[out_dim] * len(sources)]
        first, *rest = self.weight.split(widths, 1)
        self.weight = first.contiguous(memory_format=torch.channels_last)
        self.taps = [tap_weights(part) for part in rest]
        self.resizings: list[Resizing] = [resizing(size, target, dtype=dtype, device=device) for size in sources]

    def __call__(self, maps: Any) -> Tensor:
        total = _last(F.conv2d(maps[0], self.weight, self.bias, padding=self.padding))
        for level, taps, matrices in zip(maps[1:], self.taps, self.resizings, strict=True):
            total = add_resized_convolution(total, _last(level), taps, matrices)
        return self.finish(_first(total))


class _Enlarge:
    """The pyramid's two enlarging branches with the lateral convolution that follows each."""

    def __init__(self, pyramid: FeaturePyramid, laterals: nn.ModuleList, dtype: torch.dtype) -> None:
        parts: Any = pyramid.up4
        first, norm, _, second = parts
        scale, shift = _scale_and_shift(norm)
        weight = first.weight * scale[:, None, None]
        self.first = _as_linear(weight, first.bias * scale + shift, dtype)
        self.second = _as_linear(*_composed(second, laterals[0]), dtype)
        self.double = _as_linear(*_composed(pyramid.up2, laterals[1]), dtype)

    def __call__(self, first: Tensor, second: Tensor) -> list[Tensor]:
        inner = _squares(F.gelu(F.linear(_last(first), *self.first)))
        finest = _squares(F.relu_(F.linear(inner, *self.second)))
        finer = _squares(F.relu_(F.linear(_last(second), *self.double)))
        return [_first(finest), _first(finer)]


def _composed(transposed: nn.Module, lateral: nn.Module) -> tuple[Tensor, Tensor]:
    """A transposed convolution and the Conv-Norm after it as one transposed convolution (in, out, 2, 2), (out)."""
    assert isinstance(transposed, nn.ConvTranspose2d)
    assert isinstance(lateral, ConvNormReLU)
    assert transposed.bias is not None
    weight, bias = _folded(lateral, _wide(lateral.conv.weight.dtype))
    matrix = weight[:, :, 0, 0]
    inner = transposed.weight.to(matrix.dtype)
    return torch.einsum("oc,icyx->ioyx", matrix, inner), matrix @ transposed.bias.to(matrix.dtype) + bias


def _folded(block: ConvNormReLU, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    scale, shift = _scale_and_shift(block.norm)
    return (block.conv.weight * scale[:, None, None, None]).to(dtype), shift.to(dtype)


def _scale_and_shift(norm: Any) -> tuple[Tensor, Tensor]:
    """What batch normalisation, synchronised or not, does in evaluation: x * scale + shift."""
    dtype = _wide(norm.running_var.dtype)
    scale = norm.weight.to(dtype) / (norm.running_var.to(dtype) + norm.eps).sqrt()
    return scale, norm.bias.to(dtype) - norm.running_mean.to(dtype) * scale


def _as_linear(weight: Tensor, bias: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A 2x2 transposed convolution of stride 2 (in, out, 2, 2) as a linear layer to (2, 2, out) flattened."""
    return weight.permute(2, 3, 1, 0).flatten(0, 2).to(dtype).contiguous(), bias.to(dtype).repeat(4)


def _squares(maps: Float[Tensor, "b h w _"]) -> Float[Tensor, "b _ _ d"]:
    """The outputs of a linear layer of `_as_linear` in their places."""
    return maps.unflatten(3, (2, 2, -1)).transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _biases(model: Any, dtype: torch.dtype) -> list[Tensor] | None:
    offered = getattr(model.encoder, "position_biases", None)
    biases = None if offered is None else offered()
    if biases is None:
        return None
    if not biases[0].is_cuda:
        return [bias.to(dtype) for bias in biases]
    tokens = biases[0].shape[-1]
    aligned = -(-tokens // ALIGNED) * ALIGNED
    return [F.pad(bias.to(dtype), (0, aligned - tokens))[..., :tokens] for bias in biases]


def _compute_dtype(model: Any) -> torch.dtype:
    weight = model.head.classify.weight
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype


def _state(model: Any, dtype: torch.dtype) -> tuple:
    """Changes with every counted write to a tensor of the model, and with every move."""
    tensors = [*model.parameters(), *model.buffers()]
    return (dtype, *((t.data_ptr(), 0 if t.is_inference() else t._version, t.dtype) for t in tensors))


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _maybe(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if tensor is None else tensor.to(dtype)


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _last(maps: Float[Tensor, "b d h w"]) -> Float[Tensor, "b h w d"]:
    return maps.permute(0, 2, 3, 1)


def _first(maps: Float[Tensor, "b h w d"]) -> Float[Tensor, "b d h w"]:
    return maps.permute(0, 3, 1, 2)
