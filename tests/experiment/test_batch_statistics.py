"""Before training it is said where batch normalisation will see fewer images than a step has."""

import pytest
from torch import nn

from mae_hydra.engine import Cut
from mae_hydra.errors import UserError
from mae_hydra.experiment.doubts import check_partners, doubtful_statistics
from mae_hydra.models import Mixing

NORMALISED = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))


def test_micro_batches_change_what_batch_normalisation_sees_and_that_is_said_with_both_ways_out():
    said = doubtful_statistics(NORMALISED.eval(), Cut(micro_batch=2, accumulate=4, world_size=2), "micro")
    assert said is not None
    assert "sees 4 of a step's 16 images at a time" in said
    assert "engine.batch_norm=step takes its statistics from all 16" in said
    assert "data.batch_size=8, where memory allows" in said


@pytest.mark.parametrize(
    ("model", "cut", "choice"),
    [
        (NORMALISED, Cut(16, 1, 1), "micro"),
        (NORMALISED, Cut(2, 1, 8), "micro"),  # the statistics are of all processes
        (NORMALISED, Cut(2, 8, 1), "step"),
        (nn.Linear(3, 3), Cut(2, 8, 1), "micro"),
    ],
    ids=["in one piece", "eight processes", "of the step", "no batch normalisation"],
)
def test_where_all_images_of_a_step_are_seen_there_is_nothing_to_say(model, cut, choice):
    assert doubtful_statistics(model, cut, choice) is None


def test_statistics_of_one_image_are_refused_before_training():
    with pytest.raises(UserError, match=r"at least 2 images at a time; use data\.batch_size=2"):
        doubtful_statistics(NORMALISED, Cut(1, 8, 1), "micro")
    for choice, way_out in (
        ("micro", r"global_batch=2 or more with data\.batch_size=2"),
        ("step", "global_batch=2 or more$"),
    ):
        with pytest.raises(UserError, match=r"at least 2 images at a time; use engine\." + way_out):
            doubtful_statistics(NORMALISED, Cut(1, 1, 1), choice)
    assert doubtful_statistics(NORMALISED, Cut(1, 8, 1), "step") is None


def test_an_image_without_a_partner_is_not_mixed_without_a_word():
    model = nn.Linear(3, 3)
    check_partners(model, Cut(1, 8, 1))
    model.mixing = Mixing(mixup=0.8, cutmix=0.0, probability=1.0, switch=0.5)
    check_partners(model, Cut(2, 1, 1))
    with pytest.raises(UserError, match=r"a single one would stay as it is; use data\.batch_size=2"):
        check_partners(model, Cut(1, 8, 1))
