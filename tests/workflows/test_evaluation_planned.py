"""What an evaluation does with the words that were typed: which count, which are refused, what they lift."""

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mae_hydra.configuration.changes import Change
from mae_hydra.errors import UserError
from mae_hydra.recorded.configuration import Recorded
from mae_hydra.weights import Checkpoint
from mae_hydra.workflows import evaluation_plan
from mae_hydra.workflows.evaluation_plan import (
    MEAN_IOU,
    WHOLE,
    Plan,
    _lift_limits,
    _refuse_an_idle_size,
    _settle_precision,
    _split_of,
    _takes_other_pictures,
    _with_an_evaluation,
    plan_evaluation,
)

FILE = Checkpoint({}, {}, "", Path("a.pt"))


def found(changed: tuple[str, ...] = (), typed: tuple[str, ...] = (), **tree: Any) -> Any:
    """What a record and new words give; `changed`: keys in which it is no longer the record."""
    given: dict[str, Any] = {"data": {"_target_": "mae_hydra.data.folder"}, "inference": {"_target_": WHOLE}}
    made = Recorded(given | tree, record={"task": "segment"}, typed=frozenset(typed))
    changes = dict.fromkeys(changed, Change(1, 2))
    return SimpleNamespace(
        **{name: getattr(made, name) for name in ("tree", "config", "record", "typed")}, changes=lambda: changes
    )


def test_a_split_has_several_names_and_is_no_word_of_the_configuration() -> None:
    names = ("validation", "val", "test", "train", "training")
    assert [_split_of([f"split={name}", "a=1"]) for name in names] == [
        ("validation", ["a=1"]), ("validation", ["a=1"]), ("test", ["a=1"]), ("train", ["a=1"]), ("train", ["a=1"])
    ]  # fmt: skip
    assert _split_of(["a=1", "splits=2"]) == ("validation", ["a=1", "splits=2"])
    with pytest.raises(UserError, match="split=tets: the splits are validation, test and train"):
        _split_of(["split=tets"])


@pytest.mark.parametrize(
    ("typed", "lifted"),
    [
        ((), {"evaluation.a.limit": 3, "evaluation.b.limit": 5}),
        (("evaluation.a.limit",), {"evaluation.b.limit": 5}),
        (("evaluation.b",), {"evaluation.a.limit": 3}),
        (("evaluation",), {}),
        (("evaluation.a.limits", "evaluation.a.every"), {"evaluation.a.limit": 3, "evaluation.b.limit": 5}),
    ],
)
def test_each_limit_is_lifted_unless_it_or_what_it_lies_in_is_typed(
    typed: tuple[str, ...], lifted: dict[str, int]
) -> None:
    given = found(typed=typed, evaluation={"a": {"limit": 3}, "b": {"limit": 5}, "c": {"limit": None}, "d": None})
    assert _lift_limits(given) == lifted
    was = {"a": 3, "b": 5, "c": None}
    left = {name: node["limit"] for name, node in given.tree["evaluation"].items() if node}
    assert left == {name: None if f"evaluation.{name}.limit" in lifted else limit for name, limit in was.items()}


def test_other_pictures_are_looked_at_window_by_window_where_nobody_says_how() -> None:
    slide = {"_target_": "mae_hydra.inference.Slide"}
    assert [_takes_other_pictures(found((key,)), ["a=1"]) for key in ("data.root", "data._target_", "data.mean")] == [
        True, True, False,
    ]  # fmt: skip
    other = found(("data.root",))
    words = (["inference=whole"], ["inference.short=9"], ["+inference.short=9"], ["data.inference=1"])
    assert [_takes_other_pictures(other, list(said)) for said in words] == [False, False, False, True]
    assert not _takes_other_pictures(found(("data.root",), inference=slide), [])


