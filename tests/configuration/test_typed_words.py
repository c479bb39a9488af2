"""Words and names by hand: targets that are typed, names of jobs, widths, places of option files, Hydra's refusals."""

import os
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from mae_hydra.configuration import hydra_errors, interpolations, made_optimizer, option_files, own_options, resolvers
from mae_hydra.configuration.command_words import (
    key_of,
    named_targets,
    parsed,
    readable,
    searching,
    split,
    typed_texts,
    values,
    word,
)
from mae_hydra.configuration.hydra_errors import explain, unknown_key, unknown_option
from mae_hydra.configuration.interpolations import NOTHING, value_of
from mae_hydra.configuration.job_names import slug, unnamed
from mae_hydra.configuration.key_meaning import flatten, told
from mae_hydra.errors import UserError


def test_targets_and_texts_are_found_in_whatever_is_typed() -> None:
    words = [
        "_target_=a.A", "model.encoder._target_=b.B", "~head", "name=_target_", "seed=1", "x/y/_target_=f.F",
        "loss={_target_: c.C, parts: [{_target_: d.D}, {x: {_target_: e.E}}]}",
    ]  # fmt: skip
    overrides = OverridesParser.create().parse_overrides(words)
    assert named_targets(overrides) == {"a.A", "b.B", "c.C", "d.D", "e.E", "f.F"}
    assert typed_texts(parsed(["a=b", "-c", "d", "e={f: [g, {h: i}]}", "j=1", "k=l,m", "n=[o]", "p="])) == {
        "b", "f", "g", "h", "i", "o", "",
    }  # fmt: skip
    assert [str(each.key_or_group) for each in parsed(["a=b", "c=d=e", "-m", "x"])] == ["a"]


def test_addresses_are_quoted_where_they_are_of_weights() -> None:
    given = [
        "init_from=hf-hub:a/b#part=ema", "+init_from=HTTPS://a.b/c?d=1", "init_from=timm/x", "init_from=runs/a=b",
        "notes=hf-hub:a/b#x", "init_from=hf-hub:a,hf-hub:b", "++_wandb={a: 1}", "data.images='{split}/x'",
    ]  # fmt: skip
    assert readable(given) == [
        "init_from='hf-hub:a/b#part=ema'", "+init_from='HTTPS://a.b/c?d=1'", "init_from=timm/x", *given[3:6], given[7],
    ]  # fmt: skip
    assert word("a", "x/y-1.0+b_c") == "a=x/y-1.0+b_c"
    assert word("a", "größe") == "a='größe'"
    assert searching([]) == []
    assert searching(["file:///a", "b'c"]) == [r"hydra.searchpath=['file:///a','b\'c']"]
    assert [key_of(each) for each in ("a.b:c=1", " +a = 1", "~a/b@c:d")] == ["a.b", "+a", "a.b"]
    assert values(["-cd", "a", "--cd=b", "-cd"], "-cd") == ["a"]
    assert split(["--info=all", "plain", "-p", "x=1", "y=2"]) == (["--info=all", "-p", "x=1"], ["plain", "y=2"])
    long = ("config-dir", "config-name", "config-path", "package", "cfg", "experimental-rerun")
    for flag in (*(f"--{name}" for name in long), "-cd", "-cn", "-cp", "-p", "-c"):
        assert split([flag, "a=1", "b=2"]) == ([flag, "a=1"], ["b=2"])
    patterns = ["+data.images={split}/x", "~a.b={split}", "a={split}/x,y", "a={split}:x", "a/b={split}", "a=split"]
    assert readable(patterns) == ["+data.images='{split}/x'", "~a.b='{split}'", *patterns[2:]]


def test_a_directory_of_a_job_keeps_the_name_that_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["b.last=1", "a.first=2"]
    monkeypatch.delenv("MAE_HYDRA_SWEPT", raising=False)
    plain = slug(words)
    assert plain.startswith("first-2_last-1-")
    assert plain == slug(["+b.last=1", "a.first=2"])
    monkeypatch.setenv("MAE_HYDRA_SWEPT", '["b.last"]')
    new = slug(words, sweep_dir=str(tmp_path))
    assert new.startswith("last-1_first-2-")
    (tmp_path / plain).mkdir()  # of an older version
    assert slug(words, sweep_dir=str(tmp_path)) == plain
    monkeypatch.setenv("MAE_HYDRA_SWEPT", '["b.last", "c.second"]')
    assert slug([*words, "c.second=3"], sweep_dir=str(tmp_path / "none")).startswith("last-1_second-3_first-2-")
    monkeypatch.setenv("MAE_HYDRA_SWEPT", "{")
    assert slug(words, sweep_dir=str(tmp_path / "none")) == plain
    long = slug([f"a.key={'x' * 300}"])
    assert (len(long), long[:100]) == (107, "key-" + "x" * 96)
    assert slug(["notes=a", "tags=[b]", "hydra.x=1"]) == "defaults"
    assert slug(["notes=a"], {"notes"}).startswith("notes-a-")
    words = ("++tags=[a]", "seed=1", "logger=wandb", "hydra/launcher=x", "+debug=a", "~logger.wandb", "paths@x=y")
    assert [unnamed(each) for each in words] == [True, False, True, True, False, True, True]


