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


WEIGHTS = ("conv1_weight", "conv1_bias", "conv2_weight", "conv2_bias", "fc_weight", "fc_bias")


class SmallNetwork(nn.Module):
    """Two smooth convolutions, the mean over space, and a linear layer."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        for name, weight in weights.items():
            self.register_buffer(name, weight)

    def weights(self, layer: str) -> tuple[Tensor, Tensor]:
        """Return weight and bias of a layer."""
        return self.get_buffer(f"{layer}_weight"), self.get_buffer(f"{layer}_bias")

    def features(self, images: Tensor) -> Tensor:
        inner = torch.tanh(F.conv2d(images, *self.weights("conv1"), padding=1))
        inner = F.avg_pool2d(inner, 2)
        return torch.tanh(F.conv2d(inner, *self.weights("conv2"), padding=1)).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return F.linear(self.features(images), *self.weights("fc"))


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
