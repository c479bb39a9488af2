"""What the log says of training, a line at a time."""

from mae_hydra.engine.state import State


def progress(state: State, steps_per_epoch: float, global_batch: int) -> dict[str, float]:
    """What the log says of the steps since its last line; reading it waits for the device."""
    groups = state.optimizer.param_groups
    values = {f"train/{name}": value for name, value in state.window.read().items()}
    values |= {
        "train/lr": max(group["lr"] for group in groups),
        "epoch": state.step / steps_per_epoch,
        "images": state.step * global_batch,
    }
    by_depth = {group["depth"]: group["lr"] for group in groups if group.get("depth") is not None}
    return values | {f"train/lr/depth_{depth:02}": rate for depth, rate in by_depth.items()}
