"""What a replay shows of names that come from files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mae_hydra.workflows.replay_report import _caption, _show
from mae_hydra.workflows.replayed import Found, Shown


def test_a_terminal_gets_the_name_of_a_picture_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["[red]a[/x].png", ":car: \x1b]0;owned\x07.png", "b\x1b[2J\u202e\n.png"]
    pixels = np.zeros((2, 2, 3), dtype=np.uint8)
    images = [Shown(0, n, name, pixels, None, None, 3.0 - n, 1.0) for n, name in enumerate(names)]
    _show(Found({"loss": 1.0}, 1.0, 0.1, 1.0, {"w": 1.0}, {"w": 0}, images, 3), 1, 1.0, True, tmp_path)
    said = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\u202e"} & set(said)
    for line in ("loss 3  image 0  [red]a[/x].png", "loss 2  image 1  :car: .png", "loss 1  image 2  b .png"):
        assert line in said.splitlines()
    data: Any = None
    assert _caption(images[2], data) == "b .png"
