"""Losses that do not compare are not compared: what is swept may change what they measure."""

from typing import Any

import pytest

from mae_hydra.configuration.compose import compose_config
from mae_hydra.experiment.comparable import unlike

OWN = "val/loss is measured at each job's own model.mask_ratio, so it does not say which is better"
UNLIKE = "val/loss does not compare between values of "


def pretraining(monitor: str = "val/loss", task: str = "pretrain", **parts: dict[str, Any]) -> dict[str, Any]:
    usual: dict[str, dict[str, Any]] = {"inference": {"mask_ratio": None}, "model": {"mask_ratio": 0.75}}
    return {"task": task, "checkpoint": {"monitor": monitor}} | usual | parts


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (pretraining(), ""),
        (pretraining(model={"mask_ratio": 0.5}), OWN),
        (pretraining(model={"mask_ratio": 0.5}, inference={"mask_ratio": 0.75}), ""),  # where the first is measured
        (pretraining(inference={"mask_ratio": 0.5}), UNLIKE + "inference.mask_ratio (other shares of masked patches);"),
        (pretraining(model={"mask_ratio": 0.75, "masking": "grid"}, optimizer={"layer_decay": 0.5}), ""),
        (pretraining(backbone={"patch_size": 14}), UNLIKE + "backbone.patch_size (patches of different sizes);"),
        (pretraining(data={"root": "b"}), UNLIKE + "data.root (other images);"),
        (pretraining(data={"mean": [0.1]}), UNLIKE + "data.mean (pixels in other units);"),
        (
            pretraining(data={"std": [0.1], "_target_": "b", "path": "c"}),
            UNLIKE + "data.std (pixels in other units) and data._target_ (other images) and data.path (other images);",
        ),
        (pretraining(monitor="val/knn", model={"mask_ratio": 0.5}), ""),
        (pretraining(task="segment", model={"mask_ratio": 0.5}), ""),
        ({}, ""),  # of a job that has not begun
        (
            pretraining(model={"mask_ratio": 0.5}, backbone={"patch_size": 14}),
            UNLIKE + "model.mask_ratio (other shares of masked patches) and backbone.patch_size",
        ),
        (
            pretraining(model={"mask_ratio": 0.75, "norm_pix": False}, data={"image_size": 96}),
            UNLIKE + "model.norm_pix (normalized and plain pixels) and data.image_size (images of different sizes); "
            "+sweep=mask_ratio_transfer",
        ),
    ],
)
def test_what_changes_the_meaning_of_a_loss(other: dict[str, Any], said: str) -> None:
    found = unlike([pretraining(), other, pretraining()])
    assert found == unlike([pretraining(), pretraining(), other])
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_an_option_that_brings_other_patches_is_seen_through() -> None:
    """`-m model=mae_vitb,mae_vith` types neither 16 nor 14."""
    small, large = (
        compose_config([f"model={model}", "data=folder", "data.root=photos"]) for model in ("mae_vitb", "mae_vith")
    )
    assert unlike([small, large]).startswith(UNLIKE + "backbone.patch_size (patches of different sizes);")
    assert not unlike([small, small])
