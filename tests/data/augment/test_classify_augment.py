"""Augmentation of fine-tuning and linear probes against timm's and torchvision's own pipelines."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform

from mae_hydra.data import ClassifyAugment, PretrainAugment, Sample
from mae_hydra.data.augment.crops import random_resized_box
from mae_hydra.data.augment.randaugment import RandAugment
from mae_hydra.data.dataset import limited
from mae_hydra.errors import UserError
from mae_hydra.seeds import generator

MEAN = (0.485, 0.456, 0.406)
POLICY = "rand-m9-mstd0.5-inc1"


def image(size=(40, 56), seed=0):
    return torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_randaugment_is_timms_of_the_same_draws():
    ours = RandAugment(POLICY, (40, 56), MEAN)
    theirs = rand_augment_transform(
        POLICY, {"translate_const": 18, "img_mean": (124, 116, 104), "interpolation": Image.Resampling.BICUBIC}
    )
    changed = 0
    for number in range(30):
        rng = generator("draw", number)
        random.seed(int(rng.integers(2**63)))
        np.random.seed(int(rng.integers(2**32)))
        wanted = np.array(theirs(Image.fromarray(image().permute(1, 2, 0).numpy())))
        found = ours(image(), generator("draw", number))
        assert np.array_equal(found.permute(1, 2, 0).numpy(), wanted)
        changed += not torch.equal(found, image())
    assert changed > 15


def test_randaugment_leaves_the_generators_of_the_process_as_they_were():
    random.seed(5)
    np.random.seed(5)
    wanted = random.random(), np.random.random()
    random.seed(5)
    np.random.seed(5)
    RandAugment(POLICY, (40, 56), MEAN)(image(), generator("any"))
    assert (random.random(), np.random.random()) == wanted


def test_a_sample_is_a_function_of_its_generator_alone():
    augment = ClassifyAugment(size=24, scale=(0.08, 1), ratio=(0.75, 4 / 3), flip=0.5, randaugment=POLICY, fill=MEAN)
    sample = Sample(image(), 3, "x")
    (one, label), (other, _) = augment(sample, generator("a", 1)), augment(sample, generator("a", 1))
    assert torch.equal(one, other)
    assert one.shape == (3, 24, 24)
    assert label == 3
    assert not torch.equal(one, augment(sample, generator("a", 2))[0])


def test_without_a_policy_it_is_the_crop_and_flip_of_pretraining():
    settings = {"size": 24, "scale": (0.08, 1), "ratio": (0.75, 4 / 3), "flip": 0.5}
    augment, plain = ClassifyAugment(**settings, randaugment=None, fill=MEAN), PretrainAugment(**settings)
    for number in range(5):
        found = augment(Sample(image(), 1, "x"), generator(number))[0]
        assert torch.equal(found, plain(Sample(image(), 1, "x"), generator(number))[0])


def test_its_crop_is_told_as_that_of_pretraining():
    augment = ClassifyAugment(
        size=[8, 16], scale=(0.4, 1), ratio=(0.75, 4 / 3), flip=0.5, randaugment=POLICY, fill=MEAN, decode="reduced"
    )  # fmt: skip
    assert augment.crop.decode == "reduced"
    assert augment.notes_on([(128, 64)]) == augment.crop.notes_on([(128, 64)]) != []
    for label in (None, 3):  # of photos without classes too
        drawn = [augment(Sample(image(), label, "x"), generator(number)) for number in range(8)]
        plain = [augment.crop(Sample(image(), label, "x"), generator(number)) for number in range(8)]
        assert {found for _, found in drawn} == {label}
        assert any(not torch.equal(one[0], other[0]) for one, other in zip(drawn, plain, strict=True))


def test_it_changes_rgb_of_8_bits():
    with pytest.raises(UserError, match=r"use augment\.randaugment=null, or data\.bits=8"):
        RandAugment(POLICY, (8, 8), MEAN)(torch.zeros(3, 8, 8, dtype=torch.uint16), generator(0))
    for fill in ([0.5], [0.5] * 4):
        with pytest.raises(ValueError, match=rf"needs RGB images, but augment\.fill has {len(fill)} channels"):
            RandAugment(POLICY, (8, 8), fill)


@pytest.mark.parametrize("policy", ["augmix", "rand-x5"])
def test_an_unknown_policy_is_refused(policy):
    with pytest.raises(ValueError, match=r"augment\.randaugment must be a policy such as"):
        RandAugment(policy, (8, 8), MEAN)


class Fixed:
    """A generator whose draws are given."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def uniform(self, low, high):
        return low + (high - low) * self.draws.pop(0)

    def integers(self, low, high):
        return low + int((high - low) * self.draws.pop(0))


def test_a_clamped_crop_takes_the_first_draw_and_is_cut_to_the_image():
    # All of a 40 x 80 image at width / height 4/3: 65.3 x 49.0, higher than the image.
    assert random_resized_box(40, 80, (0.5, 1.0), (0.75, 4 / 3), Fixed(1.0, 1.0, 0.0, 0.5), clamp=True) == (
        0,
        8,
        40,
        65,
    )
    # The same draws without it: the box does not fit, and the next one is drawn.
    draws = Fixed(1.0, 1.0, 0.0, 0.5, 0.0, 0.0)
    _, _, height, width = random_resized_box(40, 80, (0.5, 1.0), (0.75, 4 / 3), draws)
    assert height <= 40
    assert width < 65


@pytest.mark.parametrize(("limit", "wanted"), [(0.1, 10), (0.5, 50), (0.001, 1), (7, 7)])
def test_a_share_of_the_training_images_is_spread_over_all_classes(limit, wanted):
    class Sorted:
        def __len__(self):
            return 100

        def __getitem__(self, index):
            return index // 10  # ten classes

    some = limited(Sorted(), limit)
    assert len(some) == wanted
    assert len({some[i] for i in range(len(some))}) == min(wanted, 10)


def test_a_limit_that_is_neither_a_number_of_images_nor_a_share_is_refused():
    with pytest.raises(ValueError, match="a whole number, or a share"):
        limited([0] * 10, 2.5)
