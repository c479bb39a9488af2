"""W&B out of reach, artifacts, and what a run says of the weights it began from."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_wandb_run import CONFIG, SETTINGS, offline_runs
from wandb_records import records

# In a process of its own: wandb keeps a service and its settings for as long as a process lives.
SCRIPT = """
import json, sys
from pathlib import Path
from mae_hydra.tracking import LocalFiles, Trackers, Wandb
settings, config, run_dir = json.loads(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3])
tracker = Trackers([LocalFiles(), Wandb(**settings)])  # in the order of a run
tracker.start(run_dir, config, 0)
tracker.scalars(1, {"train/loss": 2.0})
tracker.finish(sys.argv[4], {"train/loss": 2.0})
"""


def track(run_dir: Path, ending: str = "completed", **changes: object) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    environment |= {"HOME": str(run_dir / "home"), "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "a" * 40}
    command = [sys.executable, "-c", SCRIPT, json.dumps(SETTINGS | changes), json.dumps(CONFIG), str(run_dir), ending]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_a_server_out_of_reach_leaves_the_run_offline_with_one_warning(tmp_path):
    done = track(tmp_path, mode="online", patience=3.0)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning: W&B cannot be reached") == 1
    assert "this run is kept offline" in done.stderr
    assert "wandb sync" in done.stdout
    [path] = offline_runs(tmp_path)
    assert any(record.WhichOneof("record_type") == "history" for record in records(path))


@pytest.mark.slow
def test_checkpoints_and_the_weights_a_run_began_from_are_told(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for name in ("last.pt", "best.pt"):
        (tmp_path / "checkpoints" / name).write_bytes(b"weights")
    parent = {"path": "/elsewhere/checkpoints/best.pt", "sha256": "ab", "step": 3}
    (tmp_path / "parent.json").write_text(json.dumps(parent))
    done = track(tmp_path, artifacts=True)
    assert done.returncode == 0, done.stderr
    [path] = offline_runs(tmp_path)
    found = list(records(path))
    logged = [r.request.log_artifact.artifact for r in found if r.WhichOneof("record_type") == "request"]
    logged += [r.artifact for r in found if r.WhichOneof("record_type") == "artifact"]
    [artifact] = [each for each in logged if each.name]
    assert artifact.type == "model"
    assert {entry.path for entry in artifact.manifest.contents} == {"last.pt", "best.pt", "results.json"}
    assert json.loads((tmp_path / "results.json").read_text()) == {"train/loss": 2.0}
    told = {item.key or item.nested_key[0]: item.value_json for r in found for item in r.config.update}
    told |= {item.key: item.value_json for r in found for item in r.run.config.update}
    assert json.loads(told["parent"]) == parent


@pytest.mark.slow
def test_a_failed_run_is_a_failed_run(tmp_path):
    done = track(tmp_path, ending="failed")
    assert done.returncode == 0, done.stderr
    [path] = offline_runs(tmp_path)
    assert [r.exit.exit_code for r in records(path) if r.WhichOneof("record_type") == "exit"] == [1]
