from typing import Any

import pytest
import torch

from mae_hydra.benchmark import PeakMemory, Timing, alternate, count_parts, describe_machine, rates, workloads
from mae_hydra.benchmark.workloads import plain_loop, plain_multiscale
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build
from mae_hydra.inference import MultiscaleFlip, Slide
from mae_hydra.workflows.entry import build as build_model

CPU = torch.device("cpu")


def test_candidates_take_turns_and_the_first_rounds_do_not_count():
    calls: list[str] = []
    found = alternate({n: (lambda n=n: calls.append(n)) for n in "ab"}, rounds=3, warmup=2, device=CPU)
    assert calls == list("ab" * 5)
    assert {name: len(timing.seconds) for name, timing in found.items()} == {"a": 3, "b": 3}
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        alternate({}, rounds=0, warmup=0, device=CPU)


def test_a_timing_is_judged_by_its_median():
    timing = Timing((1.0, 2.0, 50.0))
    assert timing.median == 2.0
    assert timing.percentile(0) == 1.0


def test_the_peak_is_of_the_work_inside_only():
    with PeakMemory(CPU) as small:
        pass
    with PeakMemory(CPU) as large:
        torch.ones(100_000_000).sum()
    with PeakMemory(CPU) as after:
        pass
    assert large.bytes - small.bytes > 300_000_000
    assert after.bytes < large.bytes - 300_000_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "size", "published"),
    [
        (
            ["model=upernet_vitb", "data=ade20k", "head.low_resolution_first=false"],
            512,
            {"encoder": 214, "pyramid": 29, "head": 967, "total": 1210},
        ),
        (["model=mae_vitb", "data=imagenet"], 224, {"decoder": 2 * 5.373, "total": 19.39}),
    ],
)
def test_operations_of_the_parts_are_the_published_ones(words, size, published):
    with torch.device("meta"):
        model = build(compose_config(words).model, "model").eval()
        found = {part.name: part for part in count_parts(model, torch.zeros(1, 3, size, size))}
    for name, gigaflops in published.items():
        assert found[name].flops / 1e9 == pytest.approx(gigaflops, rel=3e-3)
    assert found["total"].parameters == sum(parameter.numel() for parameter in model.parameters())


def test_the_plain_loop_finds_what_sliding_windows_find():
    model = build_model("model=upernet_vitt").eval()
    for size, short in (((70, 150), 64), ((26, 150), 128)):  # the second is longer than four times its width
        image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
        slide = Slide(crop=64, stride_ratio=0.6667, short=short, long_ratio=4.0, window_batch=4)
        with torch.no_grad():
            expected = slide.predict(model, [image])[0]
            found = plain_loop(model, image, crop=64, stride=42, short=short)
        assert (found == expected).double().mean() > 0.999  # ties in the last bit aside


def test_the_plain_loop_over_sizes_adds_what_every_size_finds_either_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def scores(model: Any, image: torch.Tensor, size: tuple[int, int], *told: int) -> torch.Tensor:
        asked.append((size, told, int(image[0, 0, 0])))
        return torch.stack([image[0].float() / 255, torch.full((1, 2), 0.6)])[None] * size[0]

    monkeypatch.setattr(workloads, "_plain_scores", scores)
    image = torch.tensor([[[0, 200]]], dtype=torch.uint8)
    for flip, sizes in ((True, [8, 8, 8, 8, 16, 16]), (False, [8, 8, 16])):
        asked.clear()
        found = plain_multiscale(None, image, crop=8, stride=5, short=10, ratios=[0.5, 0.8, 1.6], flip=flip)
        assert found.tolist() == [[1, 0]]
        assert [size for (size, _), *_ in asked] == sizes  # no window is larger than its picture
        assert [told for _, told, _ in asked] == [(8, 5)] * len(sizes)
        assert [first for *_, first in asked] == ([0, 200] * 3 if flip else [0] * 3)


@pytest.mark.slow
def test_the_plain_loop_over_sizes_finds_what_multi_scale_inference_finds():
    model = build_model("model=upernet_vitt").eval()
    image = torch.randint(0, 256, (3, 70, 100), dtype=torch.uint8)
    method = MultiscaleFlip(
        ratios=[0.5, 1.0, 1.5], flip=True, crop=64, stride_ratio=0.6667, short=64, long_ratio=None, window_batch=4
    )
    with torch.no_grad():
        expected = method.predict(model, [image])[0]
        found = plain_multiscale(model, image, crop=64, stride=42, short=64, ratios=[0.5, 1.0, 1.5], flip=True)
    assert (found == expected).double().mean() > 0.999


def test_the_machine_is_described():
    machine = describe_machine()
    assert machine["torch"] == torch.__version__.partition("+")[0]
    assert machine["cores"] >= 1


def test_rates_are_products_and_sums_or_bytes_both_ways_over_the_best_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MATRIX", "MOVED"):
        monkeypatch.setattr(rates, name, {"cpu": 8})
    monkeypatch.setattr(rates, "alternate", lambda calls, **more: {name: Timing((0.5, 0.25, 1.0)) for name in calls})
    assert rates.matrix_rate(torch.device("cpu"), torch.float32) == 2 * 8**3 / 0.25
    assert rates.memory_rate(torch.device("cpu")) == 2 * 8 / 0.25
