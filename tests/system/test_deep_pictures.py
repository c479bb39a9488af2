"""A run on pictures of 12 bits: the range is said, recorded, and holds for all that looks at pictures for its model."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_MAE
from PIL import Image

from mae_hydra.commands import main
from mae_hydra.weights import read_checkpoint

OVERRIDES = [o for o in TINY_MAE if not o.startswith(("data.num_train", "data.num_validation"))]


def write(root: Path, highest: int, count: int = 6) -> None:
    root.mkdir(parents=True)
    for number in range(count):
        values = np.linspace(number, highest - number, 40 * 40).reshape(40, 40)
        Image.fromarray(values.astype(np.uint16)).save(root / f"{number}.png")


@pytest.mark.usefixtures("without_figures")
def test_the_range_of_training_is_recorded_and_used_by_whatever_comes_after(train, tmp_path, capfd):
    write(tmp_path / "photos", 4095)
    write(tmp_path / "darker", 1000)
    run = "outputs/run"
    words = ["data=folder", "data.root=photos", "data.image_size=32", f"hydra.run.dir={run}"]
    assert train(*OVERRIDES, *words) == 0
    said = capfd.readouterr().out
    [pair] = json.loads(Path(run, "data.json").read_text())["range"]
    assert 0 <= pair[0] < 10
    assert 4080 < pair[1] < 4096
    text = f"[{pair[0]:g}, {pair[1]:g}]"
    assert f"note: pictures of more than 8 bits a channel: {text} becomes 0 to 255 (measured from" in said
    assert read_checkpoint(Path(run)).meta["origin"]["data"]["range"] == [pair]

    assert main(["evaluate", run, "data=folder", "data.root=darker"]) == 0
    assert f"{text} becomes 0 to 255 (data.range)" in capfd.readouterr().out
    [results] = Path(run, "evaluations").glob("*/config.yaml")
    assert f"range:\n  - - {pair[0]}\n    - {pair[1]}" in results.read_text()

    assert main(["predict", run, "darker", "--out", "out", "--limit", "1"]) == 0
    assert f"{text} becomes 0 to 255 (as in training)" in capfd.readouterr().out
    assert main(["predict", run, "darker", "--out", "out2", "--limit", "1", "--range", "0,1000"]) == 0
    assert "[0, 1000] becomes 0 to 255 (--range)" in capfd.readouterr().out
    shown, told = (np.asarray(Image.open(f"{out}/panels/0.png")) for out in ("out", "out2"))
    assert shown.shape == told.shape
    assert told.mean() > shown.mean()  # of the model's range a quarter is used

    again = ["schedule.total=1", f"init_from={run}", "data.range=[0,1000]", "hydra.run.dir=outputs/again"]
    assert train(*OVERRIDES, *words[:-1], *again) == 0
    assert (
        f"the weights of init_from were trained with data.range={text}, this run has [0, 1000]"
        in capfd.readouterr().out
    )


@pytest.mark.parametrize("told", ["[5,1]", "[1,2,3]", "wide"])
def test_a_range_that_is_none_is_one_sentence(train, tmp_path, capfd, told):
    write(tmp_path / "photos", 4095, 2)
    assert train(*OVERRIDES, "data=folder", "data.root=photos", "data.image_size=32", f"data.range={told}") == 1
    assert "error: data.range must be auto, [low, high] with low < high" in capfd.readouterr().err


def test_what_a_folder_passes_over_is_said_by_every_command_that_reads_it(train, tmp_path, capfd):
    write(tmp_path / "photos", 4095, 4)
    (tmp_path / "photos/old.jxl").write_bytes(b"x")
    line = "warning: 1 file in photos passed over: 1 .jxl"
    run = "outputs/run"
    words = ["data=folder", "data.root=photos", "data.image_size=32", "evaluation=none", f"hydra.run.dir={run}"]
    assert train(*OVERRIDES, *words) == 0
    assert line in capfd.readouterr().out
    assert main(["predict", run, "photos", "--out", "out", "--limit", "1"]) == 0
    assert line in capfd.readouterr().out
    assert main(["make-shards", "shards", "data=folder", "data.root=photos", "--workers", "0"]) == 0
    assert line in capfd.readouterr().out
    assert main(["make-shards", "small", "data=folder", "data.root=photos", "--workers", "0", "--short", "20"]) == 0
    assert main(["check-data", "data=folder", "data.root=photos", "--out", "report", "--workers", "0"]) == 0
    report = json.loads(Path("report/report.json").read_text())
    kinds = {finding["kind"]: finding for finding in report["findings"]}
    assert kinds["unread pictures"]["files"] == ["old.jxl"]
    assert "becomes 0 to 255" in kinds["range"]["sentence"]


def test_check_data_warns_of_pictures_that_training_would_shrink_to_a_fraction(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (50, 50, 3), np.uint8)
    for number in range(2):
        Image.fromarray(noise).rotate(90 * number).resize((700, 600)).save(f"photos/{number}.jpg")
    words = ["check-data", "data=folder", "data.root=photos", "data.image_size=64", "--out", "out", "--workers", "0"]
    assert main(words) == 0
    report = json.loads(Path("out/report.json").read_text())
    [found] = [finding for finding in report["findings"] if finding["kind"] == "much larger than the crop"]
    assert found["level"] == "warning"
    assert "2 images more than 4 times as large as the 64 pixels" in found["sentence"]
    assert "700x600" in found["sentence"]
    assert "augment.short" in found["sentence"]
    assert main([*words, "model=upernet_vitt", "augment.short=null"]) == 0
    report = json.loads(Path("out/report.json").read_text())
    assert not [finding for finding in report["findings"] if finding["kind"] == "much larger than the crop"]
