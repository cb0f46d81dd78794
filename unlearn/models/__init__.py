"""Networks by name; every one takes images in [0, 1] of any size and returns logits."""

from collections.abc import Callable

from unlearn.errors import UsageProblem
from unlearn.models.classifier import Classifier
from unlearn.models.resnet import resnet18_cifar, resnet18_imagenet, resnet18_thin, resnet_small

ARCHITECTURES: dict[str, Callable[[int], Classifier]] = {
    "resnet18": resnet18_cifar,
    "resnet18-imagenet": resnet18_imagenet,
    "resnet18-thin": resnet18_thin,
    "resnet-small": resnet_small,
}


def build_classifier(architecture: str, classes: int) -> Classifier:
    """Build a network with fresh weights; raises UsageProblem for an unknown name or no classes."""
    if architecture not in ARCHITECTURES:
        raise UsageProblem(
            f"unknown architecture {architecture!r}; choose one of {', '.join(ARCHITECTURES)}"
        )
    if classes < 1:
        raise UsageProblem(f"a classifier needs at least one class, not {classes}")
    return ARCHITECTURES[architecture](classes)
