"""From the command line to an answer, and to the first training step, beside what the interpreter and Hydra need."""

import subprocess
import sys
import tempfile

import torch

from mae_hydra.benchmark.results import Floor, Measured, timing_numbers, timing_table
from mae_hydra.benchmark.timing import Timing, alternate

SMOKE, SWEEP = "a smoke run", "three of them as a sweep"
COMMANDS = {
    "--help": ["-m", "mae_hydra", "train", "--help"],
    "--cfg job": ["-m", "mae_hydra", "train", "--cfg", "job"],
    SMOKE: ["-m", "mae_hydra", "train", "+debug=smoke"],
    SWEEP: ["-m", "mae_hydra", "train", "-m", "+debug=smoke", "+sweep=mask_ratio", "model.mask_ratio=0.5,0.6,0.75"],
}
FLOORS = {
    "python alone": ["-c", "pass"],
    "import hydra": ["-c", "import hydra, hydra._internal.hydra"],
    "import torch": ["-c", "import torch"],
}


def starting(rounds: int, *, warmup: int = 1) -> Measured:
    """Whole processes. A smoke run is imports, configuration, data, model, four steps, evaluations and a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        candidates = {
            name: (lambda name=name, words=words: _run(name, words, folder))
            for name, words in (COMMANDS | FLOORS).items()
        }
        found = alternate(candidates, rounds=rounds, warmup=warmup, device=torch.device("cpu"))
    found["each further job of a sweep"] = Timing(
        tuple((three - one) / 2 for one, three in zip(found[SMOKE].seconds, found[SWEEP].seconds, strict=True))
    )
    floor = Floor("import hydra", found["import hydra"].median)
    table = timing_table("start-up", found, 1, "1/s", floor)
    return Measured(table, timing_numbers("start-up", found, floor))


def _run(name: str, words: list[str], folder: str) -> None:
    if name in (SMOKE, SWEEP):  # elsewhere each time: a complete job is not run again
        words = [*words, f"paths.output_root={tempfile.mkdtemp(dir=folder)}"]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
