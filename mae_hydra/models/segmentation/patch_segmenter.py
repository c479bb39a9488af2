"""Segmentation from the last tokens alone: the linear probe (frozen encoder, one Linear per patch) and an FCN."""

from collections.abc import Sequence

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from mae_hydra.batch_norm import check_enough
from mae_hydra.models.encoders.freezing import freeze, keep_frozen
from mae_hydra.models.encoders.vision_transformer import VisionTransformer
from mae_hydra.models.pixels import channel_statistics, normalise
from mae_hydra.models.segmentation.fcn_head import FCNHead
from mae_hydra.models.segmentation.linear_seg_head import LinearSegHead
from mae_hydra.models.segmentation.pixel_loss import check_normalizer, pixel_count, pixel_cross_entropy
from mae_hydra.models.segmentation.upernet_head import resize
from mae_hydra.types import Batch, Loss


class PatchSegmenter(nn.Module):
    """Class logits for every pixel, from one map: the tokens after the encoder's final norm.

    `trainable_blocks`: see `freeze`; 0 makes it a probe. `normalizer`: as of `UPerNet`.
    """

    classifies = "pixels"
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        encoder: VisionTransformer,
        head: LinearSegHead | FCNHead,
        trainable_blocks: int | float | None,
        ignore_index: int,
        normalizer: str,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        check_normalizer(normalizer)
        if head.in_dim != encoder.embed_dim:
            raise ValueError(f"the head's in_dim must be {encoder.embed_dim} to fit the encoder, got {head.in_dim}")
        if encoder.norm is None:
            raise ValueError("this model takes tokens after the norm: the encoder needs final_norm=true")
        self.encoder, self.head = encoder, head
        self.ignore_index, self.normalizer = ignore_index, normalizer
        self.num_classes, self.num_depths = head.num_classes, encoder.num_depths
        self._frozen = freeze(encoder, trainable_blocks)
        for name, values in zip(("mean", "std"), channel_statistics(mean, std, encoder.in_chans), strict=True):
            self.register_buffer(name, values, persistent=False)

    def prepare(self, images: UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalised images, on the device."""
        return normalise(images, self.mean, self.std)

    def forward(self, images: UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes h w"]:
        """Logits at the size of the images."""
        return resize(self.low_resolution_logits(images), images.shape[2:])

    def low_resolution_logits(
        self, images: UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b classes _ _"]:
        """Logits of every patch (B, K, h, w)."""
        return self.head(self._map(images))

    def train(self, mode: bool = True) -> "PatchSegmenter":
        super().train(mode)
        keep_frozen(self._frozen)
        return self

    def loss(self, batch: Batch) -> Loss:
        """Cross-entropy summed over labelled pixels."""
        return self.loss_of(self.features(batch), batch)

    def features(self, batch: Batch) -> tuple[Float[Tensor, "b d h w"]]:
        """The encoder's one map."""
        if batch.labels is None or batch.labels.ndim != 3:
            raise ValueError("a segmentation model needs labels (B, H, W); this data set has none")
        return (self._map(batch.images),)

    def loss_of(self, features: tuple[Float[Tensor, "b d h w"]], batch: Batch) -> Loss:
        """`loss` from the encoder's map; the head normalises over the batch."""
        if self.training:
            check_enough(len(batch))
        assert batch.labels is not None
        labels = batch.labels.long()
        total = pixel_cross_entropy(self.head(*features), labels, self.ignore_index)
        return Loss(total, pixel_count(labels, self.ignore_index, self.normalizer))

    def depth_of(self, name: str) -> int:
        if name.startswith("encoder."):
            return self.encoder.depth_of(name.removeprefix("encoder."))
        return self.num_depths - 1

    def _map(self, images: Tensor) -> Tensor:
        tokens = self.encoder.tokens(self.prepare(images))
        return tokens[:, 1:].transpose(1, 2).unflatten(2, self.encoder.grid)
