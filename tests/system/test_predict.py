"""`mae-hydra predict`, as it is typed, on pictures of every kind."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mae_hydra
from mae_hydra.commands import main
from mae_hydra.data import read_image, read_labels
from mae_hydra.inference import Slide


@pytest.fixture
def photos(tmp_path) -> Path:
    """Sizes and modes as they come, two of one name, and a broken one."""
    dice = np.random.default_rng(0)
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    colour = Image.fromarray(dice.integers(0, 256, (70, 90, 3), dtype=np.uint8))
    colour.save(folder / "x.jpg")
    colour.rotate(180).save(folder / "x.png")
    colour.save(folder / "more" / "x.png")
    colour.convert("L").save(folder / "grey.png")
    colour.convert("RGBA").save(folder / "rgba.png")
    colour.convert("P").save(folder / "palette.png")
    colour.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(dice.integers(0, 65536, (64, 64), dtype=np.uint16)).save(folder / "sixteen.png")
    Image.new("RGB", (1, 1), (9, 9, 9)).save(folder / "one.png")
    Image.new("RGB", (400, 3)).save(folder / "line.png")
    turned = Image.Exif()
    turned[274] = 6
    colour.save(folder / "turned.jpg", exif=turned)
    (folder / "broken.jpg").write_bytes((folder / "x.jpg").read_bytes()[:500])
    return folder


def size_of(path: str) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


@pytest.fixture
def run(train, trained_upernet) -> Path:
    return Path(shutil.copytree(trained_upernet, "run"))


@pytest.mark.slow
def test_every_kind_of_picture_gets_a_class_map_and_a_broken_one_is_reported(run, photos, capsys):
    capsys.readouterr()
    assert main(["predict", "run", "photos", "--out", "out"]) == 1
    said = capsys.readouterr()
    assert "broken.jpg" in said.err
    assert "1 picture could not be read" in said.err
    names = {path.relative_to("out/labels").as_posix() for path in Path("out/labels").rglob("*.png")}
    simple = {"cmyk", "grey", "line", "one", "palette", "rgba", "sixteen", "turned", "x", "x_2", "more/x"}
    assert names == {f"{name}.png" for name in simple}
    assert {path.relative_to("out/overlays").as_posix() for path in Path("out/overlays").rglob("*.png")} == names
    sizes = {name: size_of(f"out/labels/{name}.png") for name in ("x", "turned", "one", "line")}
    assert sizes == {"x": (90, 70), "turned": (70, 90), "one": (1, 1), "line": (400, 3)}


def test_the_class_map_is_the_models_with_the_colours_of_the_data(run, photos):
    assert main(["predict", "run", "photos/x.jpg", "--out", "out"]) == 0
    picture = Image.open("out/labels/x.png")
    assert picture.mode == "P"
    slide = Slide(crop=64, stride_ratio=0.6667, short=64, long_ratio=4.0, window_batch=8)
    [expected] = slide.predict(mae_hydra.load("run"), [read_image(Path("photos/x.jpg"), 3)])
    assert np.array_equal(np.asarray(picture), expected.numpy())
    palette = torch.load("run/checkpoints/best.pt", weights_only=True)["meta"]["palette"]
    assert np.array_equal(np.array(picture.getpalette()).reshape(-1, 3)[: len(palette)], palette)


def test_pictures_that_are_looked_at_otherwise_than_in_training_are_said_to_be(run, photos, capsys):
    trained = "mae_hydra.inference.Whole"
    for words, now in (([], "mae_hydra.inference.Slide"), (["--inference", "whole"], None)):
        assert main(["predict", "run", "photos/one.png", "--out", f"out{len(words)}", *words]) == 0
        said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("inference.")]
        assert said[:1] == ([] if now is None else [f"inference._target_ is {now} (training: {trained})"])
        assert ("inference.stride_ratio is 0.6667 (not in training)" in said) is (now is not None)


def of_ade20k(run: Path, **data: object) -> dict:
    """Say of a run that it was trained on maps that are stored in another way; gives its `meta`."""
    for file in (run / "checkpoints").glob("*.pt"):
        content = torch.load(file, weights_only=True)
        content["config"]["data"] |= data
        torch.save(content, file)
    return content["meta"]


@pytest.mark.parametrize(
    ("data", "numbers"),
    [
        ({}, range(12)),
        ({"reduce_zero_label": True}, range(1, 13)),
        ({"reduce_zero_label": False, "values": {10 * k: k for k in range(12)} | {255: "ignore"}}, range(0, 120, 10)),
    ],
)
def test_class_maps_can_be_written_as_the_data_set_stores_them_with_their_table(run, photos, data, numbers):
    meta = of_ade20k(run, **data)
    assert main(["predict", "run", "photos/x.jpg", "--out", "plain"]) == 0
    assert main(["predict", "run", "photos/x.jpg", "--out", "stored", "--as-stored"]) == 0
    plain, stored = (np.asarray(Image.open(f"{folder}/labels/x.png")) for folder in ("plain", "stored"))
    assert np.array_equal(np.array(numbers)[plain], stored)
    colours = [np.asarray(Image.open(f"{folder}/labels/x.png").convert("RGB")) for folder in ("plain", "stored")]
    assert np.array_equal(*colours)
    for folder, expected in (("plain", range(12)), ("stored", numbers)):
        table = json.loads(Path(folder, "labels/classes.json").read_text())
        assert table == {"names": meta["class_names"], "palette": meta["palette"], "stored": list(expected)}


def test_maps_of_other_numbers_are_not_written_beside_those_that_are_there(run, photos, capsys):
    of_ade20k(run, reduce_zero_label=True)
    assert main(["predict", "run", "photos/x.jpg", "--out", "out"]) == 0
    words = ["predict", "run", "photos/x.png", "--out", "out", "--as-stored"]
    assert main(words) == 1
    assert "tells of other classes or other numbers" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    assert json.loads(Path("out/labels/classes.json").read_text())["stored"] == list(range(1, 13))


@pytest.mark.parametrize("inference", ["slide", "multiscale_flip"])
def test_probabilities_are_sorted_and_agree_with_the_class_map(run, photos, inference):
    words = ["--out", "out", "--probabilities", "--inference", inference]
    assert main(["predict", "run", "photos/grey.png", *words]) == 0
    found = np.load("out/probabilities/grey.npz")
    assert found["classes"].shape == found["probabilities"].shape == (5, 70, 90)
    assert (np.diff(found["probabilities"].astype(float), axis=0) <= 0).all()
    assert (found["probabilities"].astype(float).sum(0) <= 1.001).all()
    labels = np.asarray(Image.open("out/labels/grey.png"))
    first, second = found["probabilities"][:2]
    assert ((found["classes"][0] == labels) | (first == second)).all()  # ties aside


@pytest.mark.slow
def test_nothing_is_overwritten_unasked(run, photos, capsys):
    words = ["predict", "run", "photos/x.jpg", "--out", "out"]
    assert main(words) == 0
    before = Path("out/labels/x.png").read_bytes()
    Path("out/labels/x.png").write_bytes(b"mine")
    assert main(words) == 1
    assert "is there already" in capsys.readouterr().err
    assert Path("out/labels/x.png").read_bytes() == b"mine"
    assert main([*words, "--overwrite"]) == 0
    assert Path("out/labels/x.png").read_bytes() == before


@pytest.mark.slow
def test_what_was_stopped_goes_on_with_what_is_missing(run, photos, capsys):
    words = ["predict", "run", "photos/*.png", "--out", "out"]
    assert main([*words, "--limit", "2"]) == 0
    first = {path: path.stat().st_mtime_ns for path in Path("out/labels").glob("*.png")}
    next(Path("out/overlays").iterdir()).unlink()  # stopped in the middle of a picture
    capsys.readouterr()
    assert main([*words, "--skip-existing"]) == 0
    assert "1 picture predicted before" in capsys.readouterr().out
    assert len(list(Path("out/overlays").iterdir())) == len(list(photos.glob("*.png")))
    assert sum(path.stat().st_mtime_ns == time for path, time in first.items()) == 1


@pytest.mark.slow
def test_pictures_in_batches_get_the_same_class_maps(run, photos):
    assert main(["predict", "run", "photos/*.png", "--out", "one"]) == 0
    assert main(["predict", "run", "photos/*.png", "--out", "four", "--batch", "4"]) == 0
    for path in Path("one/labels").iterdir():
        assert path.read_bytes() == Path("four/labels", path.name).read_bytes()


def test_a_lower_precision_may_be_asked_for(run, photos):
    assert main(["predict", "run", "photos/x.png", "--out", "out", "--precision", "bf16"]) == 0
    assert main(["predict", "run", "photos/x.png", "--out", "fp32"]) == 0
    maps = [np.asarray(Image.open(f"{folder}/labels/x.png")) for folder in ("out", "fp32")]
    assert (maps[0] == maps[1]).mean() > 0.9


def test_a_picture_beyond_pillows_own_limit_is_read(run, photos, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20_000)  # 90 million, but a picture beyond those takes half a minute
    Image.new("L", (300, 200), 90).save("photos/aerial.png")
    with pytest.raises(Image.DecompressionBombError), Image.open("photos/aerial.png"):
        pass
    assert main(["predict", "run", "photos/aerial.png", "--out", "out"]) == 0
    assert read_labels(Path("out/labels/aerial.png")).shape == (200, 300)


def test_patterns_limits_and_repeated_files(run, photos, capsys):
    assert main(["predict", "run", "photos/*.png", "photos/x.png", "--out", "out", "--limit", "3"]) == 0
    assert len(list(Path("out/labels").glob("*.png"))) == 3


@pytest.mark.slow
def test_a_masked_autoencoder_paints_panels(train, photos, trained_mae):
    shutil.copytree(trained_mae, "mae")
    words = ["--mask-ratios", "0.5,0.75", "--seeds", "0,1", "--out", "out"]
    assert main(["predict", "mae", "photos/x.jpg", "photos/one.png", *words]) == 0
    assert main(["predict", "mae", "photos/x.jpg", "--inference", "slide", "--out", "no"]) == 1
    two_rows = size_of("out/panels/x.png")
    assert main(["predict", "mae", "photos/x.jpg", "--mask-ratios", "0.5", "--out", "less"]) == 0
    one_row = size_of("less/panels/x.png")
    assert two_rows[0] > one_row[0]
    assert two_rows[1] > one_row[1] + 150


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "nowhere.jpg", "--out", "o"], "there is no picture nowhere.jpg"),
        (["run", "empty", "--out", "o"], "there is no picture below empty"),
        (["nothing", "photos", "--out", "o"], "there is no nothing"),
        (["run", "photos", "--out", "o", "--mask-ratios", "1.5"], "--mask-ratios must lie between 0 and 1"),
        (["run", "photos", "--out", "o", "--seeds", "a"], "take numbers with commas"),
        (["run", "photos", "--out", "o", "--limit", "0"], "--limit must be at least 1"),
        (["run", "photos", "--out", "o", "--batch", "0"], "--batch must be at least 1"),
        (
            ["run", "photos", "--out", "o", "--seeds", "1"],
            "--seeds is of a masked autoencoder, and run holds a segmentation model",
        ),
    ],
)
def test_a_mistake_is_one_sentence(run, photos, capsys, words, message):
    Path("empty").mkdir()
    capsys.readouterr()
    assert main(["predict", *words]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert not Path("o").exists()


def test_pictures_of_any_name_are_predicted_and_nobody_elses_files_are_replaced(run, tmp_path, capsys):
    """Long to the last byte, of several lines, markup, no text at all."""
    (tmp_path / "odd").mkdir()
    names = ["x" * 251, "ä" * 120 + "y", "two\nlines", "[x] $a$", "\x1b[31mred", "bad\udcff"]
    for name in names:
        Image.new("RGB", (20, 16), (9, 99, 199)).save(tmp_path / "odd" / f"{name}.png")
    (tmp_path / "odd" / "broken\x1b[2J.png").write_bytes(b"nothing")
    assert main(["predict", "run", "odd", "--out", "out", "--batch", "7"]) == 1
    assert "\x1b" not in capsys.readouterr().err
    for kind in ("labels", "overlays"):
        made = {path.stem for path in (tmp_path / "out" / kind).glob("*.png")}
        assert made >= set(names[2:])
        assert len(made) == len(names)
    (tmp_path / "mine/labels").mkdir(parents=True)
    (tmp_path / "mine/labels/two\nlines.png").write_text("the truth")
    chosen = ["predict", "run", "odd/two\nlines.png", "--out", "mine", "--overwrite"]
    assert main(chosen) == 1
    assert "it was not mae-hydra predict that wrote it" in capsys.readouterr().err
    assert (tmp_path / "mine/labels/two\nlines.png").read_text() == "the truth"
    (tmp_path / "mine/labels/two\nlines.png").unlink()
    assert [main(chosen), main(chosen)] == [0, 0]
