"""One vector of an image's tokens, for classifiers, nearest neighbours and probes.

B images, C cls tokens, N patches, D width.
"""

import torch
from jaxtyping import Float
from torch import Tensor

POOLS = ("mean", "cls", "cls_concat", "cls_and_mean")
"""mean: of the patches. cls: of the cls tokens their mean. cls_concat: these one behind the other. cls_and_mean: the
first two side by side."""


def check_pool(pool: str) -> None:
    """ValueError where `pool` is none of `POOLS`."""
    if pool not in POOLS:
        raise ValueError(f"pool must be one of {', '.join(POOLS)}, got {pool!r}")


def pool_tokens(tokens: Float[Tensor, "b n d"], pool: str, num_cls_tokens: int) -> Float[Tensor, "b _"]:
    """(B, C + N, D), cls tokens first, as (B, `pooled_width`)."""
    cls, patches = tokens[:, :num_cls_tokens], tokens[:, num_cls_tokens:]
    if pool == "mean":
        return patches.mean(1)
    if pool == "cls_concat":
        return cls.flatten(1)
    one = cls[:, 0] if num_cls_tokens == 1 else cls.mean(1)
    return one if pool == "cls" else torch.cat([one, patches.mean(1)], dim=1)


def pooled_width(width: int, pool: str, num_cls_tokens: int) -> int:
    """How many numbers `pool_tokens` makes of tokens of `width`."""
    return width * {"cls_concat": num_cls_tokens, "cls_and_mean": 2}.get(pool, 1)
