"""Stage 1 of min-max-min: noise that lowers a surrogate's loss over random views (Eq. 2).

REM and SEM make their noise like it, against an adversary or random noise in every view.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.attack import Pgd, pgd, usual_start
from unlearn.objectives import cross_entropy
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import project, without_casts
from unlearn.together import summed
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
    # An adversary in every view, whom the noise is made against: REM's, or without steps the random
    # noise of SEM. The gradient reaches the noise through the view, not through this attack.
    against: Pgd | None = None

    @property
    def passes(self) -> int:
        """Forward+backward passes of the network for each image."""
        return self.attack.passes * (1 + (self.against.passes if self.against else 0))

    def within(self, radius: Radius) -> "StageOne":
        """Return the same for noise of another radius; the shared part keeps its share.

        An adversary as strong as the noise gets half of its radius.
        """
        shared = Radius(self.shared.value * radius.value / self.attack.radius.value)
        against = self.against and self.against.below(radius)
        return replace(self, attack=self.attack.within(radius), shared=shared, against=against)

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
            views, targets = self._views(network, colour, labels, rng, together)
            errors = cross_entropy(network(views), targets)
            return errors.view(together, -1).sum(dim=0)

        delta = pgd(losses, images, attack, "minimise", rng, start)
        return project(without_casts(delta, self.window), images, attack.radius)

    def _views(
        self, network: nn.Module, images: Tensor, labels: Tensor, rng: Rng, count: int
    ) -> tuple[Tensor, Tensor]:
        """Return so many random views of each image, attacked if against somebody, and labels."""
        views, starts = [], []
        for _ in range(count):
            views.append(self.views(images, rng))
            if self.against:
                starts.append(usual_start(views[-1], self.against, rng))
        seen, targets = torch.cat(views), labels.repeat(count)
        if self.against:
            seen = seen + pgd(
                lambda x: cross_entropy(network(x), targets),
                seen.detach(),
                self.against,
                "maximise",
                rng,
                torch.cat(starts),
            )
        return seen, targets

    def move_shared(
        self, network: nn.Module, shared: Tensor, images: Tensor, labels: Tensor, rng: Rng
    ) -> None:
        """Move the classes' parts (K, 3, S, S) a signed step of a tenth of their radius, in place.

        The step follows the losses of the batch's pictures over one random view each.
        """
        middle = torch.full_like(shared, 0.5)  # as far from 0 and 1 as can be

        def losses(moved: Tensor) -> Tensor:
            if moved.requires_grad:
                moved.register_hook(summed)  # of all pictures of a batch, whoever has them
            noisy = (images + (moved - middle)[labels]).clamp(0, 1)
            return cross_entropy(network(self.views(noisy, rng)), labels)

        step = Pgd(self.shared, Radius(self.shared.value / 10), steps=1, random_start=False)
        shared.copy_(pgd(losses, middle, step, "minimise", rng, start=shared))

    def shared_part(self, shared: Tensor | None, images: Tensor, labels: Tensor) -> Tensor | None:
        """Return the parts of the labels, sized and coloured like the images, if there are."""
        if shared is None:
            return None
        return resized(shared[labels], images)


def resized(noise: Tensor, images: Tensor) -> Tensor:
    """Return noise (N, 3, H, W), sized and coloured like images, C = 3 or 1."""
    if noise.shape[-2:] != images.shape[-2:]:
        noise = F.interpolate(noise, images.shape[-2:], mode="bilinear", align_corners=False)
    return noise if images.shape[1] == 3 else noise.mean(dim=1, keepdim=True)
