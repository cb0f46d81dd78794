"""Stage 1 of min-max-min: noise that lowers a surrogate's loss over random views (Eq. 2)."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.attack import Pgd, pgd
from unlearn.objectives import cross_entropy
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import project, without_casts
from unlearn.views import Views

_VIEWS_TOGETHER = 32  # few pictures: all views in one pass cost little more than one of them
_NONE = Radius.of_levels(0)


@dataclass(frozen=True)
class StageOne:
    """How noise is made; attack and views as published, the rest not published and off."""

    attack: Pgd = Pgd(Radius.of_levels(8), Radius.of_levels(1.6), steps=10, views=5)
    views: Views = Views()
    window: int = 0  # noise tints no area wider than so many pixels (see without_casts)
    # Of a part that all pictures of a class share: it is learned along, one signed step a batch,
    # and each picture's own noise starts from it.
    shared: Radius = _NONE

    def within(self, radius: Radius) -> "StageOne":
        """Return the same for noise of another radius; the shared part keeps its share."""
        shared = Radius(self.shared.value * radius.value / self.attack.radius.value)
        return replace(self, attack=self.attack.within(radius), shared=shared)

    def minimum(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        rng: Rng,
        start: Tensor | None = None,
    ) -> Tensor:
        """Return δu (Eq. 2) for float images (N, C, H, W), C = 1 or 3, each image alone.

        Every gradient is that of fresh random views in three channels.
        """

        def seen(noisy: Tensor) -> Tensor:
            fine = without_casts(noisy - images, self.window)
            clipped = project(fine.detach(), images, self.attack.radius)
            return images + fine + (clipped - fine).detach()

        attack, together = self.attack, 1
        if len(images) * attack.views <= _VIEWS_TOGETHER:
            attack, together = replace(attack, views=1), attack.views

        def losses(noisy: Tensor) -> Tensor:
            colour = (seen(noisy) if self.window else noisy).expand(-1, 3, -1, -1)
            views = torch.cat([self.views(colour, rng) for _ in range(together)])
            errors = cross_entropy(network(views), labels.repeat(together))
            return errors.view(together, -1).sum(dim=0)

        delta = pgd(losses, images, attack, "minimise", rng, start)
        return project(without_casts(delta, self.window), images, attack.radius)

    def move_shared(
        self, network: nn.Module, shared: Tensor, images: Tensor, labels: Tensor, rng: Rng
    ) -> None:
        """Move the classes' parts (K, 3, S, S) a signed step of a tenth of their radius, in place.

        The step follows the losses of the batch's pictures over one random view each.
        """
        middle = torch.full_like(shared, 0.5)  # as far from 0 and 1 as can be

        def losses(moved: Tensor) -> Tensor:
            noisy = (images + (moved - middle)[labels]).clamp(0, 1)
            return cross_entropy(network(self.views(noisy, rng)), labels)

        step = Pgd(self.shared, Radius(self.shared.value / 10), steps=1, random_start=False)
        shared.copy_(pgd(losses, middle, step, "minimise", rng, start=shared))

    def shared_part(self, shared: Tensor | None, images: Tensor, labels: Tensor) -> Tensor | None:
        """Return the parts of the labels, sized and coloured like the images, if there are."""
        if shared is None:
            return None
        part = shared[labels]
        if part.shape[-2:] != images.shape[-2:]:
            part = F.interpolate(part, images.shape[-2:], mode="bilinear", align_corners=False)
        return part if images.shape[1] == 3 else part.mean(dim=1, keepdim=True)
