"""Shards as others write them: two pictures in a sample, dotted names, splits told by names, odd tar headers."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_shards import jpeg, open_shards

from mae_hydra.data import check_labels, decode_image
from mae_hydra.data.audit.listing import list_samples
from mae_hydra.data.shards.files import split_of
from mae_hydra.data.shards.index import Endings, index_path, num_passed_over, read_index, write_index
from mae_hydra.data.shards.index import scan as scan_shard
from mae_hydra.data.shards.write import index_shards
from mae_hydra.errors import UserError


def mask(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((10, 14), seed, np.uint8)).save(file, "PNG")
    return file.getvalue()


def make(path: Path, files: Mapping[str, bytes], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, options.pop("mode", "w"), **options) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Photos and masks under one key each, as segmentation sets are packed; the mask may come first."""
    for shard in range(2):
        files = {}
        for number in range(3):
            files |= {f"{number}.png": mask(number), f"{number}.jpg": jpeg(10 * shard + number)}
        make(tmp_path / f"pairs/{shard}.tar", files)
    return tmp_path / "pairs"


def test_two_pictures_of_a_sample_are_refused_with_both_names(pairs: Path) -> None:
    with pytest.raises(UserError, match=r"0\.png and 0\.jpg in the shard .*0\.tar are two .*data\.image_suffix=jpg"):
        open_shards(pairs)
    with pytest.raises(UserError, match=r"0\.png and 0\.jpg .*--image-suffix jpg"):
        index_shards(pairs)


@pytest.mark.parametrize("told", ["jpg", ".jpg", "JPG"])
def test_the_ending_that_is_told_is_the_image_and_no_older_index_is_believed(pairs: Path, told: str) -> None:
    for shard in range(2):  # as it was left beside before: the rows of the masks
        rows = scan_shard(pairs / f"{shard}.tar", Endings("png"))
        write_index(pairs / f"{shard}.tar", rows)
        beside = np.load(index_path(pairs / f"{shard}.tar"))
        beside[0, 1:] = 0  # of an older form
        np.save(index_path(pairs / f"{shard}.tar"), beside)
    data = open_shards(pairs, image_suffix=told)
    found = {of[index].image.numpy().tobytes() for of in (data.train, data.validation) for index in range(3)}
    assert found == {decode_image(jpeg(10 * s + n), 3, "").numpy().tobytes() for s in range(2) for n in range(3)}
    with pytest.raises(UserError, match="two pictures of one sample"):
        open_shards(pairs)


def test_the_list_of_shards_remembers_the_ending(pairs: Path) -> None:
    assert index_shards(pairs, endings=Endings("jpg")) == {"train": 6}
    assert open_shards(pairs).train[0].name.endswith(".jpg")
    assert open_shards(f"{pairs}/*.tar").train[0].name.endswith(".jpg")


def test_pixels_beside_a_photo_are_something_else(tmp_path: Path) -> None:
    shard = make(tmp_path / "a.tar", {"1.npy": b"features", "1.jpg": jpeg(1), "2.jpg": jpeg(2), "2.npy": b"features"})
    rows = read_index(shard)
    assert rows[:, 1].tolist() == [len(jpeg(1)), len(jpeg(2))]


def test_dotted_pictures_are_counted_and_named_and_may_be_taken(tmp_path: Path) -> None:
    files = {"1.jpg": jpeg(1), "1.seg.png": mask(1), "x_0.5.jpg": jpeg(3), "2.jpg": jpeg(2), "2.seg.png": mask(2)}
    shard = make(tmp_path / "dots/a.tar", files)
    make(tmp_path / "dots/b.tar", {"3.jpg": jpeg(4)})
    data = open_shards(tmp_path / "dots")
    assert {len(data.train), len(data.validation)} == {1, 2}
    [note] = data.notes
    assert note.startswith("warning: 3 pictures in shards passed over, a.tar:1.seg.png for one")
    assert "data.image_suffix=<ending>" in note
    said: list[str] = []
    index_shards(tmp_path / "dots", say=said.append)
    assert said == [note]
    (tmp_path / "dots/shards.json").unlink()
    assert num_passed_over(shard) == 3
    assert num_passed_over(shard, Endings("jpg")) == 1  # told, the maps are not missed; x_0.5.jpg still is
    assert read_index(shard, Endings("seg.png"))[:, 1].tolist() == [len(mask(1)), len(mask(2))]
    make(tmp_path / "all/a.tar", {"scene.v1.0.jpg": jpeg(1), "scene.v1.1.jpg": jpeg(2)})
    with pytest.raises(UserError, match=r"holds no image .*there is scene\.v1\.0\.jpg.*data\.image_suffix=v1\.0\.jpg"):
        open_shards(tmp_path / "all")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("imagenet-train-0000.tar", "train"), ("imagenet-validation-00.tar", "validation"), ("val_3.tar", "validation"),
        ("photos-VAL-07.tar", "validation"), ("val2017-000.tar", "validation"), ("valley-01.tar", "train"),
        ("test-000.tar", "test"), ("00012.tar", "train"), ("a/validation/train-1.tar", "train"),
        ("x.valid.1.tar", "validation"),
    ],
)  # fmt: skip
def test_a_split_is_told_by_the_words_of_a_name(name: str, split: str) -> None:
    assert split_of(name) == split


