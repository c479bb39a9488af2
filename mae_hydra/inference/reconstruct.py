"""Reconstructions of a masked autoencoder as pictures.

Shape letters: B batch, C channels, H W pixels, N patches, K kept patches.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mae_hydra.errors import UserError
from mae_hydra.inference.windows import Size, as_written
from mae_hydra.models import MAE, denormalise, keep_from_noise, num_keep, patch_statistics, unpatchify
from mae_hydra.seeds import generator

HIDDEN_GREY = 127


@dataclass(frozen=True)
class Reconstruction:
    """Four views of a batch, each uint8 (B, H, W, C).

    `masked`: hidden patches grey. `prediction`: the model's output everywhere, visible patches (on which it is not
    trained) included. `pasted`: the prediction where patches are hidden, the original elsewhere. `leaks`: the model
    predicts normalised patches, so each predicted patch was given the mean and contrast of the original.
    """

    original: np.ndarray
    masked: np.ndarray
    prediction: np.ndarray
    pasted: np.ndarray
    leaks: bool

    def __len__(self) -> int:
        return len(self.original)


class Reconstruct:
    """Hides patches by noise that depends on `seed` and an image's index only, so that pictures and losses compare.

    `mask_ratio`: share of hidden patches, null: the model's own. Patches are drawn uniformly, whatever strategy the
    model was trained with.
    """

    def __init__(self, *, mask_ratio: float | None, seed: int) -> None:
        if mask_ratio is not None and not 0 < mask_ratio < 1:
            raise ValueError(f"mask_ratio must lie in (0, 1) or be null (the model's own), got {mask_ratio}")
        self.mask_ratio, self.seed = mask_ratio, seed

    def check(self, model: MAE, size: Size) -> None:
        """Raise a UserError where the model takes no images of `size` (height, width), or would see no patch."""
        height, width = model.encoder.image_size
        if size != (height, width):
            raise UserError(
                f"images have {size[0]}x{size[1]} pixels (data.image_size), the model takes {height}x{width}; "
                f"use data.image_size={as_written((height, width))}"
            )
        self._num_kept(model)

    def _num_kept(self, model: MAE) -> int:
        num_patches = model.encoder.num_patches
        ratio = model.mask_ratio if self.mask_ratio is None else self.mask_ratio
        kept = num_keep(num_patches, ratio)
        if not kept:
            raise UserError(f"mask_ratio {ratio} leaves none of {num_patches} patches to see; use a smaller one")
        return kept

    def keep(self, model: MAE, index: Tensor) -> Tensor:
        """The visible patches int64 (B, K), on the model's device, of the images at `index` int64 (B,)."""
        num_patches = model.encoder.num_patches
        rows = [generator(self.seed, "reconstruct", position).random(num_patches) for position in index.tolist()]
        return keep_from_noise(torch.from_numpy(np.stack(rows)), self._num_kept(model)).to(model.mean.device)

    @torch.no_grad()
    def run(self, model: MAE, images: Tensor, index: Tensor) -> Reconstruction:
        """Reconstruct images uint8 (B, C, H, W) of the model's size; `index` (B,) are their places in the data set."""
        images = images.to(model.mean.device)
        output = model(images, keep=self.keep(model, index))
        patch_size, grid = model.encoder.patch_size, model.encoder.grid
        patches = output.prediction.float()
        if model.norm_pix:
            mean, deviation = patch_statistics(model.patches(model.prepare(images).float()))
            patches = patches * deviation + mean
        pixels = denormalise(unpatchify(patches, patch_size, grid), model.mean.float(), model.std.float())
        prediction = (pixels * 255).round().clamp(0, 255).to(torch.uint8)
        hidden = (
            output.hidden.unflatten(1, (1, *grid)).repeat_interleave(patch_size, 2).repeat_interleave(patch_size, 3)
        )
        if images.dtype == torch.uint16:
            images = (images.float() / 257).to(torch.uint8)
        return Reconstruction(
            original=_arrays(images),
            masked=_arrays(torch.where(hidden, HIDDEN_GREY, images)),
            prediction=_arrays(prediction),
            pasted=_arrays(torch.where(hidden, prediction, images)),
            leaks=model.norm_pix,
        )


def _arrays(images: Tensor) -> np.ndarray:
    return images.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
