"""Device and precision resolve, and what cannot be is said."""

import pytest
import torch
from tiny_training import settings

from mae_hydra.errors import UserError

NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


@NO_CUDA
def test_auto_is_fp32_on_the_cpu_where_there_is_no_accelerator():
    chosen = settings(device="auto", precision="auto")
    assert chosen.torch_device == torch.device("cpu")
    assert chosen.resolved_precision == "fp32"
    assert not chosen.scaler().is_enabled()


@NO_CUDA
def test_cuda_without_a_cuda_device_is_refused():
    with pytest.raises(ValueError, match=r"torch finds no CUDA device; use engine\.device=auto or cpu"):
        settings(device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_auto_is_bf16_on_cuda():
    chosen = settings(device="auto", precision="auto")
    assert chosen.torch_device == torch.device("cuda", 0)
    assert chosen.resolved_precision == "bf16"


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_matrix_products_run_in_the_chosen_precision(precision, dtype):
    with settings(precision=precision).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_only_fp16_scales_the_loss():
    assert [settings(precision=p).scaler().is_enabled() for p in ("fp32", "bf16", "fp16")] == [False, False, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device": "gpu"}, "device must be one of auto, cpu, cuda, got 'gpu'"),
        ({"precision": "fp64"}, "precision must be one of auto, fp32, bf16, bf16_params, fp16, got 'fp64'"),
        ({"devices": 0}, "devices must be a number of processes from 1, or auto, got 0"),
        ({"devices": "all"}, "devices must be a number of processes from 1, or auto, got 'all'"),
        ({"global_batch": 0}, "global_batch must be at least 1, got 0"),
        ({"clip_grad": 0.0}, "clip_grad must be positive, or null for no clipping, got 0.0"),
        ({"log_every": 0}, "log_every must be at least 1, got 0"),
    ],
)
def test_bad_values_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        settings(**change)


def test_declared_devices_must_be_there():
    for devices, world_size in ((1, 1), (1, 4), ("auto", 4), (4, 4)):
        settings(devices=devices).check_world(world_size)
    with pytest.raises(UserError, match=r"engine.devices is 4, but there are 1 processes.*--nproc_per_node=4"):
        settings(devices=4).check_world(1)


def test_deterministic_reaches_torch(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    try:
        settings(deterministic=True).apply()
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
    finally:
        settings(deterministic=False).apply()
    assert not torch.are_deterministic_algorithms_enabled()