@pytest.fixture
def timms(tmp_path: Path) -> Path:
    """As timm and others lie them down: all splits in one folder."""
    root = tmp_path / "timm"
    for split, count in (("train", 3), ("validation", 2), ("test", 1)):
        for number in range(count):
            make(root / f"imagenet-{split}-{number:04d}.tar", {f"{split}{number}.jpg": jpeg(number)})
    return root


@pytest.mark.parametrize("pattern", ["", "/*.tar", "/imagenet-{train,validation,test}-*.tar"])
def test_validation_shards_beside_training_shards_are_not_trained_on(timms: Path, pattern: str) -> None:
    data = open_shards(f"{timms}{pattern}")
    names = [{of[index].name.split(":")[1] for index in range(len(of))} for of in (data.train, data.validation)]
    assert names == [{"train0.jpg", "train1.jpg", "train2.jpg"}, {"validation0.jpg", "validation1.jpg"}]
    assert "the splits of the shards are told by their names or list: 1 test" in data.notes[0]
    assert index_shards(timms) == {"test": 1, "train": 3, "validation": 2}
    listed = open_shards(timms)
    assert (len(listed.train), len(listed.validation)) == (3, 2)


def test_what_a_reader_of_shards_says_is_a_finding_of_check_data(timms: Path) -> None:
    data = open_shards(timms)
    assert data.notes
    findings = list_samples(data).findings
    assert [f"{each.level}: {each.sentence}" for each in findings] == list(data.notes)


def test_shards_of_one_split_alone_are_taken_where_they_are_named_and_refused_where_not(timms: Path) -> None:
    named = open_shards(f"{timms}/imagenet-validation-{{0000..0001}}.tar")
    assert (len(named.train), len(named.validation)) == (1, 1)
    for path in timms.glob("*train*"):
        path.unlink()
    with pytest.raises(UserError, match=r"every shard of data\.root=.* is for validation or tests by its name"):
        open_shards(timms)


def test_told_validation_shards_are_taken_out_of_training(timms: Path) -> None:
    data = open_shards(timms, validation=f"{timms}/imagenet-train-0002.tar")
    assert {data.train[index].name.split(":")[1] for index in range(len(data.train))} >= {"train0.jpg", "train1.jpg"}
    assert "train2.jpg" not in {data.train[index].name.split(":")[1] for index in range(len(data.train))}
    assert any("1 shards of data.validation are in data.root too" in note for note in data.notes)
    whole = open_shards(f"{timms}/imagenet-train-*.tar", validation=str(timms))
    assert (len(whole.train), len(whole.validation)) == (3, 2)


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("form", ["", "/*.tar"])
def test_validation_shards_of_the_root_are_not_trained_on_where_others_are_told(
    timms: Path, tmp_path: Path, form: str, listed: bool
) -> None:
    make(tmp_path / "other/00000.tar", {"other.jpg": jpeg(9)})
    if listed:
        index_shards(timms)
        manifest = timms / "shards.json"
        for number, path in enumerate(sorted(timms.glob("*.tar"))):  # names that tell nothing
            manifest.write_text(manifest.read_text().replace(path.name, f"{number:05d}.tar"))
            path.rename(timms / f"{number:05d}.tar")
    data = open_shards(f"{timms}{form}", validation=str(tmp_path / "other"))
    names = [sorted(of[index].name.split(":")[1] for index in range(len(of))) for of in (data.train, data.validation)]
    assert names == [["train0.jpg", "train1.jpg", "train2.jpg"], ["other.jpg"]]


