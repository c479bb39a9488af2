"""The arithmetic and the advice of a plan, on numbers that a hand can check."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from rich.table import Table

from mae_hydra.accelerators import Accelerator
from mae_hydra.benchmark import plan as planning
from mae_hydra.benchmark.estimate import Activations, moments_of
from mae_hydra.benchmark.plan import Plan, _evaluations, _files, _images, _warnings, plan
from mae_hydra.commands import main
from mae_hydra.commands.plan import _course, _memory, _memory_warnings, _model, _number, _time, _time_of
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build
from mae_hydra.errors import UserError

MADE = Plan(
    name="made",
    images=(1000, 100),
    assumed_images=False,
    parts=[],
    trainable=1,
    flops_per_image=3e9,
    steps=1200,
    epochs=60.0,
    warmup_steps=60,
    global_batch=50,
    micro_batch=8,
    accumulate=1,
    devices=1,
    lr=1e-3,
    lr_range=(1e-3, 1e-3),
    state=10_000_000_000,
    checkpoint=1,
    disk=1,
    memory={"bf16": Activations(per_image=1_000_000_000, fixed=500_000_000)},
    evaluations=1,
    evaluation_share=0.0,
    warnings=[],
)
DEVICE = Accelerator("Device", "D", low=100.0, full=10.0, memory=16.0)


def test_hours_are_operations_over_what_all_devices_sustain():
    # 3e9 x 1200 x 50 operations at half of 100 TFLOP/s are 3.6 seconds.
    assert MADE.hours(100.0, 0.5) == pytest.approx(0.001)
    assert replace(MADE, devices=4).hours(100.0, 0.5) == pytest.approx(0.00025)
    said = _time(replace(MADE, steps=1_200_000, devices=4), DEVICE, 0.5)
    assert "4 x Device in bf16 at 50 % of its peak: 0.25 hours, 1.00 device hours, 66,667 images a second" in said


def test_the_batch_that_is_advised_is_the_largest_that_fits():
    # Nine tenths of 16 GB less 10.5 GB hold three images of 1 GB.
    [said] = _memory_warnings(MADE, DEVICE)
    assert said.startswith("8 images at a time take 18 GB of 16 GB in bf16")
    assert "use data.batch_size=3 or less" in said
    assert _memory_warnings(replace(MADE, micro_batch=3), DEVICE) == []
    # With 0.1 GB less of state four images take all of the nine tenths, which is too much.
    [said] = _memory_warnings(replace(MADE, state=9_900_000_000, micro_batch=4), DEVICE)
    assert said == "4 images at a time take 14 GB of 16 GB in bf16; use data.batch_size=3 or less"
    [said] = _memory_warnings(replace(MADE, state=15_000_000_000), DEVICE)
    assert "engine.parallel=fsdp" in said


@pytest.mark.parametrize(
    ("words", "change", "said"),
    [
        ([], {"warmup_steps": 600}, None),
        ([], {"warmup_steps": 601}, "warm-up takes 601 of 1200 steps"),
        ([], {"evaluation_share": 0.1}, None),
        ([], {"evaluation_share": 0.11}, "evaluation costs at least 11 % of training"),
        (["checkpoint.every=1200"], {}, None),
        (["checkpoint.every=1201"], {}, "checkpoint.every is 1201, the run ends after 1200 steps"),
        (["schedule=cosine_400e"], {"global_batch": 2048}, None),
        (["schedule=cosine_400e"], {"global_batch": 2047}, "is 2047, the recipe was made for 4096"),
        (["schedule=cosine_400e"], {"global_batch": 8192}, None),
        (["schedule=cosine_400e"], {"global_batch": 8193}, "is 8193, the recipe was made for 4096"),
        (["augment.smaller=[32]", "augment.smaller_until=[59]"], {}, None),
        (
            ["augment.smaller=[32,48]", "augment.smaller_until=[9,60]"],
            {},
            "before its images have grown to their size at epoch 60",
        ),
    ],
)
def test_a_warning_comes_where_something_is_wrong_and_not_before(words: list[str], change: dict, said: str | None):
    found = _warnings(replace(MADE, **change), compose_config(words))
    assert len(found) == (said is not None)
    assert said is None or said in found[0]


def cells(table: Table) -> list[list[str]]:
    columns = [list(map(str, column.cells)) for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def test_the_tables_of_a_plan_have_each_number_in_its_place():
    parts = [
        {"name": "encoder", "parameters": 2_500_000, "flops": 4e9},
        {"name": "head", "parameters": 10_000, "flops": 5e8},
    ]
    made = replace(
        MADE, parts=parts, trainable=2_000_000, devices=2, accumulate=3, lr_range=(1e-5, 1e-3),
        checkpoint=2_000_000_000, disk=6_500_000_000, evaluations=4, evaluation_share=0.123,
    )  # fmt: skip
    assert cells(_model(made)) == [
        ["encoder", "2.50", "4.00"], ["head", "0.01", "0.50"], ["training step", "2.00 trained", "3.00"]
    ]  # fmt: skip
    assert cells(_course(made)) == [
        ["training images", "1,000"], ["images a step", "50 = 2 x 3 micro-batches of 8"],
        ["steps", "1,200 (60.0 epochs), of which warm-up 60"], ["learning rate", "0.001, down to 1e-05 by layer decay"],
        ["evaluations", "4, at least 12.3 % of training"], ["operations", "1.8e+14 FLOP"],
        ["a checkpoint", "2.000 GB"], ["disk at the end", "6.50 GB"],
    ]  # fmt: skip
    assert cells(_course(replace(made, lr_range=(1e-3, 1e-3), assumed_images=True)))[0][1].startswith("1,000 (not here")
    assert cells(_course(replace(made, lr_range=(1e-3, 1e-3))))[3][1] == "0.001"
    shares = ((0.0009, "4"), (0.001, "4, at least 0.1 % of training"))
    assert all(cells(_course(replace(made, evaluation_share=share)))[4][1] == told for share, told in shares)
    memory = {"bf16": MADE.memory["bf16"], "fp32": Activations(per_image=100_000_000, fixed=0)}
    memory["half"] = Activations(per_image=550_000_000, fixed=0)  # of 8 images just the nine tenths of 16 GB
    table = _memory(replace(made, memory=memory, micro_batch=3), DEVICE)
    assert [str(column.header) for column in table.columns] == ["images at a time", "bf16", "fp32", "half"]
    assert cells(table) == [
        ["3 *", "13.5", "10.3", "11.7"], ["8", "18.5 too much", "10.8", "14.4 too much"],
        ["16", "26.5 too much", "11.6", "18.8 too much"], ["32", "42.5 too much", "13.2", "27.6 too much"],
        ["64", "74.5 too much", "16.4 too much", "45.2 too much"],
        ["128", "138.5 too much", "22.8 too much", "80.4 too much"],
        ["256", "266.5 too much", "35.6 too much", "150.8 too much"],
    ]  # fmt: skip
    [less] = [row for row in cells(_memory(replace(made, memory=memory, micro_batch=4), DEVICE)) if "*" in row[0]]
    assert less == ["4 *", "14.5 too much", "10.4", "12.2"]
    assert str(table.caption).splitlines() == [
        "* as configured", "of which the state: 10.00", "kernels' own not counted", "Device: 16"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "steps", "images", "found"),
    [
        (["evaluation.validation.every=100"], 1000, 40, (10, 400)),
        (["evaluation.validation.every=300", "evaluation.validation.limit=8"], 1000, 40, (4, 32)),
        (["evaluation.validation.every=0.3", "evaluation.validation.limit=80"], 1000, 40, (4, 160)),
        (["evaluation.validation.every=null", "evaluation.validation.limit=null"], 1000, 40, (1, 40)),
        (["evaluation=none"], 1000, 40, (0, 0)),
        (["evaluation.validation.every=0"], 1000, 40, (0, 0)),
        (["evaluation.validation.every=0.05", "evaluation.validation.limit=8"], 4, 40, (4, 32)),
    ],
)
def test_evaluations_are_counted_as_their_clock_will(words: list[str], steps: int, images: int, found: tuple[int, int]):
    assert _evaluations(compose_config(words), images, steps) == found


def test_every_evaluation_is_counted():
    nodes = {"a": {"_target_": "a.A", "every": 300, "limit": 8}, "b": {"_target_": "b.B", "every": 500, "limit": 3}}
    assert _evaluations(OmegaConf.create({"evaluation": nodes}), 40, 1000) == (4 + 2, 4 * 8 + 2 * 3)


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (["checkpoint.every=100", "checkpoint.keep_last=3", "checkpoint.save_best=false"], 3),
        (["checkpoint.every=100", "checkpoint.keep_last=3", "checkpoint.save_best=true"], 4),
        (["checkpoint.every=600", "checkpoint.keep_last=3", "checkpoint.save_best=false"], 2),
        (["checkpoint.every=null", "checkpoint.keep_last=3", "checkpoint.save_best=false"], 1),
        (
            [
                "checkpoint.every=100",
                "checkpoint.keep_last=1",
                "checkpoint.keep_every=400",
                "checkpoint.save_best=true",
            ],
            4,
        ),
    ],
)
def test_files_that_stay_are_counted(words: list[str], files: int):
    assert _files(compose_config(words), 1000) == files


def test_sets_that_are_not_here_have_their_published_sizes_or_what_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    away = ["data.root=/nowhere"]
    for words, given, found in (
        (["data=ade20k"], None, ((20_210, 2_000), True)),
        (["data=imagenet"], None, ((1_281_167, 50_000), True)),
        (["data=imagenet"], 77, ((77, 50_000), True)),
        (["data=imagenet", "data.train_limit=0.01"], None, ((12_812, 50_000), True)),
        (["data=imagenet", "data.train_limit=1"], None, ((1, 50_000), True)),
        (["data=imagenet", "data.train_limit=500"], None, ((500, 50_000), True)),
        (["data=folder"], 9, ((9, 0), True)),
    ):
        assert _images(compose_config([*words, *away]), given) == found, words
    scenes = ["data=scenes", "data.num_train=5", "data.num_validation=3"]
    assert _images(compose_config(scenes), None) == ((5, 3), False)
    imagenet: dict[str, Any] = {"_target_": "mae_hydra.data.imagenet", "root": "/nowhere"}
    for some, images in (
        ({"label_fraction": 0.1}, 128_117), ({"train_limit": 500, "label_fraction": 0.1}, 50),
        ({"train_limit": 4, "label_fraction": 0.1}, 1), ({"train_limit": 0.5, "label_fraction": None}, 640_584),
    ):  # fmt: skip
        assert _images(OmegaConf.create({"data": imagenet | some}), None) == ((images, 50_000), True)
    (tmp_path / "photos").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(planning, "build", lambda node, key: SimpleNamespace(train=[0] * 7, validation=[0] * 2))
    assert _images(OmegaConf.create({"data": imagenet | {"root": "~/photos"}}), None) == ((7, 2), False)
    with pytest.raises(UserError, match=r"no data\.root=/nowhere to count its images; say how many there are with"):
        _images(OmegaConf.create({"data": {"_target_": "mine", "root": "/nowhere"}}), None)


def test_recipes_have_the_batch_of_their_schedule_and_warm_up_ends_at_the_largest_rate():
    for task, unit, total, batch in (
        ("pretrain", "epoch", 400, 4096), ("pretrain", "epoch", 399, None), ("pretrain", "step", 90_000, None),
        ("segment", "step", 80_000, 16), ("segment", "step", 79_999, None), ("segment", "epoch", 90_000, None),
        ("classify", "step", 90_000, None), ("classify", "epoch", 400, None),
    ):  # fmt: skip
        config = OmegaConf.create({"task": task, "schedule": {"unit": unit, "total": total}})
        assert planning._recipe_batch(config) == batch, (task, unit, total)
    for steps, largest in ((0, 0), (9, 8), (50_000, 30_000)):
        schedule = SimpleNamespace(steps=steps, factor=lambda step: -abs(step - 30_000))
        assert planning._warmup(schedule) == largest


def test_a_plan_of_a_small_run_is_what_a_hand_works_out(monkeypatch: pytest.MonkeyPatch):
    asked: list[Any] = []  # what is counted elsewhere
    monkeypatch.setattr(planning, "activations", lambda model, *told, **more: asked.append((*told, more)))
    monkeypatch.setattr(planning, "_flops", lambda model, config, epochs: asked.append(epochs) or 12.0)
    words = [
        "model=upernet_vitt", "data=scenes", "data.num_train=70", "data.num_validation=10", "data.batch_size=2",
        "backbone.embed_dim=32", "backbone.depth=4", "backbone.num_heads=2", "backbone.out_indices=[0,1,2,3]",
        "head.channels=16", "engine.global_batch=16", "schedule.unit=epoch", "schedule.total=3", "schedule.warmup=1",
        "optimizer.layer_decay=0.5", "evaluation.validation.every=4", "evaluation.validation.limit=20",
        "checkpoint.every=4", "checkpoint.keep_last=1", "checkpoint.save_best=true",
    ]  # fmt: skip
    made = plan(words, devices=2, images=None)
    assert asked == [("bf16", {"recompute": False}), ("fp32", {"recompute": False}), 3.0]
    assert [warning.partition(";")[0] for warning in made.warnings] == [
        "batch normalization sees 4 of a step's 16 images at a time"
    ]
    monkeypatch.setattr(planning, "training_flops", lambda *_: 1.0)
    counted = lambda model, precision, images, recompute: Activations(images, int(recompute))  # noqa: E731
    monkeypatch.setattr(planning, "activations_of_a_step", counted)
    monkeypatch.setattr(planning, "recompute_blocks", lambda model: asked.append("again"))
    more = ["engine.ema_decay=0.9", "engine.parallel=fsdp", "engine.devices=2", "engine.batch_norm=step"]
    more += ["engine.recompute=true", "data.num_train=8"]  # half a step
    shared = plan([*words, *more], devices=None, images=None)
    assert (made.name, made.images, made.assumed_images) == ("upernet_vitt", (70, 10), False)
    assert (made.steps, made.epochs, made.warmup_steps) == (12, 3.0, 4)  # 70 images are four whole steps
    assert (made.global_batch, made.micro_batch, made.accumulate, made.devices) == (16, 2, 4, 2)
    assert made.lr == made.lr_range[1] == compose_config(words).optimizer.lr
    assert made.lr_range[0] == pytest.approx(made.lr * 0.5**5)  # four blocks between the embedding and the head
    assert (made.evaluations, made.disk) == (3, 2 * made.checkpoint)
    assert made.evaluation_share == pytest.approx(30 / 3 / (12 * 16))  # a forward pass is a third of a step
    model = build(compose_config(words).model, "model")
    weights = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert made.trainable == weights
    every = sum(p.numel() for p in model.parameters()) + sum(b.numel() for b in model.buffers())
    saved = sum(tensor.numel() for tensor in model.state_dict().values())
    assert made.state == 4 * (every + 3 * weights)  # beside the weights their gradients and two moments
    assert made.checkpoint == 4 * (saved + 2 * weights)
    assert shared.checkpoint - made.checkpoint == 4 * saved
    assert (shared.devices, shared.steps, shared.epochs) == (2, 2, 4.0)
    assert not any("batch normalization" in warning for warning in shared.warnings)
    assert shared.state == -(-4 * (2 * every + 3 * weights) // 2)
    assert shared.memory == dict.fromkeys(("bf16", "fp32"), Activations(2 * 4, 1))  # all images of a process
    assert asked[3:] == ["again"]
    assert made.numbers()["total_flops"] == made.flops_per_image * 12 * 16


@pytest.mark.parametrize(
    ("make", "moments"),
    [
        (torch.optim.AdamW, 2 * 35),
        (torch.optim.SGD, 0),
        (partial(torch.optim.SGD, momentum=0.9), 35),
        (partial(torch.optim.Adam, amsgrad=True), 3 * 35),
        (torch.optim.Adafactor, 2 * 35),  # asks for values, which are not there: taken for AdamW
    ],
)
def test_what_an_optimizer_keeps_of_the_weights_is_counted(make: Callable[..., torch.optim.Optimizer], moments: int):
    model = torch.nn.Linear(6, 5, device="meta")
    assert moments_of(make(model.parameters(), lr=0.1)) == moments
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_plan_is_asked_for_what_was_typed_and_a_measured_step_takes_the_place_of_what_is_assumed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked: list[tuple] = []

    def planned(words: list[str], **more: int | None) -> Plan:
        asked.append((words, more))
        return replace(MADE, warnings=["look here"], micro_batch=16)

    def step(words: list[str], **more: object) -> SimpleNamespace:
        asked.append((words, more))
        return SimpleNamespace(numbers={"timings": {"mae_hydra": {"median": 0.5}}, "images": 8})

    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(planning, "plan", planned)
    monkeypatch.setattr("mae_hydra.benchmark.verbs.step", step)
    out = tmp_path / "made" / "deep" / "plan.json"
    words = ["plan", "a=1", "--devices", "3", "--images", "7", "--gpu", "rtx4090", "--mfu", "1"]
    assert main([*words, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "NVIDIA GeForce RTX 4090 in bf16 at 100 % of its peak" in said
    assert "warning: look here" in said
    assert "warning: 16 images at a time take 26 GB of 24 GB in bf16; use data.batch_size=11 or less" in said
    assert said.count("warning: ") == 2
    assert "measured_seconds_per_step" not in json.loads(out.read_text())
    assert main([*words, "--measure", "--out", str(out)]) == 0
    told = "measured here: 0.500 s a step of 8 images, 48 GFLOP/s; the run takes 0.17 hours on one such device"
    said = capsys.readouterr().out
    assert told in said
    assert said.count("warning: ") == 1
    assert "Memory of a device" not in said
    assert json.loads(out.read_text())["measured_seconds_per_step"] == 0.5
    given = (["a=1"], {"devices": 3, "images": 7})
    assert asked == [given, given, (["a=1"], {"rounds": 3, "alone": True})]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--mfu", "0"], "--mfu is a share of the peak in (0, 1], got 0.0"),
        (["--devices", "0"], "--devices must be at least 1, got 0"),
        (["--images", "0"], "--images must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_planned_is_refused(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *words]) == 1
    assert told in capsys.readouterr().err


def test_a_time_has_the_unit_in_which_it_is_read() -> None:
    hours = (0.1, 0.0999, 1 / 60, 0.016, 0.0001)
    assert [_time_of(each) for each in hours] == [
        "0.10 hours", "6.0 minutes", "1.0 minutes", "58 seconds", "0.36 seconds"
    ]  # fmt: skip
    assert _time_of(2.0, "device ") == "2.00 device hours"
    assert [_number(each, 2) for each in (0.1, 0.0999, 0.0, 12.345)] == ["0.10", "0.1", "0.00", "12.35"]


def test_operations_of_images_that_grow_are_the_mean_over_the_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(planning, "example_batch", lambda model, images, size=(64, 64): size)
    monkeypatch.setattr(planning, "training_flops", lambda model, size: float(size[0]))
    config = compose_config(["augment.smaller=[32,48]", "augment.smaller_until=[10,20]"])
    assert planning._flops(None, config, 40.0) == (10 * 32 + 10 * 48 + 20 * 64) / 40
    assert planning._flops(None, config, 15.0) == (10 * 32 + 5 * 48) / 15
    assert planning._flops(None, config, 4.0) == 32
    assert planning._flops(None, compose_config([]), 4.0) == 64