def test_widths_are_of_their_map_and_a_run_that_goes_on_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [resolvers.width(64, 3), *(resolvers.width([1, 2, 3], index) for index in (0, 1, -1))] == [64, 1, 2, 3]
    monkeypatch.setattr(resolvers, "_asked", lambda name, indices: 8 if indices is None else [name, *indices])
    assert [resolvers.timm_widths("vit", indices) for indices in (None, [1, 2])] == [8, ["vit", 1, 2]]
    pools = ("mean", "cls", "cls_concat", "cls_and_mean")
    assert [resolvers.pooled_width([8, 16], pool, 3) for pool in pools] == [16, 16, 48, 32]
    for sweep, run, expected in (
        ("s-1", "r_1", "out/sweeps/s-1/r_1"), ("../s", "r", "fresh"), ("s", "r/..", "fresh"), ("", "r", "fresh"),
        ("s", "", "fresh"),
    ):  # fmt: skip
        monkeypatch.setenv("WANDB_SWEEP_ID", sweep)
        monkeypatch.setenv("WANDB_RUN_ID", run)
        for resume in ("auto", "never", None, str(tmp_path / "none")):
            assert resolvers.run_dir(resume, "fresh", "out") == expected
        assert resolvers.run_dir(f"{tmp_path}{os.sep}", "fresh", "out") == str(tmp_path)
    resolvers.register()
    made = OmegaConf.create({
        "a": 6, "b": "", "mul": "${mul:${a},7}", "same": "${equal:${a},6}", "other": "${unequal:${a},6}",
        "named": "${named:${b},x}", "own": "${named:${a},x}", "ids": ["${uid:}", "${uid:}"],
    })  # fmt: skip
    assert (made.mul, made.same, made.other, made.named, made.own) == (42, True, False, "x", 6)
    assert made.ids[0] == made.ids[1]
    assert len(made.ids[0]) == 4


def test_a_folder_of_option_files_is_that_of_its_source(tmp_path: Path) -> None:
    package = Path(torch.__file__).parent
    for schema, path, expected in (
        ("file", str(tmp_path / "x" / ".."), str(tmp_path)), ("pkg", "torch.nn", str(package / "nn")),
        ("pkg", "/torch/nn/", str(package / "nn")), ("pkg", "torch_none", "pkg://torch_none"),
    ):  # fmt: skip
        assert own_options.folder_of(SimpleNamespace(schema=schema, path=path)) == expected
    assert own_options._address(SimpleNamespace(schema="pkg", path="a.b")) == "pkg://a.b"
    assert own_options._address(SimpleNamespace(schema="file", path=str(tmp_path / "."))) == f"file://{tmp_path}"


def test_a_job_in_another_process_looks_where_this_one_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = str(own_options.config_dir())
    sources = [
        SimpleNamespace(provider="hydra", schema="pkg", path="hydra.conf"),
        SimpleNamespace(provider="main", schema="file", path=ours),
        SimpleNamespace(provider="command-line", schema="file", path=f"{tmp_path}/x/.."),
        SimpleNamespace(provider=own_options.TYPED, schema="pkg", path="mylab.conf"),
        SimpleNamespace(provider=own_options.TYPED, schema="file", path=str(tmp_path / "b")),
        SimpleNamespace(provider="schema", schema="structured", path=""),
    ]
    job = SimpleNamespace(config_name="mine")
    told = SimpleNamespace(runtime=SimpleNamespace(config_sources=sources), job=job)
    monkeypatch.setattr(own_options, "HydraConfig", SimpleNamespace(initialized=lambda: True, get=lambda: told))
    typed = f"hydra.searchpath=['pkg://mylab.conf','file://{tmp_path / 'b'}']"
    assert own_options.own_sources() == sources[2:5]
    assert own_options.words_for_another_process() == ["--config-dir", str(tmp_path), "--config-name", "mine", typed]
    job.config_name, sources[1].path = "config", "/other"
    words = own_options.words_for_another_process()
    assert words == ["--config-path", "/other", "--config-dir", str(tmp_path), typed]
    monkeypatch.setattr(own_options.HydraConfig, "initialized", lambda: False)
    assert own_options.words_for_another_process() == []


