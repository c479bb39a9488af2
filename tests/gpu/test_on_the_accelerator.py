"""What only an accelerator shows: `python -m pytest tests/gpu` on a machine that has one or more; skipped elsewhere.

MAE_HYDRA_GPU_TESTS=cpu python -m pytest tests/gpu     tries the tests themselves on the CPU
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel

from mae_hydra.benchmark.memory import kept_bytes
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build
from mae_hydra.data import PretrainAugment, TrainStream
from mae_hydra.data.augment.photometric import distort, distort_batch, draw_distortion
from mae_hydra.data.readers.folder import Photos
from mae_hydra.engine import Settings, State, train_step, wrap
from mae_hydra.models.encoders.biased_attention import biased_attention
from mae_hydra.seeds import generator, seed_device
from mae_hydra.types import Batch

DEVICE = os.environ.get("MAE_HYDRA_GPU_TESTS", "cuda" if torch.cuda.is_available() else "")
COUNT = torch.cuda.device_count() if DEVICE == "cuda" else 2
ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not DEVICE, reason="no accelerator here")]
several = pytest.mark.skipif(COUNT < 2, reason="one accelerator only")

SMALL = ["backbone.embed_dim=64", "backbone.num_heads=2", "backbone.depth=4", "backbone.out_indices=[0,1,2,3]"]
MODELS = {
    "mae": ["model=mae_vitt", *SMALL, "head.embed_dim=32", "head.num_heads=2", "head.depth=2"],
    "upernet": ["model=upernet_vitt", *SMALL, "head.channels=16", "backbone.drop_path_rate=0.1"],
}


def settings(**changes: Any) -> Settings:
    config: dict[str, Any] = dict(compose_config([f"engine.device={DEVICE}"]).engine)
    return Settings(**{name: value for name, value in config.items() if name != "_target_"} | changes)


def made(model: str, **changes: Any) -> tuple[State, Any, Settings]:
    chosen = settings(**changes)
    chosen.apply()
    config = compose_config(MODELS[model])
    seed_device(0, "init")
    network = build(config.model, "model")
    forward = wrap(network, chosen)
    optimizer = build(config.optimizer, "optimizer")(network)
    return State(network.train(), optimizer, chosen.scaler()), forward, chosen


def batch(model: str, images: int = 8) -> Batch:
    dice = torch.Generator().manual_seed(1)
    pictures = torch.randint(0, 256, (images, 3, 64, 64), dtype=torch.uint8, generator=dice)
    labels = torch.randint(0, 12, (images, 64, 64), dtype=torch.uint8, generator=dice) if model == "upernet" else None
    return Batch(pictures, labels)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2e-3), ("bf16", 3e-2), ("fp16", 1e-2)])
def test_every_precision_finds_the_loss_of_the_cpu(model, precision, tolerance):
    """Without what is random on the device, whose generators differ from the CPU's."""
    state, _, chosen = made(model, precision=precision)
    state.model.eval()
    noise = torch.rand(8, 64, generator=torch.Generator().manual_seed(2))
    given = {"noise": noise.to(chosen.torch_device)} if model == "mae" else {}
    with torch.no_grad(), chosen.autocast():
        found = state.model.loss(batch(model).to(chosen.torch_device), **given)
    on_cpu, *_ = made(model, precision="fp32", device="cpu")
    on_cpu.model.eval()
    with torch.no_grad():
        expected = on_cpu.model.loss(batch(model), **({"noise": noise} if given else {}))
    assert found.total.dtype == torch.float32
    assert float(found.count) == float(expected.count)
    assert float(found.total) == pytest.approx(float(expected.total), rel=tolerance)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("model", MODELS)
def test_a_step_whose_gradient_is_not_finite_changes_nothing(model, precision):
    state, forward, chosen = made(model, precision=precision)
    with torch.no_grad():
        next(p for n, p in state.model.named_parameters() if n.endswith("qkv.weight")).fill_(float("nan"))
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    result = train_step(state, forward, iter([batch(model)]), accumulate=1, settings=chosen)
    assert not result.grad_norm.isfinite()
    for name, value in state.model.state_dict().items():
        assert torch.equal(value.nan_to_num(7.0), before[name].nan_to_num(7.0)), name


