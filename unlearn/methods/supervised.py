"""Surrogates trained on labels, plainly or against an adversary, and what they see in pictures."""

from typing import cast

import torch
from torch import Tensor, nn

from unlearn.attack import Pgd, frozen, pgd
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.errors import UsageProblem
from unlearn.methods.base import Spec
from unlearn.models import build_classifier
from unlearn.models.classifier import Classifier
from unlearn.objectives import cross_entropy
from unlearn.tensors import to_images
from unlearn.training import Batch, StepLosses
from unlearn.views import Views

_TOGETHER = 512


def classifier_for(method: str, spec: Spec) -> Classifier:
    """Return a fresh network; raises UsageProblem for one class, of which there is no mistake."""
    if spec.classes < 2:
        raise UsageProblem(
            f"{method} makes classes easy to tell apart for a network; it needs at least 2"
        )
    return build_classifier(spec.architecture, spec.classes)


def supervised(run: Run, views: Views, adversary: Pgd | None = None) -> StepLosses:
    """Return the losses of a step: cross entropy of random views, attacked if by an adversary."""

    def losses(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        images, labels = views(to_images(batch.pixels), batch.rng), batch.labels
        if adversary:
            with frozen(model, run.precision, compiled=run.compiled) as network:
                images = images + pgd(
                    lambda x: cross_entropy(network(x), labels),
                    images,
                    adversary,
                    "maximise",
                    batch.rng,
                )
        with run.autocast():
            logits = model(images)
        return {"loss": cross_entropy(logits, labels).mean()}

    return losses


@torch.no_grad()
def all_features(model: nn.Module, data: LabelledPictures, run: Run) -> Tensor:
    """Return the features (N, F) of clean pictures, on the run's device."""
    with frozen(model, run.precision) as network:
        return torch.cat(
            [
                cast(Classifier, network).features(to_images(pixels.to(run.device)))
                for pixels in data.pixels.split(_TOGETHER)
            ]
        )
