"""Small functions that everything typed or recorded goes through: words, kinds of values, and what has changed."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from raising import raising

from mae_hydra.configuration import compose as composing
from mae_hydra.configuration import option_files, own_options, reference, resolvers
from mae_hydra.configuration.changes import changes
from mae_hydra.configuration.check import check
from mae_hydra.configuration.command_words import key_of, quoted, readable, split, values, word
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build, targets
from mae_hydra.configuration.from_file import check_addresses, wrong_kind
from mae_hydra.configuration.interpolations import restore
from mae_hydra.configuration.job_names import slug
from mae_hydra.configuration.key_meaning import TABLE, Decides
from mae_hydra.errors import UserError


def test_a_word_says_its_key_and_its_value_as_it_is_typed() -> None:
    assert [key_of(each) for each in ("++a.b=1", "~a.b", "g@p=x", "a/b=c")] == ["a.b", "a.b", "g", "a.b"]
    assert values(["-cd", "one", "--config-dir=two", "seed=1", "-cd", "three"], "--config-dir", "-cd") == [
        "one", "two", "three",
    ]  # fmt: skip
    for text in ("it's", "a\\", "a\\'b", "x, y=[1]", "${seed}", "plain/path-1.pt", "a=b", "a:b", "#a"):
        assert OverridesParser.create().parse_override(word("notes", text)).value() == text
    assert quoted("a'b") == r"'a\'b'"
    assert readable(["seed=1", "_wandb={a: 1}", "--_wandb=x", "data.images={split}/x"]) == [
        "seed=1",
        "data.images='{split}/x'",
    ]


def test_a_word_behind_an_option_is_its_value_where_it_takes_one_that_has_not_been_said() -> None:
    options, overrides = split(
        ["-c", "job", "seed=1", "--cfg=job", "plain", "--info", "all", "b=2", "--info", "~c", "-cd", "a=b", "d=3"]
    )
    assert options == ["-c", "job", "--cfg=job", "--info", "all", "--info", "-cd", "a=b"]
    assert overrides == ["seed=1", "plain", "b=2", "~c", "d=3"]


def test_options_stand_anywhere_and_keys_have_no_dashes() -> None:
    words = ["model=mae_vitt", "-m", "seed=0,1", "--config-dir", "my conf", "-cjob", "b=2", "--multi"]
    assert own_options.options_first(words) == [
        "-m", "--config-dir", "my conf", "-cjob", "--multi", "model=mae_vitt", "seed=0,1", "b=2",
    ]  # fmt: skip
    for typed, answer in (
        ("--model.mask_ratio 0.5", "--model.mask_ratio; keys are typed without dashes: model.mask_ratio=0.5"),
        ("a=1 --seed=3 b=1", "--seed; keys are typed without dashes: seed=3"),
        ("-lr 0.1", "-lr; keys are typed without dashes: lr=0.1"),
        ("--amp b=1", "--amp; keys are typed without dashes: amp=…"),
        ("--amp -m", "--amp; keys are typed without dashes: amp=…"),
        ("--amp", "--amp; keys are typed without dashes: amp=…"),
        ("-c_lr=1", "-c_lr; keys are typed without dashes: c_lr=1"),
        ("--mutlirun seed=0,1", "--mutlirun; did you mean --multirun?"),
    ):
        with pytest.raises(UserError) as caught:
            own_options.options_first(typed.split())
        assert str(caught.value) == f"unknown option {answer}"


def test_what_a_target_lacks_is_told_by_its_key() -> None:
    node = {"head": {"_target_": "torch.nn.Linear", "in_features": 2}}
    with pytest.raises(UserError, match=r"^head\.out_features is missing: Linear needs it$"):
        check(OmegaConf.create(node))
    whole = {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}
    with pytest.raises(UserError, match=r"^head\.parts\[1\]\.out_features is missing"):
        check(OmegaConf.create({"head": {"parts": [whole, node["head"]]}}))
    check(OmegaConf.create({"head": {"parts": [whole, whole]}}))


def test_what_option_files_state_are_values_and_an_encoder_alone_stays_the_model() -> None:
    stated = [option_files.stated(f"mae_hydra.data.{name}") for name in ("segmentation", "ade20k", "folder")]
    assert all(stated)
    assert not any(option_files.UNSET in values for each in stated for values in each.values())
    config = OmegaConf.create({"model": {"depth": 1}, "backbone": {"depth": 1}})
    restore(config, with_paths=False)
    config.backbone.depth = 2
    assert config.model.depth == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.batch_size=true"], "data.batch_size must be a whole number, got True"),
        (["data.mean=[0.5,x,0.5]"], "data.mean must be a list of numbers"),
        (["model.norm_pix=1"], "model.norm_pix must be true or false, got 1"),
    ],
)
def test_truth_is_no_number_and_every_element_of_a_list_counts(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check(compose_config(words))
    check(compose_config(["data.mean=[0,1,0.5]"]))  # whole numbers will do
    assert wrong_kind({"attempt": True}, {"attempt": (int,)}) == "its attempt is True"
    assert wrong_kind({"attempt": 1, "a": {"b": 2}}, {"attempt": (int,), "a.b": (str,)}) == "its a.b is 2"


def test_every_target_has_its_key_and_what_a_part_refuses_is_a_sentence() -> None:
    node = {"_target_": "a", "parts": [{"_target_": "b"}, 1], 0: {"_target_": "c"}}
    assert list(targets(node, "")) == [("", "a"), ("parts[0]", "b"), ("0", "c")]
    assert list(targets(node, "model"))[1:] == [("model.parts[0]", "b"), ("model.0", "c")]
    with pytest.raises(UserError, match=r"^model: .*out_channels"):
        build(OmegaConf.create({"_target_": "torch.nn.Conv2d", "in_channels": 1, "stride": 1}), "model")


def test_an_address_is_said_as_a_whole_or_as_what_lies_below_it() -> None:
    config = OmegaConf.create({"data": {"root": "s3://mine/set", "lists": ["a"]}})
    for typed in ("data.root=s3://mine", "data.root=s3://mine/", "data.root=s3://mine/set"):
        check_addresses(config, [typed], "run")
    for typed in ("data.root=s3://min", "data.root=s3://mine/se", "data.root=s3://mine/set/more", "seed=1"):
        with pytest.raises(UserError, match=r"run reads data\.root = s3://mine/set"):
            check_addresses(config, [typed], "run")


def test_what_a_later_evaluation_does_otherwise_is_told_but_for_limits_and_other_evaluators() -> None:
    before: dict[str, Any] = {
        "data": {"_target_": "d", "root": "a", "mean": [0.5], "num_workers": 1},
        "inference": {"_target_": "i", "crop": 64, "short": 32},
        "evaluation": {"val": {"_target_": "e", "limit": 8, "every": 1, "boundary": False}},
        "engine": {"precision": "fp32", "devices": 2},
    }
    now: dict[str, Any] = {
        "data": before["data"] | {"num_workers": 4, "root": "b"},
        "inference": {"_target_": "i", "crop": 64},
        "evaluation": {
            "val": {"_target_": "e", "limit": None, "every": 5, "boundary": True},
            "more": {"_target_": "m"},
        },
        "engine": {"precision": "bf16", "devices": 1},
    }
    found = {key: str(change) for key, change in changes(now, before).items()}
    assert found == {
        "data.root": "b (training: a)", "inference.short": "absent (training: 32)",
        "evaluation.val.boundary": "true (training: false)", "engine.precision": "bf16 (training: fp32)",
    }  # fmt: skip
    other = now | {
        "inference": {"_target_": "j", "crop": 64},
        "evaluation": {"val": {"_target_": "f", "boundary": True}},
    }
    assert set(changes(other, before)) == {"data.root", "inference._target_", "engine.precision"}


@pytest.mark.parametrize(("own", "told"), [(0.75, {}), (0.5, {"inference.mask_ratio": "0.75 (training: null)"})])
def test_the_models_own_mask_ratio_is_no_change(own: float, told: dict[str, str]) -> None:
    before = {"model": {"mask_ratio": own}, "inference": {"_target_": "i", "mask_ratio": None}}
    now = before | {"inference": {"_target_": "i", "mask_ratio": 0.75}}
    assert {key: str(change) for key, change in changes(now, before).items()} == told


def test_what_a_run_may_change_what_follows_inherits_and_what_names_no_job() -> None:
    """Everything else decides the weights, names a job, and holds for its run alone."""
    engine = {
        row.partition(".")[2] for row in TABLE if row.startswith("engine.") and TABLE[row].decides is Decides.RUNNING
    }
    assert engine == {"devices", "parallel", "nonfinite_limit", "recompute", "log_every", "stop_after", "profile_steps"}
    data = {
        row.partition(".")[2] for row in TABLE if row.startswith("data.") and TABLE[row].decides is not Decides.WEIGHTS
    }
    assert data == {"root", "path", "streaming", "num_workers", "prefetch", "cache", "cache_gb"}
    assert {row for row, meaning in TABLE.items() if meaning.inherited} == {
        "engine", "engine.device", "engine.precision", "engine.devices", "logger", "paths.data_root", "debug",
    }  # fmt: skip
    assert {row for row, meaning in TABLE.items() if not meaning.names_job} == {
        "group", "resume", "resume_data", "tags", "notes", "fail_fast", "then", "logger", "paths", "paths.data_root",
        "sweep", "local", "hydra",
    }  # fmt: skip


def test_the_name_of_a_job_begins_with_what_is_swept_and_follows_from_all_of_it() -> None:
    words = ["z.last=1", "a.first=2", "m.swept=3"]
    assert slug(words, {"m.swept"}).startswith("swept-3_first-2_last-1-")
    assert slug(words, {"m.swept"}) == slug(reversed(words), {"m.swept"})
    assert slug(["a.k=x/y"]) != slug(["a.k=x:y"])  # which read alike
    assert slug(["a.k=x/[y, z]", "b.c=0.5"]).startswith("k-x-y-z-_c-0.5-")


def test_widths_of_the_decode_head_and_directories_of_an_agents_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [resolvers.fused_width(each) for each in (192, [64, 64], [64, 128, 256])] == [192, 64, 512]
    for name, value in (("SWEEP", "s1"), ("RUN", "r1")):
        monkeypatch.setenv(f"WANDB_{name}_ID", value)
    assert resolvers.run_dir("auto", "fresh", "out") == "out/sweeps/s1/r1"
    assert compose_config([], "runs/x").paths.run_dir == "runs/x"


@pytest.mark.parametrize(("own", "data"), [(None, "data"), ("paths: {data: /mine}", "/mine")])
def test_the_places_of_a_machine_are_those_of_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str | None, data: str
) -> None:
    for folder in ("paths", "local"):  # which may hold something else
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "notes.md").touch()
    (tmp_path / "paths/default.yaml").write_text('data: data\ncache: "${.data}/cache"\nrun_dir: ???\n')
    if own is not None:
        (tmp_path / "local/default.yaml").write_text(f"# @package _global_\n{own}\n")
    monkeypatch.setattr(option_files, "config_dir", lambda: tmp_path)
    assert option_files.paths() == {"data": data, "cache": f"{data}/cache", "run_dir": "."}


@pytest.mark.parametrize("answer", [OmegaConf.create({"data": {"name": "${.root}/x"}}), ValueError("broken")])
def test_a_notebook_s_own_hydra_is_what_it_was_after_an_option_file_is_read(
    answer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for place in (ours, theirs):
        (place / "data").mkdir(parents=True)
    (ours / "data/mine.yaml").touch()
    composed: list[Any] = []

    def compose(name: None, overrides: list[str]) -> Any:
        composed.append((folder(), overrides))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def folder() -> str:
        return GlobalHydra.instance().config_loader().get_search_path().get_path()[1].path

    def read() -> None:
        with pytest.raises(UserError, match="broken") if isinstance(answer, Exception) else nullcontext():
            assert option_files.option("data", "mine") == {"name": "${.root}/x"}

    monkeypatch.setattr(option_files, "config_dir", lambda: ours)
    monkeypatch.setattr(option_files, "compose", compose)
    read()
    assert not GlobalHydra.instance().is_initialized()
    with initialize_config_dir(str(theirs), version_base="1.3"):
        read()
        assert folder() == str(theirs)
        monkeypatch.setattr(composing, "config_dir", lambda: ours)
        fail = raising(answer if isinstance(answer, Exception) else ValueError("broken"))
        monkeypatch.setattr(composing, "compose", lambda name, overrides: (folder(), fail())[1])
        with pytest.raises((UserError, ValueError)):
            compose_config(["seed=1"])
        assert folder() == str(theirs)
    assert composed == [(str(ours), ["+data=mine"])] * 2


def test_an_option_file_wins_over_what_it_builds_on_and_machines_own_files_are_no_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "default.yaml").write_text("a: 1\n")
    (tmp_path / "_shared.yaml").write_text("lr: 1\nbeta: 2\n")
    (tmp_path / "mine.yaml").write_text("defaults: [_shared, _self_]\nlr: 3\n")
    found = option_files._content(tmp_path / "mine.yaml")
    assert (found["lr"], found["beta"]) == (3, 2)
    assert "local" not in reference.options([tmp_path])
    made: list[Any] = []
    words = ["-cd", str(tmp_path), "--config-name", "x", f"--config-dir={tmp_path}/b"]
    with monkeypatch.context() as patch:
        patch.setattr(
            own_options.Hydra, "create_main_hydra2", lambda config_search_path, **_: made.append(config_search_path)
        )
        with own_options.looking_where(words) as name:
            paths = [str(entry.path) for entry in made[0].get_path()]
    assert name == "x"

    def place() -> str:
        return str(GlobalHydra.instance().config_loader().get_search_path().get_path()[1].path)

    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        with own_options.looking_where(["-cp", str(tmp_path / "local"), "-cn=y"]) as other:
            assert (other, place()) == ("y", f"{tmp_path}/local")
        assert place() == str(tmp_path)
    places = [index for index, path in enumerate(paths) if path == f"file://{tmp_path}"]
    assert places == [len(paths) - 3]  # behind the primary place, before Hydra's own schema
    assert paths[-2] == f"file://{tmp_path}/b"


def test_of_several_packages_each_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    from mae_hydra.configuration.trust import TRUST, _may_be_built, trusted_packages

    monkeypatch.setenv(TRUST, "one, two ,,three")
    assert trusted_packages() == ("one", "two", "three")
    linear = SimpleNamespace(__module__="torch.nn.modules.linear")
    assert not _may_be_built(linear, "model", "model", "person")  # of that home, but no class
    stranger = type("Stranger", (), {"__module__": "torch.nn.modules.linear"})
    assert not _may_be_built(stranger, "model.head", "model", "person")  # a class, and no layer
