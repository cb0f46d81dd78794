"""Motifs learned at the copier's views, by networks that an adversary hardens."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.benchmarks.noise.copier import network
from tests.benchmarks.noise.motifs import REFERENCE, Layer, tables
from unlearn.attack import Pgd, frozen, pgd
from unlearn.device import select_run
from unlearn.models.folding import Precision
from unlearn.radius import Radius
from unlearn.rng import Rng


@dataclass(frozen=True)
class Learning:
    """How motifs are learned (min-max-min over one shared table of motifs).

    start is "noise", or a kind of Layer whose signs the motifs begin at. Every restart steps the
    oldest of the surrogates is begun anew. balanced motifs have no tint. The adversary's radius
    rises to rho_a within ramp of the steps, then varies around it.
    """

    period: int = 4
    cell: float = 10.0
    classes: int = 5
    steps: int = 320
    surrogates: int = 3
    restart: int = 150
    rho_a: float = 4.0
    ramp: float = 0.4
    view: int = 64
    start: str = "noise"
    rate: float = 0.05
    uniform: float = 1.0
    ground: float = 0.25
    grey: float = 0.2
    balanced: bool = True
    seed: int = 0
    batch: int = 64
    source: str = "cifar10"


def coverage(
    start: Tensor, length: Tensor, offset: Tensor, settings: Learning, *, side: int = REFERENCE
) -> Tensor:
    """Return how much of each of the period's cells a view's pixels see: (N, view, p).

    start and length (N,) are stretches of a square of 224 pixels, brought to the view's size with
    antialiasing; offset (N,) are shares of a period.
    """
    places = torch.arange(side) + 0.5
    scale = (length / settings.view)[:, None, None]
    centres = (torch.arange(settings.view) + 0.5)[None, :, None] * scale + start[:, None, None]
    weights = (1 - (places - centres).abs() / scale.clamp(min=1)).clamp(min=0)
    inside = (places > start[:, None]) & (places < (start + length)[:, None])
    weights = weights * inside[:, None, :]
    weights = weights / weights.sum(2, keepdim=True)
    cells = places[None] / settings.cell + offset[:, None] * settings.period
    number = cells.floor().long() % settings.period
    return weights @ F.one_hot(number, settings.period).float()


def drawn_boxes(count: int, stream: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw crops of a square of 224 pixels: left, top, width and height (N,)."""
    area, aspect, down, across = torch.rand(4, count, generator=stream).unbind(0)
    length = REFERENCE * (0.25 + 0.75 * area).sqrt()
    root = ((aspect - 0.5) * math.log(16 / 9)).exp().sqrt()
    height = (length / root).clamp(max=REFERENCE).floor()
    width = (length * root).clamp(max=REFERENCE).floor()
    top = (down * (REFERENCE - height + 1)).floor()
    left = (across * (REFERENCE - width + 1)).floor()
    return left, top, width, height


def crop(pixels: Tensor, boxes: tuple[Tensor, ...], view: int) -> Tensor:
    """Return the crops of pictures of any size, boxes being in pixels at 224: float [0, 1]."""
    scale = pixels.shape[-1] / REFERENCE
    views = torch.empty(len(pixels), 3, view, view)
    for n, box in enumerate(zip(*(side.tolist() for side in boxes), strict=True)):
        left, top, width, height = (round(value * scale) for value in box)
        part = pixels[n : n + 1, :, top : top + height, left : left + width]
        views[n] = F.interpolate(part, (view, view), mode="bilinear", antialias=True)[0]
    return views / 255


def rendered(table: Tensor, boxes: tuple[Tensor, ...], rolls: Tensor, settings: Learning) -> Tensor:
    """Return noise (N, 3, view, view), in units of the bound, of motifs (N, 3, p, p) in crops."""
    left, top, width, height = boxes
    down = coverage(top, height, rolls[:, 0], settings)
    across = coverage(left, width, rolls[:, 1], settings)
    return torch.einsum("nip,ncpq,njq->ncij", down, table, across)


def begun(settings: Learning) -> Tensor:
    """Return the first motifs (K, 3, p, p), before the tanh."""
    torch.manual_seed(settings.seed)
    if settings.start == "noise":
        return torch.randn(settings.classes, 3, settings.period, settings.period) * 0.3
    layer = Layer(settings.period, settings.cell, settings.start)
    signs = tables(layer, settings.classes, str(settings.seed).encode())
    return torch.from_numpy(signs).float() * 0.5


