"""RandAugment: random operations from a list, drawn for each training picture."""

from torch import Tensor
from torchvision.transforms import v2

from unlearn.countermeasures.base import Countermeasure
from unlearn.countermeasures.drawing import image_by_image
from unlearn.rng import Rng

_AUGMENT = v2.RandAugment(num_ops=2, magnitude=9)


def _augmented(images: Tensor, targets: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
    return image_by_image(_AUGMENT, images, rng), targets


RANDAUGMENT = Countermeasure(
    "randaugment",
    "Two random operations of magnitude 9 of 30 change each training picture (RandAugment; Cubuk "
    "et al., 2020; torchvision's).",
    each=_augmented,
)
