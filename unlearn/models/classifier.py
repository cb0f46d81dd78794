"""Classifier, the one shape every network takes here: [0, 1] images in, features and logits out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalise(nn.Module):
    """Move images from [0, 1] to zero mean and about unit spread.

    Mean and deviation are one number, or one for each channel; the same for each data set unless
    pretrained weights expect others. They are no part of the state: the network's name tells them.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, mean: float | Sequence[float] = 0.5, deviation: float | Sequence[float] = 0.25
    ) -> None:
        super().__init__()
        self.register_buffer("mean", _per_channel(mean), persistent=False)
        self.register_buffer("deviation", _per_channel(deviation), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.deviation


def _per_channel(value: float | Sequence[float]) -> Tensor:
    number = torch.tensor(value)
    return number[:, None, None] if number.ndim else number


class Classifier(nn.Module):
    """A body that turns normalised images into pooled features, and a linear head.

    Takes float images (N, 3, H, W) in [0, 1]; normalisation is inside, so no attack knows about it.
    """

    def __init__(
        self,
        body: nn.Module,
        feature_count: int,
        classes: int,
        normalise: Normalise | None = None,
    ) -> None:
        super().__init__()
        self.normalise = normalise or Normalise()
        self.body = body
        self.head = nn.Linear(feature_count, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the pooled features (N, F) that the head reads."""
        features: Tensor = self.body(self.normalise(images))
        return features

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


def channels_last(model: nn.Module) -> nn.Module:
    """Lay a model's weights out channels_last, the faster layout for convolutions."""
    return model.to(memory_format=torch.channels_last)
