"""What each part of a run is built with: seeds, what was recorded, what it goes on from; no part is real here."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from mae_hydra.data.loading.look_ahead import Seen
from mae_hydra.engine import Callbacks, EarlyStopping, Settings
from mae_hydra.errors import UserError
from mae_hydra.experiment import assemble as module
from mae_hydra.experiment.assemble import Assembled, assemble, built_callbacks

SETTINGS = Settings(
    device="cpu", precision="auto", devices=1, parallel="ddp", global_batch=12, clip_grad=None, nonfinite_limit=5,
    ema_decay=None, compile=False, recompute=False, log_every=4, profile_steps=None, deterministic=False,
)  # fmt: skip


class Parts:
    """Stands for all that is built; `told`: what it was asked, by name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: dict[str, Any] = {}
        self.exist = self.reads_maps = False
        self.processes = 1
        self.data = SimpleNamespace(
            train="train", batch_size=6, num_workers=3, prefetch=4, max_bad_share=0.5, notes=["a note"], mean=(),
            std=(), class_names=("sky", "wall"), pixel_range=None, target="map",
        )  # fmt: skip
        for name in ("say_doubts", "read_checkpoint", "warn_of_random_encoder", "seed_device", "doubtful_statistics",
                     "check_partners", "give_class_weights", "training_flops", "Twin"):  # fmt: skip
            monkeypatch.setattr(
                module, name, self.asked(name, SimpleNamespace(meta={}) if name[:4] == "read" else name)
            )
        shown = SimpleNamespace(show=self.asked("shown", None))
        monkeypatch.setattr(module, "transfer", self.asked("transfer", shown))
        monkeypatch.setattr(module, "say", lambda *lines: self.told.setdefault("said", []).extend(lines))
        monkeypatch.setattr(module, "TrainStream", self.asked("stream", SimpleNamespace(steps_per_epoch=7.0)))
        monkeypatch.setattr(module, "look_at_validation", lambda *told: Seen(((4, 6), (8, 6)), 0, 0))
        monkeypatch.setattr(module, "check_sample_fits_task", lambda *told: "example")
        monkeypatch.setattr(module, "some_headers", lambda images: [])
        monkeypatch.setattr(module, "peak_tflops", lambda *told: 9.0)
        monkeypatch.setattr(module, "made_optimizer", lambda node, model: torch.optim.SGD(model.parameters(), lr=1.0))
        monkeypatch.setattr(module, "build", self.build)
        monkeypatch.setattr(module, "complete", self.complete)
        monkeypatch.setattr(module, "expect", lambda key, part, owed: part)
        monkeypatch.setattr(module, "world_size", lambda: self.processes)
        monkeypatch.setattr("mae_hydra.engine.settings.world_size", lambda: self.processes)
        monkeypatch.setattr(module, "wrap", self.asked("wrap", "wrapped"))
        monkeypatch.setattr(module, "rank", lambda: self.processes - 1)

    def asked(self, name: str, answer: Any) -> Any:
        def ask(*told: Any, **more: Any) -> Any:
            self.told.setdefault(name, []).append((*told, *more.items()))
            return answer

        return ask

    def build(self, node: Any, key: str) -> Any:
        evaluator = SimpleNamespace(check=self.asked("check", None), reads_maps=self.reads_maps)
        sizes = SimpleNamespace(check=lambda model, size: self.told.setdefault("sizes", []).append(size))
        checkpoints = SimpleNamespace(exist=self.exist)
        if key.startswith("evaluation."):
            return evaluator
        parts = {"inference": sizes, "checkpoint": checkpoints, "model": nn.Linear(2, 2)}
        return parts.get(key, SimpleNamespace())

    def complete(self, key: str, part: Any, *told: Any, **more: Any) -> Any:
        self.told[key] = (*told, *more.items())
        return part(*told) if key == "engine" else part

    def config(self, task: str = "segment", **told: Any) -> DictConfig:
        usual = {
            "task": task, "name": "mine", "seed": 5, "resume": "auto", "init_from": None, "init_adapt": ["classes"],
            "paths": {"output_root": "outputs"}, "callbacks": {}, "model": {},
            "evaluation": {"v": {"_target_": "x"}, "w": {"_target_": "x"}},
            "augment": {}, "schedule": {}, "inference": {}, "checkpoint": {"monitor": "val/loss"}, "optimizer": {},
        }  # fmt: skip
        return OmegaConf.create(usual | told)

    def assemble(
        self, task: str = "segment", told: Any = None, settings: Settings = SETTINGS, **more: Any
    ) -> Assembled:
        self.told.clear()
        config = self.config(task, **told or {})
        return assemble(config, Path("run"), self.data, settings, **more)  # type: ignore[arg-type]


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Parts:
    return Parts(monkeypatch)