@pytest.mark.parametrize(
    ("error", "words", "said"),
    [
        ("Could not override 'evil'. No match in the defaults list.", [], "+evil=<option>"),
        ("x missing EQUAL y", ["a", "= 1", "b=2"], "type a=1"),
        ("Error parsing override 'a'\nmissing EQUAL", ["a"], "cannot read override 'a'"),
        (
            "Ambiguous value for argument 'a.b=1,2'",
            [],
            "a.b=1,2: to sweep over the values add -m",
        ),
        ("no viable alternative at {\nmore", [], "an override cannot be read (no viable alternative at {)"),
        ("Missing mandatory value\nfull_key: name", [], "a value is missing"),
        ("one \n\n two\nSee https://x for more", [], "one two"),
        ("Could not append to config. An item is already at 'a.b'", [], "a.b is there already; leave out the plus"),
        (
            "Could not find 'data/x'\n\nAvailable options in 'data':\n\ta\n\tb.c-d\n\nConfig search path:\n\tx",
            [],
            "data=x does not exist; options: a, b.c-d",
        ),
    ],
)
def test_each_refusal_of_hydra_is_one_sentence(error: str, words: list[str], said: str) -> None:
    found = explain(ValueError(error), words)
    assert said in found
    assert "\n" not in found


def test_a_key_or_an_option_that_is_not_there_is_answered_with_what_is() -> None:
    known: dict[str, str | None] = {"model.mask_ratio": None, "data.values": None, "data.values.a": None}
    assert (
        unknown_key("data.values", [], known) == "data.values has no such entry; add one with a plus: +data.values={…}"
    )
    assert unknown_key("data.root", [], known).startswith("unknown key 'data.root': data=scenes is rendered")
    assert unknown_key("data.values", [], {"data.values": None}).startswith("data.values has no such entry")
    assert unknown_key("model.root", [], {"data.root": None}) == "unknown key 'model.root'; did you mean 'data.root'?"
    assert unknown_key("x", [], {}).startswith("unknown key 'x'; `python train.py … --cfg job` shows all")
    assert "none like it" in unknown_key("qwerty", [], known)
    assert unknown_option("model", "mae_vitx", ["mae_vitb", "upernet"]).startswith(
        "model=mae_vitx does not exist; did you mean model=mae_vitb?"
    )
    assert unknown_option("model", "q", ["a", "b"]) == "model=q does not exist; options: a, b"
    assert hydra_errors._swept("a=1,2")
    assert not hydra_errors._swept("a=[1,2]")
    assert not hydra_errors._swept("a = ]")  # which is no override at all


