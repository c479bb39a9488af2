"""What `mae-hydra evaluate` writes beside its scores: all that a reader of the numbers needs to repeat them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from mae_hydra.commands import main
from mae_hydra.experiment.provenance import sha256_of
from mae_hydra.workflows import evaluate


@pytest.fixture
def run(train, trained_upernet, monkeypatch) -> Path:
    """A run whose last checkpoint is of another step than its best; nothing is drawn."""
    monkeypatch.setattr(evaluate, "write_report", lambda *told: None)
    run = Path(shutil.copytree(trained_upernet, "run"))
    content = torch.load(run / "checkpoints/last.pt", weights_only=True)
    content["step"] += 100
    content["model"]["head.classify.bias"] += torch.arange(12.0)
    (run / "checkpoints/last.pt").unlink()
    torch.save(content, run / "checkpoints/last.pt")
    return run


def evaluated(*words: str, out: str = "found") -> dict:
    assert main(["evaluate", "run", *words, "--out", out]) == 0
    return json.loads(Path(out, "results.json").read_text())


def test_the_protocol_of_an_evaluation_tells_how_it_was_found(run, capsys):
    words = ["inference=slide", "evaluation.validation.limit=3", "evaluation.validation.batch_size=2"]
    found = evaluated(*words)
    protocol = found["protocol"]
    step = torch.load(run / "checkpoints/best.pt", weights_only=True)["step"]
    told = ("step", "images_counted", "validation_images", "processes", "precision", "layout", "sha256", "sha256_of")
    assert {name: protocol[name] for name in told} == {
        "step": step, "images_counted": 3, "validation_images": 4, "processes": 1, "precision": "fp32",
        "layout": protocol["layout"], "sha256": sha256_of(run / "checkpoints/best.pt"), "sha256_of": "the file",
    }  # fmt: skip
    assert found["images"] == 3
    assert protocol["checkpoint"] == "run/checkpoints/best.pt"
    assert protocol["images_per_second"] == pytest.approx(3 / protocol["seconds"])
    assert protocol["differs_from_training"]["inference._target_"] == {
        "now": "mae_hydra.inference.Slide", "training": "mae_hydra.inference.Whole"
    }  # fmt: skip
    assert protocol["inference"]["_target_"] == "mae_hydra.inference.Slide"
    assert protocol["evaluation"]["validation"]["limit"] == 3
    assert (
        "inference._target_ is mae_hydra.inference.Slide (training: mae_hydra.inference.Whole)"
        in capsys.readouterr().out
    )
    config = yaml.safe_load(Path("found/config.yaml").read_text())
    assert (config["inference"], config["data"]) == (protocol["inference"], protocol["data"])
    assert config["engine"]["devices"] == 1
    again = evaluated(*words)
    assert again["protocol"] == protocol
    Path("found/results.json").unlink()
    assert evaluated(*words)["protocol"]["images_counted"] == 0  # all of them are in the counts


def test_the_last_checkpoint_is_another_evaluation_than_the_best(run):
    best, last = evaluated(), evaluated("--last", out="last")
    steps = [torch.load(run / f"checkpoints/{name}.pt", weights_only=True)["step"] for name in ("best", "last")]
    assert [best["protocol"]["step"], last["protocol"]["step"]] == steps
    assert last["protocol"]["checkpoint"] == "run/checkpoints/last.pt"
    assert last["protocol"]["fingerprint"] != best["protocol"]["fingerprint"]
    assert last["mIoU"] != best["mIoU"]


def test_several_evaluators_stand_beside_each_other_under_their_names(run):
    words = [
        "+evaluation.edges={_target_:mae_hydra.evaluation.MeanIoU,_partial_:true,every:null,limit:2,num_pictures:0,"
        "boundary:true,batch_size:1,num_workers:0}"
    ]
    found = evaluated(*words)
    alone = evaluated(out="alone")
    assert found["validation/mIoU"] == alone["mIoU"]
    assert {"edges/mIoU", "edges/mBIoU"} <= found.keys()
    assert "mIoU" not in found
    assert found["images"] == 2  # of the last one
    assert Path("found/edges/counts").is_dir()


def test_a_limit_of_the_training_is_lifted_and_said(run, capsys):
    for file in (run / "checkpoints").glob("*.pt"):
        content = torch.load(file, weights_only=True)
        content["config"]["evaluation"]["validation"]["limit"] = 2
        content["config"]["engine"]["devices"] = 3
        torch.save(content, file)
    found = evaluated()
    said = "all 4 images are evaluated; evaluation.validation.limit=2 was the training's"
    assert (found["images"], found["protocol"]["notes"]) == (4, [said])
    assert said in capsys.readouterr().out
    assert yaml.safe_load(Path("found/config.yaml").read_text())["engine"]["devices"] == 1


def test_another_precision_is_another_evaluation_and_another_batch_is_not(run):
    plain, low, one = (
        evaluated(*words, out=f"found{number}")["protocol"]
        for number, words in enumerate(([], ["engine.precision=bf16"], ["data.batch_size=1"]))
    )
    assert (plain["precision"], low["precision"]) == ("fp32", "bf16")
    assert low["fingerprint"] != plain["fingerprint"] == one["fingerprint"]


def test_an_evaluation_without_counts_tells_how_many_images_it_looked_at(train, trained_mae):
    shutil.copytree(trained_mae, "run")
    found = evaluated("evaluation.validation.limit=3")
    assert (found["images"], found["protocol"]["images_counted"], found["protocol"]["validation_images"]) == (3, 3, 4)
