"""`mae-hydra check-data`: a clean set passes, and each defect of a broken one is named once, with its file."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from written_pictures import shows_something

from mae_hydra.commands import main

SIZE = 64


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "set"
    command = ["make-data", str(root), "--train", "24", "--validation", "8", "--size", str(SIZE), "--workers", "0"]
    assert main(command) == 0
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "set"))


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, dict[str, Any]]]:
    """`audit(*words)` is `mae-hydra check-data *words`; gives the exit code and the report."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str, workers: int = 0) -> tuple[int, dict[str, Any]]:
        code = main(["check-data", *words, "--out", "out", "--workers", str(workers)])
        return code, json.loads((tmp_path / "out" / "report.json").read_text())

    return call


def of_ade20k(root: Path, *more: str) -> list[str]:
    return ["data=ade20k", f"data.root={root}", "data.num_classes=12", f"data.image_size={SIZE}", *more]


def kinds(report: dict[str, Any], *levels: str) -> list[str]:
    return [finding["kind"] for finding in report["findings"] if not levels or finding["level"] in levels]


def finding(report: dict[str, Any], kind: str) -> dict[str, Any]:
    [found] = [finding for finding in report["findings"] if finding["kind"] == kind]
    return found


def image(root: Path, number: int, ending: str = "jpg") -> Path:
    return root / f"images/training/train-{number:06d}.{ending}"


def class_map(root: Path, number: int) -> Path:
    return root / f"annotations/training/train-{number:06d}.png"


def rewrite(path: Path, change: Callable[[Image.Image], Image.Image], ending: str = "", **options: Any) -> None:
    """Change a picture, and its format with its ending."""
    with Image.open(path) as picture:
        changed = change(picture).copy()
    if ending:
        path.unlink()
    changed.save(path.with_suffix(ending) if ending else path, **options)


def width_of(path: str) -> int:
    with Image.open(path) as picture:
        return picture.width


def stack(folder: Path) -> np.ndarray:
    """All pictures of a folder, which are of one size: uint8 (N, H, W, C) or (N, H, W)."""
    arrays = []
    for path in sorted(folder.iterdir()):
        with Image.open(path) as picture:
            arrays.append(np.asarray(picture))
    return np.stack(arrays)


