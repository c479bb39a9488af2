"""How many images batch normalisation will see at a time, judged before training begins."""

from torch import nn

from mae_hydra.batch_norm import check_enough, learned_statistics
from mae_hydra.engine import Cut


def doubtful_statistics(model: nn.Module, cut: Cut, batch_norm: str) -> str | None:
    """What to say where statistics are of fewer images than a step has; UserError where they are of a single one."""
    if not learned_statistics(model.train()):
        return None
    of_process = cut.micro_batch * cut.accumulate
    check_enough(of_process if batch_norm == "step" else cut.micro_batch)
    if batch_norm == "step" or cut.accumulate == 1:
        return None
    whole = of_process * cut.world_size
    return (
        f"batch normalisation sees {cut.micro_batch * cut.world_size} of a step's {whole} images at a time; "
        f"engine.batch_norm=step takes its statistics from all {whole}, for one more forward pass of the encoder, and "
        f"so does data.batch_size={of_process}, where memory allows (engine.recompute=true needs less)"
    )
