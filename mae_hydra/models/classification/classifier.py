"""Image classification on a pre-trained encoder: fine-tuning, partial fine-tuning and the linear probe of MAE."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt
from torch import Tensor, nn

from mae_hydra.batch_norm import check_enough
from mae_hydra.models.classification.classifier_head import ClassifierHead
from mae_hydra.models.classification.erasing import RandomErasing
from mae_hydra.models.classification.mixing import Mix, Mixing, mixed, soft_targets
from mae_hydra.models.encoders.contract import check_encoder
from mae_hydra.models.encoders.freezing import freeze, keep_frozen
from mae_hydra.models.pixels import channel_statistics, normalise
from mae_hydra.models.pooling import check_pool, pool_tokens, pooled_width
from mae_hydra.types import Batch, Encoder, Loss


class Classifier(nn.Module):
    """Class logits for every image.

    `pool`: see `models.pooling`: "mean", of patch tokens, then a new LayerNorm in the head (the encoder has no final
    norm), or another, after the encoder's own norm; an encoder without tokens gives the mean of its last map.
    `trainable_blocks`: see `freeze`; with 0 only the head's BatchNorm and Linear learn. `mixing`, `erasing` and
    `label_smoothing` are of training alone.
    """

    answers = "images"
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        encoder: Encoder,
        head: ClassifierHead,
        pool: str,
        trainable_blocks: int | float | None,
        label_smoothing: float,
        mixing: Mixing | None,
        erasing: RandomErasing | None,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must lie in [0, 1), got {label_smoothing}")
        _check_fit(encoder, head, pool)
        self.encoder, self.head, self.pool = encoder, head, pool
        self.label_smoothing, self.mixing, self.erasing = label_smoothing, mixing, erasing
        self.num_classes, self.num_depths = head.num_classes, encoder.num_depths
        self._frozen = freeze(encoder, trainable_blocks)
        if trainable_blocks == 0 and head.norm is not None:  # as official: of the head, too, only what follows learns
            self._frozen.append(head.norm.requires_grad_(False))
        channels = getattr(encoder, "in_chans", len(mean))
        for name, values in zip(("mean", "std"), channel_statistics(mean, std, channels), strict=True):
            self.register_buffer(name, values, persistent=False)

    def prepare(self, images: UInt[Tensor, "b c h w"] | Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalised images, on the device."""
        return normalise(images, self.mean, self.std)

    def forward(self, images: UInt[Tensor, "b c h w"] | Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        return self.head(self._pooled(self.prepare(images)))

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        keep_frozen(self._frozen)
        return self

    def loss(self, batch: Batch) -> Loss:
        """Cross-entropy summed over images, in training with soft targets; extra: how many are classified right."""
        return self.loss_of(self.features(batch), batch)

    def features(self, batch: Batch) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b classes"]]:
        """Pooled tokens, in training of images that are erased and mixed, and the targets that belong to them."""
        labels = self._class_ids(batch)
        images = self.prepare(batch.images)
        mix = Mix(1.0, None)
        if self.training:
            if self.erasing is not None:  # before mixing, as in the original pipeline
                images = self.erasing(images)
            if self.mixing is not None:
                mix = self.mixing.draw(*images.shape[2:])
                images = mixed(images, mix)
        smoothing = self.label_smoothing if self.training else 0.0
        return self._pooled(images), soft_targets(labels, self.num_classes, smoothing, mix.share)

    def loss_of(self, features: tuple[Float[Tensor, "b d"], Float[Tensor, "b classes"]], batch: Batch) -> Loss:
        """`loss` from pooled tokens and targets; a head with batch normalisation normalises over the batch."""
        if self.training and self.head.batch_norm is not None:
            check_enough(len(batch))
        pooled, targets = features
        logits = self.head(pooled)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        total = F.cross_entropy(logits, targets.to(logits.dtype), reduction="sum")
        count = torch.full((), len(batch), device=logits.device)
        if self.training and self.mixing is not None:  # of a mixture no one class is right
            return Loss(total, count)
        return Loss(total, count, {"accuracy": (logits.detach().argmax(1) == batch.labels).sum()})

    def depth_of(self, name: str) -> int:
        if name.startswith("encoder."):
            return self.encoder.depth_of(name.removeprefix("encoder."))
        return self.num_depths - 1

    def _class_ids(self, batch: Batch) -> Int64[Tensor, "b"]:
        if batch.labels is None or batch.labels.ndim != 1:
            raise ValueError("a classifier needs class ids (B,); this data set has none")
        return batch.labels.long()

    def _pooled(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        offered: Any = self.encoder
        if not hasattr(offered, "tokens"):
            final_map = getattr(offered, "final_map", None)
            last: Tensor = self.encoder.feature_maps(images)[-1] if final_map is None else final_map(images)
            return last.mean((2, 3))
        tokens: Tensor = offered.tokens(images)
        return pool_tokens(tokens, self.pool, getattr(offered, "num_cls_tokens", 1))


def _check_fit(encoder: Any, head: ClassifierHead, pool: str) -> None:
    check_encoder(encoder)
    check_pool(pool)
    wanted_dim = pooled_width(encoder.widths[-1], pool, getattr(encoder, "num_cls_tokens", 1))
    if head.in_dim != wanted_dim:
        raise ValueError(f"the head's in_dim must be {wanted_dim} to fit the encoder and its pool, got {head.in_dim}")
    if not hasattr(encoder, "tokens") and pool != "mean":
        raise ValueError(f"{type(encoder).__name__} gives no cls token; use model.pool=mean")
    if not hasattr(encoder, "norm"):
        return
    if (encoder.norm is None) != (pool == "mean") or (head.norm is None) == (pool == "mean"):
        wanted = "final_norm=false and head.norm=true" if pool == "mean" else "final_norm=true and head.norm=false"
        raise ValueError(
            f"pool={pool} has one norm, after the pooling for mean and before it for all others: it needs {wanted}"
        )
