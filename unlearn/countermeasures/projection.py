"""Orthogonal Projection: take the directions out in which the classes' pictures differ.

Of first order those are the weights of a linear classifier, which finds patterns that move the mean
of a class. A pattern whose sign or place differs from picture to picture moves no mean, but its
class varies more along it than all pictures do; projection of second order finds that.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from unlearn.countermeasures.base import Countermeasure
from unlearn.datasets.labelled import LabelledPictures

_EPOCHS = 20
_FEWEST_STEPS = 980  # what the authors' 50 000 pictures get in 20 epochs
_BATCH = 1024
_RATE = 0.1
_TOGETHER = 256  # pictures at once as float32; 200 MB at 256 pixels
_LARGE = 16  # values of a picture for each picture, from where on products are less work
_LEADING = 256  # principal components among which directions of second order are sought
_ROUNDS = 4  # of subspace iteration that find them
_EACH = 8  # per class: a sign is one direction; a roll is two, sine and cosine, for each frequency
_FLOOR = 1e-3  # of the mean variance, added to each: no direction is found for lack of pictures


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
    if _LARGE * count <= length and weights.device.type != "mps":  # which has no double precision
        return _from_products(data, weights, stream)
    for rate, batch in _batches(count, stream, data.pixels.device):
        gradient = torch.zeros_like(weights)
        for index in batch.split(_TOGETHER):
            rows = _flat(data.pixels[index])
            gradient += _errors(rows @ weights.T, data.labels[index]).T @ rows
        weights -= rate * gradient / len(batch)
    return weights


def _batches(
    count: int, stream: torch.Generator, device: torch.device
) -> Iterator[tuple[float, Tensor]]:
    """Yield the rate and the pictures of every step."""
    epochs = max(_EPOCHS, math.ceil(_FEWEST_STEPS / math.ceil(count / _BATCH)))
    for epoch in range(epochs):
        rate = _RATE * 0.1 ** ((epoch >= epochs // 2) + (epoch >= epochs * 3 // 4))
        for batch in torch.randperm(count, generator=stream).to(device).split(_BATCH):
            yield rate, batch


def _from_products(data: LabelledPictures, start: Tensor, stream: torch.Generator) -> Tensor:
    """Return what the same steps make of the weights, from products of pictures alone.

    A step adds multiples of pictures, so that only those are followed: far less work where pictures
    have many more values than there are pictures. In double precision, as products are large and
    differ little.
    """
    begun = torch.cat([rows.double() @ start.double().T for rows in _rows(data)])
    products, shares = _products(data), torch.zeros_like(begun)
    for rate, batch in _batches(len(data), stream, start.device):
        errors = _errors(begun[batch] + products[batch] @ shares, data.labels[batch])
        shares[batch] -= rate * errors / len(batch)
    weights = start.clone()
    for part, rows in zip(shares.float().split(_TOGETHER), _rows(data), strict=True):
        weights += part.T @ rows
    return weights


def _products(data: LabelledPictures) -> Tensor:
    """Return the products (N, N) of all pictures with each other, in double precision."""
    index = torch.arange(len(data)).split(_TOGETHER)
    products = torch.empty(len(data), len(data), dtype=torch.float64, device=data.pixels.device)
    for number, part in enumerate(index):
        rows = _flat(data.pixels[part]).double()
        for other in index[: number + 1]:
            block = rows @ _flat(data.pixels[other]).double().T
            products[part[:, None], other] = block
            products[other[:, None], part] = block.T
    return products


def principal_directions(data: LabelledPictures, seed: int) -> Tensor:
    """Return orthonormal directions (3 S S, M) along which some class varies more than all do.

    The generalised eigenvectors of a class's covariance against the pooled one (Fukunaga and
    Koontz, 1970), within the leading 256 principal components of the set, or half as many as a
    class has pictures: among more, chance alone makes a class vary more than others. 8 of each
    class, or fewer where those of all classes would be more than half of the components.
    """
    basis, centre = _leading(data, seed)
    parts = torch.cat([(rows - centre) @ basis for rows in _rows(data)]).double()
    pooled = parts.T @ parts / len(parts)
    floor = _FLOOR * pooled.diagonal().mean() + torch.finfo(pooled.dtype).tiny
    pooled += floor * torch.eye(len(pooled)).to(pooled)
    inverse = torch.linalg.inv(torch.linalg.cholesky(pooled))
    each = max(1, min(_EACH, len(pooled) // (2 * len(data.classes))))
    found = []
    for label in data.labels.unique():
        own = parts[data.labels == label]
        spread = (own - own.mean(dim=0)) @ inverse.T
        _, vectors = torch.linalg.eigh(spread.T @ spread)
        found.append(inverse.T @ vectors[:, -each:])
    orthogonal: Tensor = torch.linalg.qr(torch.cat(found, dim=1)).Q
    return basis @ orthogonal.to(basis)


def _leading(data: LabelledPictures, seed: int) -> tuple[Tensor, Tensor]:
    """Return the leading principal components (3 S S, M) of all pictures, and their mean.

    By subspace iteration from a random start, so that no matrix is larger than the directions.
    """
    centre = torch.stack([rows.sum(dim=0) for rows in _rows(data)]).sum(dim=0) / len(data)
    count = max(1, min(_LEADING, len(data) // (2 * len(data.classes)), len(centre)))
    stream = torch.Generator().manual_seed(seed % 2**63)
    basis = torch.randn(len(centre), count, generator=stream).to(centre)
    for _ in range(_ROUNDS):
        moved = torch.zeros_like(basis)
        for rows in _rows(data):
            centred = rows - centre
            moved += centred.T @ (centred @ basis)
        basis = torch.linalg.qr(moved).Q
    return basis, centre


def _rows(data: LabelledPictures) -> Iterator[Tensor]:
    """Yield the pictures as rows (n, 3 S S) in [0, 1], some at a time."""
    yield from map(_flat, data.pixels.split(_TOGETHER))


def _flat(pixels: Tensor) -> Tensor:
    return pixels.flatten(1).to(torch.float32) / 255


def _errors(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of the summed cross entropy with respect to the scores (n, K)."""
    errors = scores.softmax(dim=1)
    errors[torch.arange(len(errors), device=errors.device), labels] -= 1
    return errors


