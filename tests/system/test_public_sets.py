"""Presets of public sets train, and evaluate on each split to the number that an independent count gives."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mae_hydra
from mae_hydra.commands import main
from mae_hydra.configuration.command_words import readable
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build

sys.path.append(str(Path(__file__).parents[1] / "data/layouts"))
from published import SETS

TINY = ["+debug=smoke", "engine=cpu", "data.num_workers=0", "data.image_size=32", "inference=slide"]
TINY += ["backbone.embed_dim=32", "backbone.depth=4", "backbone.num_heads=2", "evaluation.validation.num_pictures=0"]
HEAD = ["backbone.out_indices=[0,1,2,3]", "head.channels=16"]


def mean_iou(predicted: list[np.ndarray], wanted: list[np.ndarray], num_classes: int) -> float:
    """In percent, over the classes that occur on either side; what is no class counts for nothing."""
    both, either = np.zeros(num_classes), np.zeros(num_classes)
    for guess, truth in zip(predicted, wanted, strict=True):
        for number in range(num_classes):
            here, there = (guess == number) & (truth < num_classes), truth == number
            both[number] += (here & there).sum()
            either[number] += (here | there).sum()
    return float(100 * (both[either > 0] / either[either > 0]).mean())


WHOLE_STORY = {  # preset -> split
    "camvid": "test",
    "potsdam": "validation",
    "drive": "test",
    "landcoverai": "train",
    "cityscapes": "val",
    "ade20k_full": "validation",
}
TO_EVALUATE = ("dark_zurich", "night_driving")


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize(("preset", "split"), WHOLE_STORY.items())
def test_a_preset_trains_and_evaluates_to_an_independent_count(tmp_path, train, preset, split, capsys):
    side = {"val": "validation"}.get(split, split)
    published = SETS[preset]
    wanted = published.write(tmp_path / "set")[side]
    words = ["model=upernet_vitt", f"data={preset}", f"data.root={tmp_path / 'set'}", *TINY, *HEAD]
    assert train(*words, "hydra.run.dir=run") == 0
    assert main(["evaluate", "run", "--out", "found", f"split={split}"]) == 0
    found = json.loads(Path("found/results.json").read_text())
    assert found["images"] == len(wanted)
    assert found["protocol"]["split"] == side
    predicted = []
    for number, (image, _) in enumerate(sorted(published.files[side])):  # names may be alike in several folders
        Path("pictures").mkdir(exist_ok=True)
        shutil.copy(tmp_path / "set" / image, f"pictures/{number:03d}{Path(image).suffix}")
    assert main(["predict", "run", "pictures", "--out", "out"]) == 0
    predicted = [np.asarray(Image.open(f"out/labels/{number:03d}.png")) for number in range(len(wanted))]
    assert found["mIoU"] == pytest.approx(mean_iou(predicted, wanted, len(published.stored)), abs=1e-3)
    assert main(["evaluate", "run", "--out", "found", f"split={split}"]) == 0
    assert "already complete" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("preset", sorted(SETS.keys() - {*WHOLE_STORY, *TO_EVALUATE}))
def test_every_other_preset_trains_and_its_last_score_is_an_independent_count(tmp_path, train, preset):
    published = SETS[preset]
    wanted = published.write(tmp_path / "set")
    words = ["model=upernet_vitt", f"data={preset}", f"data.root={tmp_path / 'set'}", *TINY, *HEAD]
    words += ["evaluation.validation.limit=null", "schedule.total=1"]
    assert train(*words, "hydra.run.dir=run") == 0
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    score = [line["val/mIoU"] for line in lines if "val/mIoU" in line][-1]
    config = compose_config([word for word in words if not word.startswith("+debug")])
    data, inference = build(config.data, "data"), build(config.inference, "inference")
    model = mae_hydra.load("run")
    validation = [data.validation[place] for place in range(len(data.validation))]
    predicted = inference.predict(model, [sample.image for sample in validation])
    known = {each.tobytes() for each in wanted.get("validation", wanted.get("all"))}
    truth = [sample.label.numpy() for sample in validation]
    assert {each.tobytes() for each in truth} <= known
    assert score == pytest.approx(
        mean_iou([each.numpy() for each in predicted], truth, len(published.stored)), abs=1e-3
    )


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_a_set_without_training_photos_scores_a_run_of_its_classes(tmp_path, train):
    SETS["bdd100k"].write(tmp_path / "set")
    words = ["model=upernet_vitt", "data=bdd100k", f"data.root={tmp_path / 'set'}", *TINY, *HEAD, "schedule.total=1"]
    assert train(*words, "hydra.run.dir=run") == 0
    for preset in TO_EVALUATE:
        wanted = SETS[preset].write(tmp_path / preset)["validation"]
        root = f"data.root={tmp_path / preset}"
        assert main(["evaluate", "run", f"data={preset}", root, "--out", f"found_{preset}"]) == 0
        found = json.loads(Path(f"found_{preset}/results.json").read_text())
        data = build(compose_config([f"data={preset}", root]).data, "data")
        inference = build(compose_config([words[0], *words[3:]]).inference, "inference")
        images = [data.validation[place].image for place in range(len(wanted))]
        predicted = [each.numpy() for each in inference.predict(mae_hydra.load("run"), images)]
        assert found["mIoU"] == pytest.approx(mean_iou(predicted, wanted, 19), abs=1e-3)


@pytest.mark.slow
def test_photos_of_a_preset_pre_train_a_masked_autoencoder(tmp_path, train):
    SETS["voc2012"].write(tmp_path / "set")
    words = ["model=mae_vitt", "data=voc2012", f"data.root={tmp_path / 'set'}", *TINY[:4], *TINY[5:]]
    head = ["backbone.out_indices=[3]", "head.embed_dim=16", "head.depth=1", "head.num_heads=2"]
    assert train(*words, *head, "data.maps=null") == 0


def test_a_split_that_is_not_there_is_one_sentence(trained_upernet, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for word, said in (
        ("test", "split=test: scenes has no test split"),
        ("dev", "splits are validation, test and train"),
    ):
        assert main(["evaluate", str(trained_upernet), f"split={word}"]) == 1
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "read"),
    [
        ("data.images={split}/*/images", "data.images='{split}/*/images'"),
        ("+data.maps=gt/{split}", "+data.maps='gt/{split}'"),
        ("data.images='{split}'", "data.images='{split}'"),
        ("data.images=[a/{split},b]", "data.images=[a/{split},b]"),
        ("data.values={0: 1}", "data.values={0: 1}"),
    ],
)
def test_a_pattern_is_read_as_a_shell_leaves_it(word, read):
    assert readable([word]) == [read]
