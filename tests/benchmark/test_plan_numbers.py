"""The arithmetic and the advice of a plan, on numbers that a hand can check."""

from dataclasses import replace

import pytest

from mae_hydra.accelerators import Accelerator
from mae_hydra.benchmark.estimate import Activations
from mae_hydra.benchmark.plan import Plan, _warnings
from mae_hydra.commands.plan import _memory_warnings, _time
from mae_hydra.configuration.compose import compose_config

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
        (["augment.smaller=[32]", "augment.smaller_until=[60]"], {}, "before its images have grown"),
    ],
)
def test_a_warning_comes_where_something_is_wrong_and_not_before(words: list[str], change: dict, said: str | None):
    found = _warnings(replace(MADE, **change), compose_config(words))
    assert len(found) == (said is not None)
    assert said is None or said in found[0]
