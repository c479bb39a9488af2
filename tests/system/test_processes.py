"""torchrun with two processes on the CPU: one run directory, every image evaluated once, no error lost."""

import json
import subprocess
from pathlib import Path

import forked
import numpy as np
import pytest
import torch
from conftest import TINY_MAE, TINY_UPERNET
from PIL import Image

ROOT = Path(__file__).parents[2]
SAME = ["model=upernet_vitt", *TINY_UPERNET, "engine.global_batch=4", "data.batch_size=4", "augment.photometric=false"]


def run(cwd: Path, processes: int, *overrides: str, code: int = 0) -> str:
    torchrun = [forked.python(), "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [*torchrun, str(ROOT / "train.py"), *overrides, "paths.output_root=outputs"]
    done = subprocess.run(command, cwd=cwd, env=forked.ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr[-3000:]
    return done.stderr


@pytest.mark.slow
def test_two_processes_share_one_run_directory_and_evaluate_every_image_once(tmp_path):
    run(tmp_path, 2, *SAME)
    [directory] = list((tmp_path / "outputs").glob("runs/*/*"))
    assert torch.load(directory / "checkpoints/last.pt", weights_only=True)["step"] == 4
    steps = [json.loads(line)["step"] for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]
    table = json.loads((directory / "tables/per_class.json").read_text())
    labelled = sum(row["pixels"] for row in table)

    run(tmp_path, 1, *SAME, "hydra.run.dir=outputs/one")
    alone = json.loads((tmp_path / "outputs/one/tables/per_class.json").read_text())
    assert labelled == sum(row["pixels"] for row in alone)
    weights = [
        torch.load(d / "checkpoints/last.pt", weights_only=True)["model"] for d in (directory, tmp_path / "outputs/one")
    ]
    assert weights[0].keys() == weights[1].keys()  # no prefix of a wrapper


@pytest.mark.slow
def test_whichever_process_meets_a_broken_image_its_name_is_said(tmp_path):
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "photos" / f"{number}.jpg")
    overrides = [o for o in TINY_MAE if not o.startswith(("data.num_train", "data.num_validation"))]
    data = ["data=folder", "data.root=photos", "data.image_size=64", "engine.global_batch=4"]
    run(tmp_path, 2, *overrides, *data, "schedule.total=1", "schedule.warmup=0", "hydra.run.dir=outputs/good")
    for photo in (tmp_path / "photos").iterdir():
        photo.write_bytes(photo.read_bytes()[:100])
    said = run(tmp_path, 2, *overrides, *data, "hydra.run.dir=outputs/bad", code=1)
    assert "cannot read the image" in said
    assert "cannot read the image" in (tmp_path / "outputs/bad/error.txt").read_text()
