"""Every option of every group composes, resolves and fits its target; new YAML files are tested by existing."""

import itertools
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from values import composed, options

from mae_hydra.configuration.check import GROUPS, ROOT_KEYS, check
from mae_hydra.configuration.compose import compose_config
from mae_hydra.errors import UserError

ADDED = ("sweep", "debug")
MODELS, DATA = options("model"), options("data")[::-1]
KINDS = [f"model={kind}_vitb" for kind in ("mae", "upernet", "classifier", "probe", "partial", "segprobe")]


@pytest.mark.parametrize("word", [f"+{option}" for option in options(*ADDED)])
def test_every_addition_composes_resolves_and_fits(word):
    config = composed(word)
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    check(config)


@pytest.mark.parametrize(("model", "data"), list(zip(itertools.cycle(MODELS), DATA, strict=False)))
def test_any_model_composes_with_any_data(model, data):
    """Each data with a model, and many a model with another data; with the newcomer's model all are in test_values."""
    check(composed(model, data))


@pytest.mark.parametrize("what", [*KINDS, *(f"+{experiment}" for experiment in options("experiment"))])
def test_smoke_makes_anything_a_matter_of_seconds(what):
    config = composed(what, "+debug=smoke")
    check(config)
    assert config.schedule.total * config.engine.global_batch <= 10  # images
    assert config.evaluation.validation.limit <= 10
    assert not config.logger


def test_the_command_line_wins_over_the_experiment_and_the_experiment_over_the_model():
    assert compose_config(["model=upernet_vitb"]).data._target_.endswith("scenes")
    assert compose_config(["+experiment=upernet_vitb_ade20k"]).data._target_.endswith("ade20k")
    assert compose_config(["+experiment=upernet_vitb_ade20k", "data=scenes"]).data._target_.endswith("scenes")
    assert compose_config(["+experiment=mae_vitl_imagenet_800e", "model.mask_ratio=0.6"]).model.mask_ratio == 0.6
    assert compose_config(["+experiment=mae_vitl_imagenet_800e", "+debug=smoke"]).schedule.total == 4


def test_what_depends_on_the_size_follows_the_backbone():
    config = compose_config(["model=upernet_vitb", "backbone=vit_large_relative"])
    assert list(config.model.encoder.out_indices) == [7, 11, 15, 23]
    assert config.model.head.in_dim == config.model.pyramid.dim == 1024


def test_the_keys_of_the_root_are_the_listed_ones():
    in_sweep_files_only = {"sweep"}
    assert set(compose_config([])) == (set(ROOT_KEYS) | set(GROUPS)) - in_sweep_files_only


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["model.mask_ration=0.5"], "unknown key 'model.mask_ration'; did you mean 'model.mask_ratio'?"),
        (["model=mae_vitx"], "did you mean model="),
        (["+experiment=upernet_vitb_ade"], r"did you mean .?experiment=upernet_vitb_ade20k"),
        (["experiment=demo_pretrain"], r"add it with a plus: \+experiment="),
    ],
)
def test_a_slip_on_the_command_line_is_named_with_the_way_out(overrides, sentence):
    with pytest.raises(UserError, match=sentence):
        compose_config(overrides)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["+model.mask_ration=0.5"], "model.mask_ration is not an argument of MAE; did you mean 'mask_ratio'?"),
        (
            ["model=upernet_vitt", "head=linear_seg"],
            r"^head.channels is not an argument of LinearSegHead; .* \(~head.channels removes it\)",
        ),
        (
            ["model=dpt_vitb", "backbone=timm", "backbone.model_name=convnext_tiny"],
            r"backbone.embed_dim must be a whole number for DPTHead, got \[96, 192, 384, 768\]",
        ),
        (["+modle=3"], "unknown key 'modle'; did you mean 'model'?"),
        (["model.mask_ratio=lots"], "model.mask_ratio must be a number, got 'lots'"),
        (["seed=1.5"], "seed must be a whole number, got 1.5"),
        (["head=upernet"], "model.decoder must be a MAEDecoder, got a UPerHead"),
        (["model=upernet_vitt", "head=mae_decoder"], "model.head must be a Head, got a MAEDecoder without num_classes"),
        (["name=???"], "name must be given a value"),
        (["model.mask_ratio=???"], "^model.mask_ratio must be given a value, e.g. model.mask_ratio="),
        (["~model.norm_pix"], "model.norm_pix is missing: MAE needs it"),
        (["data._target_=mae_hydra.data.nothing"], "cannot be found"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_built(overrides, sentence):
    with pytest.raises(UserError, match=sentence):
        check(compose_config(overrides))


def test_a_misspelt_key_in_a_yaml_file_is_named(tmp_path: Path):
    config = compose_config([])
    written = OmegaConf.merge({"optimizer": {"wieght_decay": 0.1}}, OmegaConf.to_container(config))
    with pytest.raises(UserError, match=r"optimizer.wieght_decay is not an .* did you mean 'weight_decay'\?"):
        check(written)
