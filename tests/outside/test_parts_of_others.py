"""Parts of every kind that mae_hydra does not know."""

import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import forked
import pytest
import torch
from page import PROJECT, ROOT
from visit import ALL, CONF, ENCODER, OWN, SMOKE, train, trained, visiting  # noqa: F401

import mae_hydra
from mae_hydra.commands import main

RESULTS = {"val/mIoU", "val/found"}
NAMES = ("killed", "whole")


def numbers(run: Path) -> dict[str, float]:
    return json.loads((run / "results.json").read_text())


def last(run: Path) -> dict:
    return torch.load(run / "checkpoints" / "last.pt", weights_only=True)


def photos(folder: Path) -> Path:
    from mylab.data import Shapes
    from PIL import Image

    folder.mkdir()
    for index in range(2):
        image = Shapes(2, 80, seed=5)[index].image.movedim(0, 2).numpy()
        Image.fromarray(image).save(folder / f"{index}.png")
    return folder


def test_the_encoder_is_short_and_nothing_in_the_house_knows_it():
    assert len((PROJECT / "mylab" / "encoder.py").read_text().splitlines()) <= 60
    house = [*(ROOT / "mae_hydra").rglob("*.py"), *(ROOT / "conf").rglob("*.yaml")]
    names = (
        "MixedMaps",
        "Signum",
        "FlipsAndLight",
        "ShapesFound",
        "Diary",
        "GoodEnough",
        "import mylab",
        "from mylab",
    )
    assert not [(path, name) for path in house for name in names if name in path.read_text()]


def test_all_parts_train_together_and_each_does_its_part(trained):  # noqa: F811
    run = trained("all")
    assert numbers(run).keys() >= RESULTS
    diary = [json.loads(line) for line in (run / "diary.jsonl").read_text().splitlines()]
    assert [line["step"] for line in diary if "found" in line] == [2, 4]
    assert diary[-1] == {"finished": "completed"}
    table = json.loads((run / "tables" / "shapes.json").read_text())
    assert [row["name"] for row in table] == ["ground", "disc", "square"]
    groups = last(run)["optimizer"]["param_groups"]
    assert {group["depth"] for group in groups} == set(range(6))  # layer decay by the encoder's own depths
    assert groups[0]["momentum"] == 0.9


def test_a_run_whose_options_came_with_the_package_is_found_again(tmp_path):
    words = ["hydra.searchpath=[pkg://mylab.conf]", *(word for word in ALL if word not in OWN)]
    assert train(tmp_path, *words, "hydra.run.dir=run", "schedule.total=2") == 0
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["config_folders"] == [str(CONF)]
    assert train(tmp_path, "resume=run") == 0


