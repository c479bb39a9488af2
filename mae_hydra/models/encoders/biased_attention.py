"""Scaled dot-product attention with a learned bias: fused in training too, where no map of attention is kept.

PyTorch's fused kernels give the bias its gradient on CUDA; on the CPU they step aside for a bias that wants one, and
heads x tokens x tokens are written out and kept for every image and block. Here they are worked out again, a few
queries at a time.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

AT_ONCE = 2**22  # bytes of one map of attention, so that the handful of them stays in the processor's cache


def biased_attention(
    q: Float[Tensor, "b heads n d"],
    k: Float[Tensor, "b heads n d"],
    v: Float[Tensor, "b heads n d"],
    bias: Float[Tensor, "heads n n"],
) -> Float[Tensor, "b heads n d"]:
    """softmax(q k^T / sqrt(d) + bias) v; `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)` has it written out."""
    return _InParts.apply(q, k, v, bias) if _steps_aside(q, bias) else _attention(q, k, v, bias)


def _steps_aside(q: Tensor, bias: Tensor) -> bool:
    """Whether PyTorch would write attention out here though fused kernels are wanted."""
    if torch.compiler.is_compiling() or q.device.type != "cpu":
        return False
    allowed = torch.backends.cuda.flash_sdp_enabled()  # of every device, despite its name
    return allowed and bias.requires_grad and torch.is_grad_enabled()


def _attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    # With its batch dimension: without it the fast kernel for CPUs steps aside (four times as slow at 1025 tokens).
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype)[None])


class _InParts(torch.autograd.Function):
    """With S = q k^T / sqrt(d) + bias, P = softmax(S), O = P v and dP = dO v^T, row by row

    dS = P * (dP - sum(dO * O)),  dv = P^T dO,  dq = dS k / sqrt(d),  dk = dS^T q / sqrt(d),  dbias = sum of dS

    over the images (arXiv 2205.14135, algorithm 4, without its blocks of keys).
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        out = _attention(q.detach(), k.detach(), v.detach(), bias.detach())  # nothing wants a gradient: fused
        ctx.save_for_backward(q, k, v, bias, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        q, k, v, bias, out = ctx.saved_tensors
        dtype = torch.promote_types(q.dtype, torch.float32)
        scale = q.shape[-1] ** -0.5
        dq, dk, dv, dbias = (torch.zeros(t.shape, dtype=dtype, device=t.device) for t in (q, k, v, bias))
        heads, num_tokens, _ = bias.shape
        for part in torch.arange(num_tokens).split(max(AT_ONCE // (dtype.itemsize * heads * num_tokens), 1)):
            rows = slice(int(part[0]), int(part[-1]) + 1)
            row_bias = bias[:, rows].to(q.dtype).to(dtype)  # rounded as it was on the way forwards
            shares, changes = torch.empty_like(row_bias), torch.empty_like(row_bias)
            for image in range(len(q)):
                keys, values = k[image].to(dtype), v[image].to(dtype)
                queries = q[image, :, rows].to(dtype) * scale
                change = gradients[0][image, :, rows].to(dtype)
                torch.baddbmm(row_bias, queries, keys.mT, out=shares)
                shares.sub_(shares.amax(-1, keepdim=True)).exp_()
                shares.div_(shares.sum(-1, keepdim=True))
                dv[image].baddbmm_(shares.mT, change)
                torch.bmm(change, values.mT, out=changes)
                changes.sub_((change * out[image, :, rows]).sum(-1, keepdim=True)).mul_(shares)
                dbias[:, rows] += changes
                dq[image, :, rows] = torch.bmm(changes, keys).mul_(scale)
                dk[image].baddbmm_(changes.mT, queries)
        return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype), dbias.to(bias.dtype)
