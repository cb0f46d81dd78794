"""Stage 1 of min-max-min: noise that lowers the loss of surrogates over random views (Eq. 2)."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.attack import Pgd, pgd
from unlearn.models.classifier import Classifier
from unlearn.objectives import cosine_cross_entropy, cross_entropy
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import project, without_casts
from unlearn.views import Views

_VIEWS_TOGETHER = 32  # few pictures: all views in one pass cost little more than one of them


@dataclass(frozen=True)
class StageOne:
    """How noise is made: the attack, what its losses see and what they are (see MinMaxMin)."""

    attack: Pgd
    views: Views
    window: int
    jitter: Radius
    cosine_weight: float
    shared: Radius
    patterns: int

    def minimum(
        self,
        networks: Sequence[nn.Module],
        images: Tensor,
        labels: Tensor,
        rng: Rng,
        start: Tensor | None = None,
    ) -> Tensor:
        """Return δu (Eq. 2) for float images (N, C, H, W), C = 1 or 3, each image alone.

        The gradients of all networks are summed, each over fresh random views in three channels.
        """

        def seen(noisy: Tensor) -> Tensor:
            fine = without_casts(noisy - images, self.window)
            clipped = project(fine.detach(), images, self.attack.radius)
            return images + fine + (clipped - fine).detach()

        attack, together = self.attack, 1
        if len(images) * attack.views <= _VIEWS_TOGETHER:
            attack, together = replace(attack, views=1), attack.views
        attack = replace(attack, views=attack.views * len(networks))
        turns = itertools.cycle(networks)

        def losses(noisy: Tensor) -> Tensor:
            colour = (seen(noisy) if self.window else noisy).expand(-1, 3, -1, -1)
            views = torch.cat([self._view(colour, rng) for _ in range(together)])
            errors = self._errors(next(turns), views, labels.repeat(together))
            return errors.view(together, -1).sum(dim=0)

        delta = pgd(losses, images, attack, "minimise", rng, start)
        return project(without_casts(delta, self.window), images, attack.radius)

    def places(self, labels: Tensor, rng: Rng) -> Tensor:
        """Return which shared pattern (N,) each picture has: one of its class's, drawn from rng."""
        if self.patterns == 1:
            return labels
        return labels * self.patterns + rng.integers(self.patterns)

    def move_shared(
        self,
        network: nn.Module,
        shared: Tensor,
        images: Tensor,
        labels: Tensor,
        places: Tensor,
        rng: Rng,
    ) -> None:
        """Move the patterns (P, 3, S, S) one signed step of a tenth of their radius, in place.

        The step follows the losses of the batch's pictures over one random view each; places (N,)
        are the numbers of their patterns.
        """
        middle = torch.full_like(shared, 0.5)  # as far from 0 and 1 as can be

        def losses(moved: Tensor) -> Tensor:
            noisy = (images + (moved - middle)[places]).clamp(0, 1)
            return self._errors(network, self._view(noisy, rng), labels)

        step = Pgd(self.shared, Radius(self.shared.value / 10), steps=1, random_start=False)
        shared.copy_(pgd(losses, middle, step, "minimise", rng, start=shared))

    def shared_part(self, module: nn.Module, images: Tensor, places: Tensor) -> Tensor | None:
        """Return the patterns at places (N,), sized and coloured like the images, if there are."""
        if not self.shared.value:
            return None
        part = module.get_buffer("shared")[places]
        if part.shape[-2:] != images.shape[-2:]:
            part = F.interpolate(part, images.shape[-2:], mode="bilinear", align_corners=False)
        return part if images.shape[1] == 3 else part.mean(dim=1, keepdim=True)

    def _view(self, images: Tensor, rng: Rng) -> Tensor:
        """Return one random view of each image, with its own draw of jitter inside [0, 1]."""
        views = self.views(images, rng)
        if not self.jitter.value:
            return views
        ball = float(self.jitter)
        draw = rng.uniform(*views.shape[1:], low=-ball, high=ball)
        return views + project(draw, views.detach(), self.jitter)

    def _errors(self, network: nn.Module, views: Tensor, labels: Tensor) -> Tensor:
        """Return each view's loss: cross entropy, with the cosine term if it has a weight."""
        if not self.cosine_weight:
            return cross_entropy(network(views), labels)
        parts = cast(Classifier, network)  # or its folded copy, which has the same parts
        features = parts.features(views)
        cosines = cosine_cross_entropy(features, parts.head.weight, labels)
        return cross_entropy(parts.head(features), labels) + self.cosine_weight * cosines
