"""LSP: a coloured pattern a class, drawn from a linearly separable distribution; no network at all.

"Availability Attacks Create Shortcuts" (Yu et al., 2022), whose authors take the distribution from
scikit-learn's make_classification (Guyon, 2003): corners of a cube, and around each its own linear
mix of normal numbers. Deviations from the authors' code: each picture draws its own pattern, so
that classes may have any size; cells divide a picture of any size; levels are rounded, not cut.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.errors import UsageProblem
from unlearn.methods.base import PAPER, Cost, LabelledNoise, NoiseMaker, Spec
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import stretched
from unlearn.training import Observer

_CORNERS, _MIXES = "corners", "mixes"


@dataclass(frozen=True)
class Lsp:
    """Linearly separable patterns; the defaults are those of the authors' code.

    strength is the root of the mean square of a picture's noise: 6/255 is the published ℓ2 norm of
    1.304 at 32x32. cells is how many a side has; separation how far corners lie from the middle.
    The noise keeps no ℓ∞ ball of its own (values of 13/255 are usual); with ball it is cut to one.
    """

    name: ClassVar[str] = "lsp"
    summary: ClassVar[str] = "coloured patterns that a line separates by class; no training"
    needs_labels: ClassVar[bool] = True
    any_classes: ClassVar[bool] = False

    strength: Radius = Radius.of_levels(6)
    cells: int = 4
    separation: float = 10.0
    ball: Radius | None = None

    def __post_init__(self) -> None:
        if self.cells < 1:
            raise UsageProblem(f"a pattern of {self.cells} cells a side is none; at least 1")

    @property
    def bound(self) -> Radius | None:
        return self.ball

    def at(self, bound: Radius) -> Self:
        return replace(self, ball=bound)

    def build(self, spec: Spec) -> nn.Module:
        count = 3 * self.cells**2
        if spec.classes > 2**count:
            raise UsageProblem(
                f"patterns of {count} values separate {2**count} classes, not {spec.classes}; "
                "use more cells"
            )
        module = nn.Module()
        module.register_buffer(_CORNERS, torch.zeros(spec.classes, count))
        module.register_buffer(_MIXES, torch.zeros(spec.classes, count, count))
        return module

    def fit(self, module: nn.Module, data: LabelledPictures, run: Run, observer: Observer) -> None:  # noqa: ARG002
        """Draw each class's corner and mix from the run's seed; the data teach nothing."""
        corners, mixes = module.get_buffer(_CORNERS), module.get_buffer(_MIXES)
        rng = Rng.for_images(run.seed, torch.zeros(1, dtype=torch.int64))
        corners.copy_(self.separation * cube_corners(len(corners), corners.shape[1], rng))
        mixes.copy_(rng.uniform(*mixes.shape, low=-1, high=1)[0])
        module.to(run.device).eval()

    def ready(self, module: nn.Module, run: Run) -> NoiseMaker:  # noqa: ARG002
        corners, mixes = (module.get_buffer(name).clone() for name in (_CORNERS, _MIXES))

        def make(images: Tensor, labels: Tensor, rng: Rng) -> Tensor:
            features = scattered(rng.normal(corners.shape[1]), corners[labels], mixes[labels])
            delta = pattern_noise(features, self.cells, self.strength, images)
            return delta if self.ball is None else delta.clamp(-float(self.ball), float(self.ball))

        return LabelledNoise(make)

    def cost(self, pictures: int) -> Cost:  # noqa: ARG002
        return Cost()

    def facts(self) -> Mapping[str, str]:
        return {"strength": f"{self.strength} (root mean square)"}

    @classmethod
    def recipes(cls) -> Mapping[str, Self]:
        return {PAPER: cls()}

    @classmethod
    def example(cls) -> Self:
        return cls(cells=2)


def cube_corners(count: int, sides: int, rng: Rng) -> Tensor:
    """Draw so many different corners (count, sides) of the cube -1 … 1 from a single stream."""
    drawn = rng.integers(2, count, sides)[0].unique(dim=0)
    while len(drawn) < count:
        drawn = torch.cat([drawn, rng.integers(2, count, sides)[0]]).unique(dim=0)
    order = rng.uniform(len(drawn))[0].argsort()[:count]
    corners: Tensor = 2.0 * drawn[order] - 1
    return corners


def scattered(normal: Tensor, corners: Tensor, mixes: Tensor) -> Tensor:
    """Return features (N, D): normal numbers (N, D), mixed (N, D, D), around corners (N, D)."""
    return corners + torch.bmm(normal[:, None], mixes)[:, 0]


def pattern_noise(features: Tensor, cells: int, strength: Radius, images: Tensor) -> Tensor:
    """Return δ of a strength (root mean square) for images (N, C, H, W), C = 1 or 3.

    features (N, D) are the cells' colours, row by row; grey images get their mean.
    """
    patterns = features.view(-1, cells, cells, 3).permute(0, 3, 1, 2)
    if images.shape[1] == 1:
        patterns = patterns.mean(dim=1, keepdim=True)
    delta = stretched(patterns, *images.shape[-2:])
    size = delta.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return delta * (float(strength) / size.clamp(min=torch.finfo(size.dtype).tiny))
