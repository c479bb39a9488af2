"""Frozen weights that nothing was loaded into are said to be random, before the first step."""

import pytest
import torch
from torch import nn

import mae_hydra
from mae_hydra.experiment.doubts import warn_of_random_encoder

WORDS = ["data=scene_classes", "backbone.depth=2", "backbone.out_indices=[0,1]", "backbone.embed_dim=32"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=probe_vitt", *WORDS], "without init_from probes random weights: the encoder is frozen"),
        (["model=segprobe_vitt", *WORDS[1:]], "the encoder is frozen and nothing was loaded; give init_from="),
        (["model=partial_vitt", "model.trainable_blocks=1", *WORDS], "of the encoder's weights are frozen"),
        (["model=classifier_vitt", *WORDS], ""),
        (["model=classifier_vitt", "backbone.positions=fixed", *WORDS], ""),
        (["model=mae_vitt", *WORDS[1:]], ""),
    ],
)
def test_a_frozen_encoder_that_was_never_trained_is_said_to_be_random(capsys, words, said):
    warn_of_random_encoder(mae_hydra.build(*words), "name")
    printed = capsys.readouterr().out
    assert said in printed
    assert bool(printed) is bool(said)


def test_the_share_that_stays_random_is_told_of_what_is_learned_at_all(capsys, monkeypatch):
    """Nine weights frozen, three learned; the positions, which may be fixed, are none of either."""
    encoder = nn.ModuleDict(
        {"frozen": nn.Linear(3, 3, bias=False).requires_grad_(False), "own": nn.Linear(3, 1, False)}
    )
    encoder.pos_embed = nn.Parameter(torch.zeros(100), requires_grad=False)
    warn_of_random_encoder(nn.ModuleDict({"encoder": encoder}), "name")
    said = capsys.readouterr().out
    assert said.startswith("warning: name without init_from probes random weights: 75% of the encoder's weights are fr")
    warn_of_random_encoder(nn.Linear(1, 1).requires_grad_(False), "without an encoder")
    monkeypatch.setattr("mae_hydra.experiment.doubts.is_main", lambda: False)  # nor is it counted in other processes
    warn_of_random_encoder(nn.ModuleDict({"encoder": nn.Module()}), "name")
    assert capsys.readouterr().out == ""
