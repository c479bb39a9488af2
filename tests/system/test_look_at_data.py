"""`mae-hydra check-data <folder>`: its last line is a command that starts, typed as it stands."""

import os
import shlex
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mae_hydra.commands import main
from mae_hydra.commands.check_data import look_pictures
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build

SIDE = 64
OWNED = ".mae-hydra-check-data"
SPLITS = ("train", "val", "test")
TINY = ["+debug=smoke", "engine=cpu", "backbone.embed_dim=32", "backbone.depth=4", "backbone.num_heads=2"]
HEADS = {
    "upernet_vitt": ["backbone.out_indices=[0,1,2,3]", "head.channels=16"],
    "mae_vitt": ["backbone.out_indices=[3]", "head.embed_dim=16", "head.depth=1", "head.num_heads=2"],
    "classifier_vitt": ["backbone.out_indices=[3]"],
}


def photo(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path)


def class_map(path: Path, values: Sequence[int], seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    coarse = np.concatenate([np.asarray(values), rng.choice(values, 64 - len(values))]).reshape(8, 8)
    Image.fromarray(np.kron(coarse, np.ones((8, 8))).astype(np.uint8)).save(path)


def labelled(root: Path, images: str, maps: str, splits: Sequence[str], values: Sequence[int]) -> Path:
    for split in splits:
        for number in range(4):
            photo(root / images.format(split=split, n=number), number)
            class_map(root / maps.format(split=split, n=number), values, number)
    return root


def ade20k(root: Path) -> Path:
    return labelled(root, "images/{split}/{n}.jpg", "annotations/{split}/{n}.png", ("training", "validation"), (0, 255))


def wide(root: Path) -> Path:
    """Pictures that are not as the crops are, and not of one size."""
    camvid(root)
    for number, path in enumerate(sorted(root.rglob("*.*"))):
        with Image.open(path) as picture:
            picture.resize((SIDE * 2 + number % 4 // 2, SIDE), Image.Resampling.NEAREST).save(path)
    return root


def camvid(root: Path) -> Path:
    """The last number marks what is not labelled: in every map, as no class is."""
    labelled(root, "{split}/{n}.jpg", "{split}annot/{n}.png", ("train", "val", "test"), range(5))
    for split in ("train", "val", "test"):
        class_map(root / f"{split}annot/0.png", (0, 1, 3, 4), 0)
    return root


def suffixes(root: Path) -> Path:
    return labelled(root, "img/{split}/{n}_a.jpg", "gt/{split}/{n}_b.png", ("train", "val"), range(5))


def train_and_test(root: Path) -> Path:
    return labelled(root, "img/{split}/{n}.jpg", "gt/{split}/{n}.png", ("train", "test"), range(1, 5))


def class_folders(root: Path) -> Path:
    for split in ("train", "val"):
        for number in range(4):
            photo(root / f"{split}/class {number % 2}/{number}.jpg", number)
    return root


def other_class_folders(root: Path) -> Path:
    class_folders(root)
    (root / "train").rename(root / "training")
    return root


def photos(root: Path) -> Path:
    for number in range(4):
        photo(root / f"day {number % 2}/it's {number}.jpg", number)
    return root


def one_folder_a_class(root: Path) -> Path:
    for number in range(8):
        photo(root / f"Images/{'river' if number % 2 else 'airplane'}/{number}.tif", number)
    return root


def tiny_imagenet(root: Path) -> Path:
    for number in range(4):
        name = f"n0{number % 2}"
        photo(root / f"train/{name}/images/{name}_{number}.JPEG", number)
        photo(root / f"val/images/val_{number}.JPEG", number)
        photo(root / f"test/images/test_{number}.JPEG", number)
    lines = "".join(f"val_{number}.JPEG\tn0{number % 2}\t0\t0\t9\t9\n" for number in range(4))
    (root / "val/val_annotations.txt").write_text(lines)
    return root


def with_a_table(root: Path) -> Path:
    for number in range(4):
        photo(root / f"train_images/{number}.png", number)
        photo(root / f"test_images/{number}x.png", number)
    rows = "".join(f"{number},{number % 2}\n" for number in range(4))
    (root / "train.csv").write_text(f"id_code,diagnosis\n{rows}")
    return root


FOLDERS: dict[str, tuple[Callable[[Path], Path], str, str, int, int]] = {
    # model, data, images for training and for validation
    "ade20k": (ade20k, "upernet_vitt", "ade20k", 4, 4),
    "camvid": (camvid, "upernet_vitt", "segmentation", 4, 4),
    "wide": (wide, "upernet_vitt", "segmentation", 4, 4),
    "suffixes": (suffixes, "upernet_vitt", "segmentation", 4, 4),
    "train and test": (train_and_test, "upernet_vitt", "segmentation", 3, 1),
    "class folders": (class_folders, "classifier_vitt", "imagenet", 4, 4),
    "other class folders": (other_class_folders, "classifier_vitt", "classification", 4, 4),
    "one folder a class": (one_folder_a_class, "classifier_vitt", "classification", 7, 1),
    "tiny imagenet": (tiny_imagenet, "classifier_vitt", "classification", 4, 4),
    "with a table": (with_a_table, "classifier_vitt", "classification", 3, 1),
    "photos": (photos, "mae_vitt", "folder", 3, 1),
}


@pytest.fixture
def say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[str]]:
    """`say(*words)`: the lines that `mae-hydra check-data *words` prints, in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*words: str) -> list[str]:
        assert main(["check-data", *words]) == 0
        return capsys.readouterr().out.rstrip().splitlines()

    return call


def words_of(line: str) -> list[str]:
    """The words behind `train.py`."""
    assert line.startswith("python train.py ")
    return shlex.split(line)[2:]


@pytest.mark.parametrize("kind", FOLDERS)
def test_the_last_line_reads_the_folder(tmp_path, say, kind):
    make, model, data, num_train, num_validation = FOLDERS[kind]
    words = words_of(say(str(make(tmp_path / "it's a set")))[-1])
    assert words[:2] == [f"model={model}", f"data={data}"]
    read = build(compose_config(words).data, "data")
    assert (len(read.train), len(read.validation)) == (num_train, num_validation)


def test_the_picture_shows_what_each_command_reads(tmp_path, say, monkeypatch):
    drawn = []

    def remember(images, maps, data, title):
        drawn.append((title, maps["labels"], data))
        return sheet(images, maps, data, title)

    sheet = look_pictures.segmentation_sheet
    monkeypatch.setattr(look_pictures, "segmentation_sheet", remember)
    root = camvid(tmp_path / "set")
    lines = say(str(root))
    [named] = [line for line in lines if line.startswith("samples in every reading: ")]
    with Image.open(named.partition(": ")[2]) as picture:
        assert picture.mode == "RGB"
    others = [line.partition(": ")[0].removeprefix("or ") for line in lines if line.startswith("or ")]
    best = [line for line in lines if line.startswith("the likeliest: ")]
    told = [best[0].partition(": ")[2], *others]
    assert [title for title, *_ in drawn] == [f"{number}. {means}" for number, means in enumerate(told, 1)]
    read = build(compose_config(words_of(lines[-1])).data, "data").train
    assert len(drawn[0][1]) == len(read) // 2
    assert all(np.array_equal(shown, read[2 * place].label) for place, shown in enumerate(drawn[0][1]))
    ignored = {title[3:]: bool((np.stack(maps) == data.ignore_index).any()) for title, maps, data in drawn}
    assert ignored["4 classes, 0 is a class, 4 is ignored"]
    assert not ignored["5 classes, 0 is a class"]


def test_without_a_place_for_the_picture_the_command_is_said_all_the_same(tmp_path, say, capsys):
    (tmp_path / "here" / "outputs").write_text("a file")
    lines = say(str(class_folders(tmp_path / "set")))
    assert any(line.startswith("no picture was written: ") for line in lines)
    assert lines[-1].startswith("python train.py ")
    (tmp_path / "there").write_text("a file")
    assert main(["check-data", str(tmp_path / "set"), "--out", str(tmp_path / "there")]) == 1
    assert f"{tmp_path / 'there'} is a file; give another folder with --out" in capsys.readouterr().err
    assert f"samples: {tmp_path / 'good' / 'look.png'}" in say(str(tmp_path / "set"), "--out", str(tmp_path / "good"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ade20k", "wide", "class folders", "tiny imagenet", "photos"])
def test_the_last_line_trains(tmp_path, say, train, kind):
    line = say(str(FOLDERS[kind][0](tmp_path / "set")))[-1]
    words = words_of(line)
    assert train(*words, *TINY, *HEADS[FOLDERS[kind][1]]) == 0


@pytest.mark.slow
def test_the_last_line_passes_the_audit(tmp_path, say):
    words = words_of(say(str(camvid(tmp_path / "set")))[-1])
    assert main(["check-data", *words, "--workers", "0", "--out", "out"]) == 0


def test_both_readings_are_shown_and_the_best_stands_last(tmp_path, say):
    lines = say(str(camvid(tmp_path / "set")))
    others = [line for line in lines if line.startswith("or ")]
    assert others == [
        "or 5 classes, 0 is a class: data.num_classes=5",
        "or 4 classes, 0 is no class and ignored: data.num_classes=4 data.reduce_zero_label=true",
    ]
    assert "data.num_classes=4 data.ignore_index=4" in lines[-1]
    assert any(line.startswith("5 stored values of 12 of 12 class maps") for line in lines)
    assert any(line.startswith("samples in every reading: ") for line in lines)


def test_a_public_set_is_recognised_where_it_lies_as_published(tmp_path, say):
    lines = say(str(labelled(tmp_path / "CamVid", "{split}/{n}.png", "{split}annot/{n}.png", SPLITS, range(12))))
    words = words_of(lines[-1])
    assert words[:2] == ["model=upernet_vitt", "data=camvid"]
    assert build(compose_config(words).data, "data").class_names[8] == "Car"
    assert any(line.startswith("or 11 classes, 0 is a class, 11 is ignored: ") for line in lines)


def test_colours_of_a_public_set_are_recognised_wherever_they_lie(tmp_path, say):
    for number, colours in enumerate((((0, 0, 63), (0, 63, 127)), ((0, 63, 0), (0, 63, 191)), ((0, 63, 255),) * 2)):
        photo(tmp_path / f"own/air/{number}_img.png", number)
        (tmp_path / "own/truth").mkdir(exist_ok=True)
        blocks = np.kron(np.array([colours], np.uint8).repeat(2, 0), np.ones((SIDE // 2, SIDE // 2, 1), np.uint8))
        Image.fromarray(blocks).save(tmp_path / f"own/truth/{number}_gt.png")
    words = words_of(say(str(tmp_path / "own"))[-1])
    read = build(compose_config(words).data, "data")
    assert words[1] == "data=isaid"
    assert (len(read.train), len(read.validation)) == (2, 1)
    labels = {
        int(each)
        for part in (read.train, read.validation)
        for at in range(len(part))
        for each in part[at].label.unique()
    }
    assert labels == {1, 3, 4, 5, 6}


def test_lists_say_the_split_where_no_folder_does(tmp_path, say):
    labelled(tmp_path / "own", "img/{split}{n}_x.jpg", "gt/{split}{n}.png", ("a", "b"), range(1, 5))
    (tmp_path / "own/sets").mkdir()
    for name, stems in {"train": ["a0", "a1", "b3"], "val": ["b0"], "test": ["a2", "b2"]}.items():
        (tmp_path / f"own/sets/{name}.txt").write_text("\n".join(stems))
    read = build(compose_config(words_of(say(str(tmp_path / "own"))[-1])).data, "data")
    assert (len(read.train), len(read.validation), len(read.test())) == (3, 1, 2)


@pytest.mark.parametrize("kind", ["ade20k", "camvid", "class folders"])
def test_the_words_are_saved_as_an_option_file(tmp_path, say, kind):
    make, model, _, num_train, _ = FOLDERS[kind]
    line = say(str(make(tmp_path / "set")), "--save", "conf/local/data/mine.yaml")[-1]
    words = words_of(line)
    assert words[:4] == ["--config-dir", "conf/local", f"model={model}", "data=mine"]
    from hydra import compose, initialize_config_dir

    from mae_hydra.configuration import resolvers
    from mae_hydra.configuration.compose import config_dir

    resolvers.register()
    with initialize_config_dir(str(config_dir()), version_base="1.3", job_name="train"):
        search = [f"hydra.searchpath=[{Path('conf/local').absolute()}]"]
        config = compose("config", overrides=[*search, *words[2:]])
    assert len(build(config.data, "data").train) == num_train
    assert say(str(tmp_path / "set"), "--save", "conf/local/data/mine.yaml")[-1] == line  # its own file is replaced


@pytest.mark.slow
def test_a_saved_option_file_trains(tmp_path, say, train):
    line = say(str(camvid(tmp_path / "set")), "--save", "conf/local/data/mine.yaml")[-1]
    assert train(*words_of(line), *TINY, *HEADS["upernet_vitt"]) == 0


@pytest.mark.parametrize("place", ["conf/local/mine.yaml", "conf/local/data/mine", "conf/local/data/theirs.yaml"])
def test_a_place_that_no_option_file_can_have_is_refused(tmp_path, say, place, capsys):
    Path("conf/local/data").mkdir(parents=True)
    Path("conf/local/data/theirs.yaml").write_text("mine: 1\n")
    assert main(["check-data", str(ade20k(tmp_path / "set")), "--save", place]) == 1
    assert "conf/local/data/" in capsys.readouterr().err
    assert Path("conf/local/data/theirs.yaml").read_text() == "mine: 1\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["set", "data=ade20k"], "looks at one folder without a configuration"),
        (["data.root=set", "set"], "looks at one folder without a configuration"),
        (["set", "set"], "looks at one folder without a configuration"),
        (["nowhere"], "there is no file or folder nowhere"),
        (["data=ade20k", "--save", "conf/local/data/a.yaml"], "--save is for a folder"),
    ],
)
def test_mixtures_are_one_sentence(tmp_path, say, words, said, capsys):
    ade20k(Path("set"))
    assert main(["check-data", *words]) == 1
    assert said in capsys.readouterr().err


def test_nothing_to_train_on_says_what_lies_there(tmp_path, say, capsys):
    Path("set").mkdir()
    for name in ("a.pdf", "b.pdf", "c.zip"):
        (Path("set") / name).write_bytes(b"x")
    assert main(["check-data", "set"]) == 1
    said = capsys.readouterr().out
    assert "2 .pdf, 1 .zip" in said
    assert "unpack what is packed" in " ".join(said.split())


def test_nothing_is_left_in_the_folder(tmp_path, say):
    root = camvid(tmp_path / "set")
    before = sorted(root.rglob("*"))
    say(str(root))
    assert sorted(root.rglob("*")) == before
    assert {path.name for path in Path.cwd().rglob("*")} == {"outputs", "check_data", "set", "look.png", OWNED}


@pytest.mark.parametrize("name", ["\x1b[31mred", "tab\tand $HOME", "a=b", "caf\udce9", "-x", "{a,b}"])
def test_strange_names_are_shown_and_typed_harmlessly(tmp_path, say, name):
    root = labelled(tmp_path / name, "{split}/{n}.jpg", "{split}annot/{n}.png", ("train", "val"), (1, 2, 3))
    lines = say(str(root))
    assert all(line.isprintable() for line in lines)
    words = run_by_bash(lines[-1])
    read = build(compose_config(words).data, "data")
    assert len(read.train) == 4


def run_by_bash(line: str) -> list[str]:
    """The words that `train.py` is given, with a program in place of Python that says what it was given."""
    program = Path("bin/python")
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nfor word; do printf '%s\\0' \"$word\"; done\n")
    program.chmod(0o755)
    path = f"{program.parent.absolute()}:{os.environ['PATH']}"
    given = subprocess.run(["bash", "-c", line], check=True, capture_output=True, env={"PATH": path}).stdout
    return [os.fsdecode(word) for word in given.split(b"\0")[1:-1]]


def test_what_would_stop_a_run_at_its_start_is_said_and_no_command_for_it(tmp_path, say, capsys):
    root = ade20k(tmp_path / "set")
    with Image.open(root / "annotations/validation/0.png") as picture:
        picture.resize((SIDE // 2, SIDE)).save(root / "annotations/validation/0.png")
    assert main(["check-data", str(root)]) == 1
    said = capsys.readouterr().out
    assert "data=ade20k does not read it: 1 of 4 validation samples cannot be used" in said
    assert "python train.py" not in said
    assert said.rstrip().splitlines()[-1] == f"mend that, and look again: mae-hydra check-data {root}"


@pytest.mark.parametrize(("place", "num_train"), [("", 4), ("val-0.tar", 2)])
def test_tars_are_read_by_the_last_line(tmp_path, say, place, num_train):
    for split in ("train", "val"):
        for number in range(4):
            photo(tmp_path / f"{number}.jpg", number)
            (tmp_path / f"{number}.cls").write_text(str(number % 2))
        (tmp_path / "shards").mkdir(exist_ok=True)
        with tarfile.open(tmp_path / f"shards/{split}-0.tar", "w") as archive:
            for number in range(4 if split == "train" else 2):
                for kind in ("jpg", "cls"):
                    archive.add(tmp_path / f"{number}.{kind}", f"{number}.{kind}")
    before = sorted((tmp_path / "shards").iterdir())
    words = words_of(say(str(tmp_path / "shards" / place))[-1])
    assert sorted((tmp_path / "shards").iterdir()) == before  # no index has been left
    assert words[:2] == ["model=classifier_vitt", "data=shards"]
    assert len(build(compose_config(words).data, "data").train) == num_train
