"""Every option of every group composes, resolves and fits its target; new YAML files are tested by existing."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mae_hydra.errors import UserError
from mae_hydra.experiment.check import GROUPS, ROOT_KEYS, check
from mae_hydra.experiment.compose import compose_config, config_dir

ADDED = ("experiment", "sweep", "debug")
# Options that belong to other models than the newcomer's, with which all others are tried.
COMPANY = {
    **dict.fromkeys(
        ["head=upernet", "augment=segment", "evaluation=segment", "optimizer=adamw_layer_decay", "schedule=poly_short",
         "schedule=poly_160k", "inference=whole", "inference=slide", "inference=multiscale_flip"],
        "upernet_vitt",
    ),
    **dict.fromkeys(["head=linear", "augment=classify", "evaluation=classify", "inference=none"], "classifier_vitt"),
    **dict.fromkeys(["head=batchnorm_linear", "augment=probe", "optimizer=lars"], "probe_vitt"),
    **dict.fromkeys(["head=linear_seg", "head=fcn"], "segprobe_vitt"),
}  # fmt: skip


def options(*groups: str) -> list[str]:
    return [f"{group}={file.stem}" for group in groups for file in sorted((config_dir() / group).glob("*.yaml"))]


@pytest.mark.parametrize("override", options(*(g for g in GROUPS if g != "backbone")))
def test_every_option_composes_resolves_and_fits_its_target(override):
    group = override.partition("=")[0]
    # An option that belongs to another model is looked at in its own company.
    config = compose_config([f"model={COMPANY.get(override, 'mae_vitt')}", override])
    if group == "model":
        config = compose_config([override])
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    check(config)


@pytest.mark.parametrize("backbone", options("backbone"))
def test_every_backbone_fits_the_model_of_its_form(backbone):
    model = "upernet_vitt" if backbone.endswith("_relative") else "mae_vitt"
    check(compose_config([f"model={model}", backbone]))


@pytest.mark.parametrize("override", options(*ADDED))
def test_every_addition_composes_resolves_and_fits(override):
    config = compose_config([f"+{override}"])
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    check(config)


@pytest.mark.parametrize("data", options("data"))
@pytest.mark.parametrize("model", ["mae_vitt", "mae_vith", "upernet_vitb"])
def test_any_model_composes_with_any_data(model, data):
    check(compose_config([f"model={model}", data]))


@pytest.mark.parametrize("what", [*options("model"), *(f"+{experiment}" for experiment in options("experiment"))])
def test_smoke_makes_anything_a_matter_of_seconds(what):
    config = compose_config([what, "+debug=smoke"])
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
    assert set(compose_config([])) == set(ROOT_KEYS) | set(GROUPS)


def test_mae_recipes_hold_the_values_of_the_paper():
    config = compose_config(["+experiment=mae_vitb_imagenet_800e"])
    assert (config.engine.global_batch, config.optimizer.base_lr, config.optimizer.lr) == (4096, 1.5e-4, None)
    assert (list(config.optimizer.betas), config.optimizer.weight_decay) == ([0.9, 0.95], 0.05)
    assert (config.schedule.unit, config.schedule.total, config.schedule.warmup) == ("epoch", 800, 40)
    assert (config.model.mask_ratio, config.model.norm_pix, list(config.augment.scale)) == (0.75, True, [0.2, 1.0])
    assert (config.head.embed_dim, config.head.depth, config.head.num_heads) == (512, 8, 16)


def test_the_ade20k_recipe_holds_the_values_of_the_published_configuration():
    config = compose_config(["+experiment=upernet_vitb_ade20k"])
    assert (config.optimizer.lr, list(config.optimizer.betas)) == (1e-4, [0.9, 0.999])
    assert (config.optimizer.layer_decay, config.optimizer.weight_decay) == (0.65, 0.05)
    assert (config.optimizer.decay_rule, config.model.normalizer, config.schedule.variant) == ("mmseg", "all", "mmseg0")
    assert (config.inference.stride_ratio, list(config.augment.ratio_range), config.augment.photometric) == (
        0.6667,
        [0.5, 2.0],
        True,
    )
    assert (config.schedule.unit, config.schedule.total, config.schedule.warmup) == ("step", 160000, 1500)
    assert (config.engine.global_batch, config.data.image_size, config.data.num_classes) == (16, 512, 150)
    assert (config.backbone.drop_path_rate, config.backbone.layer_scale, config.head.channels) == (0.1, 1.0, 768)
    assert (config.model.auxiliary.channels, config.model.auxiliary_weight) == (256, 0.4)


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
        (["+modle=3"], "unknown key 'modle'; did you mean 'model'?"),
        (["model.mask_ratio=lots"], "model.mask_ratio must be a number, got 'lots'"),
        (["seed=1.5"], "seed must be a whole number, got 1.5"),
        (["head=upernet"], "model.decoder must be a MAEDecoder, got a UPerHead"),
        (["model=upernet_vitt", "head=mae_decoder"], "model.head must be a UPerHead, got a MAEDecoder"),
        (["name=???"], "name must be given a value"),
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
