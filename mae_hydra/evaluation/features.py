"""What an encoder makes of whole images: one vector each, for nearest neighbours and linear probes.

Shape letters: N images, D width.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mae_hydra.distributed import all_reduce_sum
from mae_hydra.evaluation.held_out import HeldOut
from mae_hydra.models.pixels import channel_statistics, normalise
from mae_hydra.models.pooling import pool_tokens, pooled_width


class Features(NamedTuple):
    """`vectors`: float32 (N, D). `labels`: int64 (N,). `indices`: positions in the data set."""

    vectors: Tensor
    labels: Tensor
    indices: list[int]


class Normalised:
    """An encoder by itself, as a file may hold it, with the normalisation of the data in front."""

    def __init__(self, encoder: Any, mean: Sequence[float], std: Sequence[float]) -> None:
        device = next(encoder.parameters()).device
        self.encoder = encoder
        self.mean, self.std = (values.to(device) for values in channel_statistics(mean, std, len(mean)))

    def prepare(self, images: Tensor) -> Tensor:
        """Normalised images, on the device."""
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
        labels[own] = torch.tensor([sample.label for _, sample in samples], device=device)
    return Features(all_reduce_sum(vectors), all_reduce_sum(labels), images.indices)  # the others' rows are zero here


def _width(encoder: Any, pool: str) -> int:
    """Of a vector of `pooled`."""
    width = encoder.widths[-1]
    return pooled_width(width, pool, getattr(encoder, "num_cls_tokens", 1)) if hasattr(encoder, "tokens") else width
