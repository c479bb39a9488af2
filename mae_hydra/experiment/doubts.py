"""Doubts about a model before it is trained: too few images for batch normalisation, and weights that stay random."""

from torch import nn

from mae_hydra.batch_norm import check_enough, learned_statistics
from mae_hydra.distributed import is_main
from mae_hydra.engine import Cut
from mae_hydra.experiment.messages import warn


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
        f"batch normalization sees {cut.micro_batch * cut.world_size} of a step's {whole} images at a time; "
        f"engine.batch_norm=step takes its statistics from all {whole}, for one more forward pass of the encoder, and "
        f"so does data.batch_size={of_process}, where memory allows (engine.recompute=true needs less)"
    )


def warn_of_random_encoder(model: nn.Module, name: str) -> None:
    """Say that `model`, into which nothing was loaded, has an encoder that stays at random, wholly or in part."""
    encoder = getattr(model, "encoder", None)
    if encoder is None or not is_main():
        return
    learned = {part: weight for part, weight in encoder.named_parameters() if part != "pos_embed"}  # which may be fixed
    frozen = sum(weight.numel() for weight in learned.values() if not weight.requires_grad)
    share = frozen / sum(weight.numel() for weight in learned.values())
    if not share:
        return
    what = "the encoder is" if share == 1 else f"{share:.0%} of the encoder's weights are"
    message = (
        f"{name} without init_from probes random weights: {what} frozen and nothing was loaded; "
        "give init_from=<run or checkpoint>, unless that is what you want to know"
    )
    warn([message], "warning")
