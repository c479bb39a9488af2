"""What a run looks at in its evaluations is counted on the console."""

from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from mae_hydra.evaluation.held_out import HeldOut
from mae_hydra.experiment.run import _trackers
from mae_hydra.tracking import LocalFiles


@pytest.mark.parametrize("main", [True, False])
def test_the_main_process_watches_the_images_of_every_evaluator(main: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mae_hydra.experiment.run.is_main", lambda: main)
    held_out, bank = HeldOut.__new__(HeldOut), HeldOut.__new__(HeldOut)
    held_out.watch = bank.watch = None
    evaluators = {"probe": SimpleNamespace(held_out=held_out, bank=bank), "own": SimpleNamespace(bank="another thing")}
    built: Any = SimpleNamespace(schedule=SimpleNamespace(steps=1), evaluators=evaluators, flops=None, peak=None)
    _trackers(OmegaConf.create({"logger": {}, "checkpoint": {"monitor": "val/loss"}}), LocalFiles(), built)
    assert [images.watch is not None for images in (held_out, bank)] == [main, main]
