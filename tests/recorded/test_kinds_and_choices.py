"""Kinds of recorded values at their bounds, and what of a record stays where a group is chosen anew."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf
from torch import nn

from mae_hydra.configuration import hydras_own
from mae_hydra.configuration.from_file import wrong_kind
from mae_hydra.errors import UserError
from mae_hydra.recorded import newer, options, sketch
from mae_hydra.recorded.choose import choose
from mae_hydra.recorded.configuration import (
    Recorded,
    _read,
    choices_of,
    names_weights,
    of_a_model_alone,
)
from mae_hydra.recorded.newer import with_newer_arguments, with_newer_groups
from mae_hydra.recorded.sketch import _no_more_parts_than, model_of
from mae_hydra.recorded.tables import (
    KINDS,
    is_duration,
    is_library,
    is_numbers,
    is_precision,
    is_score,
    is_table_of_texts,
    is_text,
    is_texts,
    is_time,
)
from mae_hydra.weights import Checkpoint

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (is_texts, [[], ["a"], ["a", ""]], [None, "a", ("a",), ["a", 1], [None]]),
        (is_table_of_texts, [{}, {"a": []}, {"a": ["b"], "c": ["d"]}], [None, [], {"a": "b"}, {"a": ["b"], "c": [1]}]),
        (is_precision, [None, "fp32", "bf16", "fp16", "bf16_params"], ["auto", "fp64", 16, True]),
        (is_library, [None, "torch", "onednn"], ["mkl", "", 1, True]),
        (is_numbers, [None, [], [1, 2.5]], [[1, "2"], [True], (1,), 3]),
        (is_text, [None, "", "a/b"], ["a\0b", 3, ["a"]]),
        (is_score, [None, 0, -1.5, 3], [True, "3", NAN, INFINITY]),
        (is_time, [None, 0, 1.7e9, 99_999_999_999], [-1, 1e11, True, "0", NAN]),
        (is_duration, [0, 3.5], [None, -0.1, 1e11]),
    ],
)
def test_a_recorded_value_is_of_its_kind_up_to_its_bounds(kind: Any, good: list[Any], bad: list[Any]) -> None:
    assert [kind(value) for value in [*good, *bad]] == [True] * len(good) + [False] * len(bad)


SAMPLES: dict[str, Any] = {
    "null": None, "text": "a", "nul": "a\0", "yes": True, "number": 3, "fraction": 1.5, "negative": -1, "late": 2e11,
    "texts": ["a"], "numbers": [1], "table": {"a": 1}, "lists": {"a": ["b"]},
}  # fmt: skip
KINDS_OF_VALUES = {  # by which samples are right
    "word": "text nul", "text": "null text", "count": "number negative", "count or null": "null number negative",
    "score": "null number fraction negative late", "time": "null number fraction", "duration": "number fraction",
    "list": "texts numbers", "texts": "texts", "numbers": "null numbers", "table": "table lists",
    "table of texts": "lists", "precision or library": "null",
}  # fmt: skip


def test_each_small_file_of_a_run_has_its_keys_and_their_kinds() -> None:
    names = {accepted: name for name, accepted in KINDS_OF_VALUES.items()}

    def name_of(kind: Any) -> str:
        right = [name for name, value in SAMPLES.items() if wrong_kind({"k": value}, {"k": kind}) is None]
        return names[" ".join(right)]

    split = {"images": "count or null", "contents": "text", "listing": "text"}
    assert {file: {key: name_of(kind) for key, kind in kinds.items()} for file, kinds in KINDS.items()} == {
        "status.json": {
            "state": "word", "value": "score", "start": "time", "end": "time", "error": "text", "ended": "text",
            "overrides": "list", "attempt": "count", "before": "duration",
        },
        "config.yaml": dict.fromkeys(("checkpoint", "model", "data", "optimizer", "paths"), "table")
        | {"name": "text", "task": "text"},
        "environment.json": {
            "packages": "table", "variables": "table", "choices": "table", "accelerators": "list",
            "config_folders": "texts", "command": "texts", "folder": "text", "config_name": "text",
        },
        "git.json": {"commit": "text", "branch": "text"},
        "data.json": {
            "root": "text", "classes": "texts", "class_weights": "numbers", "precision": "precision or library",
            "products": "precision or library", "train": "table",
            "validation": "table",
            **{f"{part}.{key}": kind for part in ("train", "validation") for key, kind in split.items()},
        },
        "parent.json": {"path": "text", "sha256": "text", "name": "text", "revision": "text"},
        "fingerprint.json": {"fingerprint": "text", "data": "text"},
        "study.json": {"out": "text", "arms": "table of texts", "words": "texts", "pretrain": "texts"},
    }  # fmt: skip


def test_arguments_that_are_newer_are_completed_in_lists_too(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {"torch.nn.Conv2d": {"kernel_size": [3], "stride": [2], "out_channels": ["${width}"]}}
    monkeypatch.setattr(newer, "stated", lambda target: told.get(target, {}))
    monkeypatch.setattr(newer, "judge", lambda target, key, origin: nn.Conv2d)
    node = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "padding": 1, "_partial_": True}
    config = OmegaConf.create({"width": 8, "model": {"parts": [1, {"a": node}]}, "head": node})
    found, notes = with_newer_arguments(config, ["model"])
    assert OmegaConf.to_container(found.model, resolve=True) == {
        "parts": [1, {"a": node | {"kernel_size": 3, "out_channels": 8}}]  # what has a default needs no value
    }
    assert notes == [
        "model.parts[1].a.out_channels is newer than this run: 8, as today's option files have it",
        "model.parts[1].a.kernel_size is newer than this run: 3, as today's option files have it",
    ]
    assert found["head"] == node
    config.model.parts[1].a.flavour = 1
    for typed in ((), {"seed", "model.parts[1].a.padding"}):
        with pytest.raises(UserError, match=r"model\.parts\[1\]\.a\.flavour was recorded by another version"):
            with_newer_arguments(config, ["model"], typed)
    assert with_newer_arguments(config, ["model"], {"model.parts[1].a.flavour"})[1] == notes
    told["torch.nn.Conv2d"]["out_channels"] = ["${nowhere}"]  # which follows what is not there
    del config.model.parts[1].a.flavour
    assert with_newer_arguments(config, ["model"])[1] == notes[1:]
    assert with_newer_groups({"loss": {"a": 1}, "seed": 3}) == {
        "encoder": {}, "loss": {"a": 1}, "callbacks": {}, "seed": 3,
    }  # fmt: skip


def test_a_file_of_few_tensors_describes_no_large_model() -> None:
    for count, tensors in ((102, 1), (104, 2)):
        checkpoint = Checkpoint({str(n): torch.zeros(1) for n in range(tensors)}, {}, "", Path("a.pt"))
        with _no_more_parts_than(checkpoint):
            nn.ParameterList([torch.zeros(1)] * count)
        with (
            pytest.raises(UserError, match=f"a larger model than its {tensors} tensors"),
            _no_more_parts_than(checkpoint),
        ):
            nn.ParameterList([torch.zeros(1)] * (count + 1))
        modules = [nn.Identity() for _ in range(100 + 8 * tensors + 1)]
        with _no_more_parts_than(checkpoint):
            nn.ModuleList(modules[1:])
        with pytest.raises(UserError, match="a larger model"), _no_more_parts_than(checkpoint):
            nn.ModuleList(modules)
    nn.ParameterList([torch.zeros(1)] * 200)  # of nobody's file


def test_a_configuration_names_a_model_and_gives_one(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint({}, {}, "", Path("a.pt"))
    for config in ({}, {"model": None}, {"model": {"x": 1}}, {"model": "text"}):
        with pytest.raises(UserError, match=r"a\.pt names no model in its configuration"):
            model_of(checkpoint, config)
    asked: list[Any] = []
    monkeypatch.setattr(sketch, "check", lambda node, origin: asked.append((list(node), origin)))
    monkeypatch.setattr(sketch, "build", lambda node, key, origin: asked.append((key, origin)) or 3)
    with pytest.raises(UserError, match=r"a\.pt: model\._target_ = a\.B gives a int, not a model"):
        model_of(checkpoint, {"model": {"_target_": "a.B"}, "data": {"_target_": "c.D"}})
    assert asked == [(["model"], "model"), ("model", "model")]
    layer = nn.Identity()
    monkeypatch.setattr(sketch, "build", lambda node, key, origin: layer)
    assert model_of(checkpoint, {"model": {"_target_": "a.B"}}) is layer


def test_of_a_group_that_is_chosen_anew_what_belongs_to_the_model_stays() -> None:
    own = {"image_size": 64, "channels": 4, "mean": [0.1], "std": [0.2], "batch_size": 3, "root": "old", "classes": 5}
    record: dict[str, Any] = {"data": {"_target_": "a.A", **own}, "inference": {"_target_": "i.I", "crop": 1}}
    node = {"_target_": "b.B", "image_size": 1, "channels": 1, "mean": [1], "std": [1], "batch_size": 1, "classes": 7,
            "root": "new", "more": "???"}  # fmt: skip

    def chosen(group: str, node: dict[str, Any], before: str | None, *words: str) -> tuple[Any, list[str]]:
        config = OmegaConf.create(record)
        keys = OverridesParser.create().parse_overrides(list(words))
        notes = choose(config, record, group, "mine", node, before, keys)
        return OmegaConf.to_container(config[group]), notes

    model = {"image_size": 64, "channels": 4, "mean": [0.1], "std": [0.2], "batch_size": 3}
    assert chosen("data", node, None) == (node | model, [])
    # The files of the training, wherever that is told, keep what was recorded of them.
    same, notes = chosen("data", node, None, "data.root=./old")
    assert same == node | own | {"_target_": "b.B"}
    assert notes[0].startswith("as in training, because these are the files of the training: ")
    assert re.findall(r"data\.(\w+) is (\S+) \(data=mine says ([^)]+)\)", notes[0]) == [
        ("image_size", "64", "1"), ("channels", "4", "1"), ("mean", "[0.1]", "[1]"), ("std", "[0.2]", "[1]"),
        ("classes", "5", "7"),
    ]  # fmt: skip
    assert chosen("data", node | {"root": "old"}, None)[0] == same
    few = {"_target_": "b.B", "image_size": 1, "root": "new"}  # which takes no channels
    assert chosen("data", few, None) == (few | {"image_size": 64}, [])
    record["data"]["root"] = str(Path("~/old").expanduser())
    assert chosen("data", node, None, "data.root='~/old'")[1] == notes
    slide = {"_target_": "i.J", "crop": 9}
    assert chosen("inference", slide, "mine") == (slide, [])  # another class was of that name
    again = {"_target_": "i.I", "crop": 9}
    assert chosen("inference", again, "mine") == (
        record["inference"],
        ["as in training, because the training chose it too: inference.crop is 1 (inference=mine says 9)"],
    )
    assert chosen("inference", again, "mine", "seed=1", "inference.crop=4") == (record["inference"], [])
    assert chosen("inference", {"_target_": "i.J", "std": 1}, None) == ({"_target_": "i.J", "std": 1}, [])  # not data
    assert chosen("inference", again, "other") == (again, [])
    assert chosen("inference", {"_target_": "i.I", "crop": "???"}, None) == (record["inference"], [])


def test_words_on_top_are_groups_keys_or_refused() -> None:
    words = ["inference=slide", "data={a: 1}", "~head", "~logger=console", "data.root=inference", "seed=3"]
    chosen, keys = _read(words, ())
    assert chosen == {"inference": "slide"}
    assert [str(key.key_or_group) for key in keys] == ["data", "head", "logger", "data.root", "seed"]
    for word, said in (
        ("seed=1,2", "is a sweep or a list"),
        ("+debug=smoke", "is for a training"),
        ("sweep=a", "is for"),
    ):
        with pytest.raises(UserError, match=said):
            _read(["seed=3", word], ())


def test_who_says_what_is_built_is_a_person_where_a_new_word_chose_it(tmp_path: Path) -> None:
    tree = {"a": {"_target_": "x.A", "b": [{"_target_": "x.B"}]}, "c": {"_target_": "x.C"}}
    found = Recorded(tree, record={}, named=frozenset({"x.B"}))
    assert (found.origin("a"), found.origin("c")) == ("person", "file")
    assert Recorded(tree).origin("c") == "person"  # of a file that carries nothing
    assert of_a_model_alone({"model": {}, "backbone": {}, "seed": 1})
    assert not of_a_model_alone({"model": {}, "data": {}})
    told = {"origin": {"environment": {"choices": {"data": "ade20k", "model": 3}}}}
    assert choices_of(Checkpoint({}, told, "", Path("a"))) == {"data": "ade20k", "model": "3"}
    (tmp_path / "run").mkdir()
    (tmp_path / "a=b").mkdir()  # an override all the same
    words = [str(tmp_path / "run"), str(tmp_path / "none"), str(tmp_path / "a=b"), "hf-hub:a/b", "hf-hub:a/b@c#part=d"]
    assert [names_weights(word) for word in words] == [True, False, False, True, True]


def test_option_files_of_ones_own_are_looked_for_where_the_run_found_them(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "b" / "mine.yaml").touch()

    def of(with_places: bool = True, with_name: bool = True, **record: Any) -> list[str]:
        told = {"folder": str(tmp_path)} | record
        return options.own_option_files(told, Path("run"), with_places=with_places, with_name=with_name)

    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    both = ["x", "train", "--config-dir", "a", "--config-path=b", "-cn", "mine"]
    assert of() == of(command="text") == of(config_name="config") == []
    assert of(config_folders=["a", "b"]) == ["--config-dir", a, f"hydra.searchpath=['file://{b}']"]
    assert of(config_folders=["a", "b"], config_name="mine") == [
        "--config-dir", b, "--config-name", "mine", f"hydra.searchpath=['file://{a}']",  # where that file lies
    ]  # fmt: skip
    assert of(command=both) == ["--config-path", b, "--config-name", "mine", f"hydra.searchpath=['file://{a}']"]
    for flag, said in (("-cp", "--config-path"), ("-cd", "--config-dir"), ("--config-dir", "--config-dir")):
        assert of(command=["x", flag, "a"]) == [said, a]
        assert of(command=["x", "--config-name=mine", f"{flag}=b"]) == [said, b, "--config-name", "mine"]
    assert of(command=both, with_name=False) == ["--config-path", b, f"hydra.searchpath=['file://{a}']"]
    assert of(command=both, with_places=False) == ["--config-name", "mine"]
    with pytest.raises(UserError, match=r"run was started with option files in \S*/none, which is not there"):
        of(config_folders=["a", "none"])
    words = ("-cd=a", "--config-path", "hydra.searchpath=[a]", "--config-name=a", "config-dir=a")
    assert [options.names_places(["seed=1", word]) for word in words] == [True, True, True, False, False]


def test_what_option_files_come_to_is_composed_without_what_is_for_a_start_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    def composing(name: str, overrides: list[str], return_hydra_config: bool) -> Any:
        if "bad=1" in overrides:
            raise ConfigCompositionException("no bad")
        asked.append((name, overrides, return_hydra_config))
        return OmegaConf.create({"a": "${b}", "optimizer": {"_target_": "x.X", "lr": 1, "old": 2}})

    monkeypatch.setattr(options, "compose", composing)
    whole = "optimizer={_target_: y.Y, lr: 3}"
    found = options.composed(["resume=must", whole, "seed=1", "+resume=x", "--config-name", "mine"], with_hydra=True)
    assert asked == [("mine", [f"++{whole}", "seed=1"], True)]
    assert found == {"a": "${b}", "optimizer": {"_target_": "x.X", "lr": 1}}  # what the word does not say has gone
    with pytest.raises(UserError, match="no bad"):
        options.composed(["bad=1"])


def test_option_files_of_a_run_may_say_what_a_person_says_and_call_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hydra: dict[str, Any] = {"run": {"dir": "a"}, "job": {"name": "x"}, "sweep": 1}
    trees: dict[bool, Any] = {}

    def composing(words: list[str], *, with_hydra: bool) -> dict[str, Any]:
        assert with_hydra
        tree = trees["mine=1" in words]
        if isinstance(tree, Exception):
            raise tree
        return {"a": 1, "hydra": hydra} | tree

    monkeypatch.setattr(options, "composed", composing)
    words, run = ["mine=1", "hydra.run.dir=b", "--config-dir", "d"], Path("run")
    for plain, theirs, typed, said in (
        ({}, {}, [], None), ({}, {"a": {"b": ["${oc.env:HOME}"]}}, [], r"run was started with hold \$\{oc.env:HOME"),
        ({}, {"a": {"b": ["${oc.env:HOME}"]}}, ["a='${oc.env:HOME}'"], None), ({}, {"a": "${model.name}"}, [], None),
        ({}, {"hydra": hydra | {"run": {"dir": "b"}}}, [], r"set hydra\.run\.dir; that is not taken from a file"),
        ({}, {"hydra": hydra | {"sweep": 2, "job": {"name": "y"}}}, [], None),
        ({}, {"hydra": hydra | {"callbacks": {"x": 1}}}, [], r"set hydra\.callbacks"),
        ({"hydra": hydra | {"run": {"dir": "b"}}}, {"hydra": hydra | {"run": {"dir": "b"}}}, [], None),
        ({}, hydras_own.WouldImport("hydra.launcher", "x"), [], r"set hydra\.launcher; that"),
    ):  # fmt: skip
        trees.update({False: plain, True: theirs})
        if said is None:
            options.refuse_acting(words, typed, run)
        else:
            with pytest.raises(UserError, match=said):
                options.refuse_acting(words, typed, run)


def test_two_trees_differ_in_their_first_key() -> None:
    one = {"a": {"b": 1, "c": [1]}, "d": 2}
    for other, key in (
        (one, None), ({"a": {"b": 1, "c": [2]}, "d": 3}, "x.a.c"), ({**one, "e": 1}, "x.e"), ({"a": one["a"]}, "x.d"),
        ({"a": 1, "d": 2}, "x.a"),
    ):  # fmt: skip
        assert options._differing(one, other, "x") == key
    node = {"run": {"dir": "a"}, "job": {"name": "n", "chdir": True}, "sweep": 1, "launcher": {}, "callbacks": {"x": 1}}
    assert options._acting(node) == {"run": {"dir": "a"}, "job": {"chdir": True}, "callbacks": {"x": 1}}
