"""What an encoder makes of the patches of images, beside the classes of the pixels that each patch covers.

Shape letters: D width, h w grid of the features, H W pixels, P patches of an image, C classes, N patches of all images.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mae_hydra.distributed import all_reduce_sum
from mae_hydra.evaluation.held_out import HeldOut
from mae_hydra.evaluation.kinds import check_labels
from mae_hydra.precision import check_numbers


class PatchBank(NamedTuple):
    """`vectors`: float32 (N, D). `pixels`: float32 (N, C), how many of each class a patch covers; no row is empty."""

    vectors: Tensor
    pixels: Tensor

    @property
    def shares(self) -> Tensor:
        """float32 (N, C): of a patch's labelled pixels, the share of each class."""
        return self.pixels / self.pixels.sum(1, keepdim=True)


def patch_maps(model: Any, images: Tensor) -> Tensor:
    """float32 (B, D, h, w) of uint8 images, nothing hidden: the patch tokens, or the last map of an encoder without."""
    images = model.prepare(images)
    final = getattr(model.encoder, "final_map", None)
    maps: Tensor = model.encoder.feature_maps(images)[-1] if final is None else final(images)
    check_numbers(maps, "the encoder's features")
    return maps.float()


def class_pixels(labels: Tensor, grid: tuple[int, int], num_classes: int, ignore_index: int) -> Tensor:
    """int64 (h w, C): how many pixels of each class lie in each cell of the grid over class maps (H, W)."""
    height, width = labels.shape
    rows = torch.arange(height, device=labels.device) * grid[0] // height
    columns = torch.arange(width, device=labels.device) * grid[1] // width
    cells = rows[:, None] * grid[1] + columns
    counted = labels != ignore_index
    flat = cells[counted] * num_classes + labels[counted].long()
    return torch.bincount(flat, minlength=grid[0] * grid[1] * num_classes).view(-1, num_classes)


@torch.no_grad()
def patch_bank(model: Any, images: HeldOut, patches: int, num_classes: int, ignore_index: int) -> PatchBank:
    """At most `patches` labelled patches of each of `images`, in every process; each encodes its share.

    Which of an image's patches follows from its position in the data set alone.
    """
    device = model.mean.device
    rows = {index: row for row, index in enumerate(images.indices)}
    vectors = torch.zeros(len(rows), patches, model.encoder.widths[-1], device=device)
    pixels = torch.zeros(len(rows), patches, num_classes, device=device)
    for samples in images.batches():
        maps = patch_maps(model, torch.stack([sample.image for _, sample in samples]).to(device))
        for (index, sample), features in zip(samples, maps, strict=True):
            assert isinstance(sample.label, Tensor)
            grid = (features.shape[1], features.shape[2])
            check_labels(sample, num_classes, ignore_index)
            counts = class_pixels(sample.label, grid, num_classes, ignore_index)
            chosen = torch.from_numpy(np.random.default_rng(index).permutation(len(counts)))
            chosen = chosen[counts[chosen].sum(1) > 0][:patches]
            vectors[rows[index], : len(chosen)] = features.flatten(1).T[chosen.to(device)]
            pixels[rows[index], : len(chosen)] = counts[chosen].to(device).float()
    vectors, pixels = all_reduce_sum(vectors).flatten(0, 1), all_reduce_sum(pixels).flatten(0, 1)  # others' rows are 0
    labelled = pixels.sum(1) > 0
    return PatchBank(vectors[labelled], pixels[labelled])
