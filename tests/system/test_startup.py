"""What is imported, and when: `--cfg job` answers without torch, and wandb is only touched where it is asked for."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY_MAE

ROOT = Path(__file__).parents[2]
CODE = """
import sys
sys.path.insert(0, {root!r})
from mae_hydra.launching.launch import launch
code = max(map(launch, {launches!r}))
loaded = {{name.partition(".")[0] for name in sys.modules}}
print("IMPORTED", *sorted(loaded & {{"torch", "wandb", "timm", "matplotlib"}}))
raise SystemExit(code)
"""


def imported(cwd: Path, *launches: list[str]) -> set[str]:
    """By a process that does these one after the other."""
    code = CODE.format(root=str(ROOT), launches=launches)
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("IMPORTED")]
    return set(line.split()[1:])


def test_showing_a_configuration_imports_no_torch(tmp_path):
    words = [], ["model=upernet_vitb"], ["+experiment=upernet_vitb_ade20k"]
    assert imported(tmp_path, *([*overrides, "--cfg", "job"] for overrides in words)) == set()


@pytest.mark.slow
def test_a_run_with_local_files_never_imports_wandb(tmp_path):
    found = imported(tmp_path, [*TINY_MAE, "paths.output_root=outputs"])
    assert "torch" in found
    assert "wandb" not in found


def test_a_complete_composition_is_shown(tmp_path):
    command = [sys.executable, str(ROOT / "train.py"), "model=upernet_vitb", "paths.run_dir=here", "--cfg", "job"]
    done = subprocess.run([*command, "--resolve"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown = done.stdout
    for expected in ("_target_: mae_hydra.models.Segmenter", "embed_dim: 768", "relative_position_bias: true"):
        assert expected in shown
    assert "${" not in shown
    assert not list(tmp_path.iterdir())  # looking leaves no trace
