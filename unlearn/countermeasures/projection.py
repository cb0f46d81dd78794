"""Orthogonal Projection: take the directions out that a linear classifier finds in the set."""

import math

import torch
from torch import Tensor

from unlearn.countermeasures.base import Countermeasure
from unlearn.countermeasures.sets import with_pixels
from unlearn.datasets.labelled import LabelledPictures

_EPOCHS = 20
_FEWEST_STEPS = 980  # what the authors' 50 000 pictures get in 20 epochs
_BATCH = 1024
_RATE = 0.1
_TOGETHER = 256  # pictures at once as float32; 200 MB at 256 pixels


def linear_weights(data: LabelledPictures, seed: int) -> Tensor:
    """Train a logistic regression without bias on flat pixels; return its rows (K, 3 S S).

    SGD of 20 epochs, batches of 1024, rate 0.1 and a tenth of it after half and three quarters, as
    the authors do. Unlike theirs, pictures are shuffled, since folders come class by class, and
    small sets get more epochs: twenty steps would find no direction worth taking out.
    """
    count, length = len(data), data.pixels[0].numel()
    stream = torch.Generator().manual_seed(seed % 2**63)
    start = torch.rand(len(data.classes), length, generator=stream) * 2 - 1
    weights: Tensor = (start / length**0.5).to(data.pixels.device)  # as nn.Linear begins
    epochs = max(_EPOCHS, math.ceil(_FEWEST_STEPS / math.ceil(count / _BATCH)))
    for epoch in range(epochs):
        rate = _RATE * 0.1 ** ((epoch >= epochs // 2) + (epoch >= epochs * 3 // 4))
        order = torch.randperm(count, generator=stream).to(data.pixels.device)
        for batch in order.split(_BATCH):
            gradient = torch.zeros_like(weights)
            for index in batch.split(_TOGETHER):
                gradient += _gradient(weights, _flat(data.pixels[index]), data.labels[index])
            weights -= rate * gradient / len(batch)
    return weights


def _flat(pixels: Tensor) -> Tensor:
    return pixels.flatten(1).to(torch.float32) / 255


def _gradient(weights: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of the summed cross entropy with respect to the weights (K, D)."""
    errors = (rows @ weights.T).softmax(dim=1)
    errors[torch.arange(len(rows), device=rows.device), labels] -= 1
    return errors.T @ rows


def _projected(data: LabelledPictures, seed: int) -> LabelledPictures:
    if not len(data):
        return data
    basis = torch.linalg.qr(linear_weights(data, seed).T).Q
    changed = torch.empty_like(data.pixels)
    for first in range(0, len(data), _TOGETHER):
        part = slice(first, first + _TOGETHER)
        rows = _flat(data.pixels[part])
        rest = (rows - (rows @ basis) @ basis.T).clamp(0, 1) * 255
        changed[part] = rest.round().to(torch.uint8).reshape(data.pixels[part].shape)
    return with_pixels(data, changed)


PROJECTION = Countermeasure(
    "projection",
    "Orthogonal Projection: the span of a linear classifier's weights (no bias, SGD of rate 0.1, "
    "batches of 1024, 20 epochs and at least 980 steps) is subtracted from the pictures, and the "
    "rest is rounded to 8 bits (Sandoval-Segura et al., 2023; without their strong augmentation).",
    once=_projected,
)
