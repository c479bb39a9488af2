"""UPerNet on a plain ViT: the semantic segmentation of MAE (paper A.4)."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from mae_hydra.batch_norm import check_enough
from mae_hydra.models.encoders.vision_transformer import VisionTransformer
from mae_hydra.models.pixels import channel_statistics, normalise
from mae_hydra.models.segmentation.fast_upernet import Derived, FastUPerNet, Shortcuts
from mae_hydra.models.segmentation.fcn_head import FCNHead
from mae_hydra.models.segmentation.pixel_loss import check_normalizer, pixel_count, pixel_cross_entropy
from mae_hydra.models.segmentation.pyramid import FeaturePyramid
from mae_hydra.models.segmentation.upernet_head import UPerHead, resize
from mae_hydra.types import Batch, Loss

AUXILIARY_LEVEL = 2  # the pyramid's map at the backbone's own size


class UPerNet(nn.Module):
    """Class logits for every pixel.

    `normalizer`: what the summed cross-entropy is divided by: "valid" pixels, or "all" pixels, ignored ones included
    (mmsegmentation's divisor, with which the published losses were made).
    """

    classifies = "pixels"
    training_only = ("auxiliary",)
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        encoder: VisionTransformer,
        pyramid: FeaturePyramid,
        head: UPerHead,
        auxiliary: FCNHead | None,
        auxiliary_weight: float,
        ignore_index: int,
        normalizer: str,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        check_normalizer(normalizer)
        if auxiliary_weight < 0:
            raise ValueError(f"auxiliary_weight must not be negative, got {auxiliary_weight}")
        _check_fit(encoder, pyramid, head, auxiliary)
        self.encoder, self.pyramid, self.head, self.auxiliary = encoder, pyramid, head, auxiliary
        self.auxiliary_weight, self.ignore_index, self.normalizer = auxiliary_weight, ignore_index, normalizer
        self.num_classes, self.num_depths = head.num_classes, encoder.num_depths
        for name, values in zip(("mean", "std"), channel_statistics(mean, std, encoder.in_chans), strict=True):
            self.register_buffer(name, values, persistent=False)
        self.derived: dict[Shortcuts, Derived] = {}  # of FastUPerNet; never saved, copied or kept through training

    def prepare(self, images: UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalised images, on the device."""
        return normalise(images, self.mean, self.std)

    def forward(self, images: UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes h w"]:
        """Logits at the size of the images."""
        return resize(self.low_resolution_logits(images), images.shape[2:])

    def low_resolution_logits(
        self, images: UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b classes _ _"]:
        """Logits as the head gives them: four times as fine as the patches."""
        return self.head(self.pyramid(self._maps(images)))

    def fast(self, shortcuts: Shortcuts | None = None) -> FastUPerNet:
        """The form in which to evaluate: equal answers, sooner. Without `shortcuts`, all of them."""
        return FastUPerNet(self, Shortcuts() if shortcuts is None else shortcuts)

    def train(self, mode: bool = True) -> "UPerNet":
        if mode:
            self.derived.clear()
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"derived": {}}

    def loss(self, batch: Batch) -> Loss:
        """Cross-entropy summed over labelled pixels: the head's plus `auxiliary_weight` times the auxiliary head's."""
        return self.loss_of(self.features(batch), batch)

    def features(self, batch: Batch) -> tuple[Float[Tensor, "b d h w"], ...]:
        """The encoder's maps."""
        if batch.labels is None:
            raise ValueError("UPerNet needs labels (B, H, W); this data set has none")
        return tuple(self._maps(batch.images))

    def loss_of(self, features: tuple[Float[Tensor, "b d h w"], ...], batch: Batch) -> Loss:
        """`loss` from the encoder's maps; pyramid and heads normalise over the batch."""
        if self.training:
            check_enough(len(batch))
        assert batch.labels is not None
        labels = batch.labels.long()
        levels = self.pyramid(list(features))
        decode = pixel_cross_entropy(self.head(levels), labels, self.ignore_index)
        total, extras = decode, {"decode": decode.detach()}
        if self.auxiliary is not None:
            auxiliary = pixel_cross_entropy(self.auxiliary(levels[AUXILIARY_LEVEL]), labels, self.ignore_index)
            total, extras = total + self.auxiliary_weight * auxiliary, extras | {"auxiliary": auxiliary.detach()}
        return Loss(total, pixel_count(labels, self.ignore_index, self.normalizer), extras)

    def depth_of(self, name: str) -> int:
        if name.startswith("encoder."):
            return self.encoder.depth_of(name.removeprefix("encoder."))
        return self.num_depths - 1

    def _maps(self, images: Tensor) -> list[Tensor]:
        maps = self.encoder.feature_maps(self.prepare(images))
        if torch.is_grad_enabled() and images.device.type == "cpu":
            # They lie as tokens do, channels last: what tensor cores want, and where the processor's convolutions take
            # twice as long for their gradients.
            maps = [level.contiguous() for level in maps]
        return maps


def _check_fit(encoder: VisionTransformer, pyramid: FeaturePyramid, head: UPerHead, auxiliary: FCNHead | None) -> None:
    last = len(encoder.blocks) - 1
    if len(encoder.out_indices) != 4 or encoder.out_indices[-1] != last:
        raise ValueError(f"UPerNet needs 4 out_indices that end with block {last}, got {list(encoder.out_indices)}")
    if encoder.norm is not None:
        raise ValueError("UPerNet takes maps before the norm: the encoder needs final_norm=false")
    if min(encoder.grid) < 2:
        raise ValueError(f"UPerNet needs at least 2x2 patches, got {encoder.grid[0]}x{encoder.grid[1]}")
    widths = {"pyramid's dim": pyramid.dim, "head's in_dim": head.in_dim}
    if auxiliary is not None:
        widths["auxiliary head's in_dim"] = auxiliary.in_dim
        if auxiliary.num_classes != head.num_classes:
            raise ValueError(f"both heads need equal num_classes, got {head.num_classes} and {auxiliary.num_classes}")
    for name, width in widths.items():
        if width != encoder.embed_dim:
            raise ValueError(f"the {name} must be {encoder.embed_dim} to fit the encoder, got {width}")