def test_fp16_scales_down_and_then_trains():
    state, forward, chosen = made("mae", precision="fp16")
    start = state.scaler.get_scale()
    finite = [
        bool(train_step(state, forward, iter([batch("mae")]), accumulate=1, settings=chosen).grad_norm.isfinite())
        for _ in range(12)
    ]
    assert any(finite)
    assert all(finite) or state.scaler.get_scale() < start


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("model", MODELS)
def test_no_attention_is_written_out_there(model, precision):
    """With fused kernels alone allowed; of the two, a bias that learns has the second."""
    state, forward, chosen = made(model, precision=precision)
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]), chosen.autocast():
        forward(batch(model).to(chosen.torch_device)).total.backward()
    assert all(parameter.grad is not None for parameter in state.model.encoder.blocks.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_attention_whose_bias_learns_is_fused_there(dtype):
    """At a number of tokens that divides nothing: no map of attention is kept, and gradients are those of float64."""
    images, heads, tokens = 8, 4, 601
    dice = torch.Generator().manual_seed(0)
    exact = [torch.randn(images, heads, tokens, 64, dtype=torch.float64, generator=dice) for _ in range(3)]
    exact += [torch.randn(heads, tokens, tokens, dtype=torch.float64, generator=dice)]
    given = [each.to(DEVICE, torch.float32 if each.ndim == 3 else dtype).requires_grad_() for each in exact]
    kept = kept_bytes(lambda: biased_attention(*given))
    assert kept < images * heads * tokens * tokens * given[0].element_size()

    def gradients(inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        return list(torch.autograd.grad(biased_attention(*inputs).square().sum(), inputs))

    exact = [each.detach().cpu().double().requires_grad_() for each in given]  # as they were rounded
    for found, expected in zip(gradients(given), gradients(exact), strict=True):
        error = (found.double().cpu() - expected).norm() / expected.norm()
        assert error < (1e-4 if dtype == torch.float32 else 3e-2), error


def test_a_distortion_there_is_that_of_the_workers():
    dice = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (16, 3, 40, 40), dtype=torch.uint8, generator=dice)
    draws = [draw_distortion(generator(number)) for number in range(16)]
    expected = torch.stack([distort(image, draw) for image, draw in zip(images, draws, strict=True)]).int()
    difference = (distort_batch(images.to(DEVICE), draws).cpu().int() - expected).abs()
    assert difference.max() <= 13  # a hue or saturation on the edge of two steps may round either way, then is scaled
    assert difference.float().mean() < 0.05


def test_files_decoded_there_look_like_those_decoded_here(tmp_path):
    for number in range(8):
        coarse = np.random.default_rng(number).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((300, 200), Image.Resampling.BICUBIC).save(tmp_path / f"{number}.jpg")
    photos = Photos(tmp_path, [f"{number}.jpg" for number in range(8)], channels=3)
    made = {}
    for decode in ("whole", "device"):
        augment = PretrainAugment(size=64, scale=[0.2, 1.0], ratio=[0.75, 1.33], flip=0.5, decode=decode)
        stream = TrainStream(
            photos, augment, global_batch=8, micro_batch=8, rank=0, world_size=1, seed=0, num_workers=2,
            device_is_cuda=DEVICE == "cuda",
        )  # fmt: skip
        with closing(stream.batches(0)) as batches:
            made[decode] = next(batches).to(DEVICE)
    assert made["device"].images.device.type == DEVICE
    assert torch.equal(made["device"].index, made["whole"].index)
    difference = (made["device"].images.float() - made["whole"].images.float()).abs()
    assert difference.mean() < 1.5  # of 255: another decoder has another way to enlarge colours


def train(cwd: Path, *overrides: str) -> subprocess.Popen[str]:
    smoke = [
        "+debug=smoke",
        f"engine.device={DEVICE}",
        "data.num_train=32",
        "data.num_validation=8",
        "data.num_workers=2",
    ]
    command = [sys.executable, str(ROOT / "train.py"), *smoke, *overrides, "paths.output_root=outputs"]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return said


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints/last.pt", weights_only=True)["model"]


def losses(run: Path) -> list[float]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["train/loss"] for line in lines if "train/loss" in line]


@pytest.mark.parametrize("model", MODELS)
def test_a_run_that_is_killed_goes_on_bit_for_bit(tmp_path, model):
    words = [*MODELS[model], "engine.deterministic=true", "schedule.total=60", "checkpoint.every=5", "resume=auto"]
    finish(train(tmp_path, *words, "hydra.run.dir=outputs/whole"))
    broken = tmp_path / "outputs/broken"
    process = train(tmp_path, *words, f"hydra.run.dir={broken}")
    deadline = time.monotonic() + 200
    while not (broken / "checkpoints/last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    finish(train(tmp_path, *words, f"hydra.run.dir={broken}"))
    whole = weights(tmp_path / "outputs/whole")
    assert all(torch.equal(value, whole[name]) for name, value in weights(broken).items())


def test_compiled_blocks_train_alike_under_the_same_keys(tmp_path):
    words = [*MODELS["mae"], "schedule.total=4"]
    for name in ("true", "false"):
        finish(train(tmp_path, *words, f"engine.compile={name}", f"hydra.run.dir=outputs/{name}"))
    compiled, plain = (weights(tmp_path / "outputs" / name) for name in ("true", "false"))
    assert list(compiled) == list(plain)
    assert losses(tmp_path / "outputs/true") == pytest.approx(losses(tmp_path / "outputs/false"), rel=0.02)


@several
@pytest.mark.parametrize("model", MODELS)
def test_two_accelerators_train_as_one_and_shared_weights_as_replicas(tmp_path, model):
    """With torch's synchronised batch normalisation, which the CPU does not have."""
    same = [*MODELS[model], "engine.global_batch=8", "data.batch_size=8", "engine.precision=fp32", "schedule.total=4"]
    same += ["backbone.drop_path_rate=0.0", "model.masking=grid"] if model == "mae" else ["backbone.drop_path_rate=0.0"]
    results = {}
    for name, extra in {
        "ddp": ["engine.devices=2"],
        "fsdp": ["engine.devices=2", "engine.parallel=fsdp"],
        "one": ["engine.devices=1"],
    }.items():
        finish(train(tmp_path, *same, *extra, f"hydra.run.dir=outputs/{name}"))
        results[name] = losses(tmp_path / "outputs" / name)
    assert results["fsdp"] == pytest.approx(results["ddp"], rel=1e-3)
    if DEVICE == "cuda":
        assert results["one"] == pytest.approx(results["ddp"], rel=1e-3)
