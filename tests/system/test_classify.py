"""Fine-tuning, probes and what comes after them, as they are typed."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import TINY, TINY_MAE, only_run
from written_pictures import shows_something

import mae_hydra
from mae_hydra.commands import main
from mae_hydra.experiment.read_runs import read_sweep, values_of
from mae_hydra.models import Classifier

SMALL = [*TINY, "backbone.out_indices=[1]"]
CLASSES = [*SMALL, "model=classifier_vitt"]
MIXED = [
    *CLASSES,
    "data.batch_size=4",
    "+model.mixing={_target_:mae_hydra.models.Mixing,mixup:0.8,cutmix:1.0,probability:1.0,switch:0.5}",
    "+model.erasing={_target_:mae_hydra.models.RandomErasing,probability:0.5,area:[0.02,0.3],aspect:[0.3,3.3]}",
    "augment.randaugment=rand-m9-mstd0.5-inc1",
]
MIXED = [word.replace("+model.", "model.") for word in MIXED]


def weights(run: str) -> dict[str, torch.Tensor]:
    return torch.load(Path(run) / "checkpoints" / "last.pt", weights_only=True)["model"]


@pytest.mark.slow
def test_a_pretrained_encoder_is_probed_fine_tuned_evaluated_and_asked(train, capsys, trained_mae):
    shutil.copytree(trained_mae, "outputs/mae")
    start = "init_from=outputs/mae"
    assert train(*SMALL, "model=probe_vitt", start, "hydra.run.dir=outputs/probe") == 0
    before, after = weights("outputs/mae"), weights("outputs/probe")
    encoder = {name for name in after if name.startswith("encoder.")}
    assert all(torch.equal(before[name], after[name]) for name in encoder)
    assert train(*CLASSES, start, "hydra.run.dir=outputs/tuned") == 0
    results = json.loads(Path("outputs/tuned/results.json").read_text())
    assert set(results) >= {"val/top1", "val/top5", "val/loss", "train/accuracy"}
    rows = json.loads(Path("outputs/tuned/tables/per_class.json").read_text())
    assert rows[0]["name"] == "water"

    capsys.readouterr()
    assert main(["evaluate", "outputs/tuned", "--last"]) == 0
    said = capsys.readouterr().out
    assert "most often taken for" in said
    [folder] = Path("outputs/tuned/evaluations").iterdir()
    found = json.loads((folder / "results.json").read_text())
    assert found["top1"] == pytest.approx(results["val/top1"])
    told = list(csv.DictReader((folder / "per_class.csv").read_text().splitlines()))
    assert [row["name"] for row in told] == [row["name"] for row in rows]

    assert (
        main(["make-data", "photos", "--layout", "imagenet", "--train", "4", "--validation", "2", "--size", "64"]) == 0
    )
    assert main(["predict", "outputs/tuned", "photos/val", "--out", "said", "--device", "cpu"]) == 0
    one = sorted(Path("said/classes").rglob("*.json"))[0]
    answers = json.loads(one.read_text())
    assert len(answers) == 5
    assert answers[0]["probability"] >= answers[1]["probability"]
    assert answers[0]["class"] in {row["name"] for row in rows}
    assert isinstance(mae_hydra.load("outputs/tuned"), Classifier)


@pytest.mark.slow
def test_features_of_a_masked_autoencoder_are_evaluated_from_its_run(train, capsys, trained_mae):
    shutil.copytree(trained_mae, "outputs/mae")
    capsys.readouterr()
    small = ["data=scene_classes", "data.num_train=24", "data.num_validation=8", "data.num_workers=0"]
    assert main(["evaluate", "outputs/mae", "evaluation=features", *small, "evaluation.validation.k=3"]) == 0
    assert "knn" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_that_mixes_and_erases_is_the_same_in_one_go_and_in_two(train):
    assert train(*MIXED, "hydra.run.dir=outputs/whole") == 0
    assert train(*MIXED, "schedule.total=4", "checkpoint.every=2", "hydra.run.dir=outputs/parts") == 0
    parts = Path("outputs/parts")
    (parts / "status.json").unlink()  # as after a kill: the state of step 2 is the newest
    for name in ("last.pt", "best.pt", "step-00000004.pt"):
        (parts / "checkpoints" / name).unlink(missing_ok=True)
    assert train(*MIXED, "schedule.total=4", "checkpoint.every=2", "hydra.run.dir=outputs/parts") == 0
    whole, again = weights("outputs/whole"), weights("outputs/parts")
    assert all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=classifier_vitt", "data=scenes"], "needs a class for every image"),
        (["model=probe_vitt", "data.batch_size=1"], "at least 2 images at a time"),
        (["model=classifier_vitt", "head.norm=false"], "pool=mean has one norm"),
        (
            ["model=classifier_vitt", "model.trainable_blocks=9"],
            "trainable_blocks must be a number of blocks from 0 to 2",
        ),
        (["model=classifier_vitt", "augment.randaugment=rand-x5"], "must be a policy such as"),
        (["model=classifier_vitt", "data.train_limit=2.5"], "a whole number, or a share"),
        (["model=classifier_vitt", "model.mixng=null"], "did you mean 'model.mixing'"),
        (
            ["model=mae_vitt", "head=linear"],
            "head.in_dim refers to model.pool, which is not there: choose another head= or model=",
        ),
        (["evaluation=pretrain_probe"], "need a class for every image"),
    ],
)
def test_a_mistake_is_one_sentence(train, capsys, words, message):
    assert train(*SMALL, *words) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.slow
def test_a_pretraining_shows_its_worth_while_it_runs(train):
    extra = ["data=scene_classes", "evaluation=pretrain_probe", "evaluation.probe.bank=12", "evaluation.probe.k=3"]
    words = [word for word in TINY_MAE if not word.startswith(("+debug", "evaluation."))]
    assert train(*words, *extra, "+debug=smoke", "evaluation.probe.num_pictures=2") == 0
    run = only_run(Path("outputs"))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert sum("val/knn" in line for line in lines) == 4
    assert {"val/loss", "val/knn", "val/linear"} <= set(json.loads((run / "results.json").read_text()))
    assert shows_something(run / "figures" / "neighbours.png")


@pytest.mark.slow
def test_a_sweep_over_the_mask_ratio_ends_in_all_three_curves(train, forked_children):
    inner = '"backbone.embed_dim=32","backbone.num_heads=2","backbone.depth=4","backbone.out_indices=[0,1,2,3]"'
    inner += ',"data.num_train=16","data.num_validation=4","data.num_workers=0","data.train_limit=null"'
    stages = {
        "finetune": "+experiment=demo_finetune",
        "probe": "+experiment=demo_probe",
        "upernet": "+experiment=demo_transfer",
    }
    deep = [word for word in TINY_MAE if not word.startswith(("backbone.depth", "backbone.out"))]
    then = [f'then.{name}=["{experiment}","seed=0",{inner}]' for name, experiment in stages.items()]
    assert train(
        "-m", "+sweep=mask_ratio_transfer", "model.mask_ratio=0.5,0.75", *deep, "backbone.depth=4",
        "backbone.out_indices=[3]", *then,
    ) == 0  # fmt: skip
    runs = read_sweep(Path("outputs/sweeps/mask_ratio_transfer"))
    wanted = {"val/loss", "finetune: val/top1", "probe: val/top1", "upernet: val/mIoU"}
    assert [set(values_of(run)) for run in runs] == [wanted] * 2


@pytest.mark.slow
def test_the_demo_of_classification_ends_in_one_table(tmp_path, monkeypatch, demo_in_this_process):
    monkeypatch.chdir(tmp_path)
    small = [word for word in SMALL if "num_" not in word]
    small += ["data.num_train=600", "data.num_validation=8", "data.num_workers=0", "backbone.num_heads=2"]
    assert main(["demo", "--task", "classify", "--out", "demo", *small]) == 0
    table = (tmp_path / "demo/classification.md").read_text()
    assert [line.split(" | ")[0].strip("| ") for line in table.splitlines()[2:]] == [
        "nearest neighbors", "linear, L-BFGS", "linear probe", "last block", "fine-tuning",
    ]  # fmt: skip


def test_the_learning_rate_of_every_depth_is_logged(train):
    assert train(*CLASSES, "hydra.run.dir=outputs/tuned") == 0
    [*_, last] = [json.loads(line) for line in Path("outputs/tuned/metrics.jsonl").read_text().splitlines()]
    rates = [last[f"train/lr/depth_{depth:02}"] for depth in range(4)]  # embedding, two blocks, head
    assert rates[3] == last["train/lr"]
    assert [rate / rates[3] for rate in rates] == pytest.approx([0.75**3, 0.75**2, 0.75, 1])