def test_an_image_size_is_refused_where_it_decides_nothing() -> None:
    def refuses(typed: str = "data.image_size", **tree: Any) -> bool:
        nodes = {"evaluation": {"a": {"_target_": MEAN_IOU}}, "inference": {"crop": 32, "short": 48}} | tree
        nodes["data"] = {"_target_": "mae_hydra.data.folder", "image_size": 64} | tree.get("data", {})
        given = found(typed=(typed,), **nodes)
        if "told" in tree:
            given.record = None
        try:
            _refuse_an_idle_size(given)
        except UserError as error:
            return str(error).startswith("data.image_size would change nothing here")
        return False

    accuracy = {"_target_": "mae_hydra.evaluation.Accuracy"}
    assert refuses()
    assert not refuses("data.root")
    assert not refuses(told=None)  # a file that carries nothing
    assert not refuses(evaluation={"a": {"_target_": MEAN_IOU}, "b": accuracy})
    assert [refuses(inference=node) for node in ({"crop": 64, "short": 9}, {"crop": 9, "short": 64}, {"crop": 9})] == [
        False, False, True,
    ]  # fmt: skip
    targets = ("mae_hydra.data.scenes", "mae_hydra.data.scene_classes", "mae_hydra.data.segmentation")
    assert [refuses(data={"_target_": target}) for target in targets] == [False, False, True]


