"""Read a diffusion model that diffusers saved: JSON and safetensors, nothing that can run code."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from unlearn.config import from_plain
from unlearn.countermeasures.unet import Shape, UNet
from unlearn.errors import EnvironmentProblem, UsageProblem

STEPS = 1000
_WEIGHTS = "diffusion_pytorch_model.safetensors"
_LARGEST_CONFIG = 1 << 20
_EXPECTED = {  # fields of config.json that can only be this, which is also the value when left out
    "in_channels": 3,
    "out_channels": 3,
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "mid_block_scale_factor": 1,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "act_fn": "silu",
    "attn_norm_num_groups": None,
    "resnet_time_scale_shift": "default",
    "add_attention": True,
    "class_embed_type": None,
    "num_class_embeds": None,
}
_SCHEDULE = {
    "num_train_timesteps": STEPS,
    "beta_schedule": "linear",
    "prediction_type": "epsilon",
    "trained_betas": None,
}
_OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


@dataclass(frozen=True)
class Denoiser:
    """A predictor of noise, the side of the pictures that it knows (None: any), and its betas."""

    network: UNet
    side: int | None
    betas: Tensor  # float64 (1000,)


def load_denoiser(path: Path) -> Denoiser:
    """Read the folder of a model, of a whole pipeline, or the weights file in one.

    Raises EnvironmentProblem with the reason for what is missing, damaged or of another kind.
    """
    weights = _weights_file(path)
    folder = weights.parent
    plain = _read_json(folder / "config.json")
    _check(plain, _EXPECTED, folder / "config.json")
    names = {field.name for field in fields(Shape)}
    try:
        shape = from_plain(Shape, {k: v for k, v in plain.items() if k in names})
    except UsageProblem as error:
        raise EnvironmentProblem(f"{folder / 'config.json'}: {error}") from error
    with torch.device("meta"):  # no memory, and no random numbers for weights that are replaced
        network = UNet(shape)
    _fill(network, weights)
    sizes = plain.get("sample_size")
    side = sizes[0] if isinstance(sizes, list) and sizes else sizes
    return Denoiser(network.eval(), side if isinstance(side, int) else None, _betas(folder))


def _weights_file(path: Path) -> Path:
    """Return the weights file that a path means."""
    places = [path] if path.suffix else [path / _WEIGHTS, path / "unet" / _WEIGHTS]
    for place in places:
        if place.is_file() and place.suffix == ".safetensors":
            return place
    if any(place.with_suffix(".bin").is_file() for place in places) or path.is_file():
        raise EnvironmentProblem(
            f"{path}: only weights in .safetensors are read, since other formats can run code; "
            "save the model again with safe_serialization=True (see docs/purification.md)"
        )
    raise EnvironmentProblem(
        f"{path}: no diffusion model; expected a folder with config.json and {_WEIGHTS} "
        "(see docs/purification.md)"
    )


def _read_json(path: Path) -> Mapping[str, Any]:
    """Read a JSON table of a bounded size."""
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            raise EnvironmentProblem(f"{path}: too large for a configuration")
        plain = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EnvironmentProblem(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise EnvironmentProblem(f"{path}: not JSON") from error
    if not isinstance(plain, dict):
        raise EnvironmentProblem(f"{path}: not a JSON table")
    return plain


def _check(plain: Mapping[str, Any], expected: Mapping[str, Any], path: Path) -> None:
    for name, value in expected.items():
        if plain.get(name, value) != value:
            raise EnvironmentProblem(
                f"{path}: {name} is {plain[name]!r}; only models with {value!r} can be used"
            )


def _fill(network: UNet, weights: Path) -> None:
    """Put the weights of a file into a network, under its names."""
    try:
        stored = safetensors.torch.load_file(weights)
    except (OSError, safetensors.SafetensorError) as error:
        raise EnvironmentProblem(f"{weights}: not a safetensors file ({error})") from error
    tensors = {_new_name(name): tensor.to(torch.float32) for name, tensor in stored.items()}
    try:
        network.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise EnvironmentProblem(
            f"{weights}: the weights do not fit config.json beside them: {reason}"
        ) from error


def _new_name(name: str) -> str:
    """Return the name that a weight of an attention has since diffusers 0.15."""
    parts = name.split(".")
    return ".".join(_OLD_NAMES.get(part, part) for part in parts)


def _betas(folder: Path) -> Tensor:
    """Return the linear schedule in the scheduler's file near the model, or the published one."""
    first, last = 1e-4, 0.02
    for place in (folder, folder.parent / "scheduler"):
        path = place / "scheduler_config.json"
        if path.is_file():
            plain = _read_json(path)
            _check(plain, _SCHEDULE, path)
            first, last = plain.get("beta_start", first), plain.get("beta_end", last)
            if not all(isinstance(beta, float) and 0 < beta < 1 for beta in (first, last)):
                raise EnvironmentProblem(f"{path}: betas {first!r} to {last!r} lie outside 0 to 1")
            break
    return torch.linspace(first, last, STEPS, dtype=torch.float64)
