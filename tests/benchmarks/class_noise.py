"""The noise of a method as the papers publish it: by class, without a key, many pictures at once.

What `protect` writes, and what an audit tries, is unlearn.protection.noise; here the question is
the method, and there are 50,000 pictures.
"""

import torch

from unlearn.datasets.labelled import LabelledPictures
from unlearn.generators.artefact import NoiseGenerator
from unlearn.radius import WIDEST, Radius
from unlearn.rng import Rng
from unlearn.tensors import add_levels, to_images, to_levels

_TOGETHER = 500


def noisy(
    generator: NoiseGenerator, data: LabelledPictures, rho: Radius | None
) -> LabelledPictures:
    """Return the pictures with the generator's noise for their classes, in levels."""
    maker, parts = generator.at(rho), []
    device = generator.run.device
    for part in (data.subset(index) for index in torch.arange(len(data)).split(_TOGETHER)):
        images, ids = to_images(part.pixels).to(device), part.ids.to(device)
        rng = Rng.for_images(generator.run.seed, ids)
        delta = maker(images, maker.targets(images, part.labels.to(device), rng), rng)
        parts.append(add_levels(part.pixels, to_levels(delta, rho or WIDEST).cpu()))
    return LabelledPictures(torch.cat(parts), data.labels, data.classes, data.ids)
