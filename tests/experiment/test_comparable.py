"""Losses that do not compare are not compared: what is swept may change what they measure."""

from typing import Any

import pytest

from mae_hydra.experiment.comparable import unlike

OWN = "val/loss is measured at each job's own model.mask_ratio, so it does not say which is better"


def pretraining(ratio: float | None = None, monitor: str = "val/loss", task: str = "pretrain") -> dict[str, Any]:
    return {"task": task, "checkpoint": {"monitor": monitor}, "inference": {"mask_ratio": ratio}}


@pytest.mark.parametrize(
    ("config", "swept", "said"),
    [
        (pretraining(), ["seed", "model.mask_ratio"], OWN),
        (pretraining(), ["+model.mask_ratio"], OWN),
        (pretraining(0.75), ["model.mask_ratio"], ""),
        (pretraining(), ["model.mask_ratio", "inference.mask_ratio"], ""),
        (pretraining(monitor="val/linear_mIoU"), ["model.mask_ratio", "model.norm_pix"], ""),
        (pretraining(task="segment"), ["model.mask_ratio", "data.image_size"], ""),
        (pretraining(), ["seed", "optimizer.layer_decay", "model.masking"], ""),
        (
            pretraining(0.75),
            ["model.norm_pix", "backbone.patch_size"],
            "val/loss does not compare between values of model.norm_pix (normalized and plain pixels) and "
            "backbone.patch_size (patches of different sizes); +sweep=mask_ratio_transfer",
        ),
    ],
)
def test_what_changes_the_meaning_of_a_loss(config: dict[str, Any], swept: list[str], said: str) -> None:
    assert unlike(config, swept).startswith(said)
    assert bool(unlike(config, swept)) == bool(said)
