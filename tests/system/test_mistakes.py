"""Every common mistake ends in one clear sentence, a non-zero exit code, and nothing lost."""

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_MAE, TINY_UPERNET
from PIL import Image


def photos(root: Path, count: int = 6, size: int = 80) -> Path:
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(rng.integers(0, 255, (size, size, 3), np.uint8)).save(root / f"{number}.jpg")
    return root


def ade20k(root: Path, label: int = 3, label_size: int = 64) -> Path:
    for split in ("training", "validation"):
        photos(root / "images" / split, count=4, size=64)
        maps = root / "annotations" / split
        maps.mkdir(parents=True)
        for number in range(4):
            values = np.full((label_size, label_size), label, np.uint8)
            values[: label_size // 2] = 1
            Image.fromarray(values).save(maps / f"{number}.png")
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.mask_ration=0.5"], ["unknown key 'model.mask_ration'", "did you mean 'model.mask_ratio'"]),
        (["model=mae_vitx"], ["model=mae_vitx does not exist", "did you mean"]),
        (["+model.norm_pixx=true"], ["model.norm_pixx", "norm_pix"]),
        (["model=upernet_vitt", "data.batch_size=1"], ["at least 2 images", "data.batch_size=2"]),
        (["head=upernet"], ["model.decoder must be a MAEDecoder", "head="]),
        (["model.mask_ratio=1.5"], ["mask_ratio must lie in (0, 1)", "1.5"]),
        (["data.image_size=65"], ["image_size must be a multiple of patch_size", "65"]),
        (["data.batch_size=0"], ["data.batch_size must be at least 1, got 0"]),
        (["engine.global_batch=7", "data.batch_size=2"], ["global_batch 7", "nearest"]),
        (["schedule.total=0"], ["schedule", "total"]),
        (["augment.smaller=[60]", "augment.smaller_until=[2]"], ["image_size must be a multiple", "60x60"]),
        (["augment.smaller=[32]"], ["augment.smaller_until must name an epoch for each", "got 0 for 1"]),
        (["augment.smaller=[32,48]", "augment.smaller_until=[4,2]"], ["augment.smaller_until must ascend", "[4, 2]"]),
        (
            ["model=probe_vitt", "data=scene_classes", "augment.smaller=[32]", "augment.smaller_until=[2]"],
            ["augment.smaller is for pre-training a MAE"],
        ),
        (["data=folder", "data.root=nowhere"], ["nowhere", "data.root="]),
        (["data=imagenet", "data.root=nowhere"], ["nowhere", "train"]),
        (["model=upernet_vitt", "data=ade20k", "data.root=nowhere"], ["nowhere", "annotations"]),
        (["init_from=nowhere.pt"], ["nowhere.pt"]),
        (["resume=nowhere"], ["resume=nowhere", "last.pt"]),
        (["+sweep=mask_ratio"], ["sweeps over model.mask_ratio", "add -m"]),
    ],
    ids=lambda value: " ".join(value)[:60],
)
def test_a_mistake_is_one_sentence_and_exit_code_one(train, capfd, overrides, words):
    assert train(*overrides) == 1
    captured = capfd.readouterr()
    last = captured.err.strip().splitlines()
    assert len(last) == 1, captured.err
    assert last[0].startswith("error: ")
    for word in words:
        assert word in last[0]


def refused(train, capfd, *overrides: str) -> str:
    assert train(*overrides) == 1
    return capfd.readouterr().err.strip().splitlines()[-1]


def test_an_empty_folder_is_named(train, capfd, tmp_path):
    (tmp_path / "photos").mkdir()
    assert "photos" in refused(train, capfd, "data=folder", "data.root=photos")


def test_photos_cannot_train_a_segmentation_model(train, capfd, tmp_path):
    photos(tmp_path / "photos")
    sentence = refused(train, capfd, "model=upernet_vitt", "data=folder", "data.root=photos")
    assert "label maps" in sentence
    assert "data=scenes" in sentence


def of_files(*overrides: str) -> list[str]:
    """`overrides` without the numbers of scenes, which sets of files do not take."""
    return [o for o in overrides if not o.startswith(("data.num_train", "data.num_validation"))]


def test_a_damaged_first_photo_is_replaced_like_any_other(train, capfd, tmp_path):
    root = photos(tmp_path / "photos")
    overrides = of_files(
        *TINY_MAE, "data=folder", "data.root=photos", "data.image_size=64", "evaluation=none", "schedule.total=8"
    )
    first = folder_names(root)[0]
    (root / first).write_bytes(b"no picture")
    assert train(*overrides) == 0
    assert first in capfd.readouterr().out
    sentence = refused(train, capfd, *overrides, "data.max_bad_share=0")
    assert f"cannot read the image photos/{first}" in sentence
    for path in root.iterdir():
        path.write_bytes(b"no picture")
    assert "cannot read the image" in refused(train, capfd, *overrides)


def folder_names(root):
    from mae_hydra.data.readers.folder import split_by_name

    return split_by_name(sorted(path.name for path in root.iterdir()), 0.05)[0]


def test_a_bad_validation_map_ends_a_run_before_its_first_step(train, capfd, tmp_path):
    ade20k(tmp_path / "ade")
    maps = sorted((tmp_path / "ade/annotations/validation").iterdir())
    Image.fromarray(np.full((64, 64), 77, np.uint8)).save(maps[-1])
    keys = ["data.root=ade", "data.image_size=64", "data.num_classes=12"]
    sentence = refused(train, capfd, "model=upernet_vitt", "data=ade20k", *of_files(*TINY_UPERNET), *keys)
    assert f"annotations/validation/{maps[-1].name} (holds 77)" in sentence
    assert "step 1/" not in capfd.readouterr().out


