"""`mae-hydra evaluate`, as it is typed, against sums over single pixels."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY_UPERNET
from torch.nn.functional import interpolate

import mae_hydra
from mae_hydra.commands import main
from mae_hydra.data import ade20k

ADE = ["data=ade20k", "data.root=ade", "data.num_classes=12", "data.reduce_zero_label=true"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("scenes") / "ade"
    sizes = ["--size", "64", "88", "--workers", "0"]
    assert main(["make-data", str(root), "--train", "1", "--validation", "7", *sizes]) == 0
    return root


@pytest.fixture
def run(train, trained_upernet, scenes):
    """A trained run, and scenes of another size than the model's in ADE20K's layout beside it."""
    shutil.copytree(scenes, "ade")
    return Path(shutil.copytree(trained_upernet, "run"))


def results_in(folder) -> dict:
    found = json.loads((Path(folder) / "results.json").read_text())
    return {name: found[name] for name in ("mIoU", "mAcc", "aAcc", "images")}


def by_hand(root: str = "ade") -> dict:
    """The published protocol, a window at a time: windows over the resized picture, logits averaged, original size."""
    model = mae_hydra.load("run")
    data = ade20k(
        root=root,
        image_size=64,
        channels=3,
        num_classes=12,
        reduce_zero_label=True,
        ignore_index=255,
        mean=[0.5] * 3,
        std=[0.5] * 3,
        batch_size=1,
        train_limit=None,
        num_workers=0,
    )
    both, labelled, predicted = np.zeros(12), np.zeros(12), np.zeros(12)
    for sample in (data.validation[index] for index in range(len(data.validation))):
        image, labels = sample.image, sample.label.numpy()
        if image.shape[1:] == (128, 176):  # the short side becomes the crop; OpenCV halves by the mean of four pixels
            image = ((image.int().unflatten(2, (88, 2)).unflatten(1, (64, 2)).sum((2, 4)) + 2) // 4).to(torch.uint8)
        assert image.shape[1:] == (64, 88)
        total, times = torch.zeros(12, 64, 88), torch.zeros(64, 88)
        for left in (0, 24):  # a stride of int(0.6667 * 64) = 42, the last window shifted back to the border
            window = image[None, :, :, left : left + 64]
            with torch.no_grad():
                logits = interpolate(model.low_resolution_logits(window), size=(64, 64), mode="bilinear")
            total[:, :, left : left + 64] += logits[0]
            times[:, left : left + 64] += 1
        scores = interpolate((total / times)[None], size=labels.shape, mode="bilinear")[0]
        classes = scores.argmax(0).numpy()
        for each in range(12):
            ours = (classes == each) & (labels != 255)
            both[each] += (ours & (labels == each)).sum()
            labelled[each] += (labels == each).sum()
            predicted[each] += ours.sum()
    with np.errstate(invalid="ignore"):
        iou = 100 * both / (labelled + predicted - both)
        accuracy = 100 * both / labelled
    names = {"mIoU": np.nanmean(iou), "mAcc": np.nanmean(accuracy), "aAcc": 100 * both.sum() / labelled.sum()}
    return {**names, "images": 7}


@pytest.mark.slow
def test_a_run_on_other_data_scores_what_a_computation_by_hand_finds(run, capsys):
    assert main(["evaluate", "run", *ADE, "inference=slide", "--out", "found"]) == 0
    said = capsys.readouterr().out
    assert results_in("found") == pytest.approx(by_hand(), rel=1e-6)
    assert "vehicle" in said
    assert "(7 images)" in " ".join(said.split())
    with open("found/per_class.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [
        row["name"] for row in json.loads(Path("found/per_class.json").read_text())
    ]
    assert len(Path("found/per_image.csv").read_text().splitlines()) == 1 + 7
    for figure in ("confusion_matrix", "classes", "best", "worst"):
        assert Path(f"found/figures/{figure}.png").stat().st_size > 5000
    with open("found/confusions.csv") as file:
        pixels = [int(row["pixels"]) for row in csv.DictReader(file)]
    assert pixels == sorted(pixels, reverse=True)
    table = json.loads(Path("found/per_class.json").read_text())
    wrong = sum(row["pixels"] * (1 - row["Acc"] / 100) for row in table if row["pixels"])
    assert sum(pixels) == pytest.approx(wrong, abs=1)
    protocol = json.loads(Path("found/results.json").read_text())["protocol"]
    assert protocol["inference"]["crop"] == 64  # as recorded
    assert protocol["checkpoint"].startswith("run/checkpoints/")


@pytest.mark.slow
def test_pictures_are_resized_for_the_model_and_judged_at_their_own_size(run):
    words = ["--train", "1", "--validation", "7", "--size", "128", "176", "--workers", "0"]
    assert main(["make-data", "large", *words]) == 0
    assert main(["evaluate", "run", *ADE, "data.root=large", "inference=slide", "--out", "found"]) == 0
    assert results_in("found") == pytest.approx(by_hand("large"), rel=1e-6)
    table = json.loads(Path("found/per_class.json").read_text())
    assert sum(row["pixels"] for row in table) > 0.9 * 7 * 128 * 176


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_batches_do_not_change_the_scores_and_a_complete_evaluation_is_not_repeated(run, capsys):
    for batch in (1, 3):
        assert main(["evaluate", "run", *ADE, f"data.batch_size={batch}", "--out", f"batch{batch}"]) == 0
    assert results_in("batch1") == results_in("batch3")
    before = Path("batch1/results.json").read_bytes()
    capsys.readouterr()
    assert main(["evaluate", "run", *ADE, "--out", "batch1"]) == 0
    assert "already complete" in capsys.readouterr().out
    assert Path("batch1/results.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_what_a_kill_has_torn_is_counted_again_and_nothing_twice(run):
    assert main(["evaluate", "run", *ADE, "--out", "whole"]) == 0
    assert main(["evaluate", "run", *ADE, "--out", "cut"]) == 0
    file = Path("cut/counts/rank0.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:3]) + lines[3][: len(lines[3]) // 2])
    Path("cut/results.json").unlink()
    assert main(["evaluate", "run", *ADE, "--out", "cut"]) == 0
    assert results_in("cut") == results_in("whole")
    assert len(file.read_bytes().splitlines()) == 7


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_by_default_it_stands_in_the_run_under_a_name_of_its_protocol(run):
    assert main(["evaluate", "run"]) == 0
    assert main(["evaluate", "run", "inference=slide", "evaluation.validation.boundary=true"]) == 0
    names = sorted(path.name.rpartition("-")[0] for path in Path("run/evaluations").iterdir())
    assert names == ["scenes-slide", "scenes-whole"]
    [slide] = Path("run/evaluations").glob("scenes-slide-*")
    assert "mBIoU" in json.loads((slide / "results.json").read_text())


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_a_released_layout_evaluates_without_a_run(run):
    assert main(["convert", "run", "theirs.pth", "--to", "mmseg"]) == 0
    assert main(["evaluate", "theirs.pth", *ADE, "data.mean=[0.493,0.484,0.469]", "data.std=[0.215,0.207,0.222]"]) == 0
    [folder] = Path("outputs/evaluations").glob("theirs-ade20k-slide-*")
    assert main(["evaluate", "run", *ADE, "inference=slide", "--out", "own"]) == 0
    assert results_in(folder) == results_in("own")


@pytest.mark.slow
def test_a_masked_autoencoder_is_judged_by_its_reconstructions(train, capsys, trained_mae):
    shutil.copytree(trained_mae, "mae")
    assert main(["evaluate", "mae", "--out", "found"]) == 0
    assert "loss" in json.loads(Path("found/results.json").read_text())
    assert list(Path("found/figures").glob("*.png"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "there is no nowhere"),
        (["run", "model=upernet_vitb"], "model=upernet_vitb cannot be changed here"),
        (["run", "inference=slid"], "did you mean inference=slide"),
        (["run", "inference=reconstruct"], "mean IoU needs inference=whole, slide or multiscale_flip"),
        (["run", *ADE, "data.root=missing"], "missing"),
        (["run", "data.num_clases=3"], "did you mean 'data.num_classes'"),
        (["run", "--out", "ade"], "ade is not empty and holds no evaluation"),
    ],
)
def test_a_mistake_is_one_sentence(run, capsys, words, message):
    capsys.readouterr()
    assert main(["evaluate", *words]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert message in said


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_another_data_set_in_the_same_layout_is_another_evaluation(run):
    assert main(["make-data", "other", "--train", "1", "--validation", "2", "--size", "64", "--workers", "0"]) == 0
    assert main(["evaluate", "run", *ADE]) == 0
    assert main(["evaluate", "run", *ADE, "data.root=other"]) == 0
    found = [results_in(folder)["images"] for folder in Path("run/evaluations").iterdir()]
    assert sorted(found) == [2, 7]


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_a_run_that_was_trained_without_evaluation_can_be_evaluated(train):
    # Without `+debug=smoke`, which sets up an evaluation of its own.
    short = [word for word in TINY_UPERNET if not word.startswith(("+debug", "evaluation"))]
    short += ["schedule.total=2", "schedule.warmup=0", "data.batch_size=2", "evaluation=none"]
    assert train("model=upernet_vitt", *short, "hydra.run.dir=run") == 0
    assert main(["evaluate", "run", "--out", "found"]) == 0
    assert results_in("found")["images"] == 4


def test_classes_that_do_not_fit_are_one_sentence(run, capsys):
    Path("ade/classes.json").unlink()
    assert main(["evaluate", "run", "data=ade20k", "data.root=ade", "--out", "found"]) == 1
    assert "the model knows 12 classes, the data have 150" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_another_checkpoint_does_not_go_on_in_the_same_folder(run, capsys):
    assert main(["evaluate", "run", "--out", "found"]) == 0
    content = torch.load("run/checkpoints/best.pt", weights_only=True)
    content["model"]["encoder.cls_token"] += 1
    Path("run/checkpoints/best.pt").unlink()
    torch.save(content, "run/checkpoints/best.pt")
    assert main(["evaluate", "run", "--out", "found"]) == 1
    assert "holds an evaluation of other weights or other settings" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_find_what_one_finds(run, forked_children):
    words = ["-m", "mae_hydra", "evaluate", "run", *ADE, "--out"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run([sys.executable, *torchrun, *words, "two"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert main([*words[2:], "one"]) == 0
    assert results_in("two") == results_in("one")
    assert sorted(path.name for path in Path("two/counts").iterdir()) == ["rank0.jsonl", "rank1.jsonl"]


KILLED_AT_THE_FOURTH = """
import os, sys
from mae_hydra.commands import main
from mae_hydra.evaluation import mean_iou
original, calls = mean_iou.count_confusions, []
def dying(*arguments):
    calls.append(1)
    if len(calls) == 4:
        os.kill(os.getpid(), 9)
    return original(*arguments)
mean_iou.count_confusions = dying
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_with_another_number_of_processes(run, forked_children):
    words = ["-m", "mae_hydra", "evaluate", "run", *ADE, "inference=multiscale_flip", "--out"]
    killed = subprocess.run([sys.executable, "-c", KILLED_AT_THE_FOURTH, *words[2:], "killed"], capture_output=True)
    assert killed.returncode == -9, killed.stderr
    assert not Path("killed/results.json").exists()
    counted = Path("killed/counts/rank0.jsonl").read_bytes().count(b"\n")
    assert counted == 3

    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run([sys.executable, *torchrun, *words, "killed"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    protocol = json.loads(Path("killed/results.json").read_text())["protocol"]
    assert protocol["images_counted"] == 7 - counted
    assert main([*words[2:], "whole"]) == 0
    assert results_in("killed") == results_in("whole")
