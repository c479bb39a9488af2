"""`mae-hydra plan` against what runs really do and what is known of the recipes."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from conftest import TINY_MAE, TINY_UPERNET
from torch import nn

from mae_hydra.batch_norm import loss_of_a_step
from mae_hydra.benchmark.estimate import Activations, activations, activations_of_a_step, example_batch
from mae_hydra.benchmark.memory import kept_bytes
from mae_hydra.commands import main
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build
from mae_hydra.types import Batch

SHORT = ["schedule.unit=step", "schedule.warmup=5"]


def planned(*words: str) -> dict:
    assert main(["plan", *words, "--out", "plan.json"]) == 0
    return json.loads(Path("plan.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("words", [TINY_MAE, ["model=upernet_vitt", *TINY_UPERNET]], ids=["pretrain", "segment"])
@pytest.mark.parametrize("extra", [[], ["engine.ema_decay=0.9"]], ids=["plain", "average"])
def test_a_plan_is_what_the_run_then_does(train, words, extra):
    found = planned(*words, *extra)
    assert train(*words, *extra, "hydra.run.dir=run") == 0
    file = Path("run/checkpoints/last.pt")
    saved = torch.load(file, weights_only=True)
    assert saved["step"] == found["steps"]
    assert found["checkpoint"] == pytest.approx(file.stat().st_size, rel=0.05, abs=250_000)  # names and numbers beside
    rates = [group["initial_lr"] for group in saved["optimizer"]["param_groups"]]
    assert found["lr_range"] == pytest.approx([min(rates), max(rates)])
    moments = sum(each["exp_avg"].numel() for each in saved["optimizer"]["state"].values())
    assert found["trainable"] == moments
    lines = map(json.loads, Path("run/metrics.jsonl").read_text().splitlines())
    assert sum("val/loss" in line or "val/mIoU" in line for line in lines) == found["evaluations"]


@pytest.mark.slow
def test_the_papers_pre_training_run(train, capsys):
    found = planned("+experiment=mae_vitb_imagenet_800e", "--devices", "64")
    assert found["steps"] == 1_281_167 // 4096 * 800
    assert found["warmup_steps"] == 1_281_167 // 4096 * 40
    assert found["lr"] == pytest.approx(1.5e-4 * 4096 / 256)
    # Forward 9.70 GMACs, twice as much backward but for the pixels' own gradient.
    assert found["flops_per_image"] / 1e9 == pytest.approx(3 * 2 * 9.697, rel=0.01)
    assert found["warnings"] == []
    said = capsys.readouterr().out
    assert "the published number" in said
    assert "4096 = 64 x 1 micro-batches of 64" in said
    assert "64 x NVIDIA H100 SXM in bf16 at 40 % of its peak" in said


@pytest.mark.slow
def test_the_segmentation_recipe_and_the_largest_model_are_planned_without_memory(train):
    found = planned("+experiment=upernet_vitb_ade20k", "--gpu", "v100", "--devices", "8")
    assert (found["steps"], found["warmup_steps"], found["micro_batch"]) == (160_000, 1500, 2)
    # The published 1210 GFLOP enlarge before they convolve; convolving first does the same with less.
    written = planned("+experiment=upernet_vitb_ade20k", "head.low_resolution_first=false")
    assert 2.9 < written["flops_per_image"] / 1210e9 < 3.1
    assert 0.55 < found["flops_per_image"] / written["flops_per_image"] < 0.75
    assert planned("+experiment=mae_vith_imagenet_1600e")["trainable"] > 600e6


@cache
def model_and_activations(name: str) -> tuple[nn.Module, Activations]:
    """Built and traced once."""
    words = {"mae": TINY_MAE, "upernet": ["model=upernet_vitt", *TINY_UPERNET]}[name]
    model = build(compose_config(words).model, "model").train()
    return model, activations(model, "fp32")


@pytest.mark.parametrize("name", ["mae", "upernet"])
def test_memory_for_the_backward_pass_is_what_autograd_really_keeps(name):
    model, planned = model_and_activations(name)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def kept(images: int) -> int:
        found: dict[int, torch.UntypedStorage] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                found[storage.data_ptr()] = storage
            return tensor

        labels = torch.zeros(images, 64, 64, dtype=torch.uint8)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model.loss(Batch(torch.zeros(images, 3, 64, 64, dtype=torch.uint8), labels))
        return sum(storage.nbytes() for storage in found.values())

    assert planned.per_image == pytest.approx((kept(8) - kept(4)) / 4, rel=0.02)
    # The model is what it was.
    assert all(isinstance(p, nn.Parameter) and p.isfinite().all() for p in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_with_recomputing_one_block_more_keeps_one_input_more(precision):
    """Of every image cls and int(64 * 0.8) visible patches, 32 numbers each."""

    def kept(depth: int, **changes: bool) -> int:
        words = [*TINY_MAE, "data.image_size=64", "model.mask_ratio=0.2", f"backbone.depth={depth}"]
        model = build(compose_config(words).model, "model")
        return activations(model, precision, **changes).per_image

    # The sum that enters a block is in fp32 whatever autocast says.
    assert kept(5, recompute=True) - kept(4, recompute=True) == (1 + 51) * 32 * 4
    assert kept(4, recompute=True) < kept(4) / 2


@pytest.mark.slow
def test_recomputing_costs_the_blocks_forward_pass_once_more(train):
    plain, again = (planned(*TINY_MAE, f"engine.recompute={word}") for word in ("false", "true"))

    def block(tokens: int, width: int) -> int:
        """All but its last product, whose result the backward pass does not read."""
        return 2 * tokens * (4 + 4) * width**2 + 4 * tokens**2 * width

    assert again["flops_per_image"] - plain["flops_per_image"] == 2 * block(1 + 16, 32) + block(1 + 64, 16)


MICRO_BATCHES = ["model=upernet_vitt", *TINY_UPERNET, "engine.global_batch=8", "data.batch_size=2"]


@pytest.mark.slow
def test_statistics_of_a_step_cost_the_encoders_forward_pass_once_more(train):
    """And a plan tells beforehand what micro-batches do to batch normalisation; then there is nothing to say."""
    plain, step = (planned(*MICRO_BATCHES, f"engine.batch_norm={word}") for word in ("micro", "step"))
    (encoder,) = [part["flops"] for part in plain["parts"] if part["name"] == "encoder"]
    assert step["flops_per_image"] - plain["flops_per_image"] == encoder
    assert [warning for warning in plain["warnings"] if "batch normalization sees 2 of a step's 8 images" in warning]
    assert not [warning for warning in step["warnings"] if "batch normalization" in warning]


def test_memory_of_a_step_is_what_autograd_really_keeps_of_all_its_images():
    model, planned = model_and_activations("upernet")
    found = activations_of_a_step(model, "fp32", 8)
    parts = [example_batch(model, 2) for _ in range(4)]
    features = sum(part.nbytes for part in model.features(example_batch(model, 8)))
    head = found.of_step + features
    assert head == pytest.approx(kept_bytes(lambda: loss_of_a_step(model, parts)), rel=0.05)
    assert found.per_image + head / 8 == pytest.approx(planned.per_image, rel=0.01)
    assert found.of(2) == found.fixed + max(2 * found.per_image, found.of_step)


@pytest.mark.slow
def test_smaller_images_at_first_cost_less(train, capsys):
    words = [*TINY_MAE, "schedule.unit=epoch", "schedule.total=4", "schedule.warmup=0"]
    full = planned(*words)["flops_per_image"]
    half = planned(*words, "data.image_size=32")["flops_per_image"]
    mixed = planned(*words, "augment.smaller=[32]", "augment.smaller_until=[3]")["flops_per_image"]
    assert mixed == pytest.approx((3 * half + full) / 4)
    planned(*words, "augment.smaller=[32]", "augment.smaller_until=[9]")
    assert "the run ends after 4 epochs, before its images have grown to their size at epoch 9" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "warning"),
    [
        (["+experiment=mae_vitb_imagenet_800e", "engine.global_batch=512"], "is 512, the recipe was made for 4096"),
        ([*SHORT, "schedule.total=600", "schedule.warmup=500"], "warm-up takes"),
        ([*SHORT, "schedule.total=100"], "checkpoint.every is 500, the run ends after 100"),
        ([*SHORT, "schedule.total=60", "evaluation.validation.every=5"], "evaluation costs"),
    ],
)
def test_what_looks_wrong_is_said(train, capsys, words, warning):
    planned(*words)
    assert warning in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=mae_vitb", "data=folder", "data.root=nowhere"], "say how many there are with --images"),
        (["--gpu", "abacus"], "--gpu must be one of h200"),
        (["--mfu", "40"], "--mfu is a share of the peak"),
        (["model=mae_vitx"], "did you mean"),
        (["engine.global_batch=10", "--devices", "3"], "global_batch 10 is not a multiple of the 3 processes"),
    ],
)
def test_a_mistake_is_one_sentence(train, capsys, words, message):
    assert main(["plan", *words]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said


@pytest.mark.slow
def test_a_step_can_be_measured_here(train, capsys):
    assert planned(*TINY_MAE, "--measure")["measured_seconds_per_step"] > 0
    assert "measured here: " in capsys.readouterr().out
