"""Any step of a run again: the loss that was written down, bit for bit, and what the step was made of."""

import json
import math
import os
import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, TINY_MAE, TINY_UPERNET
from forked import Forked, start
from PIL import Image
from test_interruption import finish

from mae_hydra.commands import main
from mae_hydra.launching.launch import launch

EIGHT = ["seed=3", "schedule.total=8", "checkpoint.every=3", "checkpoint.keep_last=1", "hydra.run.dir=outputs/run"]
CUT = ["data.batch_size=2", "engine.global_batch=4"]  # two micro-batches a step
RUNS = {
    "plain": [*TINY_MAE, *EIGHT],
    "accumulated": [*TINY_MAE, *EIGHT, *CUT],
    "clipped and averaged": [*TINY_MAE, *EIGHT, "engine.clip_grad=0.1", "engine.ema_decay=0.9"],
    "scaled": [*TINY_MAE, *EIGHT, "engine.precision=bf16"],
    "segmentation": ["model=upernet_vitt", *TINY_UPERNET, *EIGHT, *CUT, "backbone.drop_path_rate=0.3"],
    "classification": [
        "model=classifier_vitt",
        "data=scene_classes",
        *TINY,
        "backbone.out_indices=[1]",
        *EIGHT,
        "evaluation=none",
    ],
}


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory) -> Callable[[str], Path]:
    """`trained_once(kind)` is the run of that kind, made for the first test that asks: tests work on a copy."""

    @cache
    def trained(kind: str) -> Path:
        root = tmp_path_factory.mktemp("trained")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(root)
            patch.setattr(sys, "argv", ["train.py"])
            assert launch([*RUNS[kind], "paths.output_root=outputs"]) == 0
        return root / "outputs/run"

    return trained


@pytest.fixture
def trained(trained_once, tmp_path, monkeypatch) -> Callable[[str], Path]:
    """`trained(kind)` puts a run of that kind into the current folder, as outputs/run."""
    monkeypatch.chdir(tmp_path)

    def copy(kind: str) -> Path:
        shutil.copytree(trained_once(kind), "outputs/run")
        return Path("outputs/run")

    return copy


def told(run: Path, step: int) -> dict:
    return json.loads((run / f"replay/step-{step}/step.json").read_text())


def losses(run: Path) -> dict[int, float]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["train/loss"] for line in lines}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow if kind in ("plain", "scaled") else ()) for kind in RUNS]
)
def test_a_step_again_has_the_loss_that_was_written_down(trained, kind, capfd):
    run = trained(kind)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for step in (2, 8):  # from the initial weights, and from a checkpoint with a step between
        assert main(["replay", "outputs/run", f"step={step}"]) == 0
        assert told(run, step)["loss"] == losses(run)[step] == told(run, step)["loss_in_metrics"]
        assert told(run, step)["same_bits"] is True
        norms = told(run, step)["gradient_norm_by_parameter"].values()  # before clipping, all of them
        assert math.hypot(*norms) == pytest.approx(told(run, step)["gradient_norm"], rel=1e-4)
        if kind in ("accumulated", "segmentation"):
            samples = json.loads((run / f"replay/step-{step}/samples.json").read_text())
            mean = np.average([s["loss"] for s in samples], weights=[s["counted"] for s in samples])
            assert mean == pytest.approx(losses(run)[step], rel=1e-6)
            assert len({s["loss"] for s in samples}) == len(samples) == 4
    said = capfd.readouterr().out
    assert "the same bits as in metrics.jsonl" in said
    assert all(path.read_bytes() == content for path, content in before.items())
    if kind == "segmentation":
        what_a_step_was_made_of_is_written_and_shown(run, said)


def what_a_step_was_made_of_is_written_and_shown(run: Path, said: str) -> None:
    step, samples = told(run, 8), json.loads((run / "replay/step-8/samples.json").read_text())
    lines = {line["step"]: line for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())}
    assert step["gradient_norm"] == lines[8]["train/grad_norm"]
    whole = math.sqrt(sum(norm**2 for norm in step["gradient_norm_by_depth"].values()))
    assert whole == pytest.approx(step["gradient_norm"], rel=1e-5)
    assert whole == pytest.approx(math.sqrt(sum(n**2 for n in step["gradient_norm_by_parameter"].values())), rel=1e-5)
    assert step["learning_rate"] == lines[8]["train/lr"]
    assert (step["images"], len(samples)) == (4, 4)
    assert all(sample["name"] == f"train-{sample['index']:06}" for sample in samples)
    pixels = np.asarray(Image.open(run / "replay/step-8/batch.png"))
    assert min(pixels.shape[:2]) > 224
    assert "gradient norm" in said
    assert samples[0]["name"] in said or samples[1]["name"] in said