def test_a_validation_picture_that_the_inference_does_not_take_is_said_before_the_first_step(train, capfd, tmp_path):
    ade20k(tmp_path / "ade")
    for part in ("images", "annotations"):
        path = sorted((tmp_path / f"ade/{part}/validation").iterdir())[-1]
        Image.open(path).resize((200, 200), Image.Resampling.NEAREST).save(path)
    keys = ["data.root=ade", "data.image_size=64", "data.num_classes=12", "inference=whole"]
    sentence = refused(train, capfd, "model=upernet_vitt", "data=ade20k", *of_files(*TINY_UPERNET), *keys)
    assert "a picture of 200x200 pixels does not fit the model, which takes 64x64: use inference=slide" in sentence


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_photo_among_good_ones_is_named_and_stops_a_run_only_where_asked(train, capfd, tmp_path, workers):
    root = photos(tmp_path / "photos")
    (root / "3.jpg").write_bytes((root / "3.jpg").read_bytes()[:200])
    overrides = [*TINY_MAE, "data=folder", "data.root=photos", "data.image_size=64", f"data.num_workers={workers}"]
    overrides = [o for o in overrides if not o.startswith(("data.num_train", "data.num_validation"))]
    sentence = refused(train, capfd, *overrides, f"data.num_workers={workers}", "data.max_bad_share=0")
    assert sentence.startswith("error: ")
    assert "3.jpg" in sentence
    assert train(*overrides, "schedule.total=8", "hydra.run.dir=outputs/run") == 0
    said = capfd.readouterr().out
    assert said.count("3.jpg") == 1
    assert "Another image takes its place" in said
    assert "3.jpg" in (tmp_path / "outputs/run/train.log").read_text()


@pytest.mark.parametrize(
    ("made", "words"),
    [({"label": 200}, ["200", ".png"]), ({"label_size": 32}, ["32", "64", ".png"])],
    ids=["label out of range", "label map of a wrong size"],
)
def test_a_bad_label_map_is_named(train, capfd, tmp_path, made, words):
    ade20k(tmp_path / "ade", **made)
    overrides = [o for o in TINY_UPERNET if not o.startswith(("data.num_train", "data.num_validation"))]
    keys = ["data.root=ade", "data.image_size=64", "data.num_classes=150"]
    sentence = refused(train, capfd, "model=upernet_vitt", "data=ade20k", *overrides, *keys)
    for word in words:
        assert word in sentence


@pytest.mark.slow
def test_weights_that_do_not_fit_are_refused_with_the_reason(train, capfd, tmp_path, trained_mae):
    shutil.copytree(trained_mae, "outputs/mae")
    capfd.readouterr()
    sentence = refused(
        train, capfd, "model=upernet_vitt", *TINY_UPERNET, "backbone.embed_dim=48", "init_from=outputs/mae"
    )
    assert "32" in sentence
    assert "48" in sentence


@pytest.mark.parametrize(
    "word",
    [
        "model.mask_ratio=1.5",
        "data=folder",
        "init_from=nowhere.pt",
        "engine.precision=fp7",
        "hydra.run.dir=outputs/a/b",
        "paths.output_root=outputs/debug",
    ],
)
def test_a_mistake_that_is_met_before_the_first_step_leaves_no_directory(train, tmp_path, word):
    assert train(*TINY_MAE, word, "schedule.warmup=400") == 1
    assert not list(tmp_path.iterdir())


def test_what_was_there_before_a_mistake_stays(train, tmp_path):
    (tmp_path / "outputs/run").mkdir(parents=True)
    (tmp_path / "outputs/run/notes.txt").write_text("mine")
    assert train(*TINY_MAE, "model.mask_ratio=1.5", "hydra.run.dir=outputs/run") == 1
    assert (tmp_path / "outputs/run/notes.txt").read_text() == "mine"
    assert "mask_ratio must lie in (0, 1)" in (tmp_path / "outputs/run/error.txt").read_text()
    assert train("-m", *TINY_MAE, "model.mask_ratio=1.5,2.5", "hydra.sweep.dir=sweep") == 1
    assert len(list((tmp_path / "sweep").glob("*/error.txt"))) == 2  # the table tells of each job


@pytest.mark.slow
def test_a_mended_mistake_may_use_the_directory_of_the_failed_attempt(train, capfd):
    words = [*TINY_MAE, "hydra.run.dir=outputs/run"]
    assert train(*words, "schedule.warmup=400") == 1
    assert "warmup must lie between 0 and total" in capfd.readouterr().err
    assert train(*words) == 0
    assert train(*words, "optimizer.lr=1.0") == 1  # now there is something to mix up
    assert "holds a run of another configuration" in capfd.readouterr().err


@pytest.mark.parametrize("words", [["--version"], ["train", "--version"]])
def test_the_version_is_that_of_this_package(words, capsys):
    from mae_hydra.commands import main

    with contextlib.suppress(SystemExit):  # argparse's way
        main(words)
    assert capsys.readouterr().out.startswith("mae-hydra ")


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--help"], ["runs", "--help"], ["train", "--help"], ["train", "--cfg", "job"]])
def test_nobody_has_to_read_to_the_end(words):
    """`--help | head` and a reader that is gone at once: no traceback."""
    command = [sys.executable, "-m", "mae_hydra", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0
