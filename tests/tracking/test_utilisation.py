"""Model FLOP utilisation: operations counted from shapes, set against what the device can do."""

import pytest
import torch
from torch import nn

from mae_hydra import accelerators
from mae_hydra.accelerators import peak_tflops
from mae_hydra.flops import training_flops
from mae_hydra.tracking import Utilisation
from mae_hydra.types import Batch, Evaluation, Loss
from mae_hydra.workflows import entry


class Notes:
    def __init__(self):
        self.said = []

    def __getattr__(self, name):
        return lambda *args: self.said.append((name, args))


def test_images_per_second_become_a_share_of_the_peak_of_one_device():
    notes = Notes()
    tracker = Utilisation(notes, flops_per_image=60e9, peak_tflops=100, devices=4)
    tracker.start("run", {}, 0)
    tracker.scalars(5, {"train/loss": 1.0})
    tracker.scalars(10, {"perf/images_per_second": 4000.0})
    tracker.evaluation(10, "validation", Evaluation({}))
    tracker.finish("completed", {})
    assert [name for name, _ in notes.said] == ["start", "scalars", "scalars", "evaluation", "finish"]
    assert notes.said[1][1] == (5, {"train/loss": 1.0})
    values = notes.said[2][1][1]
    assert values["perf/tflops"] == pytest.approx(60)  # 4000 * 60 GFLOP / 4
    assert values["perf/mfu"] == pytest.approx(0.6)


def test_peaks_and_memory_are_what_makers_state():
    stated = {name: (one.low, one.full, one.memory) for name, one in accelerators.ACCELERATORS.items()}
    assert stated == {
        "h200": (989, 67, 141), "h100": (989, 67, 80), "a100": (312, 19.5, 80), "l40s": (362, 91.6, 48),
        "v100": (125, 15.7, 32), "rtx4090": (165, 82.6, 24),
    }  # fmt: skip


class Two(nn.Module):
    """4 -> 3 -> 2."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 3, bias=False), nn.Linear(3, 2, bias=False)

    def loss(self, batch):
        assert self.training
        return Loss(self.second(self.first(batch.images)).sum(), torch.tensor(len(batch)))


@pytest.mark.parametrize(("frozen", "products"), [(False, 12 + 6 + 6 + 6 + 12), (True, 12 + 6 + 6)])
def test_operations_are_those_of_one_image_forward_and_backward(frozen, products):
    """Backward each product twice, but the first layer's input and a frozen layer's weights have no gradient."""
    model = Two().eval()
    model.first.requires_grad_(not frozen)
    weight = model.first.weight
    assert training_flops(model, Batch(torch.zeros(5, 4))) == 2 * products
    assert model.first.weight is weight


@pytest.mark.slow
def test_a_pretraining_of_vit_b_takes_the_published_operations():
    """58.7 GFLOP an image: three times the forward pass, of which the hidden positions' prediction alone is done."""
    with torch.device("meta"):
        model = entry.build("model=mae_vitb", "data=folder", "data.image_size=224")
    flops = training_flops(model, Batch(torch.zeros(2, 3, 224, 224, dtype=torch.uint8)))
    assert 0.93 < flops / 58.7e9 < 1.0
    assert all(parameter.device.type == "meta" for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "precision", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989),
        ("NVIDIA H200", "fp32", 67),
        ("NVIDIA A100-SXM4-80GB", "bf16", 312),
        ("NVIDIA A100-SXM4-80GB", "fp32", 19.5),
        ("NVIDIA L40S", "bf16", 362),
        ("NVIDIA L40S", "fp32", 91.6),
        ("Tesla V100-SXM2-32GB", "fp16", 125),
        ("Tesla V100-SXM2-32GB", "fp32", 15.7),
        ("NVIDIA GeForce RTX 4090", "fp16", 165),
        ("x", "bf16", None),
    ],
)
def test_the_peak_is_that_of_the_drivers_device(monkeypatch, name, precision, peak):
    monkeypatch.setattr(accelerators.torch.cuda, "get_device_name", lambda device: name)
    assert peak_tflops(torch.device("cuda", 0), precision) == peak
    assert peak_tflops(torch.device("cpu"), precision) is None
