"""What comes from a file, and what is typed, imports, builds and starts nothing but what the table allows.

Python's own audit events are the witness: every module that is imported, every process, connection and written file.
"""

import copy
import functools
import json
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import TINY_MAE
from omegaconf import OmegaConf
from safetensors.torch import save_file
from watched import evil_module, watched

import mae_hydra
from mae_hydra.configuration.check import check
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build
from mae_hydra.configuration.from_file import literal, read_recorded
from mae_hydra.errors import UserError
from mae_hydra.experiment import resuming
from mae_hydra.experiment.compare import compare
from mae_hydra.experiment.read_runs import read_sweep, table_of
from mae_hydra.experiment.resuming import expanded, refuse_foreign
from mae_hydra.launching.launch import launch
from mae_hydra.launching.stages import check_stages
from mae_hydra.recorded.configuration import composed
from mae_hydra.workflows.evaluation_plan import plan_evaluation

SUBPROCESS = "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler"
TARGETS = [
    "antigravity.geohash", "unittest.__main__.x", "this.x", "evilmod.x", "evilmod.X", "os.system", "subprocess.Popen",
    SUBPROCESS, "torch.load", "torch.hub.load", "torch.utils.cpp_extension.load", "torch.nn.modules.module.torch.load",
    "torchvision.datasets.MNIST", "torchvision.datasets.utils.download_url", "timm.create_model",
    "torchmetrics.text.BERTScore", "wandb.init", "mae_hydra.commands.main", "mae_hydra.launching.launch.launch",
    "mae_hydra.launching.stages._run", "mae_hydra.data.write_ade20k", "mae_hydra.data.shards.cache.fetch",
    "mae_hydra.weights.write_checkpoint", "mae_hydra.models.mae.mae.torch.load",
    "mae_hydra.models.encoders.vision_transformer",
    "mae_hydra.models.patchify", "mae_hydra.models.MAE.__init__", "mae_hydra.models.VisionTransformer.__subclasses__",
    "hydra.utils.get_method", "hydra.utils.instantiate", "functools.partial", "builtins.eval", "os", ".", "..", "",
    "mae_hydra..models.MAE", "${a}", "${oc.env:HOME}", "???", 5, None, ["os.system"], {"_target_": "os.system"},
]  # fmt: skip
TYPED = [target for target in TARGETS if isinstance(target, str) and target not in ("", "???")]
# What Hydra itself would import and call, before a job begins.
HYDRAS = [
    "+hydra.callbacks.x._target_=evilmod.X",
    "++hydra.callbacks={x:{_target_:antigravity.geohash}}",
    "hydra.launcher._target_=evilmod.X",
    "hydra.sweeper._target_=evilmod.X",
    "hydra.searchpath=[pkg://evilmod]",
    "hydra.searchpath=[pkg://antigravity]",
    "hydra.job_logging.handlers.file.class=evilmod.X",
    "+hydra.job_logging.handlers.x={class:logging.StreamHandler,stream:'ext://evilmod.x'}",
    "+hydra.hydra_logging.formatters.simple.class=evilmod.X",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder to work in, from which modules are imported too, with a module that leaves evidence."""
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setattr(sys, "argv", ["train.py"])
        patch.setenv("HYDRA_FULL_ERROR", "1")
        evil_module(folder)
        yield folder


@pytest.fixture(scope="module")
def whole(place) -> Path:
    """A checkpoint as a run leaves it, which has been loaded and planned for once: what is lazy is imported."""
    config = compose_config(TINY_MAE)
    model = mae_hydra.build(*TINY_MAE)
    run = place / "run"
    (run / "checkpoints").mkdir(parents=True)
    plain = OmegaConf.to_container(config, resolve=True)
    content = {"model": model.state_dict(), "config": plain, "step": 1, "meta": {}, "optimizer": {}}
    torch.save(content, run / "checkpoints" / "last.pt")
    (run / "config.yaml").write_text(yaml.safe_dump(plain))
    (run / "overrides.yaml").write_text(yaml.safe_dump(TINY_MAE))
    save_file(model.state_dict(), place / "warm.safetensors", {"config": json.dumps(plain)})
    for path in (run, place / "warm.safetensors"):
        assert mae_hydra.load(path) is not None
    assert plan_evaluation(run, [], "best").config.name == "mae_vitt"
    return run


def refused(act: Callable[[], Any], what: Any) -> str:
    """The one sentence in which `act` is refused; nothing has happened until then."""
    before = set(sys.modules)
    with watched() as happened, pytest.raises(UserError) as caught:
        act()
    assert happened == [], f"{what}: {happened}"
    new = set(sys.modules) - before
    assert not {name for name in new if str(what).startswith(f"{name}.")}, f"{what}: {new}"
    sentence = str(caught.value)
    assert "\n" not in sentence, sentence
    assert len(sentence) < 1000
    return sentence


def around(target: Any, model: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Models with a hostile node at every depth at which a target may stand."""
    node = {"_target_": target, "args": ["touch", "owned"], "entrypoint": "/usr/bin/touch"}
    return {
        "as the model": node,
        "as a part of it": model | {"encoder": node},
        "in a list of lists": model | {"mean": [0.5, [[node]]]},
        "among arguments by position": model | {"_args_": [node], "_recursive_": False, "_convert_": "none"},
        "for later": model | {"decoder": node | {"_partial_": True}},
    }


@pytest.mark.parametrize("kind", ["pt", "pth", "safetensors"])
def test_a_checkpoints_configuration_builds_nothing_but_a_model_and_imports_nothing_else(place, whole, kind):
    content = torch.load(whole / "checkpoints" / "last.pt", weights_only=True)
    file = place / f"hostile.{kind}"
    places = [*around("", {})]
    # What a target is judged by does not depend on the file that holds it: of the other two some stand for all.
    for number, target in enumerate(TARGETS if kind == "pt" else TARGETS[::6]):
        for where in places[number % len(places) :][: 2 if kind == "pt" else 1]:
            model = around(target, content["config"]["model"])[where]
            config = content["config"] | {"model": model}
            if kind == "safetensors":
                save_file(content["model"], file, {"config": json.dumps(config)})
            else:
                torch.save({"model": content["model"], "config": config}, file)
            assert str(file) in refused(lambda: mae_hydra.load(file), target), where
    assert not (place / "evidence").exists()


def test_what_a_run_directory_recorded_is_judged_as_a_files(place, whole):
    """Evaluating takes nothing of overrides.yaml; going on with the run takes words, but none for Hydra."""
    recorded = (whole / "overrides.yaml").read_text()
    nodes = [f"++inference._target_={SUBPROCESS}", "++data.root=https://evil.example/shards"]
    words = [*HYDRAS, "hydra={callbacks:{x:{_target_:evilmod.X}}}", "+experiment@hydra.callbacks.x=demo_classify"]
    words += ["name=${oc.env:HOME}", "notes=${hydra:runtime.cwd}", "--config-dir=/tmp", "-m"]
    try:
        for word in [*nodes[:2], *words]:
            (whole / "overrides.yaml").write_text(yaml.safe_dump([*TINY_MAE, word]))
            with watched() as happened:
                assert plan_evaluation(whole, [], "best").config.inference._target_ == "mae_hydra.inference.Reconstruct"
            assert happened == [], word
            if word in nodes:
                words_taken = expanded([f"resume={whole}"])
                config = compose_config([each for each in words_taken if not each.startswith("resume")])
                refused(lambda config=config: refuse_foreign(config, whole, []), word)
                continue
            with watched() as happened, suppress(UserError):  # the word is left out, or the file refused
                assert word not in expanded([f"resume={whole}"])
            assert happened == [], word
        for text in ("!!python/object/apply:os.system [touch owned]", "[" * 5000, "\0\1\2", "a: &a [*a, *a]\n- b"):
            (whole / "overrides.yaml").write_text(text)
            assert "overrides.yaml" in refused(lambda: expanded([f"resume={whole}"]), text)
    finally:
        (whole / "overrides.yaml").write_text(recorded)
    assert not (place / "evidence").exists()


@pytest.mark.parametrize(
    ("key", "node"),
    [
        *(("inference", {"_target_": target}) for target in ("evilmod.x", SUBPROCESS, "functools.partial", "..")),
        ("data", {"_target_": "mae_hydra.commands.main"}),
        ("data", {"_target_": "mae_hydra.data.write_ade20k"}),
        ("data", {"_target_": "mae_hydra.data.EvalCrop"}),
        ("data", {"_target_": "mae_hydra.tracking.Wandb"}),
        ("engine", {"_target_": "mae_hydra.engine.fit"}),
        ("evaluation.x", {"_target_": "mae_hydra.launching.stages._run", "name": "a"}),
        ("inference", {"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 1}),
        ("data.x", [[{"_target_": "evilmod.X"}]]),
        ("a", {"_target_": "evilmod.X"}),
    ],
)
def test_a_recorded_configuration_builds_parts_of_this_package_in_their_places(place, whole, key, node):
    config = literal(read_recorded(whole / "config.yaml"))
    check(config, origin="file")  # as it was recorded
    OmegaConf.update(config, key, node, merge=False, force_add=True)
    refused(lambda: check(config, origin="file"), node)
    if not key.startswith(("a", "data.x")):
        refused(lambda: build(OmegaConf.select(config, key), key, origin="file"), node)


def test_an_interpolation_in_a_file_is_a_text_and_tells_no_secret(place, whole, monkeypatch):
    monkeypatch.setenv("TOKEN", "secret")
    recorded = read_recorded(whole / "config.yaml")
    told = ["${oc.env:TOKEN}", "${hydra:runtime.cwd}", "a\\${name}", "cost ${", "???x"]
    config = literal(recorded | {"tags": told, "notes": "${oc.env:TOKEN}"})
    assert OmegaConf.to_container(config, resolve=True)["tags"] == told
    assert config.notes == "${oc.env:TOKEN}"
    content = torch.load(whole / "checkpoints" / "last.pt", weights_only=True)
    content["config"]["model"]["masking"] = "${oc.env:TOKEN}"
    torch.save(content, place / "curious.pt")
    assert "secret" not in refused(lambda: mae_hydra.load(place / "curious.pt"), "TOKEN")


def test_what_is_typed_builds_what_the_table_names_and_imports_nothing_else(place, whole):
    composed = compose_config(TINY_MAE)
    for target in TYPED:
        config = copy.deepcopy(composed)
        OmegaConf.update(config, "model.decoder._target_", target.replace("${", "\\${"), force_add=True)
        refused(functools.partial(check, config), target)
        refused(functools.partial(build, config.model, "model"), target)
    for target in ("evilmod.X", SUBPROCESS):
        refused(functools.partial(mae_hydra.build, *TINY_MAE, f"model.decoder._target_={target}"), target)
    assert not (place / "evidence").exists()


@pytest.mark.parametrize("multirun", [False, True])
def test_hydras_own_callbacks_launchers_and_loggers_are_judged_before_hydra_builds_them(place, whole, capfd, multirun):
    for word in HYDRAS if not multirun else HYDRAS[:2]:
        with watched() as happened:
            assert launch([*(["-m", "seed=1,2"] if multirun else []), *TINY_MAE, word, "hydra.run.dir=owned"]) == 1
        said = capfd.readouterr().err.strip().splitlines()
        assert len(said) == 1, said
        assert "is not taken" in said[0]
        assert [each for each in happened if not each.startswith("import importlib")] == []
    assert not (place / "evidence").exists()
    assert not (place / "owned").exists()


def test_a_stage_that_follows_takes_overrides_and_no_options_of_the_program():
    for words in (["--config-dir=/tmp"], ["-m", "seed=1"], "seed=1", 5):
        with pytest.raises(UserError, match=r"then\.x"):
            check_stages({"x": words})
    for word in ("hydra.run.dir=x", "+hydra.job.env_set.A=1", "hydra/launcher=gpus", "+a@hydra.callbacks=b", "~hydra"):
        with pytest.raises(
            UserError, match=r"then\.x holds overrides of the configuration alone .* about Hydra itself"
        ):
            check_stages({"x": ["seed=1", word]})
    with pytest.raises(UserError, match="names a directory"):
        check_stages({"../x": ["seed=1"]})


HOSTILE_STAGES = [
    ["~model", "+model={_target_: evilmod.X, command: id}"],
    ["++tags=[[{_target_: evilmod.X}]]"],
    ["head._target_=timm.layers.attention2d.Attention2d"],  # which a person may say
    ["data=shards", "data.root=https://evil.example/shards"],
]


@pytest.fixture
def followed(place, whole, monkeypatch, tmp_path) -> Callable[..., list[str]]:
    """`followed(stage, *words)`: go on with a complete run that recorded this stage; the run and then the stage, in
    this process one after the other. Gives what was said in errors and what happened that should not."""
    from mae_hydra.launching import stages

    run = tmp_path / "run"
    shutil.copytree(whole, run)
    status = {"state": "completed", "value": 1.0, "start": 1.0, "end": 2.0, "error": None}
    (run / "status.json").write_text(json.dumps(status))
    monkeypatch.setattr(sys, "argv", ["train.py"])
    started: list[Any] = []
    monkeypatch.setattr(stages, "run_apart", lambda command, mark=None: started.append((command, mark)) or (1, None))

    def call(stage: list[str], *words: str) -> list[str]:
        content = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
        content["config"]["then"] = {"x": stage}
        torch.save(content, run / "checkpoints" / "last.pt")
        (run / "config.yaml").write_text(yaml.safe_dump(content["config"]))
        assert launch([f"resume={run}", *words]) == 1  # a stage that is not completed has failed
        with watched() as happened:
            for command, mark in started:
                monkeypatch.setenv(*next(iter((mark or {"NOTHING": ""}).items())))
                assert launch([*command[4:], "paths.output_root=outputs"]) == 1
        return [each for each in happened if "import" in each and "importlib" not in each]

    return call


@pytest.mark.parametrize("stage", HOSTILE_STAGES, ids=str)
def test_what_a_record_says_of_a_stage_is_judged_as_the_records_own_words(place, followed, capfd, stage):
    assert followed(stage) == []
    said = capfd.readouterr().err
    assert "is not built" in said or "no connection is opened" in said
    assert not (place / "evidence").exists()


@pytest.mark.parametrize("word", ["notes=${oc.env:HOME}", r"notes=$\{oc.env\:HOME\}", "+experiment=../../evil"])
def test_a_stage_that_a_record_says_calls_nothing_before_it_is_started(monkeypatch, word):
    monkeypatch.setattr(resuming, "source", None)
    monkeypatch.setattr("mae_hydra.launching.stages._check_composed", lambda words: None)
    check_stages({"x": [word]})  # a person's
    monkeypatch.setattr(resuming, "source", Path("run"))
    with pytest.raises(UserError, match=r"run: then\.x: .* is not taken from a file"):
        check_stages({"x": ["seed=1", word]})
    monkeypatch.setattr(resuming, "typed", ("resume=run", f"+then.x=['{word}']"))
    check_stages({"x": [word]})


def test_a_stage_that_a_person_types_is_a_persons(followed, capfd):
    followed([], '+then.x=["head._target_=timm.layers.attention2d.Attention2d","+head.widths=1"]')
    assert "must be a MAEDecoder, got a Attention2d" in capfd.readouterr().err


def test_a_checkpoints_loggers_are_judged_before_a_plan_looks_them_up(place, whole):
    content = torch.load(whole / "checkpoints" / "last.pt", weights_only=True)
    for key in ("logger", "notes"):
        config = content["config"] | {key: {"x": {"_target_": "timm.layers.attention2d.Attention2d"}}}
        torch.save(content | {"config": config}, place / "logging.pt")
        assert f"{key}.x._target_ = timm" in refused(lambda: composed([str(place / "logging.pt")]), "timm.layers")


def test_a_text_that_was_resolved_is_not_resolved_again_in_another_process_or_a_replay(place, whole, monkeypatch):
    from mae_hydra.launching import worker
    from mae_hydra.workflows import replay_step

    monkeypatch.setenv("TOKEN", "secret")
    config = read_recorded(whole / "config.yaml")
    config["data"] |= {"root": "https:${oc.env:NONE,//}evil.example/x", "classes": "${oc.env:TOKEN}"}
    got: list[Any] = []

    def stop(node: Any, key: str) -> None:
        got.append(OmegaConf.to_container(node, resolve=True))
        raise KeyboardInterrupt

    monkeypatch.setattr(replay_step, "build", stop)
    with pytest.raises(KeyboardInterrupt):
        replay_step.take_again(config, whole, step=1, checkpoint=None, start={})
    monkeypatch.setattr(worker, "run", lambda config, *_, **__: stop(config.data, "data"))
    assert worker._train(config, whole, None, None) == (130, {"state": "stopped"})
    assert got == [config["data"]] * 2


def test_a_sweep_is_read_without_building_what_its_jobs_name(place, whole):
    words = [f"model._target_={target}" for target in TYPED] + ["x=!!python/object/apply:os.system [touch owned]"]
    for name in ("a", "b"):
        job = place / "sweep" / name
        job.mkdir(parents=True)
        status = {"state": "completed", "value": 1.0, "start": 1.0, "end": 2.0, "error": None, "overrides": words}
        (job / "status.json").write_text(json.dumps(status | {"overrides": [*words, f"seed={ord(name)}"]}))
        shutil.copy(whole / "config.yaml", job)
    with watched() as happened:
        rows = table_of(read_sweep(place / "sweep"))
        differing = compare([place / "sweep" / "a", place / "sweep" / "b"])
    assert [row["seed"] for row in rows] == [97, 98]
    assert differing == []
    assert happened == []
    assert not (place / "owned").exists()


def test_a_folder_of_weights_reads_no_file_but_its_own_and_builds_nothing(place, whole):
    folder = place / "folder"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    model = torch.load(whole / "checkpoints" / "last.pt", weights_only=True)["model"]
    save_file(model, folder / "part")
    (place / "secret").write_bytes(b"secret")
    for part in ("../secret", "/etc/passwd", "", "part\0", "missing", "x" * 5000, ".."):
        index = {"weight_map": {"encoder.cls_token": part, "b": "part"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        assert "index.json names" in refused(lambda: mae_hydra.load(folder), part)
    sentences: list[str] = []
    (folder / "part").rename(folder / "model.safetensors")
    (folder / "model.safetensors.index.json").unlink()
    for config in ('{"model_type": {"_target_": "evilmod.X"}}', "[" * 100_000, '{"a": ' * 50_000, "{", "\0", "<html>"):
        (folder / "config.json").write_text(config)
        with watched() as happened:
            try:
                mae_hydra.load(folder, *(word for word in TINY_MAE if word.startswith(("backbone.", "head."))))
            except UserError as error:
                sentences.append(str(error))
        assert happened == []
    assert len(sentences) >= 5
    assert all(str(folder) in sentence for sentence in sentences)


def test_an_own_package_is_built_when_it_is_named_and_only_what_it_defines(place, whole, monkeypatch):
    (place / "mylab.py").write_text(
        "import os\nfrom functools import partial\nfrom mae_hydra.models import MAE\n"
        "class Mine(MAE):\n    pass\nlater = partial(print)\n"
    )
    content = torch.load(whole / "checkpoints" / "last.pt", weights_only=True)
    mine = content["config"]["model"] | {"_target_": "mylab.Mine"}

    def load(target: str) -> Any:
        config = content["config"] | {"model": mine | {"_target_": target}}
        torch.save(content | {"config": config}, place / "mine.pt")
        return mae_hydra.load(place / "mine.pt")

    assert "MAE_HYDRA_TRUST=<package>" in refused(lambda: load("mylab.Mine"), "mylab.Mine")
    monkeypatch.setenv("MAE_HYDRA_TRUST", "otherlab, mylab")
    assert type(load("mylab.Mine")).__name__ == "Mine"
    for target in ("mylab.os.system", "mylab.os", "mylab.later", "mylab.partial", "mylab.nowhere", "mylaboratory.X"):
        refused(lambda target=target: load(target), target)
