"""What a copier projects out of stored pictures: class means' directions, and classes' own."""

import torch
import torch.nn.functional as F
from torch import Tensor

_EPOCHS = 60
_RATE = 0.1


def projected(pixels: Tensor, labels: Tensor, defence: str) -> Tensor:
    """Return pictures without the directions of a linear classifier ("projection"), or without the
    leading ones of each class's residuals besides ("second16": 16 of them).

    They are found at the size the copier keeps, 64 pixels, and taken out of 64-pixel pictures
    enlarged again: what a 64-pixel copier sees.
    """
    small = (
        F.interpolate(pixels.float(), (64, 64), mode="bilinear", antialias=True).flatten(1) / 255
    )
    basis = torch.linalg.qr(_linear(small, labels).T).Q
    rest = small - (small @ basis) @ basis.T
    if defence.startswith("second"):
        rest = rest - _principal(rest, labels, int(defence[6:]))
    taken = (small - rest).unflatten(1, (3, 64, 64))
    large = torch.cat(
        [
            F.interpolate(part, pixels.shape[-2:], mode="bilinear", align_corners=False)
            for part in taken.split(200)
        ]
    )
    return (pixels.float() - large * 255).round().clamp(0, 255).to(torch.uint8)


def _linear(rows: Tensor, labels: Tensor) -> Tensor:
    """Train a logistic regression without bias; return its weights (K, D)."""
    stream = torch.Generator().manual_seed(1)
    classes = int(labels.max()) + 1
    weights = (torch.rand(classes, rows.shape[1], generator=stream) * 2 - 1) / rows.shape[1] ** 0.5
    for epoch in range(_EPOCHS * 8):
        rate = _RATE * 0.1 ** ((epoch >= _EPOCHS * 4) + (epoch >= _EPOCHS * 6))
        for index in torch.randperm(len(rows), generator=stream).split(1024):
            errors = (rows[index] @ weights.T).softmax(1)
            errors[torch.arange(len(index)), labels[index]] -= 1
            weights -= rate * errors.T @ rows[index] / len(index)
    return weights


def _principal(rows: Tensor, labels: Tensor, count: int) -> Tensor:
    """Return each picture's part in the directions where its class spreads more than others."""
    part = torch.zeros_like(rows)
    for label in labels.unique():
        own, others = rows[labels == label], rows[labels != label]
        both = torch.cat([own, others])
        _, _, basis = torch.pca_lowrank(both, 256, center=True)
        a, b = own @ basis, others @ basis
        floor = torch.eye(256) * 1e-3 * b.var(0).mean()
        chol = torch.linalg.cholesky(b.T.cov() + floor)
        inverse = torch.linalg.inv(chol)
        _, vectors = torch.linalg.eigh(inverse @ a.T.cov() @ inverse.T)
        directions = torch.linalg.qr(basis @ inverse.T @ vectors[:, -count:]).Q
        part[labels == label] = (own @ directions) @ directions.T
    return part
