"""What W&B's agent would start is a command of ours that composes."""

from pathlib import Path

import pytest
import yaml

from mae_hydra.configuration.check import check
from mae_hydra.configuration.compose import compose_config
from mae_hydra.tracking.wandb import _run_id

FILES = sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_agents_command_composes(path: Path) -> None:
    sweep = yaml.safe_load(path.read_text())
    command = sweep["command"]
    assert command[:4] == ["${env}", "python", "${program}", "${args_no_hyphens}"]
    chosen = []
    for key, how in sweep["parameters"].items():
        value = how["values"][0] if "values" in how else how["min"]
        chosen.append(f"{key}={value}")
    config = compose_config([*chosen, *command[4:]])
    check(config)
    assert config.checkpoint.monitor == sweep["metric"]["name"]
    assert {"min": "minimize", "max": "maximize"}[config.checkpoint.mode] == sweep["metric"]["goal"]


def test_a_run_of_an_agent_is_the_run_that_the_agent_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    monkeypatch.setenv("WANDB_RUN_ID", "made")
    assert _run_id(tmp_path, 0) == "made"
    (tmp_path / "status.json").write_text("{}")
    (tmp_path / "upernet").mkdir()
    assert _run_id(tmp_path / "upernet", 0) != "made"  # what follows it is a run of its own
    monkeypatch.delenv("WANDB_SWEEP_ID")
    assert _run_id(tmp_path, 5) == "made"  # goes on in it without the agent
