"""The reconstruction evaluator, against the model's loss on one picture at a time."""

import numpy as np
import pytest
import torch
from torch import Tensor
from toy_data import ToyImages, toy_data

from mae_hydra.data import EvalCrop
from mae_hydra.errors import UserError
from mae_hydra.evaluation import ReconstructionError
from mae_hydra.evaluation.pictures import cells
from mae_hydra.inference import Reconstruct, Whole
from mae_hydra.models import MAE, MAEDecoder, VisionTransformer

SIZES = [(16, 24), (30, 41), (9, 24), (33, 26), (16, 70)]


def build(norm_pix: bool = True) -> MAE:
    torch.manual_seed(0)
    size = (16, 24)
    encoder = VisionTransformer(
        image_size=size, patch_size=4, in_chans=3, embed_dim=16, depth=1, num_heads=2, mlp_ratio=2.0, out_indices=[0],
        drop_path_rate=0.0, positions="fixed", relative_position_bias=False, layer_scale=None, final_norm=True,
    )  # fmt: skip
    decoder = MAEDecoder(
        encoder_dim=16, embed_dim=16, depth=1, num_heads=2, mlp_ratio=2.0, patch_size=4, in_chans=3, image_size=size
    )
    parts: dict = {"encoder": encoder, "decoder": decoder, "mask_ratio": 0.75, "masking": "random"}
    return MAE(**parts, norm_pix=norm_pix, mean=[0.5] * 3, std=[0.25] * 3).eval()


def evaluator(**changes: object) -> ReconstructionError:
    settings: dict = {
        "data": toy_data(
            ToyImages(SIZES), target="none", num_classes=0, class_names=(), palette=np.zeros((0, 3), np.uint8)
        ),
        "inference": Reconstruct(mask_ratio=None, seed=0),
        "every": None,
        "batch_size": 2,
        "num_workers": 0,
        "num_pictures": 3,
        "limit": None,
    }
    return ReconstructionError(**settings | changes)


def loss_of(model: MAE, images: Tensor, index: int, mask_ratio: float | None = None) -> tuple[float, int]:
    keep = Reconstruct(mask_ratio=mask_ratio, seed=0).keep(model, torch.tensor([index]))
    with torch.no_grad():
        output = model(images[None], keep=keep)
        target = model.target(model.patches(model.prepare(images[None])))
    errors = (output.prediction - target).square().mean(2)[output.hidden]
    return errors.double().sum().item(), errors.numel()


@pytest.mark.parametrize("mask_ratio", [None, 0.5])
def test_the_loss_is_the_mean_over_all_hidden_patches_of_all_pictures(mask_ratio: float | None) -> None:
    model, crop = build(), EvalCrop(size=(16, 24), crop_ratio=1.0)
    sums = [loss_of(model, crop(ToyImages(SIZES)[i]).image, i, mask_ratio) for i in range(len(SIZES))]
    expected = sum(total for total, _ in sums) / sum(count for _, count in sums)
    found = evaluator(inference=Reconstruct(mask_ratio=mask_ratio, seed=0)).run(model, 5)
    assert found.scalars["loss"] == pytest.approx(expected, rel=1e-5)


def test_the_number_is_the_same_at_every_evaluation_whatever_was_drawn_between() -> None:
    model, found = build(), evaluator()
    first = found.run(model, 1).scalars
    torch.manual_seed(99)
    assert found.run(model, 2).scalars == first
    assert evaluator(batch_size=5).run(model, 1).scalars["loss"] == pytest.approx(first["loss"], rel=1e-6)


def test_the_shares_of_two_ranks_add_up_to_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    alone = evaluator().run(model, 1).scalars["loss"]
    shares: list[Tensor] = []

    def collect(sums: Tensor) -> Tensor:
        shares.append(sums.clone())
        return sums

    monkeypatch.setattr("mae_hydra.evaluation.reconstruction.all_reduce_sum", collect)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        evaluator().run(model, 1)
    total, count = sum(shares).tolist()
    assert count == len(SIZES) * 18
    assert total / count == pytest.approx(alone, rel=1e-6)


def test_the_sheet_says_what_a_normalised_prediction_takes_from_the_original() -> None:
    with_note = evaluator().run(build(norm_pix=True), 1).pictures["reconstructions"].pixels
    without = evaluator().run(build(norm_pix=False), 1).pictures["reconstructions"].pixels
    assert with_note.shape[0] > without.shape[0]
    assert with_note.shape[1] == without.shape[1]
    assert evaluator(num_pictures=0).run(build(), 1).pictures == {}


def test_the_pictures_are_those_of_the_chosen_images_in_the_channels_that_are_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list = []
    monkeypatch.setattr(
        "mae_hydra.evaluation.reconstruction.reconstruction_sheet",
        lambda found, title, shown: (drawn.append((found, title, shown)), np.zeros((1, 1, 3), np.uint8))[1],
    )
    data = toy_data(ToyImages(SIZES), shown=(2, 1, 0))
    model, mine = build(), evaluator(data=data, num_pictures=2, limit=4)
    pictures = mine.run(model, 5).pictures
    [(found, title, shown)] = drawn
    assert (title, shown) == ("Reconstructions of validation images, step 5", (2, 1, 0))
    indices = torch.tensor([0, 2])  # of 0 to 3
    images = torch.stack([EvalCrop(size=(16, 24), crop_ratio=1.0)(data.validation[int(i)]).image for i in indices])
    expected = mine.inference.run(model, images, indices)
    assert np.array_equal(found.masked, expected.masked)
    rows = [[expected.original[i][..., ::-1], expected.pasted[i][..., ::-1]] for i in range(2)]
    assert np.array_equal(pictures["cells"].pixels, cells(rows, "").pixels)


def test_images_that_do_not_fit_the_model_are_refused_before_training() -> None:
    evaluator().check(build())
    data = toy_data(ToyImages(SIZES), image_size=(32, 32))
    with pytest.raises(UserError, match=r"images have 32x32 pixels .*, the model takes 16x24; use data.image_size="):
        evaluator(data=data).check(build())


def test_another_inference_is_refused() -> None:
    with pytest.raises(UserError, match="evaluated by inference=reconstruct, got Whole"):
        evaluator(inference=Whole(short=None, long_ratio=None))