def test_order_and_weights_follow_from_the_seed_and_images_from_the_place_of_the_process(parts: Parts) -> None:
    for processes, micro_batch in ((1, 6), (3, 4)):
        parts.processes = processes
        made = parts.assemble()
        assert dict(parts.told["stream"][0][2:]) == {
            "global_batch": 12, "micro_batch": micro_batch, "rank": processes - 1, "world_size": processes, "seed": 5,
            "num_workers": 3, "device_is_cuda": False, "prefetch": 4, "max_bad_share": 0.5,
        }  # fmt: skip
        assert parts.told["seed_device"] == [(5, "init")]
        assert (made.cut.micro_batch, made.cut.world_size, made.forward) == (micro_batch, processes, "wrapped")
        assert made.state.twin is None
    sharded = assemble(parts.config(), Path("run"), parts.data, replace(SETTINGS, parallel="fsdp"))  # type: ignore[arg-type]
    assert sharded.state.twin == "Twin"


def test_what_a_run_began_with_counts_before_what_would_be_chosen_now(parts: Parts) -> None:
    made = parts.assemble()
    assert parts.told["schedule"] == (7.0,)
    assert parts.told["give_class_weights"][0][2] is None
    assert made.settings.precision == "fp32"
    made = parts.assemble(steps_per_epoch=2.5, class_weights=[1.0, 2.0], precision="bf16")
    assert parts.told["schedule"] == (2.5,)
    assert parts.told["give_class_weights"][0][2] == [1.0, 2.0]
    assert made.settings.precision == "bf16"
    assert (made.doubt, made.class_weights) == ("doubtful_statistics", "give_class_weights")


@pytest.mark.parametrize(
    ("resume", "exist", "beginning", "started"),
    [
        ("auto", True, False, True), ("auto", False, False, False), ("never", True, False, False),
        ("auto", True, True, False), ("outputs/a", True, False, True),
    ],
)  # fmt: skip
def test_a_run_goes_on_from_what_it_has_saved_and_begins_from_other_weights_only_where_it_has_none(
    parts: Parts, resume: str, exist: bool, beginning: bool, started: bool
) -> None:
    parts.exist = exist
    made = parts.assemble(told={"resume": resume, "init_from": "a.pt"}, from_the_beginning=beginning, download=True)
    assert made.started is started
    assert (made.given is None) is started
    if started:
        assert not {"read_checkpoint", "transfer", "warn_of_random_encoder"} & parts.told.keys()
    else:
        assert parts.told["read_checkpoint"] == [("a.pt", ("download", True), ("of_any", True))]
        assert parts.told["transfer"][0][2:] == (["classes"], ("sky", "wall"))
        assert parts.told["shown"] == [()]
    parts.assemble(told={"resume": resume}, from_the_beginning=beginning)
    assert ("warn_of_random_encoder" in parts.told) is not started
    assert "read_checkpoint" not in parts.told


def test_labels_and_sizes_are_looked_at_where_the_task_or_an_evaluation_needs_them(parts: Parts) -> None:
    found = []
    for task, reads_maps in (("segment", True), ("pretrain", True), ("pretrain", False), ("classify", False)):
        parts.reads_maps = reads_maps
        parts.assemble(task)
        assert len(parts.told["check"]) == 2  # what an evaluator cannot measure is said before the first step
        found.append(([told[1:] for told in parts.told.get("say_doubts", [])], parts.told.get("sizes", [])))
    assert found == [([()], [(4, 6), (8, 6)]), ([(("training", False),)], []), ([], []), ([], [])]


def test_what_is_to_be_known_of_data_and_weights_is_said_by_the_main_process_before_the_model_is_built(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "unseen_note", lambda seen, data: ["unseen"] if seen else [])
    monkeypatch.setattr(module, "_notes_on_pixels", lambda given, data: iter([f"pixels of {given.meta}"]))
    monkeypatch.setattr(module, "_notes_on_sizes", lambda data, augment: ["sizes"])
    said = []
    for main, told in (
        (True, {"init_from": "a.pt"}),
        (True, {}),
        (True, {"evaluation": {}}),
        (False, {"init_from": "a"}),
    ):
        monkeypatch.setattr(module, "is_main", lambda main=main: main)
        parts.assemble(told=told)
        said.append(parts.told.get("said", []))
    assert said == [
        ["a note", "unseen", "pixels of {}", "sizes"], ["a note", "unseen", "sizes"], ["a note", "sizes"], [],
    ]  # fmt: skip


