"""Whether the losses of a sweep's pre-trainings compare: not where jobs measure them in different ways."""

from collections.abc import Iterable, Mapping
from typing import Any

from mae_hydra.configuration.changes import value_at

OWN, GIVEN = "model.mask_ratio", "inference.mask_ratio"
MEASURES = {  # what a reconstruction is compared with, by key
    GIVEN: "other shares of masked patches",
    "model.norm_pix": "normalized and plain pixels",
    "backbone.patch_size": "patches of different sizes",
    "data.image_size": "images of different sizes",
    "data.mean": "pixels in other units",
    "data.std": "pixels in other units",
    "data._target_": "other images",
    "data.root": "other images",
    "data.path": "other images",
}


def unlike(configs: Iterable[Mapping[Any, Any]]) -> str:
    """Why the validation losses of these jobs do not compare, with the way out; empty where they do.

    What they measure counts, not what was typed: an option of `model=` may bring another size of patches.
    """
    measured = [
        {key: value_at(config, key) for key in (OWN, *MEASURES)} for config in configs if _is_judged_by_loss(config)
    ]
    ways_out = "+sweep=mask_ratio_transfer judges by fine-tuning, evaluation=pretrain_probe by features"
    own = all(each[GIVEN] is None for each in measured)
    for each in measured:
        each[GIVEN] = each[OWN] if each[GIVEN] is None else each[GIVEN]
    differing = [key for key in MEASURES if len({str(each[key]) for each in measured}) > 1]
    if own and differing == [GIVEN]:
        return (
            f"val/loss is measured at each job's own {OWN}, so it does not say which is better; with "
            f"{GIVEN}=0.75 all are measured alike ({ways_out})"
        )
    found = " and ".join(f"{OWN if own and key == GIVEN else key} ({MEASURES[key]})" for key in differing)
    return f"val/loss does not compare between values of {found}; {ways_out}" if found else ""


def _is_judged_by_loss(config: Mapping[Any, Any]) -> bool:
    return config.get("task") == "pretrain" and value_at(config, "checkpoint.monitor") == "val/loss"
