"""Frozen weights that nothing was loaded into are said to be random, before the first step."""

import pytest

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
