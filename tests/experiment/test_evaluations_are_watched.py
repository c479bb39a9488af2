"""What a run looks at in its evaluations is counted on the console."""

from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from mae_hydra.evaluation.held_out import HeldOut
from mae_hydra.experiment.run import _trackers
from mae_hydra.tracking import LocalFiles

CONFIG = OmegaConf.create({"logger": {}, "checkpoint": {"monitor": "val/loss"}})


@pytest.mark.parametrize("main", [True, False])
def test_the_main_process_watches_the_images_of_every_evaluator(main: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mae_hydra.experiment.run.is_main", lambda: main)
    held_out, bank = HeldOut.__new__(HeldOut), HeldOut.__new__(HeldOut)
    held_out.watch = bank.watch = None
    evaluators = {"probe": SimpleNamespace(held_out=held_out, bank=bank), "own": SimpleNamespace(bank="another thing")}
    built: Any = SimpleNamespace(schedule=SimpleNamespace(steps=1), evaluators=evaluators, flops=None, peak=None)
    _trackers(CONFIG, LocalFiles(), built)
    assert [images.watch is not None for images in (held_out, bank)] == [main, main]


@pytest.mark.parametrize(("flops", "peak", "told"), [(4.0, 2.0, True), (None, 2.0, False), (4.0, None, False)])
def test_how_much_of_all_devices_is_used_is_told_where_both_are_known(
    monkeypatch: pytest.MonkeyPatch, flops: float | None, peak: float | None, told: bool
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr("mae_hydra.experiment.run.Utilisation", lambda tracker, **named: asked.append(named))
    monkeypatch.setattr("mae_hydra.experiment.run.world_size", lambda: 3)
    built: Any = SimpleNamespace(schedule=SimpleNamespace(steps=1), evaluators={}, flops=flops, peak=peak)
    _trackers(CONFIG, LocalFiles(), built)
    assert asked == [{"flops_per_image": 4.0, "peak_tflops": 2.0, "devices": 3}] * told
