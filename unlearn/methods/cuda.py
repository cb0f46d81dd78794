"""CUDA: each class's pictures are blurred by a small filter of its own; no network, no training.

"CUDA: Convolution-based Unlearnable Datasets" (Sadasivan et al., 2023). Deviations from the
authors' code: filters are drawn from the owner's key, so there are any number of classes; they may
have any odd side; a black picture stays black; levels are rounded, not cut.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.errors import UsageProblem
from unlearn.methods.base import PAPER, Cost, LabelledNoise, NoiseMaker, Spec
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import scaled_into
from unlearn.training import Observer


@dataclass(frozen=True)
class Cuda:
    """Class-wise convolution; the defaults are those of the authors' code for CIFAR.

    A filter has side x side weights: one of 1 at a random place, the others uniform below blur. The
    noise keeps no ℓ∞ ball of its own; with ball, each picture's is scaled until it fits.
    """

    name: ClassVar[str] = "cuda"
    summary: ClassVar[str] = "a blur of its own for each class, drawn from the key; no training"
    needs_labels: ClassVar[bool] = True
    any_classes: ClassVar[bool] = True

    side: int = 3
    blur: float = 0.3
    ball: Radius | None = None

    def __post_init__(self) -> None:
        if self.side < 1 or self.side % 2 == 0 or not 0 <= self.blur <= 1:
            raise UsageProblem(
                f"a filter of side {self.side} and blur {self.blur:g} is none: its side is odd, so "
                "that it has a middle, and its blur 0 … 1"
            )

    @property
    def bound(self) -> Radius | None:
        return self.ball

    def at(self, bound: Radius) -> Self:
        return replace(self, ball=bound)

    def build(self, spec: Spec) -> nn.Module:  # noqa: ARG002
        return nn.Module()

    def fit(self, module: nn.Module, data: LabelledPictures, run: Run, observer: Observer) -> None:  # noqa: ARG002
        """Learn nothing: the owner's key draws the filters when pictures are protected."""
        module.to(run.device).eval()

    def ready(self, module: nn.Module, run: Run) -> NoiseMaker:  # noqa: ARG002
        return LabelledNoise(self._noise)

    def _noise(self, images: Tensor, labels: Tensor, rng: Rng) -> Tensor:
        """Return what the filters of the classes change in images."""
        if not len(images):
            return torch.zeros_like(images)
        streams = Rng.for_images(int(rng.common().keys[0]), labels)  # one for each class
        delta = filtered(images, class_filters(self.side, self.blur, streams)) - images
        return delta if self.ball is None else scaled_into(delta, self.ball)

    def cost(self, pictures: int) -> Cost:  # noqa: ARG002
        return Cost()

    def facts(self) -> Mapping[str, str]:
        return {"filter": f"{self.side} x {self.side}, blur {self.blur:g}"}

    @classmethod
    def recipes(cls) -> Mapping[str, Self]:
        return {PAPER: cls(), "imagenet": cls(side=9, blur=0.06)}  # the paper's, for 224 px

    @classmethod
    def example(cls) -> Self:
        return cls()


def class_filters(side: int, blur: float, rng: Rng) -> Tensor:
    """Draw filters (N, side, side), one from each stream: one weight of 1, others below blur."""
    weights = rng.uniform(side**2, high=blur)
    return weights.scatter(1, rng.integers(side**2, 1), 1.0).view(-1, side, side)


def filtered(images: Tensor, filters: Tensor) -> Tensor:
    """Return images (N, C, H, W) through their filters (N, k, k), divided by their largest value.

    The filters are not mirrored, edges are black. Sums are taken weight by weight, so that a
    picture's bytes do not depend on its batch.
    """
    half, (height, width) = filters.shape[-1] // 2, images.shape[-2:]
    padded, blurred = F.pad(images, (half, half, half, half)), torch.zeros_like(images)
    for row, weights in enumerate(filters.unbind(1)):
        for column, weight in enumerate(weights.unbind(1)):
            seen = padded[..., row : row + height, column : column + width]
            blurred = blurred + weight[:, None, None, None] * seen
    largest = blurred.amax(dim=(1, 2, 3), keepdim=True)
    return blurred / largest.clamp(min=torch.finfo(blurred.dtype).tiny)
