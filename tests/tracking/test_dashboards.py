"""Dashboards as code: built without an account, and every metric they show is one that a run logs."""

import json
from pathlib import Path

import pytest

from mae_hydra.commands import main

pytest.importorskip("wandb_workspaces")
pytestmark = pytest.mark.filterwarnings("ignore")


def strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [found for part in value.values() for found in strings(part)]
    if isinstance(value, list):
        return [found for part in value for found in strings(part)]
    return [value] if isinstance(value, str) else []


def test_workspaces_and_a_report_are_made_without_an_account(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    words = ["dashboard", "--entity", "me", "--group", "grid", "--keys", "model.mask_ratio,head.depth"]
    assert main([*words, "--metric", "val/mIoU"]) == 0
    assert "nothing was sent" in capsys.readouterr().out
    made = {path.stem: json.loads(path.read_text()) for path in Path("outputs/dashboards").glob("*.json")}
    assert set(made) == {"pretrain", "segment", "classify", "sweep", "report"}
    sections = made["segment"]["spec"]["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == ["Scores", "Pictures and classes", "Loss", "Course and cost"]
    assert all(section["panels"] for section in sections)
    for name in ("sweep", "report"):
        told = strings(made[name])
        assert "config:model.value.mask_ratio" in told
        assert "config:head.value.depth" in told
        assert "summary:max/val/mIoU" in told
    assert "grid" in json.dumps(made["sweep"])


def test_saving_without_an_account_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert main(["dashboard", "--entity", "me", "--save"]) == 1
    assert "W&B did not take the pretrain" in capsys.readouterr().err
