"""What the tests are made of: tiny pictures, networks, tasks, methods and generators."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from hypothesis import settings
from torch import Tensor, nn

from unlearn.attack import Pgd
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.generators.artefact import NoiseGenerator, header_of
from unlearn.methods import Method, MinMaxMin, Spec
from unlearn.models import build_classifier
from unlearn.models.classifier import Classifier
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import to_images
from unlearn.training import Batch, predict

CPU = Run(torch.device("cpu"))
_STAGE_ONE = {"attack", "views", "window", "shared"}
CLASSES = ("across", "down", "falling", "rising")
property_test = settings(deadline=None, max_examples=60, derandomize=True)
few_examples = settings(deadline=None, max_examples=15, derandomize=True)


def make_rng(count: int, seed: int = 0) -> Rng:
    return Rng.for_images(seed, torch.arange(count))


def make_pixels(count: int, size: int = 8, seed: int = 0, channels: int = 3) -> Tensor:
    return make_rng(count, seed).integers(256, channels, size, size).to(torch.uint8)


def make_images(count: int, size: int = 8, seed: int = 0, channels: int = 3) -> Tensor:
    return to_images(make_pixels(count, size, seed, channels))


def make_labels(count: int, classes: int = 4) -> Tensor:
    return torch.arange(count) % classes


def make_data(count: int, size: int = 8, seed: int = 0) -> LabelledPictures:
    """Random pictures: nothing but their identity can be learned."""
    return LabelledPictures(make_pixels(count, size, seed), make_labels(count), CLASSES)


def make_stripes(
    count: int, seed: int = 0, strength: float = 0.22, grain: float = 0.3
) -> LabelledPictures:
    """Four classes of 8x8 pictures, told apart by the direction of their stripes.

    A mirrored picture may belong to another class, so views of them do not flip.
    """
    rng, labels = make_rng(count, seed), make_labels(count)
    down, across = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    slopes = torch.stack([down, across, down + across, down - across])[labels]
    frequency, phase = rng.uniform(1, 1, low=1.2, high=2.2), 6.28 * rng.uniform(1, 1)
    wave = torch.sin(slopes * frequency + phase)[:, None]
    colour = rng.uniform(3, 1, 1, low=0.4, high=1.0)
    noise = rng.uniform(3, 8, 8, low=-grain, high=grain)
    pictures = (0.5 + strength * wave * colour + noise).clamp(0, 1)
    return LabelledPictures((pictures * 255).round().to(torch.uint8), labels, CLASSES)


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> Any:
    """Build a module whose weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def make_network(architecture: str = "resnet-small", classes: int = 4, seed: int = 0) -> Classifier:
    return seeded(lambda: build_classifier(architecture, classes), seed)


def small_net(classes: int = 4) -> Classifier:
    """Two layers: a convolution with batch norm, and the head; weights from the global stream."""
    body = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
    )
    return Classifier(body, 32, classes)


def make_small_net(classes: int = 4, seed: int = 0) -> Classifier:
    """The small network with weights that depend on the seed alone."""
    return seeded(lambda: small_net(classes), seed)


def shake_norms(model: nn.Module, seed: int = 0) -> None:
    """Give every batch norm statistics and weights such as training leaves behind."""
    stream = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm2d):
                mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
                mean.copy_(0.3 * torch.randn(norm.num_features, generator=stream))
                variance.copy_(0.5 + torch.rand(norm.num_features, generator=stream))
                norm.weight.copy_(0.5 + torch.rand(norm.num_features, generator=stream))
                norm.bias.copy_(0.2 * torch.randn(norm.num_features, generator=stream))


def make_pgd(levels: float = 8, step: float = 1.6, **changes: Any) -> Pgd:
    return Pgd(Radius.of_levels(levels), Radius.of_levels(step), **changes)


def make_method(**changes: Any) -> MinMaxMin:
    """Min-max-min with few steps, for 8x8 pictures; what stage 1 has is changed there."""
    return changed(MinMaxMin.example(), **changes)


def changed(method: MinMaxMin, **changes: Any) -> MinMaxMin:
    """Return min-max-min with fields changed, those of its stage 1 too."""
    own = {name: changes.pop(name) for name in _STAGE_ONE & changes.keys()}
    return replace(method, noise=replace(method.noise, **own), **changes)


def noise_of(
    method: Method, module: nn.Module, images: Tensor, labels: Tensor, rng: Rng, run: Run = CPU
) -> Tensor:
    """The noise that a method makes of pictures with labels, whatever their targets are."""
    maker = method.ready(module, run)
    return maker(images, maker.targets(images, labels, rng), rng)


def make_batch(count: int, step: int = 0, size: int = 8) -> Batch:
    """A batch of random pictures, which are the first of their set."""
    rng, labels = make_rng(count), make_labels(count)
    return Batch(make_pixels(count, size), labels, torch.arange(count), step, rng)


def make_generator(method: Method | None = None, seed: int = 0, run: Run = CPU) -> NoiseGenerator:
    """An untrained generator of four classes."""
    method = make_method() if method is None else method
    module = seeded(lambda: method.build(Spec("resnet-small", len(CLASSES))), seed).eval()
    header = header_of(
        method, architecture="resnet-small", classes=CLASSES, image_size=8, working_size=8
    )
    return NoiseGenerator.of(method, module, header, run)


def linear_losses(weights: Tensor) -> Callable[[Tensor], Tensor]:
    """Return w·x for each image, whose best perturbation is known in closed form."""
    return lambda images: (images * weights).flatten(1).sum(1)


def numbers_of(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of all weights and statistics."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def count_parameters(model: nn.Module) -> int:
    """How many numbers a model has."""
    return sum(parameter.numel() for parameter in model.parameters())


def flags_of(model: nn.Module) -> list[bool]:
    """Return the mode of every submodule and the gradient flag of every parameter."""
    modes = [module.training for module in model.modules()]
    return modes + [parameter.requires_grad for parameter in model.parameters()]


def same_numbers(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@contextmanager
def counted_calls(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the input of every forward pass of a module."""
    calls: list[Tensor] = []
    hook = module.register_forward_pre_hook(lambda _, inputs: calls.append(inputs[0].detach()))
    try:
        yield calls
    finally:
        hook.remove()


def accuracy(model: nn.Module, data: LabelledPictures, run: Run) -> float:
    """Return the share of clean pictures whose class the model finds, in 0…1."""
    return float((predict(model, data, run) == data.labels.cpu()).float().mean())
