"""What is tried with a checkpoint of each kind, and what of a broken one is said."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from checkpoint_files import make_classifier, make_encoder, make_mae, make_patch_segmenter, make_upernet

from mae_hydra.errors import UserError
from mae_hydra.weights import Checkpoint, describe
from mae_hydra.workflows import fits as fitting
from mae_hydra.workflows.fits import _broken, _reason, _start, _untold_heads, fits

LOAD, CLASSIFIER, UPERNET = "mae_hydra.load", "a classifier of the same encoder", "a UPerNet of the same encoder"


def holding(model: torch.nn.Module, **meta: Any) -> Checkpoint:
    return Checkpoint(dict(model.state_dict()), meta, "", Path("a.pt"))


def test_each_kind_of_model_is_tried_in_its_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_load", "_start_the_same", "_start"):
        monkeypatch.setattr(fitting, name, lambda *told, name=name: [name])
    monkeypatch.setattr(fitting, "_reason", lambda attempt, broken: attempt()[0])
    encoder = torch.nn.ModuleDict({"encoder": make_encoder()})
    kinds = {
        "mae": make_mae(), "encoder": encoder, "classifier": make_classifier(), "segmenter": make_upernet(),
        "probe": make_classifier("cls", batch_norm=True), "patches": make_patch_segmenter(),
    }  # fmt: skip
    both = [(f"init_from= of {CLASSIFIER}", "_start"), (f"init_from= of {UPERNET}", "_start")]
    like = {name: (f"init_from= of {what} like it", "_start_the_same") for name, what in (
        ("mae", "a masked autoencoder"), ("classifier", "a classifier"), ("segmenter", "a UPerNet"),
        ("probe", "a linear probe"), ("patches", "a segmentation of patches"),
    )}  # fmt: skip
    scored = (f"{LOAD}, evaluate", "_load")
    assert {name: list(fits(holding(model))) for name, model in kinds.items()} == {
        "mae": [(LOAD, "_load"), like["mae"], *both], "encoder": [(LOAD, "_load"), *both],
        "classifier": [scored, like["classifier"], both[1]], "segmenter": [scored, like["segmenter"]],
        "probe": [scored, like["probe"], *both], "patches": [scored, like["patches"]],
    }  # fmt: skip


def test_why_something_does_not_fit_is_its_refusal_or_the_first_broken_tensor_that_it_takes() -> None:
    tensors = {"a": torch.ones(1), "b": torch.tensor([float("nan")]), "c": torch.tensor([float("inf")]).half(),
               "d": torch.tensor([1])}  # fmt: skip
    broken = dict(_broken(Checkpoint(tensors, {}, "", Path("a.pt"))))
    assert {name: said.partition(":")[0] for name, said in broken.items()} == {
        name: f"{name} in a.pt has NaN or infinite values" for name in "bc"
    }
    assert [_reason(lambda names=names: names, broken)[:1] for names in ("ad", "dac", "acb", "")] == ["", "c", "c", ""]

    def refused() -> Any:
        raise UserError("too small")

    assert _reason(refused, broken) == "too small"


def test_heads_that_no_file_tells_are_said_and_a_transfer_has_the_form_of_the_encoder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = {"encoder": {"num_heads": 2}, "decoder": {"num_heads": 4}}
    heads = ["backbone.num_heads=1", "head.num_heads=1"]
    assert _untold_heads(describe(holding(make_mae()))) == heads
    assert _untold_heads(describe(holding(make_mae(), encoder=told["encoder"]))) == heads[1:]
    assert _untold_heads(describe(holding(make_mae(), **told))) == []
    assert _untold_heads(describe(holding(make_classifier()))) == heads[:1]
    composed: list[list[str]] = []
    monkeypatch.setattr(fitting, "compose_config", lambda words: composed.append(words) or SimpleNamespace(model=None))
    monkeypatch.setattr(fitting, "encoder_overrides", lambda description: ["size"])
    monkeypatch.setattr(fitting, "build", lambda node, key: None)
    monkeypatch.setattr(
        fitting, "fitted_state", lambda model, checkpoint: (None, SimpleNamespace(taken=lambda: ["taken"]))
    )
    whole = make_upernet()
    plain = {name: value for name, value in whole.state_dict().items() if "table" not in name}
    for checkpoint, words in (
        (holding(make_mae()), ["word", "size", "backbone.num_heads=1"]),
        (holding(whole), ["word", "backbone=vit_base_relative", "size"]),
        (
            Checkpoint(plain, {}, "", Path("a.pt")),
            ["word", "backbone=vit_base_relative", "size", "backbone.num_heads=1"],
        ),
    ):
        assert _start(checkpoint, describe(checkpoint), ["word"]) == ["taken"]
        assert composed.pop() == words


def test_what_a_run_carries_of_its_model_counts_before_what_its_shapes_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(fitting, "configuration_of", lambda checkpoint, words: ("told by shapes", words))
    monkeypatch.setattr(fitting, "check_whole", lambda checkpoint, config: asked.append(config))
    monkeypatch.setattr(fitting, "sketch_of", lambda checkpoint, config: asked.append(config))
    monkeypatch.setattr(
        fitting, "fitted_state", lambda model, checkpoint: (None, SimpleNamespace(taken=lambda: ["taken"]))
    )
    own = {"model": "own"}
    broken = Checkpoint({"taken": torch.tensor([float("nan")])}, {}, "", Path("a.pt"))
    monkeypatch.setattr(fitting, "_start", lambda *told: ["other"])
    heads = ("backbone.num_heads=1", "head.num_heads=1")
    for meta, expected in (({"config": own}, [own, own]), ({}, [("told by shapes", ()), ("told by shapes", heads)])):
        saved = holding(make_mae(), **meta)
        assert dict(fits(saved)) == dict.fromkeys(
            (
                LOAD,
                "init_from= of a masked autoencoder like it",
                f"init_from= of {CLASSIFIER}",
                f"init_from= of {UPERNET}",
            ),
            "",
        )
        assert asked == expected
        monkeypatch.setattr(fitting, "_broken", lambda checkpoint: iter([("taken", "taken has NaN")]))
        assert list(dict(fits(saved)).values()) == ["", "taken has NaN", "", ""]
        monkeypatch.setattr(fitting, "_broken", _broken)
        asked.clear()
    assert list(dict(_broken(broken))) == ["taken"]
