"""Attention whose bias learns: the numbers and gradients of PyTorch's own, without a map of attention that is kept."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from mae_hydra.benchmark.memory import kept_bytes
from mae_hydra.models.encoders import biased_attention as module
from mae_hydra.models.encoders.biased_attention import biased_attention


def arguments(
    dtype: torch.dtype, images: int = 3, heads: int = 2, tokens: int = 37, dim: int = 5
) -> list[torch.Tensor]:
    torch.manual_seed(0)
    q, k, v = torch.randn(images, tokens, 3, heads, dim, dtype=dtype).permute(2, 0, 3, 1, 4)
    bias = torch.randn(heads, tokens, tokens, dtype=torch.promote_types(dtype, torch.float32))
    return [tensor.detach().requires_grad_() for tensor in (q, k, v, bias)]


def result_and_gradients(given: list[torch.Tensor], backend: SDPBackend | None = None) -> list[torch.Tensor]:
    with sdpa_kernel([SDPBackend.MATH, *([] if backend else [SDPBackend.FLASH_ATTENTION])]):
        out = biased_attention(*given)
        weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
        return [out, *torch.autograd.grad((out * weights).sum(), given)]


@pytest.mark.parametrize("rows", [0, 1, 8, 37, 1000])
def test_gradients_are_those_of_attention_written_out(monkeypatch, rows):
    """Whether the queries are taken one by one, in parts that do not divide them, or all at once."""
    given = arguments(torch.float64)
    monkeypatch.setattr(module, "AT_ONCE", 8 * 2 * 37 * rows)
    found, expected = result_and_gradients(given), result_and_gradients(given, SDPBackend.MATH)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_large_scores_neither_overflow_nor_lose_the_gradient():
    given = arguments(torch.float32)
    with torch.no_grad():
        given[3].mul_(300)
    found, expected = result_and_gradients(given), result_and_gradients(given, SDPBackend.MATH)
    assert all(torch.isfinite(tensor).all() for tensor in found)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_half_precision_stays_as_near_to_the_truth_as_attention_written_out():
    given = arguments(torch.bfloat16, dim=16)
    truth = result_and_gradients([each.detach().double().requires_grad_() for each in given], SDPBackend.MATH)
    found, plain = result_and_gradients(given), result_and_gradients(given, SDPBackend.MATH)
    assert [each.dtype for each in found] == [each.dtype for each in plain]
    for one, other, true in zip(found, plain, truth, strict=True):
        assert (one.double() - true).norm() <= 1.5 * (other.double() - true).norm() + 1e-12


@pytest.mark.parametrize("case", ["no gradient is wanted", "the bias is fixed", "it is compiled"])
def test_where_pytorch_fuses_by_itself_nothing_is_done_in_parts(monkeypatch, case):
    given = arguments(torch.float32)
    monkeypatch.setattr(module._InParts, "apply", lambda *_: pytest.fail("in parts"))
    if case == "no gradient is wanted":
        with torch.no_grad():
            biased_attention(*given)
    elif case == "the bias is fixed":
        biased_attention(*given[:3], given[3].detach())
    else:
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        biased_attention(*given)


def test_no_map_of_attention_waits_for_the_backward_pass():
    given = arguments(torch.float32, tokens=128, heads=4)
    one_map = 3 * 4 * 128 * 128 * 4
    with sdpa_kernel(SDPBackend.MATH):
        assert kept_bytes(lambda: biased_attention(*given)) >= one_map
    assert kept_bytes(lambda: biased_attention(*given)) < one_map
