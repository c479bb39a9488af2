"""The verbs of `mae-hydra`, as they are typed."""

import json
from pathlib import Path

import pytest
from conftest import TINY, TINY_MAE, TINY_UPERNET

from mae_hydra.commands import main

ROOT = Path(__file__).parents[2]


def without_scenes(overrides: list[str]) -> list[str]:
    """What only the embedded scenes take is left out."""
    return [override for override in overrides if not override.startswith(("data.num_train", "data.num_validation"))]


def test_scenes_written_as_ade20k_train_a_segmentation_model(train, tmp_path, capsys):
    assert main(["make-data", "ade", "--train", "6", "--validation", "3", "--size", "64", "--workers", "0"]) == 0
    hint = capsys.readouterr().out.splitlines()[-1]
    assert hint.split()[:2] == ["python", "train.py"]
    assert train(*hint.split()[2:], *without_scenes(TINY_UPERNET), "hydra.run.dir=outputs/a") == 0
    table = json.loads(Path("outputs/a/tables/per_class.json").read_text())
    assert [row["name"] for row in table][:2] == ["sky", "cloud"]  # the names came with the data


def test_scenes_written_as_imagenet_train_a_masked_autoencoder(train, tmp_path, capsys):
    command = ["make-data", "inet", "--layout", "imagenet", "--train", "12", "--validation", "4", "--size", "64"]
    assert main([*command, "--workers", "0"]) == 0
    hint = capsys.readouterr().out.splitlines()[-1]
    assert train(*hint.split()[2:], *without_scenes(TINY_MAE)) == 0


def test_a_folder_that_is_not_empty_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("precious")
    assert main(["make-data", str(tmp_path)]) == 1
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_overrides_may_stand_on_both_sides_of_an_option(capsys):
    assert main(["benchmark", "parts", "model=mae_vitt", "--rounds", "1", "data.num_workers=0"]) == 0
    assert "mae_vitt" in capsys.readouterr().out
    for words in (["--nonsense", "1"], ["--nonsense"]):
        with pytest.raises(SystemExit) as caught:
            main(["benchmark", "parts", "model=mae_vitt", *words])
        assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "usage: mae-hydra benchmark [" in said
    assert "unrecognized arguments: --nonsense; keys are typed without dashes: seed=1\n" in said


def test_a_part_of_the_demo_that_fails_is_said(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--out", "demo", "model.mask_ratoi=0.5"]) == 1
    said = capfd.readouterr().err
    assert "mask_ratoi" in said
    assert "this part of the demo failed with exit code 1" in said


@pytest.mark.slow
def test_the_demo_ends_in_a_table_and_pictures_and_is_not_repeated(tmp_path, monkeypatch, capsys, demo_in_this_process):
    monkeypatch.chdir(tmp_path)
    small = [*TINY, "data.num_train=48", "backbone.depth=4", "backbone.out_indices=[0,1,2,3]"]
    for said in ("completed after", "already complete"):
        assert main(["demo", "--seeds", "0,1", "--out", "demo", *small]) == 0
        assert capsys.readouterr().out.count(said) == 6
    demo = tmp_path / "demo"
    rows = json.loads((demo / "results.json").read_text())["runs"]
    assert [(row["seed"], row["start"]) for row in rows] == [
        (seed, start) for seed in (0, 1) for start in ("pre-trained", "from scratch")
    ]
    assert "| pre-trained | 2 |" in (demo / "results.md").read_text()
    for name in ("reconstructions", "segmentations", "curves", "classes"):
        assert (demo / "figures" / f"{name}.png").stat().st_size > 5000
