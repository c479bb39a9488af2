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


def test_a_process_tells_its_error_where_nobody_else_does_and_a_full_disk_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*told: Any) -> Any:
        raise FloatingPointError("the loss is nan")

    def full(*told: Any, **more: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    asked: list[Any] = []
    settings = SimpleNamespace(check_world=asked.append, apply=lambda: asked.append("apply"), torch_device="cpu")
    data = SimpleNamespace(**dict.fromkeys(OWED["data"]))
    monkeypatch.setattr(module, "build", lambda node, key: data if key == "data" else settings)
    monkeypatch.setattr(module, "session", lambda device: asked.append(device) or nullcontext())
    monkeypatch.setattr(module, "rank", lambda: 3)
    monkeypatch.setattr(module, "world_size", lambda: 5)
    monkeypatch.setattr(module, "_shared", lambda run_dir: tmp_path / "shared")
    monkeypatch.setattr(module, "_train", fail)
    (tmp_path / "shared").mkdir()
    config = OmegaConf.create({"data": {}, "engine": {}})
    for main, telling, told in ((False, True, True), (False, False, False), (True, True, False)):
        monkeypatch.setattr(module, "is_main", lambda main=main: main)
        with pytest.raises(FloatingPointError, match="the loss is nan"):
            module.run(config, {}, tmp_path, telling=telling)
        assert capsys.readouterr().err == "error in process 3: the loss is nan\n" * told
        found = {path.name: path.read_text().splitlines()[-1] for path in (tmp_path / "shared").iterdir()}
        assert found == ({"error.rank3.txt": "FloatingPointError: the loss is nan"} if told else {})
        (tmp_path / "shared/error.rank3.txt").unlink(missing_ok=True)
    assert asked == [5, "apply", "cpu"] * 3  # the number of processes is looked at before they meet
    monkeypatch.setattr(module, "is_main", lambda: False)
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(FloatingPointError, match="the loss is nan"):
        module.run(config, {}, tmp_path)
    assert capsys.readouterr().err == "error in process 3: the loss is nan\n"
