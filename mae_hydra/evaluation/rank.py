"""How many directions features use: a collapse shows here before any score falls."""

import torch
from torch import Tensor

EPS = 1e-7  # of the paper


def effective_rank(vectors: Tensor) -> float:
    """RankMe of features (N, D), from 1 to min(N, D): exp of the entropy of their singular values divided by their sum.

    Garrido et al., arXiv 2210.02885, equation 1; like there the features are not centred. Ranks of different N or
    different features (of images, of patches) do not compare. Worked out on the host.
    """
    values = torch.linalg.svdvals(vectors.detach().float().cpu())
    if not values.sum() > 0:
        return 1.0
    shares = values / values.sum() + EPS
    return float(torch.exp(-(shares * shares.log()).sum()))
