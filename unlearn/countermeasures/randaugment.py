"""RandAugment: random operations from a list, drawn for each training picture."""

from torchvision.transforms import v2

from unlearn.countermeasures.base import Countermeasure
from unlearn.countermeasures.drawing import image_by_image

_AUGMENT = v2.RandAugment(num_ops=2, magnitude=9)


RANDAUGMENT = Countermeasure(
    "randaugment",
    "Two random operations of magnitude 9 of 30 change each training picture (RandAugment; Cubuk "
    "et al., 2020; torchvision's).",
    each=lambda images, targets, rng: (image_by_image(_AUGMENT, images, rng), targets),
)
