"""Pre-train, transfer, load, resume, sweep: what a newcomer does on the first day, with the smallest models."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from conftest import TINY_MAE, TINY_UPERNET, only_run

import mae_hydra
from mae_hydra.experiment.status import read_status
from mae_hydra.models import MAE

RUN_FILES = {
    "config.yaml", "overrides.yaml", "status.json", "metrics.jsonl", "results.json", "environment.json", "git.json",
    "git.diff", "train.log", "checkpoints", "figures",
}  # fmt: skip


def test_a_run_leaves_every_promised_file(train, tmp_path):
    assert train(*TINY_MAE) == 0
    run = only_run(tmp_path / "outputs")
    assert {path.name for path in run.iterdir()} >= RUN_FILES
    kept = ["best.pt", "last.pt", "step-00000002.pt", "step-00000004.pt"]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == kept
    assert os.path.samefile(run / "checkpoints/last.pt", run / "checkpoints/step-00000004.pt")
    assert (run / "figures" / "reconstructions.png").stat().st_size > 1000
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["encoder"]["embed_dim"] == 32
    assert "${" not in (run / "config.yaml").read_text()
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]
    assert json.loads((run / "results.json").read_text())["val/loss"] > 0
    assert read_status(run)["state"] == "completed"
    assert "model.mask_ratio" not in yaml.safe_load((run / "overrides.yaml").read_text())


def test_pretrained_weights_reach_the_segmentation_model_and_the_report_says_so(train, tmp_path, capfd):
    backbone = ["backbone.depth=4", "backbone.out_indices=[0,1,2,3]"]
    assert train(*TINY_MAE, *backbone, "schedule.total=1", "schedule.warmup=0", "hydra.run.dir=outputs/mae") == 0
    capfd.readouterr()
    fixed = ["optimizer.lr=1.0e-9", "schedule.total=1", "schedule.warmup=0", "hydra.run.dir=outputs/upernet"]
    assert train("model=upernet_vitt", *TINY_UPERNET, *fixed, "init_from=outputs/mae") == 0
    said = capfd.readouterr().out
    for word in ("loaded", "new", "unused", "decoder", "relative_position_bias_table", "pyramid"):
        assert word in said
    mae, upernet = mae_hydra.load(tmp_path / "outputs/mae"), mae_hydra.load(tmp_path / "outputs/upernet")
    for name, tensor in mae.encoder.state_dict().items():
        if not name.startswith("norm."):
            # One step at a learning rate of 1e-9 lies between the two.
            assert torch.allclose(tensor, upernet.encoder.state_dict()[name], rtol=0, atol=2e-9), name


def test_a_loaded_model_is_the_trained_one_in_eval_mode_with_its_normalisation(train, tmp_path):
    assert train(*TINY_MAE, "data.mean=[0.4,0.4,0.4]", "hydra.run.dir=outputs/mae") == 0
    model = mae_hydra.load(tmp_path / "outputs/mae")
    saved = torch.load(tmp_path / "outputs/mae/checkpoints/best.pt", weights_only=True)["model"]
    assert not model.training
    assert model.mean.flatten().tolist() == pytest.approx([0.4] * 3)
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.state_dict().items())


def test_built_models_follow_the_overrides_and_the_seed():
    one = mae_hydra.build(*TINY_MAE, "model.mask_ratio=0.5")
    same = mae_hydra.build(*TINY_MAE, "model.mask_ratio=0.5")
    other = mae_hydra.build(*TINY_MAE, "model.mask_ratio=0.5", "seed=1")
    assert one.mask_ratio == 0.5
    weights = [dict(m.named_parameters())["encoder.blocks.0.attn.qkv.weight"] for m in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_half_the_mask_ratio_is_seen_by_the_encoder_as_half_the_tokens():
    seen = []
    for ratio in (0.5, 0.75):
        model = mae_hydra.build(*TINY_MAE, f"model.mask_ratio={ratio}")
        model.encoder.blocks[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1]))
        model(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    assert seen == [1 + 32, 1 + 16]


def test_a_sweep_leaves_one_directory_per_job_and_one_table(train, tmp_path, capfd):
    overrides = [*TINY_MAE, "schedule.total=1", "schedule.warmup=0"]
    assert train("-m", "+sweep=mask_ratio", "model.mask_ratio=0.5,0.75", *overrides) == 0
    sweep = tmp_path / "outputs/sweeps/mask_ratio"
    jobs = sorted(path.parent for path in sweep.glob("*/status.json"))
    assert len(jobs) == 2
    for job, ratio in zip(jobs, (0.5, 0.75), strict=True):
        assert job.name.startswith(f"mask_ratio-{ratio}_")
        assert yaml.safe_load((job / "config.yaml").read_text())["model"]["mask_ratio"] == ratio
    with open(sweep / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["completed"] * 2
    assert all(float(row["value"]) > 0 for row in rows)
    # The same command again has nothing to do.
    before = [(job / "results.json").stat().st_mtime_ns for job in jobs]
    capfd.readouterr()
    assert train("-m", "+sweep=mask_ratio", "model.mask_ratio=0.5,0.75", *overrides) == 0
    assert capfd.readouterr().out.count("already complete") == 2
    assert before == [(job / "results.json").stat().st_mtime_ns for job in jobs]


@pytest.mark.slow
def test_a_failing_job_does_not_take_the_sweep_down(train, tmp_path, capfd):
    overrides = [*TINY_MAE, "schedule.total=1", "schedule.warmup=0"]
    assert train("-m", "+sweep=mask_ratio", "model.mask_ratio=1.5,0.5", *overrides) == 1
    jobs = {path.parent.name.split("_")[1]: path.parent for path in (tmp_path / "outputs").rglob("status.json")}
    assert {name: read_status(job)["state"] for name, job in jobs.items()} == {
        "ratio-1.5": "failed",
        "ratio-0.5": "completed",
    }
    assert "mask_ratio must lie in (0, 1)" in (jobs["ratio-1.5"] / "error.txt").read_text()
    assert not (jobs["ratio-0.5"] / "error.txt").exists()


@pytest.mark.slow
def test_a_resumed_run_of_another_configuration_is_refused_with_the_difference(train, tmp_path, capfd, trained_mae):
    shutil.copytree(trained_mae, "outputs/a")
    capfd.readouterr()
    assert train(*TINY_MAE, "optimizer.lr=0.5", "resume=outputs/a") == 1
    assert "optimizer.lr: 0.003 -> 0.5" in capfd.readouterr().err
    assert read_status(Path("outputs/a"))["state"] == "completed"


@pytest.mark.slow
def test_rectangular_images_train_both_models(train):
    assert train(*TINY_MAE, "data.image_size=[48,80]") == 0
    assert train("model=upernet_vitt", *TINY_UPERNET, "data.image_size=[48,80]") == 0


def test_a_maes_images_grow_at_the_epochs_named(train, monkeypatch):
    sizes = []
    loss = MAE.loss

    def noted(model, batch, **given):
        sizes.append(batch.images.shape[-1])
        return loss(model, batch, **given)

    monkeypatch.setattr(MAE, "loss", noted)
    growing = ["augment.smaller=[32,48]", "augment.smaller_until=[1,2]", "schedule.total=6", "schedule.warmup=1"]
    assert train(*TINY_MAE, *growing, "data.batch_size=8", "engine.global_batch=8", "evaluation=none") == 0
    assert sizes == [32, 32, 48, 48, 64, 64]


def test_a_preset_for_an_evaluator_that_is_left_out_is_no_evaluator(train, tmp_path):
    assert train(*TINY_MAE, "evaluation=none") == 0
    lines = (only_run(tmp_path / "outputs") / "metrics.jsonl").read_text()
    assert "train/loss" in lines
    assert "val/" not in lines
