"""Per-image losses and the metrics of the paper: cross entropy, average randomness (Eqs. 4-7)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Randomness = Literal["norm", "squared", "mse"]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropy of each image: logits (N, K) -> (N,).

    labels are int64 (N,), or shares of each class, float (N, K). Halves are taken as float32.
    """
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(exact, labels, reduction="none")


def randomness(logits: Tensor, form: Randomness = "norm") -> Tensor:
    """Return how far each prediction is from guessing: logits (N, K) -> (N,), 0 for uniform.

    "mse" is Eq. 7 as printed, at most (K - 1)/K²; "squared" is K times that and "norm" its root, at
    most 1 whatever K is. The authors' code uses "norm" for 10 classes and "squared" for 100.
    """
    classes = logits.shape[1]
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    away = torch.softmax(exact, dim=1) - 1 / classes
    squared = away.square().sum(dim=1)
    if form == "mse":
        return squared / classes
    if form == "squared":
        return squared
    return (squared + torch.finfo(torch.float32).tiny).sqrt()


def average_prediction_randomness(predictions: Tensor, labels: Tensor, classes: int) -> float:
    """Return Eqs. 4-5 with the mean squared distance: predictions and labels int64 (N,) -> R_p.

    0 means that the predicted classes of each true class are spread evenly; the largest value is
    (K - 1)/K². Classes without pictures count nothing.
    """
    counts = torch.zeros(classes, classes)
    counts.index_put_((labels.cpu(), predictions.cpu()), torch.ones(len(labels)), accumulate=True)
    sizes = counts.sum(dim=1)
    shares = counts / sizes.clamp(min=1)[:, None]
    distances = (shares - 1 / classes).square().mean(dim=1)
    return float((distances * sizes).sum() / sizes.sum())
