"""A run is what it recorded: evaluated, predicted with and followed as it was trained, on the files that are there."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from conftest import TINY_MAE, TINY_UPERNET
from forked import start
from test_evaluate import ADE, results_in
from test_interruption import finish

import mae_hydra
from mae_hydra.commands import main
from mae_hydra.experiment.read_runs import read_run

pytestmark = pytest.mark.usefixtures("without_figures")  # other tests look at them


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("scenes") / "ade"
    assert main(["make-data", str(root), "--train", "2", "--validation", "7", "--size", "64", "--workers", "0"]) == 0
    return root


@pytest.fixture
def run(train, trained_upernet, scenes) -> Path:
    shutil.copytree(scenes, "ade")
    return Path(shutil.copytree(trained_upernet, "run"))


def protocol(folder: str) -> dict:
    return json.loads(Path(folder, "results.json").read_text())["protocol"]


def recarry(run: Path, **values) -> None:
    """Let the run's checkpoint carry other values at dotted keys (`__` for a dot)."""
    content = torch.load(run / "checkpoints/best.pt", weights_only=True)
    for key, value in values.items():
        *above, last = key.split("__")
        node = content["config"]
        for name in above:
            node = node[name]
        node[last] = value
    (run / "checkpoints/best.pt").unlink()
    torch.save(content, run / "checkpoints/best.pt")


def swap_labels(name: str) -> None:
    """Another picture's label map for this one."""
    folder = Path("ade/annotations/validation")
    content = (folder / name).read_bytes()
    other = next(file for file in sorted(folder.iterdir()) if file.read_bytes() != content)
    shutil.copyfile(other, folder / name)


def add_picture() -> None:
    for kind, ending in (("images", "jpg"), ("annotations", "png")):
        folder = Path("ade", kind, "validation")
        first = sorted(folder.iterdir())[0]
        shutil.copyfile(first, folder / f"AAA.{first.suffix.removeprefix('.') or ending}")


@pytest.mark.slow
def test_corrected_labels_and_added_pictures_are_counted_anew_and_no_other(run, capsys):
    assert main(["evaluate", "run", *ADE, "--out", "found"]) == 0
    first = results_in("found")
    swap_labels(sorted(os.listdir("ade/annotations/validation"))[2])
    add_picture()
    assert main(["evaluate", "run", *ADE, "--out", "found"]) == 0
    assert "the data have changed" in capsys.readouterr().out
    assert protocol("found")["images_counted"] == 2
    assert main(["evaluate", "run", *ADE, "--out", "fresh"]) == 0
    assert results_in("found") == results_in("fresh") != first
    for folder in ("images", "annotations"):
        next(Path("ade", folder, "validation").glob("AAA.*")).unlink()
    assert main(["evaluate", "run", *ADE, "--out", "found"]) == 0
    assert results_in("found")["images"] == 7
    assert protocol("found")["images_counted"] == 0
    capsys.readouterr()
    assert main(["evaluate", "run", *ADE, "--out", "found"]) == 0
    assert "already complete" in capsys.readouterr().out


@pytest.mark.slow
def test_an_evaluation_that_was_stopped_does_not_mix_counts_of_old_and_new_files(run):
    assert main(["evaluate", "run", *ADE, "--out", "found"]) == 0
    file = Path("found/counts/rank0.jsonl")
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:4]) + b'[]\n{"stamp": 3}\n\xff\x00\n')
    Path("found/results.json").unlink()
    swap_labels(sorted(os.listdir("ade/annotations/validation"))[1])
    assert main(["evaluate", "run", *ADE, "--out", "found"]) == 0
    assert protocol("found")["images_counted"] == 4
    assert main(["evaluate", "run", *ADE, "--out", "fresh"]) == 0
    assert results_in("found") == results_in("fresh")


