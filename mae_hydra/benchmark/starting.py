"""From the command line to an answer, and to the first training step, beside what the interpreter and Hydra need."""

import subprocess
import sys
import tempfile

import torch

from mae_hydra.benchmark.measured import Floor, Measured, timing_numbers, timing_table
from mae_hydra.benchmark.timing import alternate

COMMANDS = {
    "--help": ["-m", "mae_hydra", "train", "--help"],
    "--cfg job": ["-m", "mae_hydra", "train", "--cfg", "job"],
    "a smoke run": ["-m", "mae_hydra", "train", "+debug=smoke"],
}
FLOORS = {
    "python alone": ["-c", "pass"],
    "import hydra": ["-c", "import hydra, hydra._internal.hydra"],
    "import torch": ["-c", "import torch"],
}


def starting(rounds: int) -> Measured:
    """Whole processes. A smoke run is imports, configuration, data, model, two steps, evaluation and a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        smoke = [*COMMANDS["a smoke run"], f"paths.output_root={folder}"]
        candidates = {
            name: (lambda words=words: _run(words))
            for name, words in (COMMANDS | {"a smoke run": smoke} | FLOORS).items()
        }
        found = alternate(candidates, rounds=rounds, warmup=1, device=torch.device("cpu"))
    floor = Floor("import hydra", found["import hydra"].median)
    table = timing_table("start-up", found, 1, "1/s", floor)
    return Measured(table, timing_numbers("start-up", found, floor))


def _run(words: list[str]) -> None:
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
