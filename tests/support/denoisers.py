"""Tiny diffusion models on disk, as diffusers saves them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

CONFIG = {
    "_class_name": "UNet2DModel",
    "sample_size": 8,
    "in_channels": 3,
    "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "attention_head_dim": 8,
    "norm_num_groups": 4,
}
OLD_CONFIG = CONFIG | {
    "block_out_channels": [8, 8, 16],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 2,
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
}


def weights_of(config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights that depend on names and shapes alone, so that another program can repeat them."""
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    with torch.device("meta"):
        network = diffusers.UNet2DModel.from_config(dict(config))
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    return {name: wave(number, shapes[name]) for number, name in enumerate(sorted(shapes))}


def wave(number: int, shape: tuple[int, ...]) -> Tensor:
    count = torch.Size(shape).numel()
    fan = count // shape[0]
    return torch.sin(torch.arange(count) * 0.7 + number).reshape(shape) / max(1, fan) ** 0.5


def save(folder: Path, config: Mapping[str, Any] = CONFIG, weights: Any = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = weights_of(config) if weights is None else weights
    safetensors.torch.save_file(tensors, folder / "diffusion_pytorch_model.safetensors")
    return folder
