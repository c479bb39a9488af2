"""torchrun with two processes on the CPU: one run directory, and the numbers of one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import TINY_UPERNET

ROOT = Path(__file__).parents[2]
SAME = ["model=upernet_vitt", *TINY_UPERNET, "engine.global_batch=4", "data.batch_size=4", "augment.photometric=false"]


def run(cwd: Path, processes: int, *overrides: str) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [*torchrun, str(ROOT / "train.py"), *overrides, "paths.output_root=outputs"]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_share_one_run_directory_and_evaluate_every_image_once(tmp_path):
    run(tmp_path, 2, *SAME)
    [directory] = list((tmp_path / "outputs").glob("runs/*/*"))
    assert (directory / "checkpoints/last.pt").is_file()
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