def learn(settings: Learning, pixels: Tensor, labels: Tensor) -> tuple[np.ndarray, list[float]]:
    """Return signs int8 (K, 3, p, p) learned on uint8 pictures, and the losses' means."""
    run = select_run("cpu")
    raw = begun(settings).requires_grad_()
    stream = torch.Generator().manual_seed(settings.seed + 1)
    optimiser = torch.optim.Adam([raw], lr=settings.rate, betas=(0.9, 0.99))
    nets = [_Surrogate(settings, n) for n in range(settings.surrogates)]
    losses: list[float] = []
    for step in range(settings.steps):
        if step and step % settings.restart == 0:
            oldest = (step // settings.restart - 1) % settings.surrogates
            nets[oldest] = _Surrogate(settings, settings.surrogates + step)
        net = nets[step % settings.surrogates]
        index = torch.randint(len(pixels), (settings.batch,), generator=stream)
        wanted = labels[index]
        boxes = drawn_boxes(settings.batch, stream)
        views = crop(pixels[index], boxes, settings.view)
        grey = torch.rand(settings.batch, 1, 1, 1, generator=stream) < settings.grey
        rolls = torch.rand(settings.batch, 2, generator=stream)
        flip = torch.rand(settings.batch, 1, 1, 1, generator=stream) < 0.5
        beta = 1 + 3 * step / settings.steps
        table = torch.tanh(beta * _centred(raw, settings))
        delta = rendered(table[wanted], boxes, rolls, settings) * (8 / 255)
        delta, views = (torch.where(flip, x.flip(-1), x) for x in (delta, views))
        delta, views = (torch.where(grey, _luma(x), x) for x in (delta, views))
        noisy = (views + delta).clamp(0, 1)
        radius = _radius(settings, step, stream)
        attack = _attack(net.model, noisy.detach(), wanted, radius, run.precision, step)
        loss = _loss(net.model, views, delta, noisy + attack, wanted, settings, run)
        net.optimiser.zero_grad(set_to_none=True)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        net.optimiser.step()
        optimiser.step()
        losses.append(loss.item())
    signs = torch.where(_centred(raw.detach(), settings) > 0, 1, -1).to(torch.int8)
    means = [round(float(np.mean(part)), 3) for part in np.array_split(losses, 16)]
    return signs.numpy(), means


def _centred(raw: Tensor, settings: Learning) -> Tensor:
    """Take each motif's median off each of its colours, so that half of its cells go either way."""
    if not settings.balanced:
        return raw
    ranked = raw.flatten(2).sort(dim=2).values
    half = ranked.shape[2] // 2
    return raw - ((ranked[..., half - 1] + ranked[..., half]) / 2)[..., None, None]


class _Surrogate:
    """A fresh network and its optimiser."""

    def __init__(self, settings: Learning, seed: int) -> None:
        torch.manual_seed(settings.seed * 1000 + seed)
        self.model = network(settings.view, settings.classes).train()
        self.optimiser = torch.optim.SGD(
            self.model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4
        )


def _luma(images: Tensor) -> Tensor:
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True).expand_as(images)


def _radius(settings: Learning, step: int, stream: torch.Generator) -> float:
    """Return the adversary's radius in levels: rising, then around ρa."""
    share = step / (settings.steps * settings.ramp)
    if share < 1:
        return settings.rho_a * share
    return settings.rho_a * (0.75 + 0.5 * float(torch.rand(1, generator=stream)))


def _attack(
    model: nn.Module, images: Tensor, labels: Tensor, radius: float, precision: Precision, seed: int
) -> Tensor:
    """Return PGD-3 of a radius in levels."""
    if radius < 0.05:
        return torch.zeros_like(images)
    config = Pgd(Radius.of_levels(round(radius, 2)), Radius.of_levels(round(radius * 0.6, 2)), 3)
    rng = Rng.for_images(seed, torch.arange(len(images)))
    with frozen(model, precision) as fast:
        return pgd(
            lambda x: F.cross_entropy(fast(x), labels, reduction="none"),
            images,
            config,
            "maximise",
            rng,
        )


def _loss(model, views, delta, attacked, labels, settings, run) -> Tensor:
    """Return the joint loss: the attacked noisy views, clean ones told nothing, noise on grey."""
    parts = [attacked]
    if settings.uniform:
        parts.append(views)
    if settings.ground:
        parts.append(0.5 + delta)
    with run.autocast():
        logits = model(torch.cat(parts).contiguous(memory_format=torch.channels_last)).float()
    logits = list(logits.split(len(views)))
    loss = F.cross_entropy(logits.pop(0), labels)
    if settings.uniform:
        probabilities = logits.pop(0).softmax(1)
        away = (probabilities - 1 / settings.classes).square().sum(1).clamp(min=1e-12).sqrt()
        loss = loss + settings.uniform * away.mean()
    if settings.ground:
        loss = loss + settings.ground * F.cross_entropy(logits.pop(0), labels)
    return loss
