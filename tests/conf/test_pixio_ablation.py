"""The sweep over Pixio's changes: every corner builds, and its encoder starts what follows it."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build
from mae_hydra.configuration.tree import config_dir
from mae_hydra.weights import Checkpoint, fitted_state


def swept(name: str) -> dict[str, set[str]]:
    params = OmegaConf.load(config_dir() / "sweep" / f"{name}.yaml").hydra.sweeper.params
    return {key: set(value.split(",")) for key, value in params.items()}


def test_the_corners_are_those_of_the_grid_with_further_seeds():
    grid, corners = swept("pixio_ablation"), swept("pixio_ablation_corners")
    assert corners.pop("seed") == {"1", "2"}
    assert corners == {key: {min(values, key=int), max(values, key=int)} for key, values in grid.items()}


@pytest.mark.parametrize("tokens", [1, 8])
def test_what_follows_a_corner_takes_its_encoder(tokens):
    words = ["head.depth=32", "model.mask_block=4", f"backbone.num_cls_tokens={tokens}"]
    config = compose_config(["+sweep=pixio_ablation", *words])
    model = build(config.model, "model")
    assert (len(model.decoder.blocks), model.mask_block, model.encoder.num_cls_tokens) == (32, 4, tokens)
    checkpoint = Checkpoint(dict(model.state_dict()), {}, "mae_hydra", Path("corner"))
    stages = OmegaConf.to_container(config.then, resolve=True)
    assert stages.keys() == {"upernet"}
    for stage in stages.values():
        follower = build(compose_config(stage).model, "model")
        _, report = fitted_state(follower, checkpoint)
        assert "encoder.cls_token" in report.names("loaded")