@pytest.mark.slow
def test_a_limit_of_the_training_does_not_hold_and_one_that_is_typed_is_said(run, capsys):
    recarry(run, evaluation__validation__limit=3)
    assert main(["evaluate", "run", *ADE, "--out", "all"]) == 0
    said = capsys.readouterr().out
    assert "all 7 images are evaluated; evaluation.validation.limit=3 was the training's" in said
    assert "(7 images)" in " ".join(said.split())
    assert main(["evaluate", "run", *ADE, "evaluation.validation.limit=2", "--out", "some"]) == 0
    assert "(2 of 7 images)" in capsys.readouterr().out
    assert (results_in("some")["images"], protocol("some")["validation_images"]) == (2, 7)


@pytest.mark.slow
def test_what_differs_from_the_training_is_said_and_written_down(run, capsys):
    words = ["data=ade20k", "data.root=ade", "data.num_classes=12", "inference=slide", "inference.stride_ratio=0.5"]
    assert main(["evaluate", "run", *words, "--out", "found"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "inference.stride_ratio is 0.5 (not in training)" in lines
    assert "data.reduce_zero_label is true (not in training)" in lines
    told = protocol("found")["differs_from_training"]
    assert told["inference._target_"] == {
        "now": "mae_hydra.inference.Slide", "training": "mae_hydra.inference.Whole"
    }  # fmt: skip
    assert not [key for key in told if key.endswith(("batch_size", "num_workers", "mean", "std", "image_size"))]


@pytest.mark.slow
def test_a_class_of_another_name_is_refused(run, capsys):
    names = json.loads(Path("ade/classes.json").read_text())
    names["names"][1] = "smoke"
    Path("ade/classes.json").write_text(json.dumps(names))
    assert main(["evaluate", "run", *ADE, "--out", "found"]) == 1
    assert "the model alone has cloud, the data alone have smoke" in capsys.readouterr().err


@pytest.mark.slow
def test_the_sha256_is_what_sha256sum_says(run):
    assert main(["evaluate", "run", "--last", "--out", "file"]) == 0
    digest = hashlib.sha256(Path("run/checkpoints/last.pt").read_bytes()).hexdigest()
    assert (protocol("file")["sha256"], protocol("file")["sha256_of"]) == (digest, "the file")


@pytest.mark.slow
def test_the_recorded_words_of_a_run_build_nothing(run):
    hostile = ["inference._target_=torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler"]
    Path("run/overrides.yaml").write_text(yaml.safe_dump([*hostile, "+inference.entrypoint=/usr/bin/touch"]))
    assert main(["evaluate", "run", "--out", "found"]) == 0
    assert protocol("found")["inference"]["_target_"] == "mae_hydra.inference.Whole"


def test_a_part_that_a_file_names_is_not_built(run, capsys):
    recarry(run, inference={"_target_": "torch.nn.Identity"})
    assert main(["evaluate", "run", "--out", "found"]) == 1
    assert (
        "inference._target_ = torch.nn.Identity is not built; only mae_hydra.inference.* is" in capsys.readouterr().err
    )
    assert not Path("found").exists()


def test_the_files_of_a_run_may_have_moved_and_its_configuration_may_say_so(run, capsys):
    recarry(run, data={**torch.load("run/checkpoints/last.pt", weights_only=True)["config"]["data"], "root": "gone"})
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    config["data"] |= {"root": "here", "num_validation": 2}
    Path("run/config.yaml").write_text(yaml.safe_dump(config))
    from mae_hydra.recorded.configuration import recorded
    from mae_hydra.weights import read_checkpoint

    found = recorded(read_checkpoint(run, prefer="best"), [])
    assert (found.tree["data"]["root"], found.tree["data"]["num_validation"]) == ("here", 4)
    assert found.notes == [
        "run/config.yaml has data.num_validation 2, which is not what was trained by: 4 counts, as the checkpoint "
        "carries it"
    ]


OWN = """
defaults: [ade20k]
root: {root}
num_classes: 12
image_size: 64
reduce_zero_label: true
"""


@pytest.mark.slow
def test_a_run_of_own_option_files_is_evaluated_as_it_was_trained(train, scenes, tmp_path, capsys):
    option = tmp_path / "own" / "data" / "mine.yaml"
    option.parent.mkdir(parents=True)
    option.write_text(OWN.format(root=scenes))
    tiny = [word for word in TINY_UPERNET if not word.startswith(("data.num_train", "data.num_validation"))]
    assert train("--config-dir", "own", "model=upernet_vitt", "data=mine", *tiny, "hydra.run.dir=run") == 0
    scores = {key: value for key, value in read_run(Path("run")).metrics.items() if key.startswith("val/")}
    environment = json.loads(Path("run/environment.json").read_text())
    assert environment["config_folders"] == [str(tmp_path / "own")]
    assert environment["choices"]["data"] == "mine"
    assert "--config-dir" in environment["command"]
    option.write_text(OWN.format(root=scenes).replace("true", "false"))
    for words in ([], ["data=ade20k", "data.num_classes=12", f"data.root={scenes}"]):
        assert main(["evaluate", "run", "--last", *words, "--out", f"found{len(words)}"]) == 0
        assert results_in(f"found{len(words)}")["mIoU"] == pytest.approx(scores["val/mIoU"], rel=1e-6)
    shutil.rmtree("own")
    picture = next((scenes / "images" / "validation").iterdir())
    assert main(["predict", "run", str(picture), "--out", "maps"]) == 0
    assert mae_hydra.load("run").num_classes == 12
    assert main(["convert", "run", "whole.pt"]) == 0
    assert main(["evaluate", "whole.pt", "--out", "alone"]) == 0  # a checkpoint without its run
    assert protocol("alone")["data"] == protocol("found0")["data"]
    assert main(["diff", "run", "run"]) == 0


@pytest.mark.slow
def test_own_option_files_are_found_by_what_follows_a_run_and_by_jobs_of_their_own(tmp_path):
    (tmp_path / "own" / "data").mkdir(parents=True)
    (tmp_path / "own" / "data" / "mine.yaml").write_text("defaults: [scenes]\nnum_train: 12\n")
    words = ["-m", "--config-dir", "own", "hydra/launcher=gpus", "hydra.launcher.jobs=1", "data=mine", "seed=1"]
    small = [word for word in TINY_MAE if not word.startswith("data.num_train")]
    then = ",".join(f'"{word}"' for word in ("data=mine", *small) if not word.startswith(("+debug", "engine")))
    finish(start(tmp_path, *words, *small, f"+then.again=[{then}]"))
    [job] = (tmp_path / "outputs").glob("sweeps/*/*/")
    for folder in (job, job / "again"):
        assert read_run(folder).state == "completed"
        assert read_run(folder).config["data"]["num_train"] == 12


def test_the_command_and_what_of_the_environment_mattered_are_recorded_and_shown(tmp_path, monkeypatch, capsys):
    from mae_hydra.experiment.provenance import environment
    from mae_hydra.report.report import write_report

    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("MAE_HYDRA_DATA", "/sets")
    monkeypatch.setenv("MAE_HYDRA_API_KEY", "hidden")
    for number, name in enumerate("ab"):
        folder = tmp_path / name
        folder.mkdir()
        told = environment() | {"config_folders": ["/own files"], "choices": {"data": f"mine{number}"}}
        told |= {"command": ["python", "train.py", "data=mine", f"seed={number}"]}
        assert told["variables"]["MAE_HYDRA_DATA"] == "/sets"
        assert "hidden" not in json.dumps(told)
        status = {
            "state": "completed",
            "value": 1.0,
            "error": None,
            "overrides": ["data=mine", f"seed={number}"],
            "start": 0,
            "end": 1,
        }
        (folder / "status.json").write_text(json.dumps(status))
        (folder / "config.yaml").write_text(yaml.safe_dump({"name": "m", "task": "pretrain", "seed": number}))
        (folder / "environment.json").write_text(json.dumps(told))
    assert main(["diff", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "seed=0" in said
    assert "composed of" in said
    assert "mine1" in said
    text = re.sub(r"\s+", " ", write_report(tmp_path / "a").read_text())
    for shown in ("python train.py data=mine seed=0", "--config-dir &#39;/own files&#39;", "$MAE_HYDRA_DATA", "/sets"):
        assert shown in text, shown
