"""What can be done with a checkpoint, found by trying: models on the meta device, filled by the rule of transfer."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build
from mae_hydra.errors import UserError
from mae_hydra.recorded.infer_configuration import configuration_of, encoder_overrides
from mae_hydra.recorded.sketch import sketch_of
from mae_hydra.weights import WORDS, Checkpoint, Description, describe, fitted_state
from mae_hydra.weights.read import check_values
from mae_hydra.workflows.convert import check_whole

HEADS = ["backbone.num_heads=1", "head.num_heads=1"]  # where the file does not tell them: shapes are the same
TRANSFERS = {  # what else an encoder can start
    "a classifier of the same encoder": ["model=classifier_vitb", "data=imagenet"],
    "a UPerNet of the same encoder": ["model=upernet_vitb", "data=ade20k"],
}


def fits(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """(a use of it, "" or why it does not fit) in words for a person."""
    description = describe(checkpoint)
    broken = dict(_broken(checkpoint))
    own = checkpoint.meta.get("config")
    configured = cache(lambda *words: own or configuration_of(checkpoint, words))
    scored = description.kind in ("segmentation", "patch_segmentation", "classifier", "probe")
    yield "mae_hydra.load" + (", evaluate" if scored else ""), _reason(partial(_load, checkpoint, configured), broken)
    if description.kind != "encoder":  # which alone is no model that is trained
        like = f"init_from= of {WORDS[description.kind]} like it"
        yield like, _reason(partial(_start_the_same, checkpoint, description, configured), broken)
    if description.kind in ("mae", "encoder", "classifier", "probe"):
        for what, words in TRANSFERS.items():
            if description.kind != "classifier" or "classifier" not in what:
                yield f"init_from= of {what}", _reason(partial(_start, checkpoint, description, words), broken)


def _broken(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """(name, complaint) of every tensor with values that are no numbers; each is read once, whatever is tried."""
    for name, tensor in checkpoint.tensors.items():
        try:
            check_values(name, tensor, checkpoint.path)
        except UserError as error:
            yield name, str(error)


def _reason(attempt: Callable[[], Iterable[str]], broken: Mapping[str, str]) -> str:
    """Why an attempt, which gives the names of the tensors it takes, does not succeed; "" if it does."""
    try:
        taken = attempt()
    except UserError as error:
        return str(error)
    return next((broken[name] for name in taken if name in broken), "")


def _load(checkpoint: Checkpoint, configured: Callable[..., Any]) -> Iterable[str]:
    check_whole(checkpoint, configured())
    return checkpoint.tensors


def _start_the_same(checkpoint: Checkpoint, description: Description, configured: Callable[..., Any]) -> Iterable[str]:
    model = sketch_of(checkpoint, configured(*_untold_heads(description)))
    return fitted_state(model, checkpoint)[1].taken()


def _start(checkpoint: Checkpoint, description: Description, words: list[str]) -> Iterable[str]:
    heads = [word for word in _untold_heads(description) if word.startswith("backbone.")]
    form = ["backbone=vit_base_relative"] if description.relative_positions or description.layer_scale else []
    config = compose_config([*words, *form, *encoder_overrides(description), *heads])
    with torch.device("meta"):
        model: nn.Module = build(config.model, "model")
    return fitted_state(model, checkpoint)[1].taken()


def _untold_heads(description: Description) -> list[str]:
    stacks = zip(HEADS, (description.encoder, description.decoder), strict=True)
    return [word for word, stack in stacks if stack is not None and stack.heads is None]
