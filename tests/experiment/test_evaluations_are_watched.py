"""What a run looks at in its evaluations is counted on the console, and what it does not find there is said."""

from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from mae_hydra.evaluation.held_out import HeldOut
from mae_hydra.experiment.doubts import MissingMonitor
from mae_hydra.experiment.run import _trackers
from mae_hydra.tracking import Console, LocalFiles
from mae_hydra.types import Evaluation

CONFIG = OmegaConf.create({"logger": {}, "checkpoint": {"monitor": "val/loss"}})


@pytest.mark.parametrize("main", [True, False])
def test_the_main_process_watches_the_images_of_every_evaluator(main: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mae_hydra.experiment.run.is_main", lambda: main)
    held_out, bank = HeldOut.__new__(HeldOut), HeldOut.__new__(HeldOut)
    held_out.watch = bank.watch = None
    evaluators = {"probe": SimpleNamespace(held_out=held_out, bank=bank), "own": SimpleNamespace(bank="another thing")}
    built: Any = SimpleNamespace(schedule=SimpleNamespace(steps=1), evaluators=evaluators, flops=None, peak=None)
    monkeypatch.setattr(Console, "watched", lambda console, name: f"bar of {name}")
    _trackers(CONFIG, LocalFiles(), built)
    assert [images.watch for images in (held_out, bank)] == ["bar of probe" if main else None] * 2


def test_files_console_and_who_looks_for_the_monitored_score_are_told_beside_the_chosen_trackers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("mae_hydra.experiment.run.Trackers", lambda chosen, own: asked.extend((chosen, own)))
    said: list[list[str]] = []
    monkeypatch.setattr("mae_hydra.experiment.doubts.warn", lambda messages, kind: said.append(messages))
    node = {"_target_": "mae_hydra.tracking.Console", "total_steps": 5}
    built: Any = SimpleNamespace(
        schedule=SimpleNamespace(steps=7), evaluators={"own": SimpleNamespace()}, flops=None, peak=None
    )
    files = LocalFiles()
    loggers = {"logger": {"mine": node, "other": node | {"total_steps": 6}}}
    _trackers(OmegaConf.merge(CONFIG, loggers), files, built)  # type: ignore[arg-type]
    [mine, other], [first, console, monitor] = asked
    assert first is files
    assert isinstance(console, Console)
    assert isinstance(monitor, MissingMonitor)
    assert (mine.total_steps, other.total_steps, console.total_steps) == (5, 6, 7)
    monitor.evaluation(1, "own", Evaluation(scalars={"mIoU": 1.0}))
    [[message]] = said
    assert "checkpoint.monitor=val/loss," in message


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