def test_keys_are_looked_up_in_what_the_other_words_compose(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    @contextmanager
    def looking(options: Any) -> Any:
        asked.append(options)
        yield "mine"

    def compose(name: str, overrides: list[str]) -> Any:
        asked.append((name, overrides))
        if "fails=1" in overrides:
            raise ValueError("a second mistake")
        return OmegaConf.create({"a": {"b": 1}})

    monkeypatch.setattr(hydra_errors, "looking_where", looking)
    monkeypatch.setattr(hydra_errors, "compose", compose)
    words = ["model.x=1", "resume=a", "hydra.run.dir=b", "hydra.searchpath=[c]", "seed=1,2", "-cd", "own", "name=n",
             "optimizer={_target_: a.B}", "model.xs=1"]  # fmt: skip
    assert hydra_errors._known_keys("model.x", words) == {"a": None, "a.b": None}
    kept = ["hydra.searchpath=[c]", "name=n", "++optimizer={_target_: a.B}", "model.xs=1"]
    assert asked == [["-cd", "own"], ("mine", kept)]
    assert hydra_errors._known_keys("model.x", ["fails=1"]) == {}


def test_what_an_interpolation_of_an_option_file_gives_is_its_value_or_nothing() -> None:
    config = OmegaConf.create({"a": 3, "b": {"c": "${a}"}})
    assert [value_of(config, value) for value in ("${a}", "${b}", 7, [1, "${a}"], "x${a}")] == [
        3, {"c": 3}, 7, [1, 3], "x3",
    ]  # fmt: skip
    assert value_of(config, "${none}") is NOTHING


@pytest.mark.parametrize("with_paths", [False, True])
def test_what_follows_another_value_today_follows_it_again_where_it_has_the_same(
    with_paths: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = {"size": ["${data.size}", 3], "root": ["${paths.root}/x"], "whole": ["${a}"]}
    monkeypatch.setattr(interpolations, "stated", lambda target: stated if target == "t" else {})
    node = {"_target_": "t", "size": 3, "root": "r/x"}
    config = OmegaConf.create({
        "data": {"size": 3}, "paths": {"root": "r"}, "a": node, "b": {**node, "size": 4, "root": "q/x"},
        "c": {"more": {"_target_": "t", "whole": node}}, "d": {**node, "_target_": "u"},
    })  # fmt: skip
    interpolations.restore(config, with_paths=with_paths)
    config.data.size, config.paths.root = 9, "s"
    found = OmegaConf.to_container(config, resolve=True)
    assert isinstance(found, dict)
    root = "s/x" if with_paths else "r/x"
    assert found["a"] == found["c"]["more"]["whole"] == {"_target_": "t", "size": 9, "root": root}
    assert (found["b"]["size"], found["b"]["root"], found["d"]) == (4, "q/x", {**node, "_target_": "u"})
    assert list(found) == ["data", "paths", "a", "b", "c", "d"]  # and no model


def test_options_are_files_whose_names_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("own/data/mine", "own/data/_base", "own/notes", "conf/data/a", "conf/model/b"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text("")
    monkeypatch.setattr(option_files, "config_dir", lambda: tmp_path / "conf")
    more = [tmp_path / "own"]
    assert option_files.groups() == option_files.groups(more) == {"data", "model"}
    assert (option_files.options("data"), option_files.options("data", more)) == (["a"], ["a", "mine"])
    for name in ("_base", "none"):
        with pytest.raises(UserError, match=f"data={name} does not exist"):
            option_files.option("data", name, more)
    composed: list[Any] = []
    monkeypatch.setattr(option_files, "_composed", lambda words: composed.append(words) or {"data": {"a": 1}})
    assert option_files.option("data", "mine", [*more, tmp_path / "conf"]) == {"a": 1}
    search = f"hydra.searchpath=['file://{tmp_path}/own','file://{tmp_path}/conf']"
    assert composed == [[search, "+data=mine"]]
    calls = [{"_target_": "x", "a": [1, {"_target_": "y"}]}, {"b": {"_target_": "z"}}]
    assert [node["_target_"] for node in option_files._calls(calls)] == ["x", "y", "z"]


def test_an_optimizer_is_made_of_its_own_arguments_by_place_and_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def factory(model: Any, first: int, *, lr: float) -> Any:
        made.append((model, first, lr))
        if lr < 0:
            raise ValueError("lr must be positive")
        return "optimizer"

    def given(lr: float) -> None:
        monkeypatch.setattr(made_optimizer, "build", lambda node, key: partial(lambda first, **k: None, 3, lr=lr))
        monkeypatch.setattr(
            made_optimizer, "optimizer_of", lambda model, built: factory(model, *built.args, **built.keywords)
        )

    node: Any = None
    model: Any = "model"
    given(0.5)
    assert made_optimizer.made_optimizer(node, model) == "optimizer"
    assert made == [("model", 3, 0.5)]
    given(-1)
    with pytest.raises(UserError, match=r"^optimizer\.lr must be positive"):
        made_optimizer.made_optimizer(node, model)
    monkeypatch.setattr(made_optimizer, "build", lambda node, key: torch.nn.Linear(1, 1))
    with pytest.raises(UserError, match="optimizer needs _partial_: true"):
        made_optimizer.made_optimizer(node, model)


def test_changes_are_told_up_to_five_and_empty_tables_are_values() -> None:
    changed = {name: (number, number + 1) for number, name in enumerate("abcdef")}
    assert told(changed) == "a: 0 -> 1; b: 1 -> 2; c: 2 -> 3; d: 3 -> 4; e: 4 -> 5 …"
    assert told(dict(list(changed.items())[:5])) == "a: 0 -> 1; b: 1 -> 2; c: 2 -> 3; d: 3 -> 4; e: 4 -> 5"
    assert flatten({"a": {"b": {}, "c": [1, {"d": 2}]}, "e": None}) == {"a.b": {}, "a.c": [1, {"d": 2}], "e": None}
