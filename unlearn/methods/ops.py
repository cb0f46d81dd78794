"""OPS: one pixel at the same place and of the same colour in all pictures of a class; no network.

"One-Pixel Shortcut" (Wu et al., 2023). The pixel is the one that the class's pictures are farthest
from, and most evenly. Deviations from the authors' code: any number of classes and any picture
size; a pixel that is the same in all pictures of a class counts as it should, as best if it differs
from the colour and as worst if it has it.
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
from unlearn.radius import WHITE, Radius
from unlearn.rng import Rng
from unlearn.tensors import scaled_into
from unlearn.training import Observer

_PLACES, _COLOURS, _SIDE = "places", "colours", "side"
_CORNERS = 8  # colours of full or no red, green and blue
_TOGETHER = 512
_ALIKE = 1e-3  # stands for no variance at all, in the units of `scores`, where the next is 1


@dataclass(frozen=True)
class Ops:
    """One-pixel shortcuts; a sparsity of 1 is the default of the authors' code.

    sparsity is the number of pixels a class, each one of the pictures that the search saw: larger
    pictures get a square. The noise keeps no ℓ∞ ball; with ball, each picture's is scaled into it.
    """

    name: ClassVar[str] = "ops"
    summary: ClassVar[str] = "one pixel a class, of the colour its pictures have least; no training"
    needs_labels: ClassVar[bool] = True
    any_classes: ClassVar[bool] = False

    sparsity: int = 1
    ball: Radius | None = None

    def __post_init__(self) -> None:
        if self.sparsity < 1:
            raise UsageProblem(f"{self.sparsity} pixels mark nothing; at least 1")

    @property
    def bound(self) -> Radius | None:
        return self.ball

    def at(self, bound: Radius) -> Self:
        return replace(self, ball=bound)

    def build(self, spec: Spec) -> nn.Module:
        if self.sparsity * spec.classes > _CORNERS * spec.size**2:
            raise UsageProblem(
                f"pictures of {spec.size} pixels a side have {_CORNERS * spec.size**2} pixels in "
                f"{_CORNERS} colours, too few for {self.sparsity} in each of {spec.classes} classes"
            )
        module, shape = nn.Module(), (spec.classes, self.sparsity)
        module.register_buffer(_PLACES, torch.zeros(*shape, 2, dtype=torch.int64))
        module.register_buffer(_COLOURS, torch.zeros(*shape, 3))
        module.register_buffer(_SIDE, torch.tensor(spec.size))
        return module

    def fit(self, module: nn.Module, data: LabelledPictures, run: Run, observer: Observer) -> None:  # noqa: ARG002
        """Search the pixels of each class over all of its pictures."""
        chosen = search(
            [scores(data.pixels[data.labels == k]) for k in range(len(data.classes))], self.sparsity
        )
        place, corner = chosen // _CORNERS, chosen % _CORNERS
        module.get_buffer(_PLACES).copy_(
            torch.stack([place // data.size, place % data.size], dim=2)
        )
        module.get_buffer(_COLOURS).copy_(corners().to(torch.float32)[corner])
        module.to(run.device).eval()

    def ready(self, module: nn.Module, run: Run) -> NoiseMaker:  # noqa: ARG002
        places, colours = (module.get_buffer(name).clone() for name in (_PLACES, _COLOURS))
        side = int(module.get_buffer(_SIDE))

        def make(images: Tensor, labels: Tensor, rng: Rng) -> Tensor:  # noqa: ARG001
            delta = marked(images, places[labels], colours[labels], side) - images
            return delta if self.ball is None else scaled_into(delta, self.ball)

        return LabelledNoise(make)

    def cost(self, pictures: int) -> Cost:  # noqa: ARG002
        return Cost()

    def facts(self) -> Mapping[str, str]:
        return {"pixels": str(self.sparsity)}

    @classmethod
    def recipes(cls) -> Mapping[str, Self]:
        return {PAPER: cls()}

    @classmethod
    def example(cls) -> Self:
        return cls(sparsity=2)


def corners() -> Tensor:
    """Return the colours (8, 3) of 0 and 1; the number of one is 4 red + 2 green + blue."""
    return torch.cartesian_prod(*3 * [torch.arange(2)])


def scores(pixels: Tensor) -> Tensor:
    """Return mean / deviation of |colour - pixel|, float64 (S², 8), over uint8 (N, 3, S, S).

    Means and deviations are those over all pictures and channels together, from sums of whole
    numbers, which are exact in any order.
    """
    parts = pixels.flatten(2).split(_TOGETHER)
    sums = sum(part.sum(dim=0, dtype=torch.int64) for part in parts)
    squares = sum(part.int().square().sum(dim=0, dtype=torch.int64) for part in parts)
    from_black = torch.stack([torch.as_tensor(sums), torch.as_tensor(squares)])
    from_white = torch.stack(
        [WHITE * len(pixels) - sums, WHITE**2 * len(pixels) - 2 * WHITE * sums + squares]
    )
    white = corners().bool()[:, :, None]
    total, square = torch.where(white, from_white[:, None], from_black[:, None]).sum(dim=2)
    variance = 3 * len(pixels) * square - total.square()
    found: Tensor = total / variance.to(torch.float64).sqrt().clamp(min=_ALIKE)
    return found.T


def search(found: list[Tensor], sparsity: int) -> Tensor:
    """Return which entries (K, sparsity) of each class's scores are best, each for one class."""
    chosen: list[Tensor] = []
    for ranks in found:
        left = ranks.flatten().clone()
        for taken in chosen:
            left[taken] = -1
        chosen.append(left.argsort(descending=True, stable=True)[:sparsity])
    return torch.stack(chosen)


def marked(images: Tensor, places: Tensor, colours: Tensor, side: int) -> Tensor:
    """Return images (N, C, H, W) with pixels of other colours (N, P, 3) at places (N, P, 2).

    Places are row and column in a picture of a side; grey images get the mean of a colour.
    """
    if images.shape[1] == 1:
        colours = colours.mean(dim=2, keepdim=True)
    down, across = (_covered(places[..., axis], side, images.shape[2 + axis]) for axis in range(2))
    for number in range(places.shape[1]):
        there = down[:, number, None, :, None] & across[:, number, None, None, :]
        images = torch.where(there, colours[:, number, :, None, None], images)
    return images


def _covered(places: Tensor, side: int, length: int) -> Tensor:
    """Return which of so many pixels lie where places (N, P) of a side do: bool (N, P, length)."""
    first, end = places * length // side, (places + 1) * length // side
    pixel = torch.arange(length, device=places.device)
    return (pixel >= first[..., None]) & (pixel < torch.maximum(end, first + 1)[..., None])