def test_a_run_that_evaluated_nothing_gets_what_its_task_is_evaluated_by(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(evaluation_plan, "recorded", lambda *given: asked.append(given))
    more = [Path("own")]
    for task in ("segment", "classify", "pretrain"):
        _with_an_evaluation(found(task=task), FILE, ["a=1"], more)
    assert asked == [
        (FILE, [f"evaluation={task}", "a=1"], evaluation_plan.PARTS, more)
        for task in ("segment", "classify", "pretrain")
    ]
    for task, words in (("segment", ["evaluation=none"]), ("mine", []), (None, [])):
        with pytest.raises(UserError, match="there is nothing to evaluate"):
            _with_an_evaluation(found(task=task), FILE, list(words), more)


@pytest.mark.parametrize(
    "word", ["model.norm_pix=1", "+model.x=1", "++backbone.depth=3", "head=mae_decoder", "model=x"]
)
def test_what_the_checkpoint_decides_is_not_changed_by_a_word(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    read: list[Any] = []
    monkeypatch.setattr(evaluation_plan, "read_checkpoint", lambda path, **told: read.append(told) or FILE)
    for prefer in ("best", "last"):
        with pytest.raises(UserError, match=r"cannot be changed here: the model comes from the checkpoint$"):
            plan_evaluation("a.pt", ["data.root=x", word], prefer)
    assert read == [{"prefer": "best", "download": True}, {"prefer": "last", "download": True}]
    with pytest.raises(UserError, match=r"to score at another ratio use inference\.mask_ratio=0\.5$"):
        plan_evaluation("a.pt", ["+model.mask_ratio=0.5"], "best")


def test_a_precision_that_the_weights_decide_is_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    half = replace(FILE, tensors={"a": torch.zeros(1, dtype=torch.bfloat16)})
    for asked, checkpoint in (("auto", FILE), ("auto", half), ("fp32", half)):
        given = found(engine={"device": "auto", "precision": asked})
        notes = _settle_precision(given, checkpoint)
        chosen = evaluation_plan.precision.resolved(asked, "cpu", checkpoint.tensors.values())
        alone = evaluation_plan.precision.resolved(asked, "cpu")
        assert given.tree["engine"]["precision"] == (asked if chosen == alone else chosen)
        assert notes == evaluation_plan.precision.note_of(asked, chosen, "cpu", "engine.precision=")


def test_what_a_file_names_is_built_as_a_files_and_what_was_typed_as_a_persons() -> None:
    """A layer of torch is built for a person alone."""
    layer = {"_target_": "torch.nn.Identity"}
    inner = {"_target_": "torch.nn.TransformerEncoderLayer", "d_model": 2, "nhead": 1, "dim_feedforward": 2}
    whole = {"_target_": "torch.nn.TransformerEncoder", "encoder_layer": inner, "num_layers": 1}
    whole |= {"enable_nested_tensor": False}
    config = Recorded({"data": whole, "inference": layer}).config
    plan = Plan(FILE, config, "", "", "", named=frozenset({"torch.nn.TransformerEncoderLayer"}))
    assert isinstance(plan.build("data"), torch.nn.TransformerEncoder)  # for what was typed within it
    with pytest.raises(UserError, match=r"torch\.nn\.Identity.* is not built"):
        plan.build("inference")


@pytest.mark.parametrize("typed", [frozenset(), frozenset({"data.range", "engine.devices", "evaluation.a.limit"})])
def test_a_plan_hands_on_what_it_was_asked_and_is_named_by_all_that_decides(
    typed: frozenset[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree: Any = {
        "task": "segment", "data": {"_target_": "mae_hydra.data.folder"},
        "inference": {"_target_": "mae_hydra.inference.Slide"}, "evaluation": {"a": {"_target_": MEAN_IOU, "limit": 3}},
        "engine": {"device": "cpu", "precision": "fp32", "devices": 4},
    }  # fmt: skip
    asked: list[Any] = []
    done: list[Any] = []
    nothing: dict[str, Any] = {"a": {"every": 1}} if typed else {}  # settings of an evaluator that is not there
    records = [{"evaluation": nothing}, {}, {}]  # one that evaluated nothing, one of other pictures, the last

    def recorded(checkpoint: Checkpoint, words: Any, parts: Any, more: Any) -> Recorded:
        asked.append((list(words), more))
        made = copy.deepcopy(tree | records[len(asked) - 1])
        return Recorded(made, record=tree, typed=typed, named=frozenset({"a.B"}), notes=["noted"])

    saved = Checkpoint({}, {}, "", Path("a.pt"), part="ema")
    for name, stub in {
        "read_checkpoint": lambda path, **told: saved, "recorded": recorded, "sha256_of": lambda path: "abc",
        "_takes_other_pictures": lambda found, words: len(asked) == 2,
        "_refuse_an_idle_size": lambda found: done.append("size"),
        "_settle_precision": lambda found, checkpoint: ["settled"],
        "use_recorded_range": lambda data, meta, path: done.append("range"),
        "check": lambda part, origin: done.append((*part, origin)),
        "check_addresses": lambda config, words, where: done.append((words, where)),
    }.items():  # fmt: skip
        monkeypatch.setattr(evaluation_plan, name, stub)
    more = [Path("own")]
    made = plan_evaluation("run", ["split=test", "seed=1"], "best", more)
    assert asked == [
        (["seed=1"], more),
        (["evaluation=segment", "seed=1"], more),
        (["inference=slide", "seed=1"], more),
    ]
    parts = [(part, "file") for part in ("data", "inference", "evaluation", "engine")]
    assert done == ["size", *([] if typed else ["range"]), *parts, (["seed=1"], "run")]
    tree["engine"]["devices"] = 4 if typed else 1
    tree["evaluation"]["a"]["limit"] = 3 if typed else None
    assert made.config == tree
    assert made.fingerprint == evaluation_plan._fingerprint(tree, "abc", "ema", "test")
    assert (made.name, made.weights, made.split) == (f"folder-slide-test-{made.fingerprint[:6]}", "abc", "test")
    assert (made.notes, made.named) == (["noted", "settled"], {"a.B"})
    assert (made.lifted, made.changes) == ({} if typed else {"evaluation.a.limit": 3}, {})
    assert made.checkpoint is saved


def test_where_there_is_an_accelerator_its_precision_is_settled_unless_the_cpu_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    asked: list[str] = []
    monkeypatch.setattr(
        evaluation_plan.precision, "resolved", lambda asked_for, kind, *_: asked.append(kind) or asked_for
    )
    monkeypatch.setattr(evaluation_plan.precision, "note_of", lambda *told: list(told))
    for device, kind in (("auto", "cuda"), ("cuda", "cuda"), ("cpu", "cpu")):
        notes = _settle_precision(found(engine={"device": device, "precision": "fp32"}), FILE)
        assert notes[:4] == ["fp32", "fp32", kind, "engine.precision="]
        assert len(notes[4]) == len(FILE.tensors)
    assert asked[::2] == asked[1::2] == ["cuda", "cuda", "cpu"]