@pytest.mark.slow
def test_a_clean_set_has_no_error_and_its_numbers_are_those_of_its_files(root, audit, capsys):
    code, report = audit(*of_ade20k(root))
    assert code == 0
    assert kinds(report, "error", "warning") == []
    assert kinds(report, "note") == ["zero label open"]
    pixels = stack(root / "images/training").reshape(-1, 3) / 255
    np.testing.assert_allclose(report["statistics"]["measured"]["mean"], pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(report["statistics"]["measured"]["std"], pixels.std(0), rtol=1e-10)
    maps = stack(root / "annotations/training")
    for row in report["classes"]:
        of_class = maps == row["class"] + 1
        assert row["training_pixels"] == of_class.sum()
        assert row["training_images"] == of_class.any((1, 2)).sum()
    assert report["splits"]["training"]["ignored_share"] == pytest.approx((maps == 0).mean())
    assert report["splits"]["training"]["width"] == {"min": SIZE, "median": SIZE, "max": SIZE}
    assert width_of("out/samples.png") > 500
    assert not Path("out/duplicates.png").exists()
    said = capsys.readouterr().out
    assert "0 errors, 0 warnings, 1 note" in said
    assert "11 vehicle" in said


def test_each_defect_of_a_broken_set_is_named_once_with_its_file(root, audit, capsys):
    rng = np.random.default_rng(0)
    image(root, 0).write_bytes(image(root, 0).read_bytes()[:1500])
    class_map(root, 1).unlink()
    rewrite(class_map(root, 2), lambda labels: labels.resize((32, 32)))
    rewrite(class_map(root, 3), lambda labels: Image.fromarray(np.where(np.eye(SIZE), 77, labels).astype(np.uint8)))
    shutil.copy(image(root, 4), root / "images/validation/copy.jpg")
    shutil.copy(class_map(root, 4), root / "annotations/validation/copy.png")
    rewrite(image(root, 5), lambda picture: picture.convert("L"))
    rewrite(image(root, 6), lambda picture: picture.convert("CMYK"))
    deep = np.linspace(0, 65535, SIZE * SIZE).astype(np.uint16).reshape(SIZE, SIZE)
    rewrite(image(root, 7), lambda picture: Image.fromarray(deep), ".png")
    exif = Image.Exif()
    exif[0x0112] = 6
    rewrite(image(root, 8), lambda picture: picture, exif=exif.tobytes())
    with Image.open(image(root, 9)) as picture:
        picture.resize((96, 96)).save(root / "images/validation/near.jpg", quality=70)
    with Image.open(class_map(root, 9)) as labels:
        labels.resize((96, 96), Image.Resampling.NEAREST).save(root / "annotations/validation/near.png")
    rewrite(class_map(root, 10), lambda labels: Image.merge("RGB", [labels, labels, labels.point(lambda v: 255 - v)]))
    rewrite(image(root, 11), lambda picture: picture.convert("RGBA"), ".png")
    rewrite(image(root, 12), lambda picture: Image.new("RGB", (SIZE, SIZE), (9, 9, 9)))
    class_map(root, 13).write_bytes(class_map(root, 13).read_bytes()[:60])
    shutil.copy(class_map(root, 14), root / "annotations/training/orphan.png")
    image(root, 15, "jxl").write_bytes(b"of a telephone")
    (root / "images/training/notes.txt").write_text("not a picture")
    rewrite(class_map(root, 16), lambda labels: Image.new("L", (SIZE, SIZE)))
    damaged = np.frombuffer(image(root, 17).read_bytes(), np.uint8).copy()
    damaged[rng.integers(len(damaged) // 2, len(damaged) - 9, 20)] = rng.integers(0, 255, 20)
    image(root, 17).write_bytes(damaged.tobytes())
    shutil.copy(image(root, 18), root / "images/training/same.jpg")
    shutil.copy(class_map(root, 19), root / "annotations/training/same.png")

    code, report = audit(*of_ade20k(root))
    assert code == 1
    concerns = {
        "unreadable image": ("error", "training/train-000000.jpg"),
        "image without class map": ("error", "training/train-000001.jpg"),
        "size": ("error", "training/train-000002.jpg"),
        "label out of range": ("error", "training/train-000003.png"),
        "labels in colours": ("error", "training/train-000010.png"),
        "unreadable labels": ("error", "training/train-000013.png"),
        "class map without image": ("error", "training/orphan.png"),
        "duplicate between training and validation": ("warning", "validation/copy.jpg"),
        "duplicate within a split": ("warning", "training/same.jpg"),
        "near-duplicate between training and validation": ("warning", "validation/near.jpg"),
        "labelled differently": ("warning", "training/same.jpg"),
        "blank": ("warning", "training/train-000012.jpg"),
        "damaged image": ("warning", "training/train-000017.jpg"),
        "nothing labelled": ("warning", "training/train-000016.png"),
        "unread pictures": ("warning", "training/train-000015.jxl"),
        "grey": ("note", "training/train-000005.jpg"),
        "CMYK": ("note", "training/train-000006.jpg"),
        "16 bits": ("note", "training/train-000007.png"),
        "turned by EXIF": ("warning", "training/train-000008.jpg"),
        "range": ("note", ""),
        "alpha": ("note", "training/train-000011.png"),
        "ignored files": ("note", "training/notes.txt"),
        "zero label open": ("note", ""),
    }
    assert Counter(kinds(report)) == Counter(concerns.keys())
    for kind, (level, file) in concerns.items():
        found = finding(report, kind)
        assert found["level"] == level, kind
        assert file in " ".join(found["files"])
        assert file in found["sentence"] or level == "note", found["sentence"]
    levels = [finding["level"] for finding in report["findings"]]
    assert levels == sorted(levels, key=["error", "warning", "note"].index)
    assert "image 64x64, map 32x32" in finding(report, "size")["sentence"]
    assert "holds 77" in finding(report, "label out of range")["sentence"]
    assert shows_something(Path("out/duplicates.png"))
    assert capsys.readouterr().err == ""  # what C libraries have to say is in the findings


@pytest.mark.slow
def test_processes_change_nothing_in_the_report(root, audit):
    image(root, 0).write_bytes(b"")
    alone, together = (audit(*of_ade20k(root), workers=workers)[1] for workers in (0, 2))
    assert "the file is empty" in finding(alone, "unreadable image")["sentence"]
    timed = "seconds", "images_per_second"
    assert {key: alone[key] for key in alone if key not in timed} == {
        key: together[key] for key in together if key not in timed
    }


def store(root: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    for path in sorted(root.glob("annotations/*/*.png")):
        rewrite(path, lambda labels: Image.fromarray(change(np.asarray(labels)).astype(np.uint8)))


def unreduced(stored: np.ndarray) -> np.ndarray:
    """From ADE20K's convention (0 ignored, class k is k + 1) to plain numbers with 255 ignored."""
    return np.where(stored == 0, 255, stored.astype(int) - 1)


@pytest.mark.slow
def test_labels_that_are_read_one_class_off_are_an_error_though_every_value_is_in_range(root, audit):
    store(root, unreduced)
    code, report = audit(*of_ade20k(root))
    assert code == 1
    assert kinds(report, "error") == ["zero label"]
    sentence = finding(report, "zero label")["sentence"]
    assert "12 never occurs" in sentence
    assert "set data.reduce_zero_label=false" in sentence
    assert audit(*of_ade20k(root, "data.reduce_zero_label=false"))[0] == 0


@pytest.mark.slow
def test_reduced_labels_read_as_plain_ones_are_one_error_and_not_one_for_each_map(root, audit):
    code, report = audit(*of_ade20k(root, "data.reduce_zero_label=false"))
    assert code == 1
    assert kinds(report, "error") == ["zero label"]
    assert "set data.reduce_zero_label=true" in finding(report, "zero label")["sentence"]


@pytest.mark.slow
def test_values_that_fit_both_readings_are_left_open_and_shown_both_ways(root, audit):
    store(root, lambda stored: np.where(stored == 12, 11, stored))
    code, report = audit(*of_ade20k(root, "data.reduce_zero_label=false"))
    assert code == 0
    assert "as well" in finding(report, "zero label open")["sentence"]
    wide = width_of("out/samples.png")
    store(root, lambda stored: np.where(stored == 11, 12, np.where(stored == 0, 255, stored)))
    audit(*of_ade20k(root))
    assert width_of("out/samples.png") < wide  # three columns there, two here


def test_missing_folders_and_a_wrong_number_of_classes_are_told_together(root, audit):
    (root / "images/validation").rename(root / "images/val")
    code, report = audit("data=ade20k", f"data.root={root}", f"data.image_size={SIZE}")
    assert code == 1
    assert kinds(report, "error") == ["classes", "missing folder"]
    assert "set data.num_classes=12" in finding(report, "classes")["sentence"]
    assert "images/val/" in finding(report, "missing folder")["sentence"]
    assert report["splits"]["training"]["readable"] == 24  # the rest was looked at all the same


def test_class_folders_that_do_not_fit_are_named(audit, tmp_path):
    command = ["make-data", "inet", "--layout", "imagenet", "--train", "16", "--validation", "4", "--size", "64"]
    assert main([*command, "--workers", "0"]) == 0
    folders = sorted(path for path in Path("inet/train").iterdir())
    words = ["data=imagenet", "data.root=inet", f"data.num_classes={len(folders)}", "data.image_size=64"]
    code, report = audit(*words)
    assert code == 0
    assert sum(row["train_images"] for row in report["classes"]) == report["splits"]["train"]["images"]
    some = next(folders[0].iterdir())
    shutil.copy(some, Path("inet/train/flat.jpg"))
    shutil.copy(some, folders[1] / "again.jpg")
    (Path("inet/train/empty")).mkdir()
    first = next(path for path in Path("inet/val").iterdir())
    first.rename(first.with_name(first.name + "s"))
    code, report = audit(*words)
    assert code == 1
    assert kinds(report, "error") == ["no class folder", "unknown class"]
    assert f"({first.name}?)" in finding(report, "unknown class")["sentence"]
    assert {"empty class folder", "labelled differently"} <= set(kinds(report, "warning"))


@pytest.mark.slow
def test_photos_and_rendered_scenes_are_audited_as_well(root, audit):
    code, report = audit("data=folder", f"data.root={root}/images", f"data.image_size={2 * SIZE}")
    assert code == 0
    assert finding(report, "smaller than the crop")["count"] == 32
    code, report = audit("data=scenes", "--limit", "5")
    assert (code, report["splits"]["training"]["looked_at"]) == (0, 5)
    assert report["splits"]["training"]["images"] == 8192
    assert shows_something(Path("out/samples.png"))


def test_statistics_far_from_the_configured_ones_are_a_warning_that_gives_the_right_ones(root, audit):
    code, report = audit(*of_ade20k(root, "data.mean=[0.1,0.1,0.1]"))
    assert code == 0
    mean = ", ".join(f"{value:.3f}" for value in report["statistics"]["measured"]["mean"])
    assert mean in finding(report, "mean and deviation")["sentence"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["data=folder", "data.root=nowhere"], "data.root=nowhere is not there"),
        (["data=ade20k", "data.rot=x"], "did you mean 'data.root'?"),
        (["data=scenes", "--limit", "0"], "--limit must be at least 1, got 0"),
        (["data=scenes", "data.channels=4"], "data.channels must be 3 for scenes"),
    ],
)
def test_a_mistake_is_one_sentence(capsys, tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    assert main(["check-data", *words]) == 1
    assert sentence in capsys.readouterr().err
