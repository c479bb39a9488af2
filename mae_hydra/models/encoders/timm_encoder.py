"""Any backbone of timm that gives feature maps: ViT, DINOv2 and v3, BEiT, EVA-02, SigLIP, Swin, ConvNeXt, ResNet, …

Widths, strides and depths are those of timm's own description of the model; its parameters keep timm's names below
`model.`.
"""

import difflib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch
from jaxtyping import Float
from timm.layers import LayerNorm2d
from timm.models import group_parameters
from torch import Tensor, nn

NUM_MAPS = 4  # what heads of several maps take


class TimmEncoder(nn.Module):
    """timm's model `model_name` as an encoder (`mae_hydra.types.Encoder`), freshly initialised.

    `out_indices`: which of its maps, from 0; None: the last four stages, or of a ViT four blocks spread evenly.
    `embed_dim`: their widths, one number or one for each, by which heads are composed; compared with the model's.
    `final_norm`: whether the last norm is there and maps are read behind it. `map_norms`: a LayerNorm of its own behind
    each map, as mmsegmentation's Swin and ConvNeXt have it, with the epsilon of the backbone's own (1e-5 and 1e-6).
    `positions`: "fixed" freezes a table of positions. `image_size` is the only one that is taken where the model is
    made for one size, as most ViTs are.

    ValueError where timm has no such model or it takes no such argument.
    """

    widths: tuple[int, ...]
    strides: tuple[int, ...]
    num_depths: int

    def __init__(
        self,
        *,
        model_name: str,
        image_size: int | Sequence[int],
        in_chans: int,
        embed_dim: int | Sequence[int],
        out_indices: Sequence[int] | None = None,
        drop_path_rate: float = 0.0,
        positions: str = "learned",
        final_norm: bool = False,
        map_norms: bool = False,
    ) -> None:
        super().__init__()
        if positions not in ("fixed", "learned"):
            raise ValueError(f"positions must be 'fixed' or 'learned', got {positions!r}")
        size = (image_size, image_size) if isinstance(image_size, int) else (int(image_size[0]), int(image_size[1]))
        self.model = create(model_name, size, in_chans, drop_path_rate)
        self.in_chans, self.final_norm = in_chans, final_norm
        self.image_size = size if takes_one_size(self.model) else None
        self.out_indices = chosen(self.model, out_indices)
        self.widths, self.strides = described(self.model, self.out_indices)
        if self.image_size is not None and any(side % self.strides[-1] for side in size):
            raise ValueError(f"image_size must be a multiple of {self.strides[-1]}, got {size[0]}x{size[1]}")
        given = (embed_dim,) * len(self.widths) if isinstance(embed_dim, int) else tuple(embed_dim)
        if given != self.widths:
            raise ValueError(f"embed_dim must be {list(self.widths)}, the widths of {model_name}, got {embed_dim}")
        eps = next((module.eps for module in self.model.modules() if isinstance(module, nn.LayerNorm)), 1e-5)
        self.norms = nn.ModuleList(LayerNorm2d(width, eps=eps) for width in self.widths) if map_norms else None
        # What no map needs would get no gradient.
        self.model.prune_intermediate_layers(list(self.out_indices), prune_norm=not final_norm, prune_head=True)
        table = getattr(self.model, "pos_embed", None)
        if positions == "fixed" and isinstance(table, nn.Parameter):
            table.requires_grad_(False)
        self._depths: dict[str, int] = group_parameters(self.model, self.model.group_matcher(), reverse=True)
        self.num_depths = max(self._depths.values()) + 2  # and the head's

    def feature_maps(self, images: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Maps (B, width, H / stride, W / stride), fine to coarse."""
        maps = self._maps(images, list(self.out_indices))
        return maps if self.norms is None else [norm(level) for norm, level in zip(self.norms, maps, strict=True)]

    def final_map(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d gh gw"]:
        """The last map alone, behind the last norm where `final_norm` is set."""
        last = self._maps(images, [self.out_indices[-1]])[-1]
        if self.norms is None:
            return last
        behind: Tensor = self.norms[-1](last)
        return behind

    def depth_of(self, name: str) -> int:
        """timm's own grouping: 0 for the stem, then block by block, a last norm with the last block."""
        return self._depths.get(name.removeprefix("model."), self.num_depths - 1)

    def from_timm(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict of timm's under the names of this encoder: positions resized and names brought up to date by
        timm's own filter of the model, what it has for classes left out."""
        module = sys.modules[type(self.model).__module__]
        filtered: Any = getattr(module, "checkpoint_filter_fn", lambda state, model: state)
        own = self.model.state_dict()
        fitting = {name: tensor for name, tensor in filtered(dict(tensors), self.model).items() if name in own}
        return {f"model.{name}": tensor for name, tensor in fitting.items()}

    def _maps(self, images: Tensor, indices: list[int]) -> list[Tensor]:
        maps: list[Tensor] = self.model.forward_intermediates(
            images, indices=indices, norm=self.final_norm, intermediates_only=True
        )
        return maps


def create(name: str, size: tuple[int, int], in_chans: int, drop_path_rate: float = 0.0) -> Any:
    """timm's model without weights and classifier; a name is looked up in timm's list, and nothing is fetched by it."""
    plain = name.split(".")[0]  # what follows names weights
    if not timm.is_model(plain):
        close = difflib.get_close_matches(plain, timm.list_models(), n=3)
        hint = f"did you mean {', '.join(close)}?" if close else "timm.list_models() has them all"
        raise ValueError(f"timm {timm.__version__} has no model {name!r}; {hint}")
    # timm's default of a model may be another drop path than none.
    arguments: dict[str, Any] = {"in_chans": in_chans, "num_classes": 0, "drop_path_rate": drop_path_rate}
    if timm.get_pretrained_cfg_value(plain, "fixed_input_size"):
        arguments["img_size"] = size
    try:
        model = _created(plain, arguments)
    except (TypeError, AssertionError, ValueError) as error:
        raise ValueError(f"timm's {plain} cannot be made with {arguments}: {error}") from error
    if not (hasattr(model, "forward_intermediates") and hasattr(model, "group_matcher")):
        raise ValueError(
            f"timm's {plain} gives no feature maps (it has no forward_intermediates); choose another model"
        )
    return model


def _created(name: str, arguments: dict[str, Any]) -> Any:
    try:
        return timm.create_model(name, pretrained=False, **arguments)
    except TypeError:
        if arguments["drop_path_rate"]:
            raise
        return timm.create_model(
            name, pretrained=False, **{k: v for k, v in arguments.items() if k != "drop_path_rate"}
        )


def takes_one_size(model: Any) -> bool:
    """Whether images of other sizes than it was made for are refused."""
    dynamic = getattr(model, "dynamic_img_size", False) or getattr(model, "dynamic_size", False)
    return bool(model.pretrained_cfg.get("fixed_input_size")) and not dynamic


def chosen(model: Any, indices: Sequence[int] | None) -> tuple[int, ...]:
    """Which maps are read; ValueError where there are no such."""
    count = len(model.feature_info)
    if indices is None:
        if len({info["reduction"] for info in model.feature_info}) == 1:
            return tuple(count * (number + 1) // NUM_MAPS - 1 for number in range(NUM_MAPS))
        return tuple(range(max(count - NUM_MAPS, 0), count))
    if sorted(set(indices)) != list(indices) or not all(0 <= index < count for index in indices):
        raise ValueError(f"out_indices must ascend within 0..{count - 1}, got {list(indices)}")
    return tuple(indices)


def described(model: Any, indices: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Widths and strides of maps, from timm's `feature_info`."""
    rows = [model.feature_info[index] for index in indices]
    return tuple(int(row["num_chs"]) for row in rows), tuple(int(row["reduction"]) for row in rows)


def widths_of(name: str, indices: Sequence[int] | None = None) -> list[int] | int:
    """The widths of a model's maps, one number where all are equal; what option files compose heads with."""
    with torch.device("meta"):
        model = create(name, sizes_of(name), 3)
    widths, _ = described(model, chosen(model, indices))
    return widths[0] if len(set(widths)) == 1 else list(widths)


def sizes_of(name: str) -> tuple[int, int]:
    """The image size that a model was trained with, (H, W)."""
    size = (
        timm.get_pretrained_cfg_value(name.split(".")[0], "input_size") if timm.is_model(name.split(".")[0]) else None
    )
    return (224, 224) if size is None else (int(size[1]), int(size[2]))