def test_a_shard_that_a_pattern_names_twice_is_refused(timms: Path) -> None:
    with pytest.raises(UserError, match=r"names .*imagenet-train-0000\.tar more than once"):
        open_shards(f"{timms}/{{imagenet-train-0000,imagenet-train-000*}}.tar")


def test_compressed_shards_are_named_and_counted(tmp_path: Path) -> None:
    make(tmp_path / "packed/a.tar.gz", {"1.jpg": jpeg(1)}, mode="w:gz")
    with pytest.raises(UserError, match=r"\(there is a\.tar\.gz: unpack it with gunzip\)"):
        open_shards(tmp_path / "packed")
    make(tmp_path / "packed/b.tar", {"1.jpg": jpeg(1)})
    make(tmp_path / "packed/c.tar", {"2.jpg": jpeg(2)})
    [note] = open_shards(tmp_path / "packed").notes
    assert note == "warning: 1 compressed shards are passed over (a.tar.gz); unpack them with gunzip"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names_folders_and_every_form_of_tar_are_read(tmp_path: Path, form: int) -> None:
    deep = "folder" * 20 + "/" + ("name" * 20 if form == tarfile.USTAR_FORMAT else "näme" * 60)
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=form) as archive:
        folder = tarfile.TarInfo("folder" * 10)
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in ((f"{deep}.jpg", jpeg(1)), (f"{deep}.cls", b"1"), ("2.jpg", jpeg(2)), ("2.cls", b"0")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mtime = 1.5  # type: ignore[assignment]  # what pax keeps in a header of its own
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("3.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "2.jpg"
        archive.addfile(link)
    data = open_shards(path, validation=str(make(tmp_path / "b.tar", {"1.jpg": jpeg(4), "1.cls": b"0"})), num_classes=2)
    assert len(data.train) == 2
    assert [data.train[index].label for index in range(2)] == [1, 0]
    np.testing.assert_array_equal(data.train[0].image, decode_image(jpeg(1), 3, ""))
    assert data.train[1].name == "a.tar:2.jpg"
    assert any("a.tar:3.jpg for one" in note for note in data.notes)


def test_a_picture_with_holes_is_refused(tmp_path: Path) -> None:
    member = tarfile.TarInfo("1.jpg")
    content = jpeg(1).ljust(1024, b"\0")
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    member.size, member.type = len(content), tarfile.GNUTYPE_SPARSE
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"%011o\0%011o\0" % (0, len(content))  # one part: where it lies, and how long it is
    block[482:483] = b"\0"
    block[483:495] = b"%011o\0" % (2 * len(content))
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path = tmp_path / "a.tar"
    path.write_bytes(bytes(block) + content + b"\0" * 1024)
    with pytest.raises(UserError, match=r"1\.jpg in the shard .* is stored with holes"):
        read_index(path)


def test_one_shard_for_both_splits_is_said(tmp_path: Path) -> None:
    make(tmp_path / "one/a.tar", {"1.jpg": jpeg(1)})
    data = open_shards(tmp_path / "one")
    assert data.notes == ("note: there is one shard, which is trained on and validated with",)


@pytest.mark.parametrize(("last", "said"), [(b"2", r"'2'; class ids are 0\.\.1"), (b"", "has no class id")])
def test_class_ids_that_are_none_of_the_classes_are_said_at_the_start(tmp_path: Path, last: bytes, said: str) -> None:
    for split, ids in (("train", (b"0", b"1", last)), ("val", (b"0", b"1"))):
        files: dict[str, bytes] = {}
        for number, each in enumerate(ids):
            files |= {f"{number}.jpg": jpeg(number)} | ({f"{number}.cls": each} if each else {})
        make(tmp_path / f"{split}.tar", files)
    data = open_shards(tmp_path, num_classes=2)
    with pytest.raises(UserError, match=rf"train\.tar:2\.jpg .*{said}|train\.tar:2\.jpg {said}"):
        check_labels(data)
    assert check_labels(open_shards(tmp_path, num_classes=2, max_bad_share=0.5)) == []
    assert check_labels(open_shards(tmp_path)) == []