def test_the_step_that_stopped_a_run_is_taken_again(train, capfd):
    words = [*TINY_MAE, *EIGHT, "optimizer.lr=1e30", "engine.nonfinite_limit=2", "evaluation=none"]
    assert train(*words) == 1
    assert "the gradient was not finite in" in capfd.readouterr().err
    run = Path("outputs/run")
    skipped = [json.loads(line) for line in (run / "nonfinite.jsonl").read_text().splitlines()]
    for line in skipped[:2]:
        assert main(["replay", "outputs/run", f"step={line['step']}"]) == 0
        found = told(run, line["step"])
        assert found["finite"] is False
        assert {"nan", "inf"} & {str(norm) for norm in found["gradient_norm_by_parameter"].values()}
        samples = json.loads((run / f"replay/step-{line['step']}/samples.json").read_text())
        assert [sample["index"] for sample in samples] == line["images"]
    said = capfd.readouterr().out
    assert "not finite: the step changed nothing" in said
    assert "not the recorded step" not in said


def test_a_step_of_a_run_that_was_gone_on_with_is_the_same(train):
    assert train(*RUNS["accumulated"], "checkpoint.keep_last=9") == 0
    run = Path("outputs/run")
    whole = losses(run)
    for name in ("last", "best", "step-00000008", "step-00000006"):
        (run / f"checkpoints/{name}.pt").unlink(missing_ok=True)
    assert train("resume=outputs/run") == 0
    for step in (5, 8):
        assert main(["replay", "outputs/run", f"step={step}"]) == 0
        assert told(run, step)["loss"] == whole[step]


def test_where_a_line_is_of_several_steps_there_is_nothing_to_compare_with(train, capfd):
    assert train(*RUNS["plain"], "engine.log_every=4") == 0
    assert main(["replay", "outputs/run", "step=4"]) == 0
    assert told(Path("outputs/run"), 4)["same_bits"] is None
    assert "no loss of this step alone (engine.log_every=4)" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "say which step"),
        (["step=0"], "the first one is step=1"),
        (["step=last"], "say which step"),
        (["step=99"], "has taken 8 steps"),
        (["step=2", "optimizer.lr=1"], "optimizer.lr decides what is trained"),
        (["step=2", "data.rot=x"], "unknown key 'data.rot'"),
        (["step=2", "data.num_workers=["], "cannot"),
    ],
)
def test_what_is_no_step_of_this_run_is_one_sentence(trained, capfd, words, sentence):
    trained("plain")
    capfd.readouterr()
    assert main(["replay", "outputs/run", *words]) == 1
    said = capfd.readouterr().err
    assert sentence in said
    assert len(said.strip().splitlines()) == 1


def test_other_images_or_another_beginning_are_refused(train, capfd, tmp_path, trained_mae):
    (tmp_path / "photos").mkdir()
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"photos/{number}.png")
    photos = [w for w in TINY_MAE if not w.startswith(("data.num_train", "data.num_validation"))]
    photos += ["data=folder", "data.root=photos", "data.image_size=64", "data.validation_fraction=0.25"]
    shutil.copytree(trained_mae, "outputs/parent")
    assert train(*photos, *EIGHT, "init_from=outputs/parent") == 0
    shutil.move("photos", "moved")
    capfd.readouterr()
    assert main(["replay", "outputs/run", "step=1"]) == 1
    assert "data.root" in capfd.readouterr().err
    assert main(["replay", "outputs/run", "step=1", "data.root=moved"]) == 0
    assert told(Path("outputs/run"), 1)["same_bits"] is True
    shutil.copy("moved/1.png", "moved/9.png")
    assert main(["replay", "outputs/run", "step=8", "data.root=moved"]) == 1
    assert "was computed on 6 images in" in capfd.readouterr().err
    os.rename("outputs/parent", "outputs/renamed")
    (tmp_path / "moved/9.png").unlink()
    assert main(["replay", "outputs/run", "step=1", "data.root=moved"]) == 1
    assert "give it with init_from=" in capfd.readouterr().err
    assert main(["replay", "outputs/run", "step=1", "data.root=moved", "init_from=outputs/renamed"]) == 0


def test_what_a_run_directory_would_have_built_is_refused(trained, capfd):
    run = trained("plain")
    shutil.rmtree(run / "checkpoints")
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("mae_hydra.inference.Reconstruct", "subprocess.Popen"))
    capfd.readouterr()
    assert main(["replay", "outputs/run", "step=1"]) == 1
    assert "inference._target_ = subprocess.Popen is not built" in capfd.readouterr().err


@pytest.mark.slow
def test_a_step_of_two_processes_is_taken_again_by_two(tmp_path):
    words = ["engine.devices=2", "engine.global_batch=4", "data.batch_size=1", *EIGHT]
    finish(start(tmp_path, *TINY_MAE, *words))
    run = tmp_path / "outputs/run"
    for step in (2, 8):
        finish(Forked(["-m", "mae_hydra", "replay", "outputs/run", f"step={step}"], tmp_path))
        assert told(run, step)["loss"] == losses(run)[step]
        assert told(run, step)["processes"] == 2
        samples = json.loads((run / f"replay/step-{step}/samples.json").read_text())
        assert [sample["process"] for sample in samples] == [0, 0, 1, 1]
