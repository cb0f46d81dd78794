"""DenseNet-121 (Huang et al., 2017) with both stems."""

from typing import TYPE_CHECKING

from torch import nn

from unlearn.models.classifier import Classifier

if TYPE_CHECKING:
    from torchvision.models import DenseNet


def densenet121_cifar(classes: int) -> Classifier:
    """Return DenseNet-121 with a 3x3 stem and no pooling behind it, for small pictures."""
    from torchvision.models import densenet121

    network = densenet121(num_classes=classes)
    network.features.conv0 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(network.features.conv0.weight)
    network.features.pool0 = nn.Identity()
    return _from_torchvision(network, classes)


def densenet121_imagenet(classes: int) -> Classifier:
    """Return DenseNet-121 with its 7x7 stem and max-pool.

    The literature on unlearnable pictures uses it on 32x32 too, where it sees a quarter of them.
    """
    from torchvision.models import densenet121

    return _from_torchvision(densenet121(num_classes=classes), classes)


def _from_torchvision(network: "DenseNet", classes: int) -> Classifier:
    for layer in network.features.modules():
        if isinstance(layer, nn.AvgPool2d):
            layer.ceil_mode = True  # so that the smallest pictures keep a last place
    body = nn.Sequential(network.features, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Classifier(body, network.classifier.in_features, classes)