def test_checks_of_the_model_are_made_with_the_settings_of_the_run(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(module, "peak_tflops", lambda *told: asked.append(told))
    monkeypatch.setattr(module, "look_at_validation", lambda *told: asked.append(told))
    monkeypatch.setattr(module, "broadcast_object", lambda own: asked.append(own) or "fp32")  # of the main process
    made = parts.assemble(settings=replace(SETTINGS, precision="bf16", batch_norm="step", ema_decay=0.5))
    model = made.state.model
    assert parts.told["doubtful_statistics"] == [(model, made.cut, "step")]
    assert parts.told["check_partners"] == [(model, made.cut)]
    assert asked == [(parts.data, "outputs"), "bf16", (torch.device("cpu"), "fp32")]
    assert made.settings.precision == "fp32"
    assert parts.told["checkpoint"] == (Path("run/checkpoints"),)
    assert made.state.average is not None
    assert parts.told["wrap"] == [(model, made.settings, made.state.average)]
    assert parts.assemble().state.average is None
    monkeypatch.setattr(Settings, "torch_device", torch.device("cuda"))
    parts.assemble(settings=replace(SETTINGS, precision="fp32"))
    assert ("device_is_cuda", True) in parts.told["stream"][0]


def test_the_augmentation_speaks_of_the_sizes_that_the_first_training_pictures_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    headers = [SimpleNamespace(size=size) for size in ((4, 6), (8, 6))]
    monkeypatch.setattr(module, "some_headers", lambda images: headers if images == "train" else [])
    data: Any = SimpleNamespace(train="train", validation="validation")
    speaks: Any = SimpleNamespace(notes_on=lambda sizes: [f"of {size}" for size in sizes])
    mute: Any = SimpleNamespace()
    assert module._notes_on_sizes(data, speaks) == ["of (4, 6)", "of (8, 6)"]
    assert module._notes_on_sizes(data, mute) == []


def test_operations_are_counted_where_every_step_has_the_same_and_a_peak_is_known(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = parts.assemble()
    assert (made.flops, made.peak) == ("training_flops", 9.0)
    assert parts.told["training_flops"] == [(made.state.model, "example")]
    assert parts.assemble("pretrain", told={"augment": {"smaller": [32]}}).flops is None
    monkeypatch.setattr(module, "peak_tflops", lambda *told: None)
    assert parts.assemble().flops is None


def test_the_state_has_the_callbacks_and_the_evaluators_the_data_and_the_inference_of_the_run(parts: Parts) -> None:
    made = parts.assemble(settings=replace(SETTINGS, stop_after=3))
    assert list(made.state.callbacks.state_dict()) == ["engine.stop_after"]
    assert list(made.evaluators) == ["v", "w"]
    for name in made.evaluators:
        given = dict(parts.told[f"evaluation.{name}"])
        assert given["data"] is parts.data
        assert hasattr(given["inference"], "check")


def test_early_stopping_is_a_callback_that_needs_an_evaluation(parts: Parts) -> None:
    config = OmegaConf.create({"callbacks": {"mine": {"_target_": "x"}}, "checkpoint": {"monitor": "val/mIoU"}})
    evaluators: Any = {"v": None}
    found = built_callbacks(config, replace(SETTINGS, stop_after=3), evaluators)
    assert list(found) == ["callbacks.mine", "engine.stop_after"]
    stopping = found["engine.stop_after"]
    assert isinstance(stopping, EarlyStopping)
    assert (stopping.monitor, stopping.patience) == ("val/mIoU", 3)
    assert list(built_callbacks(config, SETTINGS, {})) == ["callbacks.mine"]
    with pytest.raises(UserError, match=r"engine\.stop_after counts evaluations, and this run has none"):
        built_callbacks(config, replace(SETTINGS, stop_after=3), {})
    Callbacks(found)


def test_a_callback_that_remembers_must_be_able_to_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgets:
        def on_progress(self, progress: Any) -> None: ...
        def state_dict(self) -> dict[str, int]:
            return {}

    class Recalls(Forgets):
        def load_state_dict(self, state: Any) -> None: ...

    config = OmegaConf.create({"callbacks": {"mine": {"_target_": "x"}}})
    for part, refused in ((Forgets(), True), (Recalls(), False)):
        monkeypatch.setattr(module, "build", lambda node, key, part=part: part)
        if refused:
            with pytest.raises(UserError, match="load_state_dict"):
                built_callbacks(config, SETTINGS, {})
        else:
            assert built_callbacks(config, SETTINGS, {}) == {"callbacks.mine": part}