def _projected(data: LabelledPictures, seed: int) -> LabelledPictures:
    return without(data, linear_weights(data, seed).T) if len(data) else data


def _projected_twice(data: LabelledPictures, seed: int) -> LabelledPictures:
    if not len(data):
        return data
    linear, principal = linear_weights(data, seed).T, principal_directions(data, seed)
    return without(data, torch.cat([linear, principal], dim=1))


def without(data: LabelledPictures, directions: Tensor) -> LabelledPictures:
    """Return the pictures less their parts in the span of directions (3 S S, M), in 8 bits."""
    basis = torch.linalg.qr(directions).Q
    rest = [
        ((rows - (rows @ basis) @ basis.T).clamp(0, 1) * 255).round().to(torch.uint8)
        for rows in _rows(data)
    ]
    return replace(data, pixels=torch.cat(rest).view_as(data.pixels))


PROJECTION = Countermeasure(
    "projection",
    "Orthogonal Projection: the span of a linear classifier's weights (no bias, SGD of rate 0.1, "
    "batches of 1024, 20 epochs and at least 980 steps) is subtracted from the pictures, and the "
    "rest is rounded to 8 bits (Sandoval-Segura et al., 2023; without their strong augmentation).",
    once=_projected,
)
PROJECTION2 = Countermeasure(
    "projection2",
    "Projection of second order: besides the weights of `projection`, the directions along which a "
    "class varies more than all pictures do are subtracted from every picture, 8 of each class at "
    "most, as generalised eigenvectors of the covariances (Fukunaga and Koontz, 1970) in the 256 "
    "leading principal components, or half as many as a class has pictures.",
    once=_projected_twice,
)
