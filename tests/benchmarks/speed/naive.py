"""What published code does: float32, NCHW, batch norm apart, transforms picture by picture.

Written after the code of robust error-minimising noise (Fu et al., 2022) and its successors: PGD
calls `loss.backward()` for each view on a network in eval mode that is spared the gradients of its
weights, torchvision's transforms are drawn for each picture by itself, and a step of the generator
is two forward passes. Nothing here is slower than it has to be to be that.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from unlearn.attack import Pgd
from unlearn.methods import MinMaxMin
from unlearn.models import build_classifier

WHITE = 255
View = Callable[[Tensor], Tensor]


class Pictures(Dataset[tuple[Tensor, Tensor]]):
    """Arrays uint8 (N, H, W, 3) as torchvision's data sets hold them: a PIL picture at a time."""

    def __init__(self, arrays: NDArray[np.uint8], labels: Tensor, transform: Callable) -> None:
        self.arrays = arrays
        self.labels = labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        return self.transform(Image.fromarray(self.arrays[number])), self.labels[number]


class EachAlone:
    """A torchvision transform of tensors, drawn anew for each picture of a batch (N, 3, H, W)."""

    def __init__(self, transform: Callable[[Tensor], Tensor]) -> None:
        self.transform = transform

    def __call__(self, images: Tensor) -> Tensor:
        return torch.cat([self.transform(image[None]) for image in images])


def random_crops(size: int, smallest_crop: float = 1.0) -> list[Callable]:
    """Return the usual transforms: padded crops for small pictures, resized ones for photos."""
    if smallest_crop < 1:
        crop = transforms.RandomResizedCrop(size, scale=(smallest_crop, 1.0))
    else:
        crop = transforms.RandomCrop(size, padding=4)
    return [crop, transforms.RandomHorizontalFlip()]


def view_of(size: int, smallest_crop: float = 1.0) -> View:
    """Return random views of pictures, through which gradients flow."""
    return EachAlone(transforms.Compose(random_crops(size, smallest_crop)))


def unchanged(images: Tensor) -> Tensor:
    """Return the pictures themselves."""
    return images


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode and spare it the gradients of its weights."""
    model.eval().requires_grad_(False)
    try:
        yield
    finally:
        model.requires_grad_(True)


def perturbed(
    model: nn.Module, images: Tensor, labels: Tensor, attack: Pgd, view: View, *, up: bool
) -> Tensor:
    """Return δ in the ball after signed steps that raise or lower the loss, all views summed."""
    radius, step = float(attack.radius), float(attack.step)
    delta = torch.empty_like(images).uniform_(-radius, radius).requires_grad_()
    for _ in range(attack.steps):
        delta.grad = None
        for _ in range(attack.views):
            F.cross_entropy(model(view((images + delta).clamp(0, 1))), labels).backward()
        gradient = cast(Tensor, delta.grad)
        with torch.no_grad():
            delta.add_(gradient.sign(), alpha=step if up else -step).clamp_(-radius, radius)
    return delta.detach()


def one_by_one(model: nn.Module, pictures: Pictures, view: View, attack: Pgd) -> list[Tensor]:
    """Protect picture after picture, one PGD each; return their δ (1, 3, H, W)."""
    device = next(model.parameters()).device
    with evaluating(model):
        return [
            perturbed(model, image[None].to(device), label[None].to(device), attack, view, up=False)
            for image, label in (pictures[number] for number in range(len(pictures)))
        ]


def in_a_batch(model: nn.Module, pictures: Pictures, view: View, attack: Pgd) -> Tensor:
    """Protect all pictures in one PGD; return δ (N, 3, H, W)."""
    device = next(model.parameters()).device
    loader = DataLoader(pictures, batch_size=len(pictures))
    images, labels = (part.to(device) for part in next(iter(loader)))
    with evaluating(model):
        return perturbed(model, images, labels, attack, view, up=False)


class Learner:
    """A fresh ResNet-18 and its optimiser, and batches of all pictures from a DataLoader."""

    def __init__(self, architecture: str, pictures: Pictures, device: torch.device) -> None:
        torch.manual_seed(0)
        self.device = device
        self.classes = 10
        self.model = build_classifier(architecture, self.classes).to(device)
        self.optimiser = torch.optim.SGD(
            self.model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4
        )
        self.loader = DataLoader(pictures, batch_size=len(pictures), shuffle=True)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return the next batch on the device."""
        images, labels = next(iter(self.loader))
        return images.to(self.device), labels.to(self.device)

    def descend(self, loss: Tensor) -> None:
        """Take one step of SGD."""
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()


def generator_step(learner: Learner, view: View, method: MinMaxMin) -> None:
    """Take one step of min-max-min: δu, views of x + δu, δa on them, two forwards, SGD."""
    model, (images, labels) = learner.model, learner.batch()
    with evaluating(model):
        delta = perturbed(model, images, labels, method.noise.attack, view, up=False)
        delta = (delta * WHITE).round() / WHITE
        noisy = view((images + delta).clamp(0, 1))
        delta = perturbed(model, noisy, labels, method.adversary, unchanged, up=True)
    model.train()
    error = F.cross_entropy(model((noisy + delta).clamp(0, 1)), labels)
    guesses = F.softmax(model(view(images)), dim=1)
    spread = (guesses - 1 / learner.classes).norm(dim=1).mean()
    learner.descend(error + method.randomness_weight * spread)


def victim_step(learner: Learner, attack: Pgd) -> None:
    """Train adversarially for one step, as a copier's published training loop does."""
    model, (images, labels) = learner.model, learner.batch()
    with evaluating(model):
        delta = perturbed(model, images, labels, attack, unchanged, up=True)
    model.train()
    learner.descend(F.cross_entropy(model((images + delta).clamp(0, 1)), labels))


def victim_step_through_weights(
    learner: Learner, images: Tensor, labels: Tensor, attack: Pgd
) -> None:
    """Train on a batch that is ready, with an attack that also calculates gradients of weights.

    They are thrown away; this is what `loss.backward()` does unless it is told not to.
    """
    model = learner.model.eval()
    delta = perturbed(model, images, labels, attack, unchanged, up=True)
    model.train()
    learner.descend(F.cross_entropy(model((images + delta).clamp(0, 1)), labels))
