"""Weights by name, as a person uses them: typed wherever a checkpoint is taken, and opened for nobody else."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
import yaml
from conftest import TINY
from PIL import Image
from safetensors.torch import save_file
from served import Served, serving, sha256

import mae_hydra
from mae_hydra.benchmark import plan as planning
from mae_hydra.benchmark.estimate import Activations
from mae_hydra.commands import main

CLASSIFIER = [
    "model=classifier_vitt",
    *TINY,
    "backbone.out_indices=[1]",
    "evaluation={}",
    "checkpoint.monitor=train/loss",
]


@pytest.fixture
def served(tmp_path, monkeypatch):
    monkeypatch.setenv("MAE_HYDRA_CACHE", str(tmp_path / "cache"))
    with serving() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        yield found


@pytest.fixture
def address(train, served: Served, trained_mae: Path) -> str:
    """Of a pre-trained MAE."""
    served.files["/mae.pt"] = (trained_mae / "checkpoints/last.pt").read_bytes()
    return f"{served.address}/mae.pt"


def forget(served: Served) -> None:
    """As on another machine, without a connection."""
    shutil.rmtree("cache")
    served.files.clear()
    served.asked.clear()


def test_a_training_begins_from_an_address_and_records_what_it_was(train, served, address):
    digest = sha256(served.files["/mae.pt"])
    assert train(*CLASSIFIER, f"init_from={address}#sha256={digest}", "hydra.run.dir=tuned") == 0
    parent = json.loads(Path("tuned/parent.json").read_text())
    assert parent["name"] == address
    assert parent["sha256"] == digest
    assert hashlib.sha256(Path(parent["path"]).read_bytes()).hexdigest() == digest
    assert train(*CLASSIFIER, f"init_from={address}", "hydra.run.dir=again", "seed=1") == 0
    assert len(served.bodies()) == 1


def test_another_digest_stops_the_training_before_its_model_is_built(train, served, address, capsys):
    assert train(*CLASSIFIER, f"init_from={address}#sha256={'0' * 64}", "hydra.run.dir=tuned") == 1
    assert "nothing of it is kept" in capsys.readouterr().err
    assert not Path("tuned/checkpoints").exists()


@pytest.mark.usefixtures("without_figures")
def test_a_run_goes_on_is_replayed_and_evaluated_without_its_address(train, served, address, capsys):
    every = ["checkpoint.every=2", "checkpoint.keep_last=9"]
    assert train(*CLASSIFIER, *every, f"init_from={address}", "hydra.run.dir=tuned") == 0
    whole = torch.load("tuned/checkpoints/step-00000004.pt", weights_only=True)["model"]
    assert main(["replay", "tuned", "step=1"]) == 0  # from the cache
    for name in ("last.pt", "best.pt", "step-00000004.pt"):
        Path("tuned/checkpoints", name).unlink(missing_ok=True)
    shutil.copy("tuned/checkpoints/step-00000002.pt", "tuned/checkpoints/last.pt")
    status = json.loads(Path("tuned/status.json").read_text())
    Path("tuned/status.json").write_text(json.dumps({**status, "state": "interrupted"}))
    forget(served)
    assert train("resume=tuned") == 0
    again = torch.load("tuned/checkpoints/step-00000004.pt", weights_only=True)["model"]
    assert all(torch.equal(whole[name], again[name]) for name in whole.keys() | again.keys())
    assert main(["evaluate", "tuned"]) == 0
    assert main(["replay", "tuned", "step=4"]) == 0
    assert not served.asked
    capsys.readouterr()
    assert main(["replay", "tuned", "step=1"]) == 1
    assert "is not the file that the run began from" in capsys.readouterr().err
    assert not served.asked


def test_a_recorded_address_is_opened_where_it_is_typed_and_not_otherwise(train, served, address, capsys):
    content = served.files["/mae.pt"]
    assert train(*CLASSIFIER, f"init_from={address}", "hydra.run.dir=tuned") == 0
    shutil.rmtree("tuned/checkpoints")  # killed before the first
    status = json.loads(Path("tuned/status.json").read_text())
    Path("tuned/status.json").write_text(json.dumps({**status, "state": "running"}))
    forget(served)
    assert train("resume=tuned") == 1
    assert "nothing is downloaded because a file says so" in capsys.readouterr().err
    assert not served.asked
    served.files["/mae.pt"] = content
    assert train("resume=tuned", f"init_from={address}") == 0
    assert len(served.bodies()) == 1


@pytest.mark.usefixtures("without_figures")
def test_an_address_that_only_a_record_tells_is_opened_by_no_command(train, served, address, trained_mae, monkeypatch):
    monkeypatch.setattr(planning, "activations", lambda *told, **more: Activations(1, 1))  # they need no weights
    run = Path(shutil.copytree(trained_mae, "run"))
    for file in ("config.yaml", "overrides.yaml"):
        content = yaml.safe_load((run / file).read_text())
        if isinstance(content, dict):
            content["init_from"] = address
        else:
            content.append(f"init_from={address}")
        (run / file).write_text(yaml.safe_dump(content))
    assert main(["evaluate", "run"]) == 0
    assert main(["plan", "run"]) == 0
    assert main(["publish", "run", "published"]) == 0
    assert main(["convert", "--inspect", "run"]) == 0
    mae_hydra.load("run")
    assert not served.asked


@pytest.mark.slow
def test_every_command_that_takes_a_checkpoint_takes_an_address(train, served, trained_upernet, capsys):
    served.files["/upernet.pt"] = (trained_upernet / "checkpoints/best.pt").read_bytes()
    address = f"{served.address}/upernet.pt"
    Image.new("RGB", (64, 64)).save("one.png")
    assert main(["evaluate", address, "--out", "scores"]) == 0
    assert json.loads(Path("scores/results.json").read_text())["protocol"]["name"] == address
    assert main(["predict", address, "one.png", "--out", "predicted"]) == 0
    assert main(["convert", address, "converted.safetensors"]) == 0
    assert main(["convert", "--inspect", address]) == 0
    assert main(["export", address, "model.pt2"]) == 0
    assert main(["plan", address]) == 0
    assert main(["benchmark", "parts", address]) == 0
    assert main(["benchmark", "inference", address, "--rounds", "1", "--size", "64", "64", "--alone"]) == 0
    model = mae_hydra.load(address)
    assert model.num_classes == 12
    assert len(served.bodies()) == 1


def test_known_addresses_are_lines_that_a_program_can_cut(capsys):
    assert main(["convert", "--known"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert all(len(row) == 4 for row in rows)
    assert ["timm/vit_base_patch16_224.mae", "ViT-B/16"] in [row[:2] for row in rows]


@pytest.mark.slow
@pytest.mark.usefixtures("forked_children")
def test_processes_of_one_run_download_once(train, served, address):
    served.files["/two.pt"] = served.files["/mae.pt"]
    assert train(*CLASSIFIER, f"init_from={served.address}/two.pt", "hydra.run.dir=tuned", "engine.devices=2") == 0
    assert len(served.bodies()) == 1


@pytest.mark.slow
def test_a_backbone_of_timm_begins_from_timms_weights_and_is_published(train, served, tmp_path):
    source = timm.create_model("resnet10t.c3_in1k")
    save_file(source.state_dict(), tmp_path / "made.safetensors")
    repository = {"model.safetensors": (tmp_path / "made.safetensors").read_bytes()}
    served.repositories["timm/resnet10t.c3_in1k"] = repository
    words = ["model=upernet_vitt", *TINY[:2], *TINY[-3:], "backbone=timm", "backbone.model_name=resnet10t"]
    words += ["head.channels=16", "init_from=timm/resnet10t.c3_in1k", "optimizer.lr=1e-12", "hydra.run.dir=run"]
    assert train(*words) == 0
    parent = json.loads(Path("run/parent.json").read_text())
    assert (parent["name"], parent["revision"]) == ("timm/resnet10t.c3_in1k", served.commit)
    assert main(["publish", "run", "published"]) == 0
    original, read_back = mae_hydra.load("run"), mae_hydra.load("published")
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(original(images), read_back(images))
    loaded = [tensor for name, tensor in read_back.state_dict().items() if name.endswith("conv1.0.weight")]
    assert [torch.allclose(tensor, source.state_dict()["conv1.0.weight"], atol=1e-6) for tensor in loaded] == [True]
    assert "resnet10t" in Path("published/README.md").read_text()
