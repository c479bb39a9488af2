"""Semantic segmentation: encoder x pyramid x head x auxiliary head x loss, each of anybody's.

UPerNet (MAE paper, A.4), an FCN and the linear probe are values of it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt
from torch import Tensor, nn

from mae_hydra.batch_norm import check_enough
from mae_hydra.models.encoders.freezing import freeze, keep_frozen
from mae_hydra.models.pixels import channel_statistics, normalise
from mae_hydra.models.segmentation.fast_upernet import Derived, FastUPerNet, Shortcuts
from mae_hydra.models.segmentation.fit import check_fit, check_loss, check_maps, check_sum, check_weights, takes_one_map
from mae_hydra.models.segmentation.losses.binary import two_logits
from mae_hydra.models.segmentation.losses.cross_entropy import PixelCrossEntropy
from mae_hydra.models.segmentation.pyramid import FeaturePyramid
from mae_hydra.models.segmentation.upernet_head import resize
from mae_hydra.types import Batch, Encoder, Head, Loss, PixelLoss

WIDE = 256  # channels
AUXILIARY_LEVEL = 2  # the third of four maps: a pyramid's at the backbone's own size


class Segmenter(nn.Module):
    """Class logits for every pixel, by an `Encoder` and a `Head` of `mae_hydra.types`.

    `pyramid` makes maps of four sizes from those of an encoder that has one size; None: the head gets the encoder's
    own. A head of one map gets the encoder's last one, after its norm; one of one class (`num_classes` 1) gives the
    logit of the second of two. `auxiliary`: a second head, of training only, on
    one map, whose loss counts `auxiliary_weight` times. `trainable_blocks`: see `freeze`; 0 makes it a probe.

    `loss` None: the cross-entropy of `ignore_index` and `normalizer`, which are the loss's own where it is given.
    """

    answers = "pixels"
    training_only = ("auxiliary",)
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        encoder: Encoder,
        head: Head,
        mean: Sequence[float],
        std: Sequence[float],
        pyramid: FeaturePyramid | None = None,
        auxiliary: Head | None = None,
        auxiliary_weight: float = 0.4,
        trainable_blocks: int | float | None = None,
        loss: PixelLoss | None = None,
        ignore_index: int = 255,
        normalizer: str = "valid",
    ) -> None:
        super().__init__()
        if auxiliary_weight < 0:
            raise ValueError(f"auxiliary_weight must not be negative, got {auxiliary_weight}")
        self.criterion = PixelCrossEntropy(ignore_index=ignore_index, normalizer=normalizer) if loss is None else loss
        check_loss(self.criterion)
        check_fit(encoder, pyramid, head, auxiliary, AUXILIARY_LEVEL)
        self.encoder, self.pyramid, self.head, self.auxiliary = encoder, pyramid, head, auxiliary
        self.auxiliary_weight = auxiliary_weight
        self.num_classes, self.num_depths = max(head.num_classes, 2), encoder.num_depths
        check_weights(self.criterion, self.num_classes)
        self._frozen = freeze(encoder, trainable_blocks)
        channels = getattr(encoder, "in_chans", len(mean))
        for name, values in zip(("mean", "std"), channel_statistics(mean, std, channels), strict=True):
            self.register_buffer(name, values, persistent=False)
        self.derived: dict[Shortcuts, Derived] = {}  # of FastUPerNet; never saved, copied or kept through training

    @property
    def ignore_index(self) -> int:
        """The label that counts for nothing."""
        return self.criterion.ignore_index

    def prepare(self, images: UInt[Tensor, "b c h w"] | Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalised images, on the device."""
        return normalise(images, self.mean, self.std)

    def forward(self, images: UInt[Tensor, "b c h w"] | Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes h w"]:
        """Logits at the size of the images."""
        return resize(self.low_resolution_logits(images), images.shape[2:])

    def low_resolution_logits(
        self, images: UInt[Tensor, "b c h w"] | Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b classes _ _"]:
        """Logits as the head gives them: of UPerNet four times as fine as the patches."""
        return self._decode(self._levels(self._maps(images)))

    def fast(self, shortcuts: Shortcuts | None = None) -> Any:
        """The form in which to evaluate: equal answers, sooner. Without `shortcuts`, all of them; of what has none, the
        model itself."""
        return FastUPerNet(self, Shortcuts() if shortcuts is None else shortcuts) if FastUPerNet.fits(self) else self

    def train(self, mode: bool = True) -> "Segmenter":
        if mode:
            self.derived.clear()
        super().train(mode)
        keep_frozen(self._frozen)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"derived": {}}

    def loss(self, batch: Batch) -> Loss:
        """The head's loss, plus `auxiliary_weight` times the auxiliary head's."""
        return self.loss_of(self.features(batch), batch)

    def features(self, batch: Batch) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """The encoder's maps."""
        if batch.labels is None or batch.labels.ndim != 3:
            raise ValueError("a segmentation model needs labels (B, H, W); this data set has none")
        return tuple(self._maps(batch.images))

    def loss_of(self, features: tuple[Float[Tensor, "b _ _ _"], ...], batch: Batch) -> Loss:
        """`loss` from the encoder's maps; pyramid and heads may normalise over the batch."""
        if self.training:
            check_enough(len(batch))
        assert batch.labels is not None
        labels = batch.labels.long()
        levels = self._levels(list(features))
        decode = check_sum(self.criterion, self.criterion(self._decode(levels), labels))
        if self.auxiliary is None:
            return decode
        auxiliary = self.criterion(two_logits(self.auxiliary(levels[min(AUXILIARY_LEVEL, len(levels) - 1)])), labels)
        total = decode.total + self.auxiliary_weight * auxiliary.total
        parts = {"decode": decode.total.detach(), "auxiliary": auxiliary.total.detach()}
        return Loss(total, decode.count, {**decode.extras, **parts})

    def depth_of(self, name: str) -> int:
        if name.startswith("encoder."):
            return self.encoder.depth_of(name.removeprefix("encoder."))
        return self.num_depths - 1

    def _maps(self, images: Tensor) -> list[Tensor]:
        images = self.prepare(images)
        if takes_one_map(self.head) and self.auxiliary is None:
            final_map = getattr(self.encoder, "final_map", None)
            return [final_map(images) if final_map is not None else self.encoder.feature_maps(images)[-1]]
        maps = self.encoder.feature_maps(images)
        check_maps(self.encoder, maps)
        if torch.is_grad_enabled() and images.device.type == "cpu":
            # They lie as tokens do, channels last: what tensor cores want, and narrow convolutions of a processor; for
            # the gradients of wide ones it takes up to twice as long.
            maps = [level.contiguous() if level.shape[1] >= WIDE else level for level in maps]
        return maps

    def _levels(self, maps: list[Tensor]) -> list[Tensor]:
        return maps if self.pyramid is None else self.pyramid(maps)

    def _decode(self, levels: list[Tensor]) -> Tensor:
        return two_logits(self.head(levels[-1] if takes_one_map(self.head) else levels))
