"""Wide residual networks (Zagoruyko and Komodakis, 2016), the large victim of the literature."""

from typing import cast

from torch import Tensor, nn

from unlearn.models.classifier import Classifier


def wide_resnet34(classes: int) -> Classifier:
    """Return WRN-34-10: three stages of five blocks, ten times as wide as the narrowest form."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1, bias=False)]
    inside = 16
    for width, stride in ((160, 1), (320, 2), (640, 2)):
        layers += [Block(inside, width, stride), *(Block(width, width) for _ in range(4))]
        inside = width
    layers += [nn.BatchNorm2d(inside), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    body = nn.Sequential(*layers)
    for layer in body.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return Classifier(body, inside, classes)


class Block(nn.Module):
    """Two convolutions, each behind batch norm and ReLU, beside a skip connection."""

    def __init__(self, inside: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.activation = nn.Sequential(nn.BatchNorm2d(inside), nn.ReLU())
        self.residual = nn.Sequential(
            nn.Conv2d(inside, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        )
        changes = inside != width or stride > 1
        self.skip = nn.Conv2d(inside, width, 1, stride, bias=False) if changes else None

    def forward(self, images: Tensor) -> Tensor:
        active = self.activation(images)
        skipped = images if self.skip is None else self.skip(active)
        return cast(Tensor, self.residual(active) + skipped)
