"""Numbers that the authors' published code gave for tiny inputs, and the network it gave them for.

Whole sets lie in shared/data/oracles beside the checkout, or further up; tests/methods/facts
carries the arrays that matter most, so that every clone is tested. There int8 holds noise in steps
of 0.2/255: the paths from zero are whole numbers of them.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.attack import pgd

ROOT = Path(__file__).parents[2]
FACTS = ROOT / "tests" / "methods" / "facts"
EXACT = {"rtol": 0, "atol": 1e-9}
_STEP = 0.2 / 255


class Oracle:
    """The arrays of one method by name: float64, except whole numbers."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.arrays = arrays

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.arrays:
            pytest.skip(f"{name} is in shared/data/oracles only, which is not beside this checkout")
        array = torch.from_numpy(self.arrays[name])
        if array.dtype == torch.int8:
            return array.to(torch.float64) * _STEP
        return array.to(torch.float64) if array.is_floating_point() else array

    @property
    def images(self) -> Tensor:
        return self["images_uint8"].to(torch.float64) / 255

    @property
    def network(self) -> "SmallNetwork":
        """The small network with its stored weights."""
        return SmallNetwork({name: self[f"w_{name}"] for name in WEIGHTS})

    @property
    def run_network(self) -> "NormedNetwork":
        """The network of the end-to-end run, as it begins."""
        return NormedNetwork(self.run_weights("init"))

    def run_weights(self, when: str) -> dict[str, Tensor]:
        """Weights and statistics at the "init" or "final" state of the end-to-end run."""
        first = f"e2e_{when}_w_"
        names = [name.removeprefix(first) for name in self.arrays if name.startswith(first)]
        self[f"{first}fc_bias"]  # skips the test where there are none
        layered = {name: ".".join(name.split("_", 1)) for name in names}
        return {layered[name]: self[first + name] for name in names}


WEIGHTS = ("conv1_weight", "conv1_bias", "conv2_weight", "conv2_bias", "fc_weight", "fc_bias")


class SmallNetwork(nn.Module):
    """Two smooth convolutions, the mean over space, and a linear layer."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        for name, weight in weights.items():
            self.register_parameter(name, nn.Parameter(weight.clone(), requires_grad=False))

    def weights(self, layer: str) -> tuple[Tensor, Tensor]:
        """Return weight and bias of a layer."""
        return self.get_parameter(f"{layer}_weight"), self.get_parameter(f"{layer}_bias")

    def features(self, images: Tensor) -> Tensor:
        inner = torch.tanh(F.conv2d(images, *self.weights("conv1"), padding=1))
        inner = F.avg_pool2d(inner, 2)
        return torch.tanh(F.conv2d(inner, *self.weights("conv2"), padding=1)).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return F.linear(self.features(images), *self.weights("fc"))


class NormedNetwork(nn.Module):
    """The network of the end-to-end runs, with batch norm; it sees pictures less 1/2."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.conv2, self.bn2 = nn.Conv2d(5, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, len(weights["fc.bias"]))
        self.to(torch.float64).load_state_dict(weights, strict=False)

    def forward(self, images: Tensor) -> Tensor:
        inner = F.avg_pool2d(torch.tanh(self.bn1(self.conv1(images - 0.5))), 4)
        return self.fc(torch.tanh(self.bn2(self.conv2(inner))).mean(dim=(2, 3)))


def clipping_pgd(losses, images, config, goal, rng, start=None):
    """The pgd of authors who clip noisy pictures, not noise: beyond 0 and 1 no gradient is left."""
    patch = pytest.MonkeyPatch()

    def ball_alone(images, radius):
        patch.undo()  # an attack within the losses keeps the pictures' range
        ball = torch.full_like(images, float(radius))
        return -ball, ball

    patch.setattr("unlearn.attack.bounds", ball_alone)
    return pgd(lambda noisy: losses(noisy.clamp(0, 1)), images, config, goal, rng, start)


def exact_images(pixels: Tensor) -> Tensor:
    """What to_images is, in float64."""
    return pixels.to(torch.float64) / 255


class FixedBatches:
    """The order of the runs: the first four pictures, the next up to four, and so on."""

    def __init__(self, count: int, batch_size: int, *_: object) -> None:
        self.parts = torch.arange(count).split(batch_size)[:2]

    def at(self, step: int) -> Tensor:
        return self.parts[step % 2]


def whole(name: str) -> Path | None:
    """Where the whole set of a method lies, if it does."""
    places = (folder / "shared" / "data" / "oracles" / f"{name}.npz" for folder in ROOT.parents)
    return next((place for place in places if place.is_file()), None)


def carried(name: str) -> dict[str, np.ndarray]:
    with np.load(FACTS / f"{name}.npz") as file:
        return dict(file)


def oracle(name: str) -> Oracle:
    """The whole set where there is one, or what the checkout carries."""
    place = whole(name)
    if place is None:
        return Oracle(carried(name))
    with np.load(place) as file:
        return Oracle(dict(file))
