"""`engine.precision=bf16_params`: modules read bf16, everything that is kept is fp32, whatever a step is made of."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from normalised_models import batch_of, cut, model_of, step_of
from tiny_training import Run, settings, stop_at
from torch import Tensor, nn

from mae_hydra.batch_norm import running_statistics
from mae_hydra.engine.interrupt import Interrupted
from mae_hydra.models import LinearSegHead, Segmenter, TimmEncoder
from mae_hydra.models.encoders.timm_encoder import widths_of
from mae_hydra.precision import cast_parameters
from mae_hydra.types import Batch

PARAMS = "bf16_params"
BF16, FP32 = torch.bfloat16, torch.float32


class Parts(nn.Module):
    """One of each kind of parameter, one of them of two modules."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.table = nn.Parameter(torch.randn(1, 1, 4)), nn.Parameter(torch.randn(9, 4))
        self.linear, self.conv, self.embedding = nn.Linear(4, 4), nn.Conv2d(4, 4, 1), nn.Embedding(3, 4)
        self.layer_norm, self.batch_norm, self.group_norm = nn.LayerNorm(4), nn.BatchNorm2d(4), nn.GroupNorm(2, 4)
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.linear.weight
        self.frozen = nn.Parameter(torch.randn(4), requires_grad=False)
        self.wide = nn.Parameter(torch.randn(4).double())


def test_what_is_multiplied_or_added_is_cast_and_norms_and_tables_are_not() -> None:
    model = Parts()
    before = dict(model.named_parameters(remove_duplicate=False))
    with cast_parameters(model, PARAMS):
        kinds = {name: values.dtype for name, values in model.named_parameters(remove_duplicate=False)}
        assert model.tied.weight is model.linear.weight
        assert model.linear.weight.requires_grad
        assert not model.frozen.requires_grad
    kept = ("table", "embedding", "layer_norm", "batch_norm", "group_norm")
    expected = {name: FP32 if name.startswith(kept) else BF16 for name in kinds} | {"wide": torch.float64}
    assert kinds == expected
    after = dict(model.named_parameters(remove_duplicate=False))
    assert all(after[name] is parameter for name, parameter in before.items())


def test_nothing_is_cast_in_another_precision_and_all_is_put_back_after_an_error() -> None:
    model = nn.Linear(4, 4)
    for precision in ("auto", "fp32", "bf16", "fp16"):
        with cast_parameters(model, precision):
            assert model.weight.dtype == FP32
    with pytest.raises(KeyError), cast_parameters(model, PARAMS):
        raise KeyError
    assert isinstance(model.weight, nn.Parameter)


def test_gradients_arrive_in_fp32_and_are_added_up_there() -> None:
    model, x = nn.Linear(4, 4, bias=False), torch.randn(2, 8, 4, dtype=BF16)
    for part in x:
        with cast_parameters(model, PARAMS):
            model(part).float().square().sum().backward()
    single = []
    for part in x:
        weight = model.weight.detach().to(BF16).requires_grad_()
        nn.functional.linear(part, weight).float().square().sum().backward()
        assert weight.grad is not None
        single.append(weight.grad.float())
    assert model.weight.grad is not None
    assert torch.equal(model.weight.grad, single[0] + single[1])


@pytest.fixture(scope="module", params=["upernet", "linear probe", "classifier with batch norm"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def made(name: str) -> Any:
    return model_of(name).float()


@pytest.mark.parametrize(("precision", "kind"), [("bf16", FP32), (PARAMS, BF16)])
def test_the_residual_stream_is_in_the_precision_of_the_positions(precision: str, kind: torch.dtype) -> None:
    model = made("upernet")
    kinds: set[torch.dtype] = set()
    for block in model.encoder.blocks:
        block.register_forward_hook(lambda _module, _given, out: kinds.add(out.dtype))
    step_of(model, [batch_of(model, 2)], precision=precision)
    assert kinds == {kind}


def flat(found: dict[str, Tensor]) -> Tensor:
    return torch.cat([values.flatten() for name, values in found.items() if not name.startswith("statistic")])


def test_a_step_is_near_that_of_fp32_and_leaves_fp32(name: str) -> None:
    """As near as under autocast alone, but for a factor of three: sums of the residual stream are rounded as well."""
    errors = {}
    _, exact = step_of(made(name), [batch_of(made(name))])
    for precision in ("bf16", PARAMS):
        model = made(name)
        _, found = step_of(model, [batch_of(model)], precision=precision)
        assert {values.dtype for values in found.values() if values.is_floating_point()} == {FP32}
        errors[precision] = ((flat(found) - flat(exact)).norm() / flat(exact).norm()).item()
        for statistic in running_statistics(model):
            assert statistic.dtype in (FP32, torch.int64)
    assert errors[PARAMS] < max(3 * errors["bf16"], 0.02)


@pytest.mark.parametrize("changes", [{"recompute": True}, {"batch_norm": "step", "recompute": True}])
def test_recomputed_blocks_read_the_same_casts(changes: dict[str, Any]) -> None:
    model = made("upernet")
    batches = cut(batch_of(model), 4)
    rest = {key: value for key, value in changes.items() if key != "recompute"}
    _, expected = step_of(made("upernet"), batches, precision=PARAMS, **rest)
    _, found = step_of(model, batches, precision=PARAMS, **changes)
    assert all(torch.equal(values, expected[key]) for key, values in found.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch16_dinov3"])
def test_models_of_timm_read_bf16_too(name: str) -> None:
    torch.manual_seed(0)
    encoder = TimmEncoder(model_name=name, image_size=32, in_chans=3, embed_dim=widths_of(name))
    head = LinearSegHead(in_dim=encoder.widths[-1], num_classes=5)
    model = Segmenter(encoder=encoder, head=head, mean=[0.5] * 3, std=[0.25] * 3)
    batch = Batch(torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8), torch.randint(0, 5, (2, 32, 32)))
    kinds: set[torch.dtype] = set()
    gradients = {}
    for precision in ("fp32", "bf16", PARAMS):
        _, found = step_of(deepcopy(model), [batch], precision=precision)
        kinds |= {values.dtype for values in found.values() if values.is_floating_point()}
        gradients[precision] = flat(found)
    exact = gradients["fp32"]
    errors = {key: ((each - exact).norm() / exact.norm()).item() for key, each in gradients.items()}
    assert kinds == {FP32}
    assert 0 < errors[PARAMS] < max(3 * errors["bf16"], 0.02)


def test_a_resumed_run_equals_an_unbroken_one(tmp_path: Path) -> None:
    chosen = settings(precision=PARAMS, ema_decay=0.9)
    unbroken, broken = Run(tmp_path / "unbroken", settings=chosen), Run(tmp_path / "broken", settings=chosen)
    unbroken()
    broken.at = stop_at(7)
    with pytest.raises(Interrupted):
        broken()
    broken()
    expected, found = unbroken.state.model.state_dict(), broken.state.model.state_dict()
    assert all(torch.equal(found[key], values) for key, values in expected.items())
    kept = [*found.values(), *(value for each in broken.state.optimizer.state.values() for value in each.values())]
    assert {values.dtype for values in kept} == {FP32, torch.int64}


def test_shards_of_a_model_are_refused() -> None:
    with pytest.raises(ValueError, match=r"models that are not sharded; use engine\.precision=bf16"):
        settings(precision=PARAMS, parallel="fsdp")


def test_the_names_of_others_are_answered() -> None:
    with pytest.raises(ValueError, match="did you mean bf16_params"):
        settings(precision="bf16-true")
