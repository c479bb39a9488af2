"""What went wrong first is what a person hears, also where the disk takes no more."""

import errno
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from mae_hydra.experiment import run as module
from mae_hydra.experiment.assemble import OWED


def test_a_full_disk_does_not_hide_the_first_error_of_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*told: Any) -> Any:
        raise FloatingPointError("the loss is nan")

    def full(*told: Any, **more: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    settings = SimpleNamespace(check_world=lambda size: None, apply=lambda: None, torch_device="cpu")
    data = SimpleNamespace(**dict.fromkeys(OWED["data"]))
    monkeypatch.setattr(module, "build", lambda node, key: data if key == "data" else settings)
    monkeypatch.setattr(module, "session", lambda device: nullcontext())
    monkeypatch.setattr(module, "is_main", lambda: False)
    monkeypatch.setattr(module, "rank", lambda: 3)
    monkeypatch.setattr(module, "_train", fail)
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(FloatingPointError, match="the loss is nan"):
        module.run(OmegaConf.create({"data": {}, "engine": {}}), {}, tmp_path)
    assert capsys.readouterr().err == "error in process 3: the loss is nan\n"