def test_a_trained_model_reads_back_with_the_package_and_not_without(trained, monkeypatch, capsys):  # noqa: F811
    run = trained("all")
    model = mae_hydra.load(run)
    best = torch.load(run / "checkpoints" / "best.pt", weights_only=True)["model"]
    assert all(torch.equal(tensor, best[name]) for name, tensor in model.state_dict().items())
    monkeypatch.delenv("MAE_HYDRA_TRUST")
    assert main(["evaluate", str(run), "--out", "never"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "MAE_HYDRA_TRUST=<package>" in said
    assert said.count("\n") == 1


def test_evaluating_gives_what_the_training_found(trained, tmp_path):  # noqa: F811
    run = trained("all")
    assert main(["evaluate", str(run), "--last", "--out", str(tmp_path / "scores")]) == 0
    found = json.loads((tmp_path / "scores" / "results.json").read_text())
    assert found["validation/mIoU"] == pytest.approx(numbers(run)["val/mIoU"])
    assert found["shapes/found"] == pytest.approx(numbers(run)["val/found"])
    assert (tmp_path / "scores" / "shapes" / "shapes.csv").read_text().splitlines()[:2] == [
        "name,found,images", "ground,75.0,4",
    ]  # fmt: skip


@pytest.mark.slow
def test_predicting_exporting_reporting_and_looking(trained, tmp_path, capsys):  # noqa: F811
    run, pictures = trained("all"), photos(tmp_path / "photos")
    assert main(["predict", str(run), str(pictures), "--out", str(tmp_path / "maps")]) == 0
    assert len(list((tmp_path / "maps" / "labels").glob("*.png"))) == 2
    assert main(["export", str(run), str(tmp_path / "model.pt2"), "--check"]) == 0
    assert main(["convert", "--inspect", str(run)]) == 0
    assert "mylab.encoder.DINOv3" in capsys.readouterr().out
    assert main(["report", str(run), "--out", str(tmp_path / "page")]) == 0
    assert "Table: shapes" in (tmp_path / "page" / "index.html").read_text()


@pytest.mark.slow
def test_replaying_planning_and_timing(trained, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    run, words = trained("all"), [word for word in ALL if word not in OWN]
    assert main(["replay", str(run), "step=2"]) == 0
    assert json.loads((run / "replay/step-2/step.json").read_text())["step"] == 2
    assert main(["plan", *words, *OWN]) == 0
    assert main(["plan", str(run)]) == 0
    assert main(["benchmark", "step", str(run), "--rounds", "1"]) == 0
    assert "mmsegmentation" not in capsys.readouterr().out  # which has no such model


def test_check_data_looks_at_a_set_that_it_has_no_lister_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["check-data", "data=mylab", "data.num_train=6", "data.num_validation=2", *OWN]) == 0
    assert "0 errors" in capsys.readouterr().out


@pytest.mark.slow
def test_a_masked_autoencoder_and_what_begins_from_it(trained, tmp_path, capfd):  # noqa: F811
    pretrained = trained("mae")
    assert numbers(pretrained)["val/loss"] > 0
    pictures = photos(tmp_path / "photos")
    assert main(["predict", str(pretrained), str(pictures), "--out", str(tmp_path / "panels")]) == 0
    assert main(["export", str(pretrained), str(tmp_path / "tokens.pt2"), "--check"]) == 0
    still = ["optimizer.lr=1.0e-9", "schedule.total=1", "schedule.warmup=0", "evaluation=none"]
    begun = [*still, f"init_from={pretrained}", "hydra.run.dir=begun"]
    assert train(tmp_path, *ALL, *begun) == 0
    said = capfd.readouterr().out
    for word in ("loaded", "new", "unused", "decoder"):
        assert word in said
    theirs, ours = last(pretrained)["model"], last(tmp_path / "begun")["model"]
    encoders = [name for name in theirs if name.startswith("encoder.")]
    assert encoders
    assert all(torch.allclose(theirs[name], ours[name], rtol=0, atol=2e-9) for name in encoders)


@pytest.mark.parametrize(
    "words",
    [
        ["model=upernet_vitb"],
        ["head=fcn", "loss=cross_entropy", "optimizer=adamw_layer_decay"],
        ["engine.recompute=true", "model.trainable_blocks=2", "optimizer.layer_decay=0.5"],
    ],
    ids=["in UPerNet", "among parts of ours", "recomputed and half frozen"],
)
@pytest.mark.slow
def test_the_parts_compose_with_those_of_the_house(tmp_path, words):
    left = [word for word in ALL if not word.startswith("head.") or "head=fcn" not in words]
    assert train(tmp_path, *left, *words, "hydra.run.dir=run") == 0
    assert numbers(tmp_path / "run").keys() >= RESULTS


def test_frozen_blocks_are_the_first_by_the_encoders_own_depths():
    words = [f"hydra.searchpath=[file://{CONF}]", "+experiment=mylab", *ENCODER, "model.trainable_blocks=1"]
    learning = [name for name, each in mae_hydra.build(*words).encoder.named_parameters() if each.requires_grad]
    assert {name.split(".")[2] for name in learning if "blocks" in name} == {"3"}


@pytest.mark.slow
def test_a_classifier_of_the_encoder(trained, tmp_path):  # noqa: F811
    words = [*OWN, "model=classifier_vitt", "backbone=mylab", *SMOKE, *ENCODER, "backbone.patch_size=8"]
    assert train(tmp_path, *words, f"init_from={trained('mae')}", "hydra.run.dir=run") == 0
    assert main(["evaluate", str(tmp_path / "run"), "--out", str(tmp_path / "scores")]) == 0


@pytest.mark.slow
def test_two_devices_that_share_the_weights_train_as_one_does(tmp_path, monkeypatch):
    forked.children(monkeypatch)
    whole = [*ALL, "engine.ema_decay=0.9"]
    halves = [*whole, "engine.devices=2", "engine.parallel=fsdp", "data.batch_size=1", "engine.global_batch=2"]
    assert train(tmp_path, *whole, "hydra.run.dir=whole") == 0
    assert train(tmp_path, *halves, "hydra.run.dir=halves") == 0
    for name, value in numbers(tmp_path / "whole").items():
        if name.startswith(("val/", "train/loss")):
            assert numbers(tmp_path / "halves")[name] == pytest.approx(value, rel=1e-3), name


@pytest.mark.slow
def test_a_sweep_over_them(tmp_path):
    words = ["optimizer.layer_decay=0.5,1.0", "schedule.total=1", "schedule.warmup=0", "hydra.sweep.dir=sweep"]
    assert train(tmp_path, "-m", *ALL, *words) == 0
    with open(tmp_path / "sweep" / "results.csv") as file:
        assert [row["state"] for row in csv.DictReader(file)] == ["completed"] * 2
    assert main(["report", str(tmp_path / "sweep")]) == 0


@pytest.mark.slow
def test_a_run_that_is_good_enough_is_complete(tmp_path, capsys):
    words = [*ALL, "callbacks.good_enough.target=0", "callbacks.good_enough.times=1"]
    assert train(tmp_path, *words, "hydra.run.dir=run") == 0
    said = "ended after step 2 of 4: val/mIoU has reached 0 in 1 evaluations in a row (callbacks.good_enough)"
    assert said in capsys.readouterr().out
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["state"], last(tmp_path / "run")["step"]) == ("completed", 2)
    assert main(["evaluate", str(tmp_path / "run"), "--out", str(tmp_path / "scores")]) == 0


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_bit_for_bit_like_an_unbroken_one(tmp_path):
    words = [
        *ALL,
        "schedule.total=30",
        "checkpoint.every=4",
        "evaluation.shapes.every=10",
        "callbacks.good_enough.target=0",
    ]
    words += ["evaluation.validation.every=3", "callbacks.good_enough.times=99"]
    command = [forked.python(), str(ROOT / "train.py"), *words, "hydra.run.dir=killed"]
    with open(tmp_path / "said.txt", "w") as said:
        environment = os.environ | {"FORK_SERVER": forked.NAME}
        process = subprocess.Popen(command, cwd=tmp_path, stdout=said, stderr=said, env=environment)
        metrics, deadline = tmp_path / "killed" / "metrics.jsonl", time.monotonic() + 240
        while not metrics.exists() or len(metrics.read_text().splitlines()) < 9:
            assert process.poll() is None, (tmp_path / "said.txt").read_text()
            assert time.monotonic() < deadline, (tmp_path / "said.txt").read_text()
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(metrics.read_text().splitlines()) < 30
    assert train(tmp_path, "resume=killed") == 0  # the run knows its words and where its options lie
    assert train(tmp_path, *words, "hydra.run.dir=whole") == 0
    killed, whole = (last(tmp_path / run) for run in NAMES)
    assert killed["step"] == whole["step"] == 30
    assert all(torch.equal(tensor, killed["model"][name]) for name, tensor in whole["model"].items())
    assert killed["callbacks"] == whole["callbacks"] == {"callbacks.good_enough": {"in_a_row": 10}}
    moments = [run["optimizer"]["state"] for run in (killed, whole)]
    assert all(torch.equal(moments[0][n]["average"], moments[1][n]["average"]) for n in moments[1])
    scores = [{name: value for name, value in numbers(tmp_path / run).items() if "perf/" not in name} for run in NAMES]
    assert scores[0] == scores[1]
