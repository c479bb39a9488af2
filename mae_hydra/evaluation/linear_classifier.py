"""A linear classifier trained to convergence on features that are already there.

Shape letters: N images, D width, C classes.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-6


class LinearClassifier(NamedTuple):
    """Features are standardised with `mean` and `deviation` (D,), then `weight` (C, D) and `bias` (C,)."""

    mean: Tensor
    deviation: Tensor
    weight: Tensor
    bias: Tensor

    def logits(self, vectors: Tensor) -> Tensor:
        """(N, C) of vectors (N, D)."""
        return F.linear((vectors - self.mean) / self.deviation, self.weight, self.bias)


def fit_linear(vectors: Tensor, labels: Tensor, num_classes: int, *, l2: float, iterations: int) -> LinearClassifier:
    """Multinomial logistic regression: the least mean cross-entropy plus l2 / 2 times the squared weights.

    `labels`: class ids int64 (N,), or float32 (N, C), of each class so much.
    Full-batch L-BFGS from zero: the problem is convex, so there is no learning rate to choose and no seed.
    """
    vectors = vectors.detach().float()
    mean, deviation = vectors.mean(0), (vectors.var(0, correction=0) + EPS).sqrt()
    inputs = (vectors - mean) / deviation
    weight = torch.zeros(num_classes, vectors.shape[1], device=vectors.device, requires_grad=True)
    bias = torch.zeros(num_classes, device=vectors.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=iterations, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(F.linear(inputs, weight, bias), labels) + 0.5 * l2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad(), torch.autocast(vectors.device.type, enabled=False):
        optimizer.step(closure)
    return LinearClassifier(mean, deviation, weight.detach(), bias.detach())
