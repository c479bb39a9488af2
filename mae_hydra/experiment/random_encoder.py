"""A word where weights that never learn are random: a probe that was given no pre-trained encoder."""

from torch import nn

from mae_hydra.distributed import is_main
from mae_hydra.experiment.labels import warn


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
