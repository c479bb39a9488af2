"""What an encoder makes of whole images: one vector each, for nearest neighbours and linear probes.

Shape letters: N images, D width.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mae_hydra.data import ImageData
from mae_hydra.distributed import all_reduce_sum
from mae_hydra.evaluation.held_out import HeldOut
from mae_hydra.models.pixels import channel_statistics, normalise
from mae_hydra.models.pooling import pool_tokens, pooled_width
from mae_hydra.precision import check_numbers


class Features(NamedTuple):
    """`vectors`: float32 (N, D). `labels`: int64 (N,), 0 without any. `indices`: positions in the data set."""

    vectors: Tensor
    labels: Tensor
    indices: list[int]


def with_normalization(model: Any, data: ImageData) -> Any:
    """The model, or an encoder by itself, as a file may hold it, with the data's normalization in front."""
    return model if hasattr(model, "encoder") else _Normalized(model, data)


class _Normalized:
    def __init__(self, encoder: Any, data: ImageData) -> None:
        device = next(encoder.parameters()).device
        self.encoder = encoder
        self.mean, self.std = (values.to(device) for values in channel_statistics(data.mean, data.std, len(data.mean)))

    def prepare(self, images: Tensor) -> Tensor:
        return normalise(images, self.mean, self.std)


def pooled(model: Any, images: Tensor, pool: str) -> Tensor:
    """float32 (B, D) of uint8 images, nothing hidden; `pool` of their tokens: see `mae_hydra.models.pooling`.

    Of an encoder without tokens the mean of its last map.
    """
    images = model.prepare(images)
    if not hasattr(model.encoder, "tokens"):
        maps: list[Tensor] = model.encoder.feature_maps(images)
        return maps[-1].mean((2, 3)).float()
    return pool_tokens(model.encoder.tokens(images), pool, getattr(model.encoder, "num_cls_tokens", 1)).float()


@torch.no_grad()
def extract(model: Any, images: HeldOut, pool: str) -> Features:
    """Features of all of `images`, in every process; each encodes its share."""
    device = model.mean.device
    rows = {index: row for row, index in enumerate(images.indices)}
    vectors = torch.zeros(len(rows), _width(model.encoder, pool), device=device)
    labels = torch.zeros(len(rows), dtype=torch.int64, device=device)
    for samples in images.batches():
        own = torch.tensor([rows[index] for index, _ in samples], device=device)
        vectors[own] = pooled(model, torch.stack([sample.image for _, sample in samples]).to(device), pool)
        classes = [sample.label if isinstance(sample.label, int) else 0 for _, sample in samples]
        labels[own] = torch.tensor(classes, device=device)
    vectors, labels = all_reduce_sum(vectors), all_reduce_sum(labels)  # the others' rows are zero here
    check_numbers(vectors, "the encoder's features")
    return Features(vectors, labels, images.indices)


def _width(encoder: Any, pool: str) -> int:
    """Of a vector of `pooled`."""
    width = encoder.widths[-1]
    return pooled_width(width, pool, getattr(encoder, "num_cls_tokens", 1)) if hasattr(encoder, "tokens") else width
