"""The learning rate that a recipe means."""


def base_rate(lr: float | None, base_lr: float | None, global_batch: int) -> float:
    """`lr`, or, where that is None, base_lr * global_batch / 256: the linear rule of MAE (appendix A.1)."""
    if lr is None:
        if base_lr is None:
            raise ValueError("lr and base_lr are both null: give one of them")
        lr = base_lr * global_batch / 256
    if not lr > 0:
        raise ValueError(f"lr must be positive, got {lr}")
    return lr
