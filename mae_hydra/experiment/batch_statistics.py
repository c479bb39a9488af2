"""How many images batch normalisation will see at a time, judged before training begins."""

from torch import nn

from mae_hydra.batch_norm import check_enough, learned_statistics
from mae_hydra.engine import Cut


def doubtful_statistics(model: nn.Module, cut: Cut, batch_norm: str) -> str | None:
    """What to say where statistics are of fewer images than a step has; UserError where they are of a single one."""
    if not learned_statistics(model.train()):
        return None
    of_process = cut.micro_batch * cut.accumulate
    whole = of_process * cut.world_size
    batch_size = "data.batch_size=2 or more"
    if whole > 1:
        check_enough(of_process if batch_norm == "step" else cut.micro_batch, batch_size)
    else:  # no batch can be larger than a step
        check_enough(whole, "engine.global_batch=2 or more" + ("" if batch_norm == "step" else f" with {batch_size}"))
    if batch_norm == "step" or cut.accumulate == 1:
        return None
    return (
        f"batch normalisation sees {cut.micro_batch * cut.world_size} of a step's {whole} images at a time; "
        f"engine.batch_norm=step takes its statistics from all {whole}, for one more forward pass of the encoder, and "
        f"so does data.batch_size={of_process}, where memory allows (engine.recompute=true needs less)"
    )
