"""The one outer loop: stochastic gradient descent for surrogates and victims, with exact resume."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from unlearn import together
from unlearn.attack import frozen
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.errors import NothingFound, UsageProblem
from unlearn.models.classifier import channels_last
from unlearn.rng import Rng
from unlearn.tensors import to_images


@dataclass(frozen=True)
class Batch:
    """The pictures of one step: pixels uint8 (N, 3, S, S), labels int64 (N,), and their streams.

    index int64 (N,) are their numbers in the data set; steps count from 0.
    """

    pixels: Tensor
    labels: Tensor
    index: Tensor
    step: int
    rng: Rng


class Enough(Exception):
    """Raised by losses where a training has reached its goal before the end of its schedule."""


StepLosses = Callable[[nn.Module, Batch], dict[str, Tensor]]  # scalar terms; "loss" is minimised


@dataclass(frozen=True)
class Schedule:
    """Steps and step size of momentum SGD, or of Adam.

    The rate is multiplied by decay every decay_every of the steps, or falls to zero along half a
    cosine (Loshchilov and Hutter, 2017); drops are shares of the steps at which it is multiplied by
    decay instead. adam knows no momentum setting (Kingma and Ba, 2015). clip_norm is the largest
    ℓ2 norm of a step's gradient, 0 for any. The defaults are those of the paper's generator. Raises
    UsageProblem for schedules that take no step.
    """

    steps: int = 5000
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay_every: Fraction = Fraction(2, 5)
    decay: float = 0.1
    shape: Literal["steps", "cosine"] = "steps"
    drops: tuple[Fraction, ...] = ()
    clip_norm: float = 0.0
    optimiser: Literal["sgd", "adam"] = "sgd"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1:
            raise UsageProblem(f"{self.steps} steps of {self.batch_size} pictures train nothing")
        if not 0 < self.decay_every <= 1:
            raise UsageProblem(f"decay_every is a share of the steps, not {self.decay_every}")

    def rate(self, step: int) -> float:
        """Return the learning rate of a step counted from 0."""
        if self.shape == "cosine":
            return self.learning_rate * (1 + math.cos(math.pi * step / self.steps)) / 2
        if self.drops:
            passed = sum(step >= self.steps * share for share in self.drops)
            return self.learning_rate * float(self.decay**passed)
        period = max(1, int(self.steps * self.decay_every))
        return self.learning_rate * float(self.decay ** (step // period))


@dataclass
class TrainingState:
    """All that a training is made of: a checkpoint saves this and nothing else.

    memory is what a method keeps from step to step outside the model; stage counts the trainings
    that it makes of one model, one after the other.
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: Schedule
    finished: int = 0
    stage: int = 0
    memory: dict[str, Tensor] = field(default_factory=dict)


class Observer(Protocol):
    """Who watches a training: may restore an earlier state, save it, and read the terms of a step.

    Reading a term synchronises with the device, so do it seldom.
    """

    def started(self, state: TrainingState) -> None:
        """See the state before the first step."""

    def stepped(self, state: TrainingState, terms: dict[str, Tensor]) -> None:
        """See the state and the terms after each step."""


class Silent:
    """The observer that does nothing."""

    def started(self, state: TrainingState) -> None:
        """Do nothing."""

    def stepped(self, state: TrainingState, terms: dict[str, Tensor]) -> None:
        """Do nothing."""


SILENT = Silent()


@dataclass(frozen=True)
class Stage:
    """Hands a training on to its observer, with its number among those of the same model.

    What lies in memory is changed in place, in the losses; checkpoints hold it, artefacts do not.
    """

    observer: Observer
    number: int = 0
    memory: dict[str, Tensor] = field(default_factory=dict)

    def started(self, state: TrainingState) -> None:
        state.stage = self.number
        state.memory |= self.memory
        self.observer.started(state)

    def stepped(self, state: TrainingState, terms: dict[str, Tensor]) -> None:
        self.observer.stepped(state, terms)


