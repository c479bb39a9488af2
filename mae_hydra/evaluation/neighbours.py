"""Exact weighted k-nearest-neighbour classification of features (Wu et al., arXiv 1805.01978, section 3.4).

Shape letters: Q queries, N vectors of the bank, D width, C classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

QUERIES, BANK = 1024, 65536  # how many meet at a time: 256 MB of similarities


def nearest(queries: Tensor, bank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Cosine similarities (Q, k) and positions (Q, k) of the k closest of `bank` (N, D) to each of `queries` (Q, D)."""
    if not 1 <= k <= len(bank):
        raise ValueError(f"k must lie in 1..{len(bank)}, the size of the bank, got {k}")
    bank = F.normalize(bank, dim=1)
    blocks = [_nearest(F.normalize(block, dim=1), bank, k) for block in queries.split(QUERIES)]
    return torch.cat([pair[0] for pair in blocks]), torch.cat([pair[1] for pair in blocks])


def _nearest(queries: Tensor, bank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    best = queries.new_empty(len(queries), 0)
    places = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for start in range(0, len(bank), BANK):
        similar = queries @ bank[start : start + BANK].T
        here = torch.arange(start, start + similar.shape[1], device=queries.device).expand(len(queries), -1)
        best, order = torch.cat([best, similar], 1).topk(min(k, best.shape[1] + similar.shape[1]), dim=1)
        places = torch.cat([places, here], 1).gather(1, order)
    return best, places


def votes(similarities: Tensor, labels: Tensor, num_classes: int, temperature: float) -> Tensor:
    """(Q, C): for each class the sum of exp(similarity / temperature) over its neighbours, `labels` (Q, k)."""
    weights = _weights(similarities, temperature)
    return weights.new_zeros(len(labels), num_classes).scatter_add_(1, labels, weights)


def weighted(similarities: Tensor, shares: Tensor, temperature: float) -> Tensor:
    """(Q, C): the mean of the neighbours' shares of the classes (Q, k, C), weighted as `votes`; rows sum to 1."""
    weights = _weights(similarities, temperature)
    return torch.einsum("qk,qkc->qc", weights / weights.sum(1, keepdim=True), shares)


def _weights(similarities: Tensor, temperature: float) -> Tensor:
    """exp(similarity / temperature) times what keeps it from overflowing."""
    return ((similarities - 1) / temperature).exp()
