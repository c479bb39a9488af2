"""Scaled dot-product attention without a bias: PyTorch's fused kernel, or on the CPU two products where it is slower.

There its forward and backward pass in bf16 take about twice as long as those of the products: 8 images, 12 heads of 64,
one core with AVX512_BF16: 37 ms against 14 with 50 tokens, 220 against 126 with 197. In fp32, and without a gradient,
the fused kernel is the faster one. Products round the scores to bf16 before their softmax, as attention that is written
out under autocast does.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.models.vision_transformer import Attention
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

MOST_TOKENS = 512  # above, the maps of attention, which the backward pass needs, are large and the gain is small


def attention(
    q: Float[Tensor, "b heads m d"], k: Float[Tensor, "b heads n d"], v: Float[Tensor, "b heads n d"]
) -> Float[Tensor, "b heads m d"]:
    """softmax(q k^T / sqrt(d)) v; `sdpa_kernel(SDPBackend.FLASH_ATTENTION)` takes the fused kernel throughout."""
    return _products(q, k, v) if _products_are_faster(q, k) else F.scaled_dot_product_attention(q, k, v)


def _products_are_faster(q: Tensor, k: Tensor) -> bool:
    if q.device.type != "cpu" or q.dtype not in (torch.bfloat16, torch.float16):
        return False
    if torch.compiler.is_compiling() or isinstance(q, FakeTensor):  # shapes alone stand in for an accelerator's
        return False
    free = torch.backends.cuda.flash_sdp_enabled() and torch.backends.cuda.math_sdp_enabled()  # of every device
    return free and q.requires_grad and torch.is_grad_enabled() and max(q.shape[2], k.shape[2]) <= MOST_TOKENS


def _products(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    queries, keys, values = (each.flatten(0, 1) for each in (q, k, v))
    scores = torch.baddbmm(queries.new_empty(1, 1, 1), queries, keys.mT, beta=0, alpha=q.shape[-1] ** -0.5)
    return torch.bmm(scores.softmax(-1), values).unflatten(0, q.shape[:2])


class PlainAttention(Attention):
    """timm's attention, with the kernel that `attention` chooses."""

    def forward(self, x: Tensor, *masked: Any, **more: Any) -> Tensor:
        # timm's block hands on its own defaults, attn_mask=None and is_causal=False.
        if any(each is not None and each is not False for each in (*masked, *more.values())):
            return super().forward(x, *masked, **more)
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(attention(q, k, v).transpose(1, 2).flatten(2))
