"""From files to shards to training on them, as a person does it; stopped and gone on with."""

import json
import signal
from pathlib import Path

import pytest
import torch
from conftest import TINY_MAE
from forked import start
from test_interruption import finish, state_of, wait_for_step
from test_kills import lines

from mae_hydra.commands import main

WORDS = [o for o in TINY_MAE if not o.startswith(("data.num_train", "data.num_validation", "data.num_workers"))]
WORDS += ["data=shards", "data.root=shards", "data.image_size=64", "data.num_workers=2", "data.window=16"]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What make-shards said; the shards are in shards/."""
    monkeypatch.chdir(tmp_path)
    made = ["make-data", "files", "--layout", "imagenet", "--train", "48", "--validation", "8", "--size", "64"]
    assert main([*made, "--workers", "0"]) == 0
    classes = len(list((tmp_path / "files/train").iterdir()))
    source = ["data=imagenet", "data.root=files", f"data.num_classes={classes}"]
    assert main(["make-shards", "shards", *source, "--samples", "10", "--workers", "0"]) == 0
    return capsys.readouterr().out


@pytest.mark.slow
def test_a_run_on_shards_goes_on_exactly(tmp_path, written):
    assert "python train.py model=mae_vitb data=shards data.root=shards" in written
    long = [*WORDS, "schedule.total=40", "checkpoint.every=1000", "evaluation.validation.every=null"]
    finish(start(tmp_path, *long, "hydra.run.dir=outputs/whole"))
    process = start(tmp_path, *long, "hydra.run.dir=outputs/broken")
    wait_for_step(tmp_path / "outputs/broken", 3, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    finish(start(tmp_path, *long, "resume=outputs/broken"))
    whole, broken = (state_of(tmp_path / "outputs" / name)["model"] for name in ("whole", "broken"))
    assert all(torch.equal(value, broken[name]) for name, value in whole.items())
    assert lines(tmp_path / "outputs/whole") == lines(tmp_path / "outputs/broken")


@pytest.mark.slow
def test_a_damaged_picture_in_a_shard_is_named(tmp_path, written, capsys):
    assert main(["check-data", "data=shards", "data.root=shards", "--out", "out", "--workers", "0"]) == 0
    shard = tmp_path / "shards/train-000001.tar"
    content = bytearray(shard.read_bytes())
    content[512:1100] = bytes(588)  # the first picture
    shard.write_bytes(content)
    assert main(["check-data", "data=shards", "data.root=shards", "--out", "out", "--workers", "0"]) == 1
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert "train-000001.tar:000000-" in json.dumps(report["findings"])


def test_what_cannot_become_shards_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["make-shards", "shards"]) == 1
    assert "make-shards writes a whole set of image files" in capsys.readouterr().err
    assert main(["make-shards", "shards", "data=folder", "data.channels=4", "--short", "8"]) == 1
    assert "--short writes gray and RGB images" in capsys.readouterr().err  # it would keep the first band alone
    assert main(["make-shards", "nowhere", "--index"]) == 1
    assert "there is no shard (*.tar) in nowhere" in capsys.readouterr().err
