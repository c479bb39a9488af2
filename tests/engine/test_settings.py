"""Device and precision resolve, and what cannot be is said."""

import os

import pytest
import torch
from tiny_training import settings

from mae_hydra.errors import UserError

CPU = torch.device("cpu")
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
        ({"nonfinite_limit": 0}, "nonfinite_limit must be at least 1, got 0"),
        ({"profile_steps": 0}, "profile_steps must be at least 1, got 0"),
        ({"clip_grad": -1.0}, "clip_grad must be positive"),
        ({"ema_decay": 0.0}, r"ema_decay must lie in \(0, 1\), or null for no average, got 0\.0"),
        ({"ema_decay": 1.0}, r"ema_decay must lie in \(0, 1\), or null for no average, got 1\.0"),
        ({"device": "gpu"}, r"got 'gpu'; did you mean cuda\?$"),
        ({"device": "tpu"}, r"got 'tpu'$"),
        *(
            ({"precision": theirs}, rf"got '{theirs}'; did you mean {ours}\?$")
            for theirs, ours in (
                ("float32", "fp32"),
                ("no", "fp32"),
                ("float16", "fp16"),
                ("bfloat16", "bf16"),
                ("bf16-mixed", "bf16"),
                ("bf16-true", "bf16_params"),
            )
        ),
        ({"device": "float16"}, r"got 'float16'$"),
        ({"precision": "gpu"}, r"got 'gpu'$"),
        ({"devices": -1}, "devices must be a number of processes from 1, or auto, got -1"),
        ({"parallel": "dp"}, "parallel must be one of ddp, fsdp, got 'dp'"),
        ({"batch_norm": "sync"}, "batch_norm must be one of micro, step, got 'sync'"),
        (
            {"precision": "bf16_params", "parallel": "fsdp"},
            r"for models that are not sharded; use engine\.precision=bf16",
        ),
    ],
)
def test_bad_values_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        settings(**change)


def test_values_at_their_bounds_are_taken():
    least = {"global_batch": 1, "nonfinite_limit": 1, "log_every": 1, "profile_steps": 1, "stop_after": 1, "devices": 1}
    found = settings(**least, clip_grad=1e-9, ema_decay=0.9999)
    assert {name: getattr(found, name) for name in least} == least
    assert (
        settings(profile_steps=None, stop_after=None, clip_grad=None, ema_decay=None, devices="auto").devices == "auto"
    )


def test_a_run_goes_on_in_the_precision_it_began_in_unless_another_was_typed():
    weights = [torch.zeros(2)]
    for chosen, recorded, expected in (
        ("auto", "bf16", "bf16"), ("auto", None, "fp32"), ("fp16", "bf16", "fp16"), ("fp32", None, "fp32"),
    ):  # fmt: skip
        assert settings(precision=chosen).settled(weights, recorded).precision == expected


def test_a_model_is_sharded_where_several_processes_were_told_to(monkeypatch):
    for size, parallel, expected in (("1", "fsdp", False), ("2", "fsdp", True), ("2", "ddp", False)):
        monkeypatch.setenv("WORLD_SIZE", size)
        assert settings(parallel=parallel).sharded is expected


def test_a_process_has_the_device_of_its_own_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    for device, expected in (("auto", torch.device("cuda", 3)), ("cuda", torch.device("cuda", 3)), ("cpu", CPU)):
        assert settings(device=device).torch_device == expected


def test_declared_devices_must_be_there():
    for devices, world_size in ((1, 1), (1, 4), ("auto", 4), (4, 4)):
        settings(devices=devices).check_world(world_size)
    with pytest.raises(UserError, match=r"engine\.devices is 4, but there are 2 processes"):
        settings(devices=4).check_world(2)
    with pytest.raises(UserError, match=r"engine.devices is 4, but there are 1 processes.*--nproc_per_node=4"):
        settings(devices=4).check_world(1)


def test_deterministic_reaches_torch(monkeypatch):
    name = "CUBLAS_WORKSPACE_CONFIG"
    monkeypatch.setenv(name, "")  # put back at the end
    monkeypatch.delenv(name)
    before = torch.backends.cudnn.benchmark
    try:
        settings(deterministic=False).apply()
        assert (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark) == (False, True)
        assert name not in os.environ
        settings(deterministic=True).apply()
        assert (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark) == (True, False)
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert os.environ[name] == ":4096:8"
        monkeypatch.setenv(name, ":16:8")
        settings(deterministic=True).apply()
        assert os.environ[name] == ":16:8"  # a person's own
    finally:
        settings(deterministic=False).apply()
        torch.backends.cudnn.benchmark = before
