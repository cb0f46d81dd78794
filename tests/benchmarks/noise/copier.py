"""Copiers: small networks trained on random crops of what they are given, tried on clean photos."""

import math
import time
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.attack import Pgd, frozen, pgd
from unlearn.countermeasures import find
from unlearn.device import Run, select_run
from unlearn.models import build_classifier
from unlearn.models.classifier import channels_last
from unlearn.models.folding import Precision
from unlearn.radius import Radius
from unlearn.rng import Rng

CLASSES = 5


@dataclass(frozen=True)
class Copier:
    """How a copier trains. view is what its network sees; a rho_a above 0 trains it adversarially.

    adversary "pgd" takes steps inside the ball; "nfgsm" one step from noise of twice the radius,
    not clipped (N-FGSM; de Jorge et al., 2022).
    """

    view: int = 64
    rho_a: float = 0.0
    epochs: int = 25
    batch: int = 64
    steps: int = 3
    adversary: str = "pgd"
    smallest: float = 0.25
    rate: float = 0.1
    grey: float = 0.0
    each: str = "none"  # a countermeasure of the audit that acts on every batch


def network(view: int, classes: int = CLASSES) -> nn.Module:
    """Return resnet-small with a stem of stride 2 for views of 64 pixels, of 4 for 224."""
    name = "resnet-small-imagenet" if view > 100 else "resnet-small-imagenet64"
    return channels_last(build_classifier(name, classes))


def crops(pixels: Tensor, view: int, smallest: float, stream: torch.Generator) -> Tensor:
    """Return a random resized crop of each picture, antialiased and perhaps mirrored: float [0, 1].

    pixels are uint8 (N, 3, S, S); a crop has `smallest` … 1 of the area and an aspect of 3/4 … 4/3.
    """
    side = pixels.shape[-1]
    draws = torch.rand(len(pixels), 5, generator=stream).tolist()
    views = torch.empty(len(pixels), 3, view, view, dtype=torch.uint8)
    for n, (area, aspect, down, across, flip) in enumerate(draws):
        length = side * math.sqrt(smallest + (1 - smallest) * area)
        root = math.sqrt(math.exp((aspect - 0.5) * math.log(16 / 9)))
        height, width = int(min(length / root, side)), int(min(length * root, side))
        top, left = int(down * (side - height + 1)), int(across * (side - width + 1))
        box = pixels[n : n + 1, :, top : top + height, left : left + width]
        small = F.interpolate(box, (view, view), mode="bilinear", antialias=True)[0]
        views[n] = small.flip(-1) if flip < 0.5 else small
    return views.float() / 255


@dataclass
class Outcome:
    """What a copier learned, epoch by epoch."""

    curve: list[float] = field(default_factory=list)
    train: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    seconds: float = 0.0


def fit(
    copier: Copier, pixels: Tensor, labels: Tensor, test: tuple[Tensor, Tensor], seed: int
) -> tuple[Outcome, nn.Module]:
    """Train one copier on uint8 pixels; test holds clean pictures at the view's size and labels."""
    run = select_run("cpu", seed=seed)
    torch.manual_seed(seed)
    model = network(copier.view)
    stream = torch.Generator().manual_seed(seed)
    steps = len(pixels) // copier.batch
    total = steps * copier.epochs
    optimiser = torch.optim.SGD(model.parameters(), lr=copier.rate, momentum=0.9, weight_decay=5e-4)
    outcome, began, done = Outcome(), time.process_time(), 0
    for _ in range(copier.epochs):
        order = torch.randperm(len(pixels), generator=stream)
        hits = losses = 0.0
        model.train()
        for index in order[: steps * copier.batch].split(copier.batch):
            optimiser.param_groups[0]["lr"] = (
                copier.rate * (1 + math.cos(math.pi * done / total)) / 2
            )
            images = crops(pixels[index], copier.view, copier.smallest, stream)
            if copier.grey:
                images = greyed(images, copier.grey, stream)
            if copier.each != "none":
                rng = Rng.for_images(seed + done, index)
                images, _ = find(copier.each).each(images, labels[index], rng)
            if copier.rho_a:
                images = attacked(model, images, labels[index], copier, run.precision, seed + done)
            logits, loss = update(model, optimiser, run, images, labels[index])
            done += 1
            hits += float((logits.argmax(1) == labels[index]).float().sum())
            losses += loss
        outcome.curve.append(round(accuracy(model, *test, run.precision), 4))
        outcome.train.append(round(hits / (steps * copier.batch), 4))
        outcome.loss.append(round(losses / steps, 4))
    outcome.seconds = round(time.process_time() - began, 1)
    return outcome, model


def update(
    model: nn.Module, optimiser: torch.optim.Optimizer, run: Run, images: Tensor, labels: Tensor
) -> tuple[Tensor, float]:
    """Take one step of training; return the logits and the loss before it."""
    with run.autocast():
        logits = model(images.contiguous(memory_format=torch.channels_last)).float()
    loss = F.cross_entropy(logits, labels)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return logits, loss.item()


def greyed(images: Tensor, chance: float, stream: torch.Generator) -> Tensor:
    """Turn some of the images into their luma."""
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    grey = (images * weights).sum(1, keepdim=True).expand_as(images)
    chosen = torch.rand(len(images), 1, 1, 1, generator=stream) < chance
    return torch.where(chosen, grey, images)


def attacked(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    copier: Copier,
    precision: Precision,
    seed: int,
) -> Tensor:
    """Return images moved to where the model errs more, by the copier's adversary."""
    ball = copier.rho_a / 255
    if copier.adversary == "nfgsm":
        draw = torch.Generator().manual_seed(seed)
        start = images + (torch.rand(images.shape, generator=draw) * 4 - 2) * ball
        with frozen(model, precision) as frozen_model, torch.enable_grad():
            start.requires_grad_()
            loss = F.cross_entropy(frozen_model(start), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, start)
        return (start.detach() + ball * gradient.sign()).clamp(0, 1)
    radius = Radius.of_levels(copier.rho_a)
    config = Pgd(radius, Radius.of_levels(copier.rho_a * 2 / copier.steps), copier.steps)
    rng = Rng.for_images(seed, torch.arange(len(images)))
    with frozen(model, precision) as frozen_model:
        return images + pgd(
            lambda x: F.cross_entropy(frozen_model(x), labels, reduction="none"),
            images,
            config,
            "maximise",
            rng,
        )


@torch.no_grad()
def accuracy(model: nn.Module, pixels: Tensor, labels: Tensor, precision: Precision) -> float:
    """Return the share of clean pictures that the model puts into the right class."""
    hits = 0
    with frozen(model, precision) as frozen_model:
        for part, wanted in zip(pixels.split(250), labels.split(250), strict=True):
            hits += int((frozen_model(part.float() / 255).argmax(1) == wanted).sum())
    return hits / len(labels)
