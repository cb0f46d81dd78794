"""VGG-16 with batch norm (Simonyan and Zisserman, 2015), for small pictures and for photos."""

from typing import cast

from torch import Tensor, nn

from unlearn.models.classifier import Classifier
from unlearn.models.zoo import from_zoo


def vgg16_cifar(classes: int) -> Classifier:
    """Return the CIFAR form: thirteen convolutions, pooling, and one linear layer."""
    from torchvision.models.vgg import cfgs, make_layers

    features = make_layers(cfgs["D"], batch_norm=True)
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(cast(Tensor, layer.bias))
        elif isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = True  # so that pictures below 32 pixels keep a last place
    return Classifier(nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 512, classes)


def vgg16_imagenet(classes: int) -> Classifier:
    """Return the usual form with three linear layers and dropout; pictures from 32 pixels up."""
    return from_zoo("vgg16_bn", classes)
