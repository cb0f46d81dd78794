"""Vision transformers (Dosovitskiy et al., 2021): a small one for any size, and ViT-B/16."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearn.models.classifier import Classifier
from unlearn.models.zoo import from_zoo

PATCH, WIDTH = 4, 256


def vit_cifar(classes: int) -> Classifier:
    """Return the size of ViT-Lite-7/4 (Hassani et al., 2021), for small pictures."""
    return Classifier(Patches(), WIDTH, classes)


def vit_imagenet(classes: int) -> Classifier:
    """Return ViT-B/16, for pictures of 224 pixels and no other size."""
    return from_zoo("vit_b_16", classes)


class Patches(nn.Module):
    """Seven transformer blocks over patches of 4x4 pixels, averaged: images -> features (N, 256).

    Positions are computed and patches averaged in place of learned positions and a class token
    (Beyer et al., 2022), which lets it take any size; border patches are filled up with grey.
    """

    def __init__(self) -> None:
        from torchvision.models.vision_transformer import EncoderBlock

        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, stride=PATCH)
        blocks = [
            EncoderBlock(
                num_heads=4, hidden_dim=WIDTH, mlp_dim=512, dropout=0.0, attention_dropout=0.0
            )
            for _ in range(7)
        ]
        self.blocks = nn.Sequential(*blocks, nn.LayerNorm(WIDTH, eps=1e-6))

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        whole = functional.pad(images, (0, -width % PATCH, 0, -height % PATCH))
        grid = self.patches(whole)
        rows, columns = grid.shape[-2:]
        tokens = grid.flatten(2).transpose(1, 2) + positions(rows, columns, grid.device)
        return cast(Tensor, self.blocks(tokens).mean(dim=1))


def positions(rows: int, columns: int, device: torch.device) -> Tensor:
    """Return the embedding (rows · columns, WIDTH) of places: waves across, then waves down."""
    places = torch.arange(max(rows, columns), device=device)
    scales = 10_000 ** -torch.linspace(0, 1, WIDTH // 4, device=device)
    angles = torch.outer(places, scales)
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    across = waves[None, :columns].expand(rows, -1, -1)
    down = waves[:rows, None].expand(-1, columns, -1)
    return torch.cat([across, down], dim=2).flatten(0, 1)