def train(
    model: nn.Module,
    losses: StepLosses,
    data: LabelledPictures,
    schedule: Schedule,
    run: Run,
    observer: Observer = SILENT,
) -> None:
    """Minimise losses(model, batch)["loss"] over the data; leave the model in eval mode.

    Raises NothingFound without pictures.

    Several processes that have joined (see together) each take their share of every batch.

    Batches are a function of (seed, step) and random numbers of (seed, picture, step): a resumed
    run equals an uninterrupted one, and no picture is left out, since each epoch's order is
    followed to its end across batches.
    """
    if not len(data):
        raise NothingFound("there are no pictures to train on")
    data = data.to(run.device)
    channels_last(model.to(run.device)).train()
    optimiser = _optimiser(model, schedule)
    state = TrainingState(model, optimiser, schedule)
    observer.started(state)
    _check_shareable(state, len(data))
    batches = Batches(len(data), schedule.batch_size, run.seed, run.device)
    streams = Rng.for_images(run.seed, data.ids)
    for step in range(state.finished, schedule.steps):
        whole = batches.at(step)
        index = together.share(whole)
        rng = Rng(streams.keys[index], run.seed).fork(step)
        optimiser.param_groups[0]["lr"] = schedule.rate(step)
        batch = Batch(data.pixels[index], data.labels[index], index, step, rng)
        try:
            with together.one_batch_norm(model):
                terms = losses(model, batch)
        except Enough:
            break
        optimiser.zero_grad(set_to_none=True)
        weight = len(index) / len(whole)
        (terms["loss"] * weight).backward()
        terms = together.reduce_step(model, terms, weight)
        if schedule.clip_norm:
            nn.utils.clip_grad_norm_(model.parameters(), schedule.clip_norm)
        optimiser.step()
        state.finished = step + 1
        observer.stepped(state, terms)
    model.eval()


def _check_shareable(state: TrainingState, pictures: int) -> None:
    """Raise UsageProblem for a training that several processes cannot share."""
    ranks = together.count()
    if ranks > 1 and state.memory:
        raise UsageProblem(
            f"this method keeps noise from step to step, which {ranks} processes cannot share; "
            "train it in one"
        )
    if ranks > min(state.schedule.batch_size, pictures):
        raise UsageProblem(
            f"{ranks} processes cannot share batches of {min(state.schedule.batch_size, pictures)}"
        )


def _optimiser(model: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    rate, decay = schedule.learning_rate, schedule.weight_decay
    if schedule.optimiser == "adam":
        return torch.optim.Adam(model.parameters(), lr=rate, weight_decay=decay)
    momentum = schedule.momentum
    return torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum, weight_decay=decay)


class Batches:
    """The order of pictures: epochs shuffled by (seed, epoch); batches span their borders.

    Orders are drawn on the host, equal for all devices, and copied to the device once an epoch.
    """

    def __init__(
        self, count: int, batch_size: int, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        self.count = count
        self.batch_size = min(batch_size, count)
        self.seed = seed
        self.device = device
        self._orders: dict[int, Tensor] = {}

    def at(self, step: int) -> Tensor:
        """Return the picture numbers (batch,) of a step counted from 0."""
        first = step * self.batch_size
        epoch, offset = divmod(first, self.count)
        order = self._order(epoch)[offset : offset + self.batch_size]
        missing = self.batch_size - len(order)
        return torch.cat([order, self._order(epoch + 1)[:missing]]) if missing else order

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            stream = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
            self._orders = {
                number: order for number, order in self._orders.items() if number == epoch - 1
            }
            order = torch.randperm(self.count, generator=stream)
            self._orders[epoch] = order.to(self.device)
        return self._orders[epoch]


@torch.no_grad()
def predict(model: nn.Module, data: LabelledPictures, run: Run, batch_size: int = 512) -> Tensor:
    """Return the predicted classes int64 (N,) of clean pictures; the model's mode is restored."""
    model.to(run.device)
    with frozen(model, run.precision) as network:
        return torch.cat(
            [
                network(to_images(pixels.to(run.device))).argmax(dim=1).cpu()
                for pixels in data.pixels.split(batch_size)
            ]
        )
