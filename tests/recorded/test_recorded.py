"""What is done with a checkpoint starts from the configuration that it carries."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from mae_hydra.configuration import compose, option_files
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build, nodes_of
from mae_hydra.configuration.tree import config_dir
from mae_hydra.data import EvalCrop
from mae_hydra.errors import UserError
from mae_hydra.recorded import configuration, newer
from mae_hydra.recorded.configuration import composed, model_configuration, recorded
from mae_hydra.recorded.sketch import sketch_of
from mae_hydra.weights import Checkpoint
from mae_hydra.workflows import evaluation_plan
from mae_hydra.workflows.evaluation_plan import _takes_other_pictures
from mae_hydra.workflows.predict_classes import Classes

ADE = ["model=upernet_vitt", "data=ade20k", "data.root=photos", "data.num_classes=4", "data.image_size=64"]
PARTS = ("data", "inference", "evaluation", "engine")


def checkpoint(*words: str, choices: dict[str, str] | None = None, **changes: Any) -> Checkpoint:
    """As a run of `words` carries its configuration, `changes` (dotted keys, `__` for a dot) as another version has."""
    config = compose_config(words)
    for key, value in changes.items():
        OmegaConf.update(config, key.replace("__", "."), value, merge=False, force_add=True)
    meta = {"config": OmegaConf.to_container(config, resolve=True)}
    if choices is not None:
        meta["origin"] = {"environment": {"choices": choices}}
    return Checkpoint({"encoder.cls_token": torch.zeros(1)}, meta, "mae_hydra", Path("somewhere.pt"))


def without(saved: Checkpoint, *keys: str) -> Checkpoint:
    for key in keys:
        node = saved.meta["config"]
        *above, last = key.split(".")
        for name in above:
            node = node[name]
        del node[last]
    return saved


def test_nothing_is_other_than_recorded_where_nothing_is_typed() -> None:
    saved = checkpoint(*ADE, "data.reduce_zero_label=false", "inference.short=48", "seed=7")
    found = recorded(saved, [], PARTS)
    assert {key: value for key, value in found.tree.items() if key != "paths"} == {
        key: value for key, value in saved.meta["config"].items() if key != "paths"
    }
    assert found.changes() == {}
    assert found.notes == []


def test_data_stay_where_they_were_unless_their_place_is_typed() -> None:
    saved = checkpoint("model=upernet_vitt", "data=ade20k", "paths.data_root=there")
    assert recorded(saved, ["data.batch_size=4"], PARTS).tree["data"]["root"] == "there/ADEChallengeData2016"
    assert recorded(saved, ["paths.data_root=here"], PARTS).tree["data"]["root"] == "here/ADEChallengeData2016"


def test_a_plan_tells_what_is_no_longer_as_in_training_and_keeps_a_range_that_is_typed(monkeypatch) -> None:
    saved = checkpoint(*ADE, "data.bits=16")
    saved.meta["origin"] = {"data": {"range": [[10, 200]] * 3}}
    monkeypatch.setattr(evaluation_plan, "read_checkpoint", lambda *_, **__: saved)
    monkeypatch.setattr(evaluation_plan, "sha256_of", lambda path: "abc")
    measured = evaluation_plan.plan_evaluation("a.pt", [], "best")
    assert list(measured.config.data.range) == [[10, 200]] * 3
    typed = evaluation_plan.plan_evaluation("a.pt", ["data.range=auto", "inference.short=48", "split=test"], "best")
    assert typed.config.data.range == "auto"
    changed = {"inference.short": "48 (training: null)"}
    assert {key: str(change) for key, change in typed.changes.items() if key in changed} == changed
    saved.meta["config"]["data"]["root"] = "https://a.b/photos"
    with pytest.raises(UserError, match=r"a\.pt reads data\.root = https://a\.b/photos, and no connection is opened"):
        evaluation_plan.plan_evaluation("a.pt", [], "best")
    assert (measured.name, typed.name) == (
        f"ade20k-whole-{measured.fingerprint[:6]}", f"ade20k-whole-test-{typed.fingerprint[:6]}",
    )  # fmt: skip


def test_option_files_that_were_edited_since_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = checkpoint(*ADE, "data.reduce_zero_label=false", choices={"data": "ade20k", "inference": "whole"})
    edited = tmp_path / "conf"
    for file in config_dir().rglob("*.yaml"):
        copy = edited / file.relative_to(config_dir())
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(file.read_text().replace("stride_ratio: 0.6667", "stride_ratio: 0.5").replace("64", "32"))
    for module in (compose, option_files):
        monkeypatch.setattr(module, "config_dir", lambda: edited)
    option_files._arguments.cache_clear()
    try:
        for words in ([], ["data=ade20k"], ["data.batch_size=4"], ["inference=whole"]):
            data = recorded(saved, words, PARTS).tree["data"]
            expected = saved.meta["config"]["data"] | ({"batch_size": 4} if "data.batch_size=4" in words else {})
            assert data == expected, words
        assert recorded(saved, ["inference=slide"], PARTS).tree["inference"]["stride_ratio"] == 0.5  # chosen anew
    finally:
        option_files._arguments.cache_clear()


def test_what_follows_a_typed_key_by_interpolation_follows_it() -> None:
    found = recorded(checkpoint(*ADE, "inference=slide"), ["data.batch_size=4", "data.image_size=96"], PARTS).tree
    assert found["evaluation"]["validation"]["batch_size"] == 4
    assert found["engine"]["global_batch"] == 4
    assert (found["inference"]["crop"], found["inference"]["short"]) == (96, 96)
    assert found["model"]["encoder"]["image_size"] == 96


def test_what_was_typed_in_training_in_place_of_an_interpolation_stays() -> None:
    saved = checkpoint(*ADE, "inference=slide", "inference.crop=32", "evaluation.validation.batch_size=3")
    found = recorded(saved, ["data.batch_size=4", "data.image_size=96"], PARTS).tree
    assert found["evaluation"]["validation"]["batch_size"] == 3
    assert (found["inference"]["crop"], found["inference"]["short"]) == (32, 96)


def test_another_protocol_is_todays_for_the_recorded_data() -> None:
    found = recorded(checkpoint(*ADE), ["inference=multiscale_flip"], PARTS)
    assert found.tree["inference"]["crop"] == 64
    assert found.tree["inference"]["ratios"] == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
    assert found.changes()["inference._target_"] == ("mae_hydra.inference.MultiscaleFlip", "mae_hydra.inference.Whole")


def test_the_files_of_the_training_mean_what_they_meant_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    saved = checkpoint(*ADE, "data.reduce_zero_label=false", f"data.root={tmp_path}", choices={"data": "mine"})
    found = recorded(saved, ["data=ade20k", "data.num_classes=4", f"data.root={tmp_path / 'link'}"], PARTS)
    assert found.tree["data"]["reduce_zero_label"] is False
    assert "data.reduce_zero_label is false (data=ade20k says true)" in found.notes[0]
    assert "data.reduce_zero_label" not in found.changes()


def test_other_files_have_their_own_labels_and_that_is_said() -> None:
    saved = checkpoint(*ADE, "data.reduce_zero_label=false", choices={"data": "mine"})
    found = recorded(saved, ["data=ade20k", "data.num_classes=4", "data.root=others"], PARTS)
    assert found.tree["data"]["reduce_zero_label"] is True
    assert found.tree["data"]["image_size"] == 64  # the model's
    assert str(found.changes()["data.reduce_zero_label"]) == "true (training: false)"
    assert found.changes()["data.root"] == ("others", "photos")


def test_other_files_are_looked_at_as_the_model_was_trained_and_what_is_typed_is_no_note() -> None:
    own = ["data.mean=[0.1,0.2,0.3]", "data.std=[0.4,0.5,0.6]", "data.reduce_zero_label=false", "data.batch_size=3"]
    saved = checkpoint(*ADE, *own, choices={"data": "ade20k"})
    other = recorded(saved, ["data=folder", "data.root=others"], PARTS).tree["data"]
    assert (other["mean"], other["std"], other["batch_size"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6], 3)
    typed = recorded(saved, ["data=ade20k", "data.num_classes=4", "data.reduce_zero_label=true"], PARTS)
    assert typed.tree["data"]["reduce_zero_label"] is True
    assert not any("reduce_zero_label" in note for note in typed.notes)
    found = recorded(saved, ["inference=slide"], PARTS)
    assert [found.origin(part) for part in PARTS] == ["file", "person", "file", "file"]


def test_an_argument_of_which_option_files_do_not_agree_is_not_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = without(checkpoint(*ADE), "evaluation.validation.boundary")
    told = {"mae_hydra.evaluation.MeanIoU": {"boundary": [True, False]}}
    monkeypatch.setattr(newer, "stated", lambda target: told.get(target, {}))
    found = recorded(saved, [], PARTS)
    assert ("boundary" in found.tree["evaluation"]["validation"], found.notes) == (False, [])


def test_the_option_that_the_training_chose_is_no_change() -> None:
    saved = checkpoint(*ADE, "data.reduce_zero_label=false", choices={"data": "ade20k"})
    found = recorded(saved, ["data=ade20k", "data.num_classes=4"], PARTS)
    assert found.tree["data"] == saved.meta["config"]["data"]
    assert "data.reduce_zero_label is false (data=ade20k says true)" in found.notes[0]
    renamed = checkpoint(*ADE, "inference=slide", choices={"inference": "whole"})  # which was of this name then
    assert recorded(renamed, ["inference=whole"], PARTS).tree["inference"]["_target_"] == "mae_hydra.inference.Whole"
    other = recorded(saved, ["data=ade20k", "data.root=others"], PARTS)  # typed: of the same convention, elsewhere
    assert other.tree["data"] == saved.meta["config"]["data"] | {"root": "others"}


def test_a_new_set_lies_where_the_data_of_this_machine_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAE_HYDRA_DATA", "/then")
    saved = checkpoint("model=classifier_vitb", "data=imagenet", "data.batch_size=2")
    monkeypatch.setenv("MAE_HYDRA_DATA", "/now")
    assert recorded(saved, [], PARTS).tree["data"]["root"] == "/then/imagenet"
    assert recorded(saved, ["data=imagenet_variant"], PARTS).tree["data"]["root"] == "/now/imagenet-variant"
    assert recorded(saved, ["paths.data_root=/typed"], PARTS).tree["data"]["root"] == "/typed/imagenet"


def test_interpolations_of_a_file_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hidden")
    saved = checkpoint(*ADE)
    saved.meta["config"]["data"]["root"] = "${oc.env:SECRET}"
    saved.meta["config"]["notes"] = "\\${seed} ${seed}"
    for words in ([], ["data.batch_size=3"], ["inference=slide"]):
        found = recorded(saved, words, PARTS)
        assert found.tree["data"]["root"] == "${oc.env:SECRET}"
        assert found.config.data.root == "${oc.env:SECRET}"
    assert "hidden" not in yaml.safe_dump(found.tree)


def test_what_a_file_names_is_judged_and_what_is_typed_is_not() -> None:
    saved = checkpoint(*ADE)
    saved.meta["config"]["inference"] = {"_target_": "subprocess.run", "args": "touch owned"}
    with pytest.raises(UserError, match=r"somewhere\.pt: inference\._target_ = subprocess\.run is not built"):
        recorded(saved, [], PARTS)
    assert recorded(saved, ["inference=slide"], PARTS).named == {"mae_hydra.inference.Slide"}
    saved.meta["config"]["data"]["image_size"] = {"_target_": "torch.nn.Identity"}  # which the option's crop follows
    with pytest.raises(UserError, match=r"somewhere\.pt: (data|inference)\S+ = torch\.nn\.Identity is not built"):
        recorded(saved, ["data=folder", "data.root=photos", "inference=slide"], PARTS)
    saved.meta["config"]["data"]["image_size"] = 64
    found = recorded(saved, ["inference._target_=torch.nn.Identity", "~inference.args"], PARTS)
    assert found.named == {"torch.nn.Identity"}
    saved.meta["config"]["inference"] = {"_target_": "mae_hydra.__main__.main"}
    imported = set(sys.modules)
    with pytest.raises(UserError, match=r"inference\._target_ = mae_hydra\.__main__\.main is not built"):
        recorded(saved, [], PARTS)
    assert set(sys.modules) == imported


def test_an_argument_that_is_newer_than_the_run_is_todays_and_said() -> None:
    saved = without(checkpoint(*ADE), "evaluation.validation.boundary", "evaluation.validation.batch_size")
    found = recorded(saved, [], PARTS)
    assert found.tree["evaluation"]["validation"]["boundary"] is False
    assert found.tree["evaluation"]["validation"]["batch_size"] == saved.meta["config"]["data"]["batch_size"]
    assert found.notes == [
        "evaluation.validation.batch_size is newer than this run: 16, as today's option files have it",
        "evaluation.validation.boundary is newer than this run: false, as today's option files have it",
    ]
    model, notes = model_configuration(without(saved, "model.loss.ignore_index"))
    assert model["model"]["loss"]["ignore_index"] == 255
    assert len(notes) == 1


def test_an_argument_of_another_version_is_one_sentence_with_the_way_out() -> None:
    saved = checkpoint(*ADE, data__flavour="sweet", model__flavour="sour")
    with pytest.raises(
        UserError, match=r"data.flavour was recorded by another version.*leave it out with ~data.flavour"
    ):
        recorded(saved, [], PARTS)
    assert "flavour" not in recorded(saved, ["~data.flavour"], PARTS).tree["data"]
    typed = recorded(without(saved, "data.flavour"), ["+data.flavour=sour"], PARTS)  # a slip of now, and said as one
    assert typed.tree["data"]["flavour"] == "sour"
    with pytest.raises(UserError, match=r"leave it out with ~model.flavour"):
        model_configuration(saved)
    assert "flavour" not in model_configuration(saved, ["~model.flavour"])[0]["model"]


def test_what_the_agent_of_a_sweep_adds_is_no_word_and_an_address_of_weights_is_one() -> None:
    saved = checkpoint(*ADE, seed=1)
    assert recorded(saved, ["_wandb={a: 1}", "seed=3"], PARTS).tree["seed"] == 3
    address = "hf-hub:a/b@v1#sha256=00"
    assert recorded(saved, [f"init_from={address}"], PARTS).tree["init_from"] == address


def test_a_run_that_is_planned_anew_is_its_best_weights_and_all_that_it_names_is_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    saved = checkpoint(*ADE, "inference=whole")

    def read(path: str, **more: Any) -> Checkpoint:
        asked.append((path, more))
        return saved

    monkeypatch.setattr(configuration, "read_checkpoint", read)
    monkeypatch.setattr(configuration, "names_weights", lambda word: word == "run")
    assert composed(["run", "seed=5"]).seed == 5
    assert asked == [("run", {"prefer": "best", "download": True})]
    with pytest.raises(UserError, match=r"did you mean"):
        composed(["run", "evaluation.validation.evry=3"])
    for part in ("optimizer", "schedule", "checkpoint"):  # all that a plan builds has to fit this version
        saved.meta["config"][part]["flavour"] = 1
        with pytest.raises(UserError, match=rf"{part}\.flavour was recorded by another version"):
            composed(["run"])
        del saved.meta["config"][part]["flavour"]
    saved.meta["config"]["logger"] = {"mine": {"_target_": "subprocess.run", "args": "touch owned"}}
    with pytest.raises(UserError, match=r"somewhere\.pt: logger\.mine\._target_ = subprocess\.run is not built"):
        composed(["run"])
    del saved.meta["config"]
    monkeypatch.setattr(configuration, "check", asked.append)
    monkeypatch.setattr(configuration, "recorded", lambda *given: SimpleNamespace(record=None, config=given))
    assert composed(["run", "a=1"]) == (saved, ["a=1"], ()) == asked[-1]  # of a file that carries nothing


def test_words_for_a_model_of_which_a_part_is_not_recorded_are_of_one_that_is_told_by_its_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(configuration, "configuration_of", lambda checkpoint, words: ("told", words))
    monkeypatch.setattr(configuration, "recorded", lambda *given: SimpleNamespace(tree=given[1:], notes=["a note"]))
    whole = {part: {"a": 1} for part in ("backbone", "head", "model")}
    for config, words, expected in (
        (whole, ["a=1"], ((["a=1"], ("backbone", "head", "model")), ["a note"])),
        ({"model": {"a": 1}, "backbone": {"a": 1}}, ["a=1"], (("told", ["a=1"]), [])),
        ({}, [], (("told", []), [])), ({"model": {"a": 1}}, [], ({"model": {"a": 1}}, [])),
    ):  # fmt: skip
        assert model_configuration(Checkpoint({}, {"config": config}, "", Path("a.pt")), words) == expected


def test_of_a_file_that_carries_a_model_alone_the_rest_is_told_by_its_weights() -> None:
    saved = checkpoint("model=mae_vitt")
    model = build(OmegaConf.create(saved.meta["config"]).model, "model")
    alone = Checkpoint(model.state_dict(), {"config": {"model": saved.meta["config"]["model"]}}, "", Path("a.pt"))
    found = recorded(alone, [], PARTS)
    assert (found.record, found.tree["data"]["image_size"], found.tree["data"]["batch_size"]) == (None, [64, 64], 1)
    alone.meta["config"] |= dict.fromkeys(PARTS, "text")
    with pytest.raises(UserError, match="a data that is no configuration"):
        recorded(alone, [], PARTS)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_a_record_lacks_is_never_made_up(part: str) -> None:
    saved = without(checkpoint("data=scenes", "data.mean=[0.1,0.1,0.1]", "inference=whole"), part)
    with pytest.raises(UserError, match=rf"somewhere\.pt carries a configuration without {part}.*\({part}=<option>\)"):
        recorded(saved, [], PARTS)
    options = {"data": "scenes", "inference": "slide", "evaluation": "segment", "engine": "cpu"}
    if part == "data":  # which the record can complete no more
        with pytest.raises(UserError, match=r"data\.batch_size must be given a value, e\.g\. data\.batch_size=…"):
            recorded(saved, ["data=scenes"], PARTS)
    more = {"data": ["data.batch_size=2"], "engine": ["engine.global_batch=2"]}.get(part, [])
    found = recorded(saved, [f"{part}={options[part]}", *more], PARTS)
    assert found.record is not None
    assert part == "data" or found.tree["data"] == saved.meta["config"]["data"]
    assert found.tree[part]


def test_groups_that_are_newer_than_a_run_are_empty_and_no_change() -> None:
    found = recorded(without(checkpoint(*ADE), "encoder", "loss", "callbacks"), [], PARTS)
    assert [found.tree[group] for group in ("encoder", "loss", "callbacks")] == [{}] * 3
    assert found.changes() == {}


def test_a_part_of_a_record_that_says_not_what_it_is_is_one_sentence() -> None:
    classifying = recorded(checkpoint("inference=whole", inference={}), [], PARTS)
    assert classifying.tree["inference"] == {}  # as a classifier's is
    for part in ("data", "engine", "inference"):
        with pytest.raises(UserError, match=rf"somewhere\.pt carries a {part} without a _target_.*\({part}=<option>\)"):
            recorded(without(checkpoint("inference=whole"), f"{part}._target_"), [], PARTS)


@pytest.mark.parametrize("node", [5, None, "text", [1]])
def test_an_evaluator_that_is_no_node_is_one_sentence(node: Any) -> None:
    found = recorded(checkpoint(*ADE, evaluation={"validation": node}), [], PARTS)
    with pytest.raises(
        UserError, match=r"evaluation\.validation is .*no evaluator; leave it out with ~evaluation\.val"
    ):
        nodes_of(found.config, "evaluation")


def test_data_that_lie_elsewhere_than_in_training_are_a_change_also_where_the_run_says_so(tmp_path: Path) -> None:
    saved = replace(checkpoint(*ADE, "inference=whole"), path=tmp_path / "checkpoints" / "last.pt")
    config = saved.meta["config"] | {"data": saved.meta["config"]["data"] | {"root": "others"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    found = recorded(saved, [], PARTS)
    assert (found.changes(), found.notes) == ({"data.root": ("others", "photos")}, [])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": {"image_size": 96, "num_workers": 9}}))
    newer_and_told = recorded(without(saved, "evaluation.validation.boundary"), [], PARTS).notes
    assert [note.replace(str(tmp_path), "run") for note in newer_and_told] == [
        "run/config.yaml has data.image_size 96, which is not what was trained by: 64 counts, as the checkpoint "
        "carries it",
        "evaluation.validation.boundary is newer than this run: false, as today's option files have it",
    ]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    saved.meta["config"]["evaluation"]["validation"]["boundary"] = False
    typed = recorded(replace(saved, path=Path("somewhere.pt")), ["data.root=others"], PARTS)
    assert (found.tree, found.changes()) == (typed.tree, typed.changes())
    assert _takes_other_pictures(found, [])  # and are looked at as such


def test_the_file_of_a_run_is_read_with_bounds(tmp_path: Path) -> None:
    saved = replace(checkpoint(*ADE), path=tmp_path / "checkpoints" / "last.pt")
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    for content in (bomb + "data: {mean: *a8, root: evil}\n", "data: [1]", "[" * 100_000, "5", "\0", "data: {root: 5}"):
        (tmp_path / "config.yaml").write_text(content)
        found = recorded(saved, [], PARTS)
        assert found.tree["data"]["root"] in ("photos", 5)
        assert found.notes == []
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": {"mean": ["\x1b[2J" * 100] * 100}}))
    [note] = recorded(saved, [], PARTS).notes
    assert len(note) < 600
    assert "\x1b" not in note


def test_words_for_a_model_go_on_top_of_what_it_was_and_reach_its_parts() -> None:
    saved = checkpoint("model=mae_vitt", "model.norm_pix=false", "model.mask_ratio=0.6", "data.mean=[0.1,0.2,0.3]")
    model, _ = model_configuration(saved, ["backbone.num_heads=2", "data.std=[1.0,1.0,1.0]"])
    assert model["model"]["encoder"]["num_heads"] == 2
    assert (model["model"]["norm_pix"], model["model"]["mask_ratio"]) == (False, 0.6)
    assert (model["model"]["mean"], model["model"]["std"]) == ([0.1, 0.2, 0.3], [1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["data.reduce_zero_lable=true"], "did you mean 'data.reduce_zero_label'"),
        (["inference=slid"], "did you mean inference=slide"),
        (["inference=slide,whole"], "is a sweep or a list"),
        (["+experiment=demo_transfer"], "is for a training"),
        (["inference"], "every override is key=value"),
    ],
)
def test_a_slip_on_top_is_one_sentence(words: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        recorded(checkpoint(*ADE), words, PARTS)
    assert "\n" not in str(caught.value)


def test_options_of_ones_own_are_chosen_from_their_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_text("defaults: [ade20k]\nroot: own\nnum_classes: 4\n")
    with pytest.raises(UserError, match="data=mine does not exist"):
        recorded(checkpoint(*ADE), ["data=mine"], PARTS)
    assert recorded(checkpoint(*ADE), ["data=mine"], PARTS, [tmp_path]).tree["data"]["root"] == "own"


def test_a_classifier_predicts_on_the_crop_that_it_was_evaluated_on() -> None:
    saved = checkpoint("model=classifier_vitt", "evaluation.validation.crop_ratio=1.0")
    model: Any = SimpleNamespace(encoder=SimpleNamespace(image_size=(64, 64)), num_classes=7)
    assert Classes(model, saved, Path("out")).transform.cover == (64, 64)
    saved.meta["config"]["evaluation"]["validation"]["crop_ratio"] = None
    assert Classes(model, saved, Path("out")).transform.cover == EvalCrop(size=64, crop_ratio=0.875).cover


def test_what_a_run_would_take_is_planned_from_its_record(tmp_path: Path) -> None:
    saved = checkpoint("model=mae_vitt", "backbone.depth=3", "backbone.out_indices=[2]", "schedule.total=77")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    model = build(OmegaConf.create(saved.meta["config"]).model, "model")
    content = {"model": model.state_dict(), "config": saved.meta["config"], "step": 1, "meta": {}}
    torch.save(content, tmp_path / "run" / "checkpoints" / "last.pt")
    config = composed([str(tmp_path / "run"), "engine.global_batch=128"])
    assert (config.backbone.depth, config.model.encoder.depth, config.schedule.total) == (3, 3, 77)
    assert config.optimizer.global_batch == 128


def test_a_model_of_more_parts_than_the_file_has_tensors_is_not_built() -> None:
    saved = checkpoint("model=mae_vitt")
    config = saved.meta["config"]
    whole = build(OmegaConf.create(config).model, "model").state_dict()
    assert next(sketch_of(replace(saved, tensors=whole), config).parameters()).is_meta
    with pytest.raises(UserError, match=r"somewhere\.pt: its configuration describes a larger model than its 1 tensor"):
        sketch_of(saved, config)
