"""Products instead of the fused kernel: where they are chosen, and that they are the same function."""

from collections.abc import Callable

import pytest
import torch
from timm.models.vision_transformer import Block
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from mae_hydra.models.encoders import plain_attention as module
from mae_hydra.models.encoders.blocks import LayerNorm, ScaledBlock, plain_block
from mae_hydra.models.encoders.plain_attention import attention


def arguments(dtype: torch.dtype, tokens: int = 50) -> list[Tensor]:
    return [torch.randn(2, 3, tokens, 16, dtype=dtype, requires_grad=True) for _ in range(3)]


def result_and_gradients(function: Callable[..., Tensor], given: list[Tensor]) -> list[Tensor]:
    out = function(*given)
    return [out, *torch.autograd.grad((out.float() * torch.linspace(-1, 1, out.numel()).view_as(out)).sum(), given)]


def test_the_products_are_scaled_dot_product_attention() -> None:
    given = arguments(torch.float64)
    expected = result_and_gradients(torch.nn.functional.scaled_dot_product_attention, given)
    torch.testing.assert_close(result_and_gradients(module._products, given), expected)


def test_what_lies_in_memory_before_does_not_count() -> None:
    given = arguments(torch.float32)
    expected = torch.nn.functional.scaled_dot_product_attention(*given)
    torch.use_deterministic_algorithms(True)  # fills new memory with NaN
    try:
        assert given[0].new_empty(1, 1, 1).isnan().all()
        torch.testing.assert_close(module._products(*given), expected)
    finally:
        torch.use_deterministic_algorithms(False)


def test_in_bf16_they_are_near_the_truth() -> None:
    """Scores are rounded to bf16 before their softmax, as wherever attention is written out under autocast."""
    given = arguments(torch.bfloat16, tokens=197)
    truth = result_and_gradients(attention, [each.detach().double().requires_grad_() for each in given])
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        fused = result_and_gradients(attention, given)
    for found, theirs, exact in zip(result_and_gradients(attention, given), fused, truth, strict=True):
        assert (found - exact).abs().max() < 4 * (theirs - exact).abs().max()


@pytest.mark.parametrize(
    "case", ["products", "fp32", "no gradient", "no grad mode", "many tokens", "many keys", "fused alone", "compiling"]
)
def test_they_are_taken_where_they_are_faster(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bool] = []
    monkeypatch.setattr(module, "_products", lambda q, k, v: (taken.append(True), q)[1])
    given = arguments(torch.float32 if case == "fp32" else torch.bfloat16, 513 if case == "many tokens" else 50)
    if case == "many keys":
        given[1:] = arguments(torch.bfloat16, 513)[1:]
    if case == "no gradient":
        given = [each.detach() for each in given]
    if case == "compiling":
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    kernels = [SDPBackend.FLASH_ATTENTION, *([] if case == "fused alone" else [SDPBackend.MATH])]
    with torch.set_grad_enabled(case != "no grad mode"), sdpa_kernel(kernels):
        attention(*given)
    assert taken == ([True] if case == "products" else [])


def test_a_block_is_timms_of_the_same_seed() -> None:
    torch.manual_seed(0)
    ours = plain_block(32, 2, 4)
    torch.manual_seed(0)
    theirs = Block(32, 2, 4, qkv_bias=True, norm_layer=LayerNorm)
    tokens = torch.randn(2, 5, 32)
    assert torch.equal(ours(tokens), theirs(tokens))
    keep = torch.zeros(5, 5).masked_fill(torch.rand(5, 5).triu(1) > 0.3, -torch.inf)
    assert torch.equal(ours.attn(tokens, attn_mask=keep), theirs.attn(tokens, attn_mask=keep))
    assert not torch.equal(ours.attn(tokens, attn_mask=keep), ours.attn(tokens))
    with torch.autocast("cpu", torch.bfloat16):
        assert (ours(tokens) - theirs(tokens)).abs().max() < 0.02


@pytest.mark.parametrize("block", [plain_block(32, 2, 4), ScaledBlock(32, 2, 4, None, None, 1.0)])
def test_blocks_take_them_in_training(block: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's block hands over that there is no mask, by keywords."""
    taken: list[int] = []
    products = module._products
    monkeypatch.setattr(module, "_products", lambda q, k, v: (taken.append(q.shape[2]), products(q, k, v))[1])
    tokens = torch.randn(2, 5, 32)
    with torch.autocast("cpu", torch.bfloat16):
        block(tokens)
    assert taken == [5]


def test_a_mask_is_not_left_out() -> None:
    attention, tokens = plain_block(32, 2, 4).attn, torch.randn(2, 5, 32)
    first = torch.zeros(5, 5, dtype=torch.bool)
    first[:, 0] = True
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(attention(tokens, attn_mask=first), attention(tokens, attn_mask=None))
