"""Networks by name; every one takes images in [0, 1] and returns logits."""

from collections.abc import Callable

import torch

from unlearn.errors import UsageProblem
from unlearn.models.classifier import Classifier
from unlearn.models.densenet import densenet121_cifar, densenet121_imagenet
from unlearn.models.pretrained import is_pretrained
from unlearn.models.resnet import (
    resnet18_cifar,
    resnet18_imagenet,
    resnet18_thin,
    resnet50_cifar,
    resnet50_imagenet,
    resnet_small,
    resnet_small_imagenet,
    resnet_small_imagenet64,
)
from unlearn.models.vgg import vgg16_cifar, vgg16_imagenet
from unlearn.models.vit import vit_cifar, vit_imagenet
from unlearn.models.wide_resnet import wide_resnet34
from unlearn.models.zoo import check_zoo_name, from_zoo, zoo_names

ARCHITECTURES: dict[str, Callable[[int], Classifier]] = {
    "resnet18": resnet18_cifar,
    "resnet18-imagenet": resnet18_imagenet,
    "resnet18-thin": resnet18_thin,
    "resnet-small": resnet_small,
    "resnet-small-imagenet": resnet_small_imagenet,
    "resnet-small-imagenet64": resnet_small_imagenet64,
    "resnet50": resnet50_cifar,
    "resnet50-imagenet": resnet50_imagenet,
    "vgg16": vgg16_cifar,
    "vgg16-imagenet": vgg16_imagenet,
    "densenet121": densenet121_cifar,
    "densenet121-imagenet": densenet121_imagenet,
    "wrn-34-10": wide_resnet34,
    "vit": vit_cifar,
    "vit-imagenet": vit_imagenet,
}
_ZOO = "torchvision:"


def build_classifier(architecture: str, classes: int) -> Classifier:
    """Build a network with fresh weights: one of ARCHITECTURES, or torchvision:NAME.

    Raises UsageProblem for an unknown name, for one that needs weights, or for no classes.
    """
    check_architecture(architecture)
    if is_pretrained(architecture):
        raise UsageProblem(f"{architecture} needs pretrained weights; only audits train it")
    if classes < 1:
        raise UsageProblem(f"a classifier needs at least one class, not {classes}")
    if architecture.startswith(_ZOO):
        return from_zoo(architecture.removeprefix(_ZOO), classes)
    return ARCHITECTURES[architecture](classes)


def check_architecture(name: str) -> None:
    """Raise UsageProblem unless a network has this name; builds none, so it is cheap.

    Names are those of ARCHITECTURES, and torchvision:NAME, finetune:NAME and probe:NAME.
    """
    name = fresh_name(name)
    if name.startswith(_ZOO):
        check_zoo_name(name.partition(":")[2])
    elif name not in ARCHITECTURES:
        raise UsageProblem(
            f"unknown architecture {name!r}; choose one of {', '.join(ARCHITECTURES)}, "
            "or torchvision:NAME; audits also take finetune:NAME and probe:NAME"
        )


def fresh_name(name: str) -> str:
    """Return the name that a network of pretrained weights has with fresh ones; others stay."""
    if not is_pretrained(name):
        return name
    plain = name.partition(":")[2]
    return plain if plain in ARCHITECTURES and plain not in zoo_names() else _ZOO + plain


def check_picture_size(name: str, size: int) -> None:
    """Raise UsageProblem for a network that cannot take pictures of size x size pixels.

    Shapes alone go through the network, no numbers, so that it costs a fraction of a second.
    """
    check_architecture(name)
    try:
        with torch.device("meta"), torch.no_grad():
            build_classifier(fresh_name(name), 1).eval()(torch.empty(1, 3, size, size))
    except NotImplementedError:
        return  # RegNets plan their widths with numbers; they take any size
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UsageProblem(f"{name} cannot take pictures of {size}x{size}: {error}") from error
