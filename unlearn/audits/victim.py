"""The victim: a copier's model, trained on what it is given and tried on clean pictures."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.attack import Losses, Pgd, frozen, n_fgsm, pgd
from unlearn.audits.crops import cropped, resized_whole
from unlearn.audits.plan import Cell, Training, network_and_view
from unlearn.audits.report import Result
from unlearn.audits.watch import DivergedError, Surroundings, Watch
from unlearn.countermeasures.base import Countermeasure
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.errors import UsageProblem
from unlearn.models import build_classifier
from unlearn.models.classifier import Classifier
from unlearn.models.pretrained import build_pretrained, is_pretrained
from unlearn.objectives import cross_entropy
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.training import Batch, Schedule, StepLosses, train

__all__ = ["Surroundings", "fit_victim", "step_losses"]

_FINETUNE = "finetune:"
_TRANSFORMERS = ("vit", "vit-imagenet", "torchvision:vit_b_16")
_TRANSFORMER_RATE = 0.1  # of a convolutional network's, at which vit stays at its first loss
_FINETUNING_RATE = 0.01  # of the rate from scratch: 1e-3, usual for pretrained weights
_CROPS, _ADVERSARY, _COUNTERMEASURE = range(3)  # tags of a picture's streams within one step


def fit_victim(
    cell: Cell,
    training: Training,
    data: LabelledPictures,
    test: LabelledPictures,
    surroundings: Surroundings,
) -> Result:
    """Train one victim on data and try it on the clean pictures of test.

    Equal arguments give equal results, whether resumed from the checkpoint or not, but for the
    seconds. A loss that is no longer a number ends the training: the result says so. Raises
    UsageProblem for data of another size than the training's source_size.
    """
    if data.size != training.source_size:
        raise UsageProblem(
            f"pictures of {data.size} pixels do not fit a training with a source size of "
            f"{training.source_size}"
        )
    run = replace(surroundings.run, seed=cell.seed)  # nowhere else does a victim get its seed
    surroundings = replace(surroundings, run=run)
    data = surroundings.countermeasure.once(data.to(run.device), run.seed)
    schedule = _schedule(cell, training, len(data))
    losses = step_losses(cell, training, len(data.classes), surroundings)
    tried = replace(test, pixels=resized_whole(test.pixels, training.image_size))
    watch = Watch(cell, tried, surroundings, training.period(len(data)))
    with torch.random.fork_rng([run.device] if run.device.type == "cuda" else []):
        torch.manual_seed(run.seed)
        model = _build(cell.architecture, len(data.classes), surroundings)
        try:
            train(model, losses, data, schedule, run, watch)
        except DivergedError:
            watch.diverged = True
    return watch.result(len(data))


def _build(name: str, classes: int, surroundings: Surroundings) -> Classifier:
    """Build a network with fresh or, where its name says so, pretrained weights."""
    name, _ = network_and_view(name)
    if is_pretrained(name):
        return build_pretrained(name, classes, surroundings.weights, offline=surroundings.offline)
    return build_classifier(name, classes)


def _schedule(cell: Cell, training: Training, pictures: int) -> Schedule:
    """Return the steps and their rates: cosine, x0.1 every 2/5 of the steps, or constant."""
    share = _FINETUNING_RATE if cell.architecture.startswith(_FINETUNE) else 1.0
    if network_and_view(cell.architecture)[0] in _TRANSFORMERS:
        share = _TRANSFORMER_RATE
    return Schedule(
        steps=training.steps_for(pictures),
        batch_size=training.batch_size,
        learning_rate=training.learning_rate * share,
        weight_decay=training.weight_decay,
        decay_every=Fraction(1) if cell.decay == "constant" else Fraction(2, 5),
        shape="cosine" if cell.decay == "cosine" else "steps",
    )


def step_losses(
    cell: Cell, training: Training, classes: int, surroundings: Surroundings
) -> StepLosses:
    """Return what a victim minimises: crop, countermeasure, adversary, cross entropy."""
    run, countermeasure = surroundings.run, surroundings.countermeasure
    smallest_crop = float(countermeasure.smallest_crop or training.smallest_crop)
    adversary = _adversary(cell.rho_a, training) if cell.rho_a.value else None

    def losses(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        rng, side = batch.rng, training.image_size
        images = cropped(batch.pixels, side, smallest_crop, rng.fork(_CROPS))
        targets = F.one_hot(batch.labels, classes).float()
        images, targets = countered(countermeasure, model, run, images, targets, rng)
        if adversary:
            with frozen(model, run.precision, compiled=run.compiled) as network:
                images = images + adversary(
                    lambda x: cross_entropy(network(x), targets), images, rng.fork(_ADVERSARY)
                )
        with run.autocast():
            logits = model(images)
        right = logits.argmax(dim=1) == targets.argmax(dim=1)
        loss = cross_entropy(logits, targets).mean()
        return {"loss": loss, "hits": right.sum(), "seen": torch.tensor(len(right))}

    return losses


def _adversary(rho_a: Radius, training: Training) -> Callable[[Losses, Tensor, Rng], Tensor]:
    """Return what makes δ against a network's losses of images."""
    if training.adversary == "n-fgsm":
        return lambda losses, images, rng: n_fgsm(losses, images, rho_a, rng)
    config = Pgd(rho_a, Radius(rho_a.value * training.step_share), training.pgd_steps)
    return lambda losses, images, rng: pgd(losses, images, config, "maximise", rng)


@torch.no_grad()
def countered(
    countermeasure: Countermeasure,
    model: nn.Module,
    run: Run,
    images: Tensor,
    targets: Tensor,
    rng: Rng,
) -> tuple[Tensor, Tensor]:
    """Apply a countermeasure to a batch; of several draws keep each picture's hardest."""
    draws = [
        countermeasure.each(images, targets, rng.fork(_COUNTERMEASURE + draw))
        for draw in range(countermeasure.draws)
    ]
    if len(draws) == 1:
        return draws[0]
    with frozen(model, run.precision) as network:
        losses = torch.stack([cross_entropy(network(x), y) for x, y in draws])
    hardest = losses.argmax(dim=0)
    everyone = torch.arange(len(images), device=images.device)
    drawn_images, drawn_targets = (torch.stack(parts) for parts in zip(*draws, strict=True))
    return drawn_images[hardest, everyone], drawn_targets[hardest, everyone]
