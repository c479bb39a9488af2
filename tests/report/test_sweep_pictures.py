"""What a page of many runs draws: no more pictures than it shows, and curves with room for their legend."""

import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mae_hydra.figures import to_pixels
from mae_hydra.figures.lines import Panel, Series, curves
from mae_hydra.report import sweep_page
from mae_hydra.report.sweep_page import CELL, MOST_STRIPS, same_pictures


def test_of_many_runs_no_more_pictures_are_read_than_are_shown(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    shapes = {0: (CELL, 2 * CELL, 3), 1: (CELL, CELL, 3)}  # every third run has another number of pictures
    runs: Any = []
    for number in range(100):
        (tmp_path / f"{number}/figures").mkdir(parents=True)
        (tmp_path / f"{number}/figures/cells.png").touch()
        runs.append(SimpleNamespace(directory=tmp_path / f"{number}", stages={}, name=str(number)))

    def pixels(path: Any) -> np.ndarray:
        read.append(path)
        return np.zeros(shapes[int(path.parts[-3]) % 3 == 1], np.uint8)

    monkeypatch.setattr(sweep_page, "read_pixels", pixels)
    page: Any = SimpleNamespace(beside=lambda pixels, strips, name, caption: name)
    assert same_pictures(page, runs, lambda run: run.name, lambda directory: None) == ["strips_run"]
    assert len(read) <= 1.5 * MOST_STRIPS + 1


def test_the_legend_of_many_curves_leaves_room_for_them() -> None:
    series = [Series(f"run{number:04d}", (1.0, 2.0), (2.0, 1.0)) for number in range(sweep_page.MOST_CURVES)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib's: the axes collapsed
        assert to_pixels(curves([Panel("loss", series)])).shape[0] > 100
