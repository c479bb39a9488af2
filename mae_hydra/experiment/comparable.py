"""Whether the losses of a sweep's pre-trainings compare: not where what is swept changes what they measure."""

from collections.abc import Iterable, Mapping
from typing import Any

RATIO = "model.mask_ratio"
MEASURES = {  # what a reconstruction is compared with, by key
    "model.norm_pix": "normalized and plain pixels",
    "backbone.patch_size": "patches of different sizes",
    "data.image_size": "images of different sizes",
}


def unlike(config: Mapping[Any, Any], swept: Iterable[str]) -> str:
    """Why the validation losses of jobs that differ in `swept` do not compare, with the way out; empty where they do.

    `config`: of one of the jobs.
    """
    checkpoint, inference = config.get("checkpoint"), config.get("inference")  # of a record, which may lack both
    if config.get("task") != "pretrain" or not isinstance(checkpoint, Mapping) or not isinstance(inference, Mapping):
        return ""
    if checkpoint.get("monitor") != "val/loss":
        return ""
    keys = [key.lstrip("+") for key in swept]
    ways_out = "+sweep=mask_ratio_transfer judges by fine-tuning, evaluation=pretrain_probe by features"
    if RATIO in keys and inference.get("mask_ratio") is None and "inference.mask_ratio" not in keys:
        return (
            f"val/loss is measured at each job's own {RATIO}, so it does not say which is better; with "
            f"inference.mask_ratio=0.75 all are measured alike ({ways_out})"
        )
    found = [f"{key} ({MEASURES[key]})" for key in keys if key in MEASURES]
    return f"val/loss does not compare between values of {' and '.join(found)}; {ways_out}" if found else ""
