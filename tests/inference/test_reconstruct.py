"""Reconstructions as pictures, with a model whose prediction is known."""

import re

import numpy as np
import pytest
import torch
from torch import Tensor
from window_segmenter import picture

from mae_hydra.errors import UserError
from mae_hydra.inference import Reconstruct
from mae_hydra.models import MAE, MAEDecoder, MAEOutput, VisionTransformer

MEAN, STD = [0.3, 0.5, 0.7], [0.2, 0.3, 0.1]


class Clairvoyant(MAE):
    """Predicts its target exactly: un-normalising must then give back the original pixels."""

    def forward(self, images: Tensor, noise: Tensor | None = None, keep: Tensor | None = None) -> MAEOutput:
        output = super().forward(images, noise, keep)
        return output._replace(prediction=self.target(self.patches(self.prepare(images))))


def build(kind: type[MAE] = Clairvoyant, norm_pix: bool = True, size: tuple[int, int] = (16, 24)) -> MAE:
    torch.manual_seed(0)
    encoder = VisionTransformer(
        image_size=size, patch_size=4, in_chans=3, embed_dim=16, depth=1, num_heads=2, mlp_ratio=2.0, out_indices=[0],
        drop_path_rate=0.0, positions="fixed", relative_position_bias=False, layer_scale=None, final_norm=True,
    )  # fmt: skip
    decoder = MAEDecoder(
        encoder_dim=16, embed_dim=16, depth=1, num_heads=2, mlp_ratio=2.0, patch_size=4, in_chans=3, image_size=size
    )
    model = kind(
        encoder=encoder, decoder=decoder, mask_ratio=0.75, masking="random", norm_pix=norm_pix, mean=MEAN, std=STD
    )
    return model.eval()


def images(count: int = 3, size: tuple[int, int] = (16, 24)) -> Tensor:
    return torch.stack([picture(*size, seed=seed) for seed in range(count)])


@pytest.mark.parametrize("norm_pix", [True, False])
def test_an_exact_prediction_is_turned_back_into_the_original_pixels(norm_pix: bool) -> None:
    found = Reconstruct(mask_ratio=None, seed=0).run(build(norm_pix=norm_pix), images(), torch.arange(3))
    expected = images().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(found.original, expected)
    assert np.array_equal(found.prediction, expected)
    assert np.array_equal(found.pasted, expected)
    assert found.leaks == norm_pix


def test_a_prediction_of_zero_is_the_patch_mean_when_patches_are_normalised() -> None:
    class Blank(MAE):
        def forward(self, *args: Tensor, **kwargs: Tensor) -> MAEOutput:
            output = super().forward(*args, **kwargs)
            return output._replace(prediction=torch.zeros_like(output.prediction))

    found = Reconstruct(mask_ratio=None, seed=0).run(build(Blank), images(1), torch.arange(1))
    normalised = (images(1)[0].double() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    patch_mean = normalised[:, 4:8, 8:12].mean()  # over pixels and channels jointly
    expected = ((patch_mean * torch.tensor(STD) + torch.tensor(MEAN)) * 255).clamp(0, 255)
    assert np.abs(found.prediction[0, 4:8, 8:12] - expected.numpy()).max() <= 0.51

    plain = Reconstruct(mask_ratio=None, seed=0).run(build(Blank, norm_pix=False), images(1), torch.arange(1))
    assert np.abs(plain.prediction[0] - np.array(MEAN) * 255).max() <= 0.51


@pytest.mark.parametrize(("mask_ratio", "visible"), [(None, 6), (0.5, 12), (0.9, 2)])
def test_hidden_patches_are_grey_and_visible_ones_untouched(mask_ratio: float | None, visible: int) -> None:
    found = Reconstruct(mask_ratio=mask_ratio, seed=0).run(build(MAE), images(), torch.arange(3))

    def patches(view: np.ndarray) -> np.ndarray:
        return view.reshape(3, 4, 4, 6, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(3, 24, -1)

    untouched = (patches(found.masked) == patches(found.original)).all(2)
    grey = (patches(found.masked) == 127).all(2)
    assert untouched.sum(1).tolist() == [visible] * 3
    assert np.array_equal(untouched, ~grey)
    assert np.array_equal(patches(found.pasted)[untouched], patches(found.original)[untouched])
    assert np.array_equal(patches(found.pasted)[grey], patches(found.prediction)[grey])


def test_what_is_hidden_depends_on_the_seed_and_the_index_only() -> None:
    model, reconstruct = build(MAE), Reconstruct(mask_ratio=None, seed=0)
    together = reconstruct.keep(model, torch.tensor([5, 9, 2]))
    torch.manual_seed(123)
    assert torch.equal(reconstruct.keep(model, torch.tensor([9]))[0], together[1])
    assert not torch.equal(together[0].sort().values, together[1].sort().values)
    assert not torch.equal(Reconstruct(mask_ratio=None, seed=1).keep(model, torch.tensor([9]))[0], together[1])


def test_an_impossible_mask_ratio_is_refused() -> None:
    for ratio in (1.5, 1.0, 0.0):
        with pytest.raises(ValueError, match=rf"mask_ratio must lie in \(0, 1\) or be null .*, got {ratio}"):
            Reconstruct(mask_ratio=ratio, seed=0)
    with pytest.raises(UserError, match=r"mask_ratio 0.99 leaves none of 24 patches to see; use a smaller one"):
        Reconstruct(mask_ratio=0.99, seed=0).run(build(), images(1), torch.arange(1))


def test_what_could_not_be_reconstructed_is_said_beforehand() -> None:
    size = build().encoder.image_size
    Reconstruct(mask_ratio=None, seed=0).check(build(), size)
    with pytest.raises(UserError, match=r"mask_ratio 0.99 leaves none of 24 patches"):
        Reconstruct(mask_ratio=0.99, seed=0).check(build(), size)
    for height, width in ((8, 24), (16, 8)):
        said = (
            f"images have {height}x{width} pixels (data.image_size), the model takes 16x24; use data.image_size=[16,24]"
        )
        with pytest.raises(UserError, match=re.escape(said)):
            Reconstruct(mask_ratio=None, seed=0).check(build(), (height, width))


def test_pictures_of_sixteen_bits_are_shown_in_eight() -> None:
    deep = images().int() * 257
    found = Reconstruct(mask_ratio=None, seed=0).run(build(norm_pix=False), deep.to(torch.uint16), torch.arange(3))
    expected = images().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(found.original, expected)
    assert np.array_equal(found.pasted, expected)
