"""Mixup, CutMix and random erasing against timm's functions and the papers' formulas."""

import random

import pytest
import torch
from timm.data.mixup import Mixup, mixup_target
from timm.data.random_erasing import RandomErasing as TimmErasing

from mae_hydra.models import Mixing, RandomErasing
from mae_hydra.models.classification.mixing import Mix, cut_box, mixed, soft_targets


@pytest.mark.parametrize("share", [1.0, 0.73, 0.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_soft_targets_are_timms(share, smoothing):
    labels = torch.tensor([3, 0, 1, 3, 2])
    theirs = mixup_target(labels, 7, share, smoothing)
    torch.testing.assert_close(soft_targets(labels, 7, smoothing, share), theirs)


def test_mixup_blends_each_image_with_its_mirror_in_the_batch():
    images = torch.randn(5, 3, 4, 6)
    wanted = torch.stack([0.3 * images[i] + 0.7 * images[4 - i] for i in range(5)])
    torch.testing.assert_close(mixed(images, Mix(0.3, None)), wanted)


def test_cutmix_pastes_the_box_and_counts_its_area():
    random.seed(3)
    mixing = Mixing(mixup=0, cutmix=1.0, probability=1.0, switch=0.5)
    images = torch.randn(4, 3, 20, 30)
    for _ in range(50):
        mix = mixing.draw(20, 30)
        top, bottom, left, right = mix.box
        assert mix.share == pytest.approx(1 - (bottom - top) * (right - left) / 600)
        found = mixed(images, mix)
        inside = torch.zeros(20, 30, dtype=torch.bool)
        inside[top:bottom, left:right] = True
        assert torch.equal(found[..., inside], images.flip(0)[..., inside])
        assert torch.equal(found[..., ~inside], images[..., ~inside])


def test_a_cut_box_has_the_area_of_the_share_and_ends_at_the_border():
    assert cut_box(100, 200, 0.75, 50, 100) == (25, 75, 50, 150)  # a quarter: half of each side
    assert cut_box(100, 200, 0.75, 0, 199) == (0, 25, 149, 200)
    assert cut_box(100, 200, 1.0, 50, 50) == (50, 50, 50, 50)


def test_what_is_drawn_has_timms_distribution():
    """Shares and kinds over many draws, with the parameters of MAE's fine-tuning but CutMix in a fifth."""
    random.seed(0)
    ours = [Mixing(mixup=0.8, cutmix=1.0, probability=1.0, switch=0.2).draw(32, 32) for _ in range(4000)]
    theirs = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, prob=1.0, switch_prob=0.2, num_classes=10)
    import numpy as np

    np.random.seed(0)
    drawn = [theirs._params_per_batch() for _ in range(4000)]
    cut = [mix.box is not None for mix in ours]
    assert np.mean(cut) == pytest.approx(np.mean([use for _, use in drawn]), abs=0.04)
    shares = sorted(mix.share for mix in ours if mix.box is None)
    wanted = sorted(float(share) for share, use in drawn if not use)
    for level in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert np.quantile(shares, level) == pytest.approx(np.quantile(wanted, level), abs=0.06)


def test_a_probability_of_zero_leaves_the_batch_alone():
    mix = Mixing(mixup=0.8, cutmix=1.0, probability=0.0, switch=0.5).draw(8, 8)
    images = torch.randn(2, 3, 8, 8)
    assert mix == Mix(1.0, None)
    assert mixed(images, mix) is images


def test_each_kind_draws_its_share_with_its_own_parameter_and_a_box_from_all_of_the_image(monkeypatch):
    told = []
    monkeypatch.setattr(random, "betavariate", lambda *both: (told.append(both), 0.9)[1])
    random.seed(0)
    draws = [Mixing(mixup=0.8, cutmix=2.0, probability=0.5, switch=0.5).draw(10, 400) for _ in range(600)]
    boxes = [mix.box for mix in draws if mix.box is not None]
    blended = [mix for mix in draws if mix.box is None and mix.share < 1]
    assert (told.count((0.8, 0.8)), told.count((2.0, 2.0))) == (len(blended), len(boxes))
    assert [len(boxes) / 600, len(blended) / 600] == pytest.approx([0.25, 0.25], abs=0.06)
    assert {box[0] for box in boxes} == set(range(9))  # half of 3 rows, cut off at the top, to the last row but one
    assert min(box[2] for box in boxes) == 0
    assert max(box[3] for box in boxes) == 400


@pytest.mark.parametrize(
    "wrong", [{"mixup": 0, "cutmix": 0}, {"mixup": -0.1}, {"cutmix": -0.1}, {"probability": 2}, {"switch": -1}]
)
def test_impossible_mixtures_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Mixing(**({"mixup": 0.8, "cutmix": 1.0, "probability": 1.0, "switch": 0.5} | wrong))


def test_erasing_fills_one_rectangle_with_noise_and_leaves_the_rest():
    torch.manual_seed(0)
    erasing = RandomErasing(probability=0.5, area=(0.02, 1 / 3), aspect=(0.3, 1 / 0.3))
    images = torch.zeros(400, 3, 32, 32)
    found = erasing(images)
    touched = found.ne(0).any(1)
    chosen = touched.flatten(1).any(1)
    assert chosen.float().mean().item() == pytest.approx(0.5, abs=0.08)
    noise = found[touched[:, None].expand_as(found)]
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    for mask in touched[chosen]:
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()  # a full rectangle


def test_an_erased_rectangle_has_its_shape_and_may_lie_anywhere():
    torch.manual_seed(0)
    top, bottom, left, right = RandomErasing(probability=1.0, area=[0.1, 0.1], aspect=[4.0, 4.0]).draw(500, 40, 60).T
    assert set((bottom - top).tolist()) == {31}  # a tenth of 2400, four times as high as wide
    assert set((right - left).tolist()) == {8}
    assert (int(top.min()), int(bottom.max()), int(left.min()), int(right.max())) == (0, 40, 0, 60)


def test_a_rectangle_that_does_not_fit_is_drawn_again_and_left_out_where_none_does():
    torch.manual_seed(0)
    half = RandomErasing(probability=1.0, area=[0.5, 0.5], aspect=[0.1, 10.0]).draw(400, 40, 40)
    assert half[:, 1].gt(0).float().mean() > 0.9  # a third of them at the first try
    assert (half <= 40).all()
    assert not RandomErasing(probability=1.0, area=[1.0, 1.0], aspect=[1.0, 1.0]).draw(9, 40, 40).any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"probability": 1.1}, {"probability": -0.1}, {"area": [0.3, 0.2]}, {"area": [0.0, 0.2]}, {"area": [0.1, 1.1]},
        {"area": [0.1]}, {"aspect": [0.0, 1.0]}, {"aspect": [2.0, 1.0]},
    ],
)  # fmt: skip
def test_impossible_rectangles_are_refused(wrong):
    told = {"probability": 0.25, "area": [0.02, 0.3], "aspect": [0.3, 3.3]}
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must"):
        RandomErasing(**(told | wrong))


def test_erased_rectangles_have_timms_distribution():
    torch.manual_seed(0)
    random.seed(0)
    ours = RandomErasing(probability=1.0, area=(0.02, 1 / 3), aspect=(0.3, 1 / 0.3))
    boxes = ours.draw(2000, 64, 64)
    shares = ((boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2]) / 64**2).float()
    theirs = TimmErasing(probability=1.0, mode="pixel", max_count=1, device="cpu")
    wanted = torch.tensor([theirs(torch.zeros(3, 64, 64)).ne(0).any(0).float().mean() for _ in range(2000)])
    for level in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert shares.quantile(level).item() == pytest.approx(wanted.quantile(level).item(), abs=0.02)
