"""Estimate what an audit costs: passes counted exactly, seconds from a short measurement."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import nn

from unlearn.attack import Pgd, frozen, pgd
from unlearn.audits.plan import AuditPlan, Cell, Training, network_and_view
from unlearn.device import Run
from unlearn.forecast import hands, longest_first
from unlearn.models import build_classifier, fresh_name
from unlearn.models.classifier import channels_last
from unlearn.objectives import cross_entropy
from unlearn.radius import Radius
from unlearn.rng import Rng

_TRIED = 8  # pictures of a trial batch; larger batches are a little faster a picture


@dataclass(frozen=True)
class Costs:
    """The seconds of each victim on one worker, and the forward+backward passes of all."""

    by_cell: dict[Cell, float]
    passes: int

    def seconds(self, workers: int) -> float:
        """Return the seconds of all victims with so many at a time."""
        return longest_first(list(self.by_cell.values()), workers)


def estimate(plan: AuditPlan, pictures: int, classes: Sequence[str], run: Run) -> Costs:
    """Return what the plan's victims cost on a training set of so many pictures."""
    rates = {
        name: _rates(network_and_view(name)[0], len(classes), plan.training.seen_by(name), run)
        for name in plan.architectures
    }
    costs, passes = {}, 0
    for cell in plan.cells():
        attack, update = rates[cell.architecture]
        shown, steps = seen(plan.training.of(cell), cell, pictures)
        attacked = shown * plan.training.passes if cell.rho_a.value else 0
        costs[cell] = attacked * attack + shown * update + 0.01 * steps
        passes += attacked + shown
    return Costs(costs, passes)


def dealt(cells: Sequence[Cell], by_cell: Mapping[Cell, float], ranks: int) -> list[list[Cell]]:
    """Deal cells out, the longest first, each to the rank with least to do; hands are in order."""
    dealing = hands([by_cell[cell] for cell in cells], ranks)
    return [[cells[number] for number in sorted(hand)] for hand in dealing]


def seen(training: Training, cell: Cell, pictures: int) -> tuple[int, int]:
    """Return how many pictures a victim is shown in all, and in how many steps."""
    share = 1 - cell.fraction if cell.arm == "remainder" else Fraction(1)
    count = max(1, round(pictures * share))
    steps = training.steps_for(count)
    return steps * min(training.batch_size, count), steps


def _rates(name: str, classes: int, training: Training, run: Run) -> tuple[float, float]:
    """Return the seconds a picture of an attack's pass and of an update, measured."""
    name = fresh_name(name)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = channels_last(build_classifier(name, classes).to(run.device))
        return _timed_attack(model, training, run), _timed_update(model, training, run)
    finally:
        torch.set_num_threads(threads)


def _timed_attack(model: nn.Module, training: Training, run: Run) -> float:
    """Return the seconds of one forward+backward pass of the frozen network for a picture."""
    images, labels = _batch(training, run)
    rng = Rng.for_images(0, torch.arange(_TRIED, device=run.device))
    with frozen(model, run.precision) as network:
        config = Pgd(Radius.of_levels(1), Radius.of_levels(1), 1)

        def attack() -> None:
            pgd(lambda x: cross_entropy(network(x), labels), images, config, "maximise", rng)

        return _seconds(attack, run) / _TRIED


def _timed_update(model: nn.Module, training: Training, run: Run) -> float:
    """Return the seconds of a training step for a picture."""
    images, labels = _batch(training, run)
    model.train()

    def update() -> None:
        with run.autocast():
            loss = cross_entropy(model(images), labels).mean()
        loss.backward()

    return _seconds(update, run) / _TRIED


def _batch(training: Training, run: Run) -> tuple[torch.Tensor, torch.Tensor]:
    """Return grey images and labels 0."""
    side = training.image_size
    images = torch.full((_TRIED, 3, side, side), 0.5, device=run.device)
    return images, torch.zeros(_TRIED, dtype=torch.int64, device=run.device)


def _seconds(work: Callable[[], None], run: Run) -> float:
    """Return the seconds of a piece of work, done once before to warm up."""
    work()
    _finish(run)
    began = time.perf_counter()
    work()
    _finish(run)
    return time.perf_counter() - began


def _finish(run: Run) -> None:
    """Wait for the device."""
    if run.device.type == "cuda":
        torch.cuda.synchronize(run.device)
