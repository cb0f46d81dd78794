"""Residual networks (He et al., 2016): ResNet-18 and -50 with both stems, and narrow forms."""

from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from unlearn.models.classifier import Classifier

if TYPE_CHECKING:
    from torchvision.models import ResNet


def resnet18_cifar(classes: int) -> Classifier:
    """Return ResNet-18 with the 3x3 stem of the CIFAR literature, for small pictures."""
    return _from_torchvision("resnet18", classes, small_stem=True)


def resnet18_imagenet(classes: int) -> Classifier:
    """Return ResNet-18 with its usual 7x7 stem and max-pool, for photo-sized pictures."""
    return _from_torchvision("resnet18", classes)


def resnet50_cifar(classes: int) -> Classifier:
    """Return ResNet-50 with the 3x3 stem of the CIFAR literature, for small pictures."""
    return _from_torchvision("resnet50", classes, small_stem=True)


def resnet50_imagenet(classes: int) -> Classifier:
    """Return ResNet-50 with its usual 7x7 stem and max-pool, for photo-sized pictures."""
    return _from_torchvision("resnet50", classes)


def resnet18_thin(classes: int) -> Classifier:
    """Return ResNet-18 with the 3x3 stem at a quarter of the width: 0.7 million weights."""
    return _narrow(classes, widths=(16, 32, 64, 128), blocks=2)


def resnet_small(classes: int) -> Classifier:
    """Return three residual blocks of width 16, 32 and 64: trains on two CPU cores in minutes."""
    return _narrow(classes, widths=(16, 32, 64), blocks=1)


def resnet_small_imagenet64(classes: int) -> Classifier:
    """Return resnet_small behind a stem of stride 2, for photos at 64 pixels (ImageNet64x64)."""
    return _narrow(classes, widths=(16, 32, 64), blocks=1, stem=(3, 2))


def resnet_small_imagenet(classes: int) -> Classifier:
    """Return resnet_small behind a 7x7 stem of stride 4, for photos at 224 pixels."""
    return _narrow(classes, widths=(16, 32, 64), blocks=1, stem=(7, 4))


class Block(nn.Module):
    """Two 3x3 convolutions, each with batch norm, beside a skip connection.

    It is torchvision's BasicBlock, with its names of weights. Of the networks here only those that
    need more load torchvision, which takes as long as PyTorch itself.
    """

    def __init__(self, inside: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, images: Tensor) -> Tensor:
        changed = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(images)))))
        changed += images if self.downsample is None else self.downsample(images)
        return cast(Tensor, self.relu(changed))


def _from_torchvision(name: str, classes: int, *, small_stem: bool = False) -> Classifier:
    from torchvision.models import get_model

    network = cast("ResNet", get_model(name, num_classes=classes))
    if small_stem:
        network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        network.maxpool = nn.Identity()
    layers = [layer for name, layer in network.named_children() if name != "fc"]
    return Classifier(nn.Sequential(*layers, nn.Flatten()), network.fc.in_features, classes)


def _narrow(
    classes: int, widths: tuple[int, ...], blocks: int, stem: tuple[int, int] = (3, 1)
) -> Classifier:
    """Stack stages of basic blocks behind a stem of a side and stride, halving size in between."""
    side, stride = stem
    first = nn.Conv2d(3, widths[0], side, stride, padding=side // 2, bias=False)
    layers: list[nn.Module] = [first, nn.BatchNorm2d(widths[0]), nn.ReLU()]
    inside = widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            skip = None
            if stride > 1 or inside != width:
                across = nn.Conv2d(inside, width, 1, stride, bias=False)
                skip = nn.Sequential(across, nn.BatchNorm2d(width))
            layers.append(Block(inside, width, stride, skip))
            inside = width
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for layer in body.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return Classifier(body, inside, classes)
