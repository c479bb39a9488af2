"""What a configuration may build, and what a checkpoint from anywhere may not."""

import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import OmegaConf

import mae_hydra
from mae_hydra.configuration.construct import build, complete, targets
from mae_hydra.configuration.trust import TRUST
from mae_hydra.errors import UserError

HOSTILE = [
    {"_target_": "os.mkdir", "path": "owned"},
    {"_target_": "torch.load", "f": "payload.pt", "weights_only": False},
    {"_target_": "mae_hydra.models.encoders.vision_transformer.torch.hub.load", "repo_or_dir": "x", "model": "y"},
    {"_target_": "mae_hydra.launching.launch.launch", "arguments": ["--help"]},
    {"_target_": "mae_hydra.models.MAE", "encoder": {"_target_": "os.mkdir", "path": "owned"}},
]


@pytest.mark.parametrize("node", HOSTILE, ids=lambda node: node["_target_"])
def test_a_checkpoint_builds_nothing_but_a_model(tmp_path: Path, monkeypatch, node):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"encoder.cls_token": torch.zeros(1)}, "config": {"model": node}}, "file.pt")
    before = set(tmp_path.iterdir())
    with pytest.raises(UserError):
        mae_hydra.load("file.pt")
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("target", ["os.mkdir", "torch.load", "torch.hub.load", "subprocess.run"])
def test_a_configuration_builds_no_function_of_a_library(target):
    with pytest.raises(UserError, match="is not built"):
        build(OmegaConf.create({"_target_": target}), "model")


def test_a_class_of_a_library_is_built_and_a_package_of_ones_own_when_it_is_named(monkeypatch):
    linear = build(OmegaConf.create({"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}), "model")
    assert linear.out_features == 3
    node = OmegaConf.create({"_target_": "collections.OrderedDict"})
    with pytest.raises(UserError, match=TRUST):
        build(node, "model")
    monkeypatch.setitem(os.environ, TRUST, "mylab, collections")
    assert build(node, "model") == {}


def test_building_a_model_leaves_the_callers_generator_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    mae_hydra.build("backbone.depth=1", "backbone.out_indices=[0]")
    assert torch.equal(torch.rand(1), expected)


def test_an_error_behind_another_keeps_the_sentence_that_was_meant_for_the_person(tmp_path):
    (tmp_path / "classes.json").write_text("{")
    node = OmegaConf.create(mae_hydra_data("ade20k", tmp_path))
    with pytest.raises(UserError) as caught:
        build(node, "data")
    assert str(tmp_path) in str(caught.value)


def mae_hydra_data(name: str, root: Path) -> dict:
    from mae_hydra.configuration.compose import compose_config

    return OmegaConf.to_container(compose_config([f"data={name}", f"data.root={root}"]).data, resolve=True)


def test_a_refusal_is_told_of_the_part_that_refuses_where_a_person_gives_it(monkeypatch):
    wrong = {"_target_": "torch.nn.Dropout", "p": 3}
    for part, key in ((wrong, r"head\.encoder_layer"), ("${layer}", "layer")):
        node = {"_target_": "torch.nn.TransformerEncoder", "encoder_layer": part, "num_layers": 1}
        with pytest.raises(UserError, match=rf"^{key}: dropout probability has to be"):
            build(OmegaConf.create({"head": node, "layer": wrong}).head, "head")

    alone = {"_target_": "torch.nn.TransformerEncoder", "encoder_layer": wrong, "num_layers": 1}
    with pytest.raises(UserError, match=r"^head\.encoder_layer: dropout probability"):
        build(OmegaConf.create(alone), "head")

    def refused(sentence: str, key: str, **given: int) -> str:
        def factory(**_: int) -> None:
            raise ValueError(sentence)

        with pytest.raises(UserError) as caught:
            complete(key, partial(factory, **given))
        return str(caught.value)

    assert refused("head.depth must be one", "head.part") == "head.depth must be one"  # which has its key already
    assert refused("header is long", "head") == "head: header is long"
    assert refused("depth must be one", "head", depth=1) == "head.depth must be one"
    assert refused("depth must be one", "head", width=1) == "head: depth must be one"
    monkeypatch.setenv(TRUST, "fractions")
    broken = OmegaConf.create({"_target_": "fractions.Fraction", "_args_": [1, 0]})
    for origin in ("file", "model"):
        with pytest.raises(UserError, match=r"^head cannot be built \(ZeroDivisionError: Fraction\(1, 0\)\)$"):
            build(broken, "head", origin=origin)
    with pytest.raises(InstantiationException):  # a person's own package: the traceback is theirs
        build(broken, "head")


@pytest.mark.parametrize("origin", ["person", "file", "model"])
def test_every_element_of_a_list_is_judged_wherever_it_lies(origin: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """What is called is judged before anything is, in lists of OmegaConf (what a run is made of) and in plain ones."""
    fine, hostile = {"_target_": "mae_hydra.models.MAEDecoder"}, {"_target_": "builtins.print"}
    for elements, place in (([0, hostile], "[1]"), ([fine, [0, {"x": hostile}]], "[1][1].x"), ([0, 1, hostile], "[2]")):
        node = {"_target_": "mae_hydra.models.MAE", "parts": elements}
        assert list(targets(node, "model")) == list(targets(OmegaConf.create(node), "model"))
        assert list(targets(node, "model"))[-1] == (f"model.parts{place}", "builtins.print")
        with pytest.raises(UserError, match=r"builtins\.print"):
            build(OmegaConf.create({"model": node}).model, "model", origin=origin)
    for elements, place in ((["a", "\\${oc.env:HOME}"], "[1]"), ([0, [{"x": "\\${a}"}]], "[1][0].x")):
        config = OmegaConf.create({"model": {"_target_": "mae_hydra.models.MAE", "parts": elements}})
        with pytest.raises(UserError, match=rf"^model\.parts{re.escape(place)} = .* holds an interpolation"):
            build(config.model, "model", origin=origin)
    assert capsys.readouterr().out == ""
