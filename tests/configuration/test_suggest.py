"""A mistaken key or value is answered with what was meant, under the name at which a person gives it."""

import pytest
from omegaconf import OmegaConf

from mae_hydra.configuration.check import check
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build, complete
from mae_hydra.configuration.suggest import ELSEWHERE, SYNONYMS, known_keys, meant_by, typed
from mae_hydra.errors import UserError

UPERNET = "model=upernet_vitt"


def refused(*words: str) -> str:
    """What is said to `python train.py words`, before anything is built."""
    with pytest.raises(UserError) as caught:
        check(compose_config(words))
    return str(caught.value)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        # Trained at 0.75 and scored at 0.5, who followed the first key of that name.
        (["mask_ratio=0.5"], "did you mean 'model.mask_ratio' or 'inference.mask_ratio' (evaluation alone)?"),
        (["mask_ration=0.5"], "did you mean 'model.mask_ratio' or 'inference.mask_ratio' (evaluation alone)?"),
        (["+mask_ratio=0.5"], "did you mean 'model.mask_ratio' or 'inference.mask_ratio' (evaluation alone)?"),
        (["image_size=64"], "did you mean 'data.image_size'? (backbone.image_size and head.image_size follow it)"),
        (["model.image_size=64"], "did you mean 'data.image_size'? (backbone"),
        (["size=64"], "did you mean 'data.image_size'? (augment.size follows it)"),
        (["num_classes=3", UPERNET], "did you mean 'data.num_classes'? (head.num_classes and model.auxiliary"),
        (["every=3"], "did you mean 'checkpoint.every' or 'evaluation.validation.every' (evaluation alone)?"),
        (["stride_ration=1", UPERNET, "inference=slide"], "did you mean 'inference.stride_ratio'?"),
        (["depth=3"], "did you mean 'backbone.depth' or 'head.depth'?"),
        (["global_batch=8"], "did you mean 'engine.global_batch' (it follows data.batch_size)?"),
        (["head.depht=3"], "did you mean 'head.depth'?"),
        (["optim.lr=1"], "did you mean 'optimizer.lr'?"),
        (["epochs=5"], "did you mean 'schedule.total' with schedule.unit=epoch?"),
        (["+max_epochs=5"], "did you mean 'schedule.total' with schedule.unit=epoch?"),
        (["optimizer.learning_rate=1"], "did you mean 'optimizer.lr'?"),
        (["gpus=2"], "did you mean 'engine.devices'?"),
        (["wd=0.1"], "did you mean 'optimizer.weight_decay'?"),
        (["accum_iter=4"], "did you mean 'engine.global_batch' (a step's images; accumulation follows)?"),
        (["wandb=true"], "did you mean 'logger=wandb'?"),
        (["root=photos"], "data=scenes is rendered and reads no files; add data=folder"),
        (["root=photos", "data=folder"], "did you mean 'data.root'?"),
        (["+experimnt=x"], "unknown key 'experimnt'; did you mean '+experiment=…'?"),
        (["experimnt=x"], "unknown key 'experimnt'; did you mean '+experiment=…'?"),
        (["+qwerty=x"], "paths, experiment, sweep, debug"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_unknown_key_is_answered_with_all_that_can_be_meant(words, answer):
    assert answer in refused(*words)


def test_a_key_like_nothing_is_said_to_be_so():
    assert "none like it" in refused("qwerty=1")
    assert "none like it" in refused("depthwise=1")


def test_every_word_of_other_programs_leads_to_a_key_that_exists():
    known: set[str] = set()
    for words in ([], [UPERNET, "data=ade20k"], ["model=classifier_vitt"], ["data=folder"]):
        known |= known_keys(compose_config(words)).keys()
    assert [meant for meant in ELSEWHERE if meant.replace("=", " ").split()[0] not in known] == []
    assert len(SYNONYMS) == sum(len(words.split()) for words in ELSEWHERE.values())  # no word stands for two
    assert not {f"{meant}".split()[0] for meant in ELSEWHERE} & SYNONYMS.keys() - {"data"}


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["seed=1,2"], "seed=1,2: to sweep over the values add -m; for a list write 'seed=[1,2]'"),
        (["optimizer=adam"], "optimizer=adam does not exist; options: adamw_layer_decay"),
        (["model.mask_ratio", "=", "0.5"], "no spaces stand around =; type model.mask_ratio=0.5"),
        (["seed=1", "model.mask_ratio=", "0.5"], "no spaces stand around =; type model.mask_ratio=0.5"),
        (["model=upernet_vitx"], "model=upernet_vitx does not exist; did you mean model=upernet_vitt? ("),
        (["+model.mask_ratio=0.5"], "model.mask_ratio is there already; leave out the plus"),
        # What is refused is named as it was typed, not as what follows it.
        (["data.batch_size=abc"], "data.batch_size must be a whole number, got 'abc'"),
        (["data.num_classes=x", UPERNET], "data.num_classes must be a whole number, got 'x'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_other_mistakes_are_answered_in_the_words_that_were_typed(words, answer):
    assert refused(*words).startswith(answer)


@pytest.mark.parametrize(
    ("group", "words", "answer"),
    [
        ("model", ["data.image_size=65"], "data.image_size must be a multiple of patch_size 8, got 65x65"),
        ("model", [UPERNET, "backbone.depth=2"], "backbone.out_indices must ascend within 0..1"),
        ("model", ["model.mask_ratio=1.5"], "model.mask_ratio must lie in (0, 1), got 1.5"),
        (
            "engine",
            ["engine.device=gpu"],
            "engine.device must be one of auto, cpu, cuda, got 'gpu'; did you mean cuda?",
        ),
        (
            "engine",
            ["engine.precision=float16"],
            "engine.precision must be one of auto, fp32, bf16, bf16_params, fp16, got 'float16'",
        ),
        ("engine", ["engine.batch_norm=sync"], "engine.batch_norm must be one of micro, step, got 'sync'"),
        ("augment", [UPERNET, "augment.ratio_range=[3,1]"], "augment.ratio_range must be [low, high]"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_an_object_refuses_is_said_of_the_key_at_which_it_is_given(group, words, answer):
    config = compose_config(words)
    with pytest.raises(UserError) as caught:
        build(config[group], group)
    assert str(caught.value).startswith(answer)


def test_what_is_completed_later_names_its_key_too():
    schedule = build(compose_config(["schedule.warmup=500", "schedule.total=100"]).schedule, "schedule")
    with pytest.raises(UserError, match=r"^schedule\.warmup must lie between 0 and total \(100 steps\), got 500"):
        complete("schedule", schedule, 10.0)


def test_the_key_of_a_crop_is_the_evaluators():
    """`augment.crop_ratio`, which was named, does not exist."""
    config = compose_config(["model=classifier_vitt", "evaluation.validation.crop_ratio=2"])
    node = config.evaluation.validation
    data = build(compose_config(["data=scene_classes", "data.num_train=4", "data.num_validation=4"]).data, "data")
    with pytest.raises(UserError, match=r"^evaluation\.validation\.crop_ratio must lie in \(0, 1\], got 2"):
        complete("evaluation.validation", build(node, "evaluation.validation"), data=data, inference=None)


def test_of_keys_of_one_name_the_models_is_named_first_then_the_datas_and_last_what_only_judges():
    known = dict.fromkeys(["inference.size", "data.size", "optimizer.size", "model.size"])
    said = "did you mean 'model.size' or 'data.size' or 'optimizer.size' or 'inference.size' (evaluation alone)?"
    assert meant_by("size", known) == said
    known["data.size"] = "model.size"
    assert meant_by("size", known) == said.replace(" or 'data.size'", "") + " (data.size follows it)"


def test_a_map_of_numbers_in_the_configuration_has_keys_too():
    known = known_keys(compose_config([UPERNET, "data=ade20k", "data.root=x", "data.values={0:0,255:1}"]))
    assert {"data.values", "data.values.0", "data.values.255"} <= known.keys()


def test_each_key_has_the_one_that_it_follows_and_is_typed_where_the_first_of_them_stands():
    node = {"_target_": "x", "size": "${data.size}", "part": "${head}", "text": "a${data.size}", "none": None}
    known = known_keys(OmegaConf.create({"model": node, "data": {"size": "${size}"}, "head": {"depth": 1}, "size": 3}))
    assert known == {
        "model": None, "model.size": "data.size", "model.part": "head", "model.text": None, "model.none": None,
        "data": None, "data.size": "size", "head": None, "head.depth": None, "size": None,
    }  # fmt: skip
    assert [typed(known, key) for key in ("model.size", "model.part.depth", "model.part", "model.text", "other")] == [
        "size", "head.depth", "head", "model.text", "other",
    ]  # fmt: skip
    assert meant_by("model.szie", known) == "did you mean 'model.size' (it follows data.size)?"
