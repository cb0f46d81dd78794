"""Purification: drown the noise in more noise, and let a diffusion model take all of it away.

diffusers, an extra, builds the model; its files are read here, so that no path of it leads to a hub
or a pickle, and the way back is here, so that every picture draws from a stream of its own.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch
from torch import Tensor, nn

from unlearn.countermeasures.base import Countermeasure
from unlearn.countermeasures.sets import each_batch
from unlearn.datasets.labelled import LabelledPictures
from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.files.text import printable
from unlearn.rng import Rng

Predictor = Callable[[Tensor, Tensor], Tensor]
# x_t float (N, 3, S, S), t int64 (N,) from 0 -> the standard normal noise in x_t

STEPS: Final = 1000
_WEIGHTS: Final = "diffusion_pytorch_model.safetensors"
_SCHEDULE: Final = "scheduler_config.json"
_EXPECTED: Final = {
    "in_channels": 3,
    "out_channels": 3,
    "time_embedding_type": "positional",
    "class_embed_type": None,
    "num_class_embeds": None,
    "num_train_timesteps": STEPS,
    "prediction_type": "epsilon",
}
_OLD_NAMES: Final = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_UNFIT: Final = (OSError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError)


@dataclass(frozen=True)
class Denoiser:
    """A UNet2DModel, the side of the pictures that it knows (None: any), and its betas."""

    network: nn.Module
    side: int | None
    multiple: int  # that sides must be of
    betas: Tensor  # float64 (1000,)


def diffusion(folder: Path, start: int = 100) -> Countermeasure:
    """Return purification by the model in a folder; start is t* of 1000 steps (AVATAR: 100).

    docs/purification.md says how to make one. Raises EnvironmentProblem if it is no such model,
    UsageProblem for a start outside 1 … 1000; the countermeasure raises UsageProblem for pictures
    the model does not fit.
    """
    if not 1 <= start <= STEPS:
        raise UsageProblem(f"purification can start at 1 to {STEPS} steps of noise, not {start}")
    denoiser = load_denoiser(folder)

    def once(data: LabelledPictures, seed: int) -> LabelledPictures:
        if denoiser.side not in (None, data.size):
            raise UsageProblem(
                f"the diffusion model knows pictures of {denoiser.side} pixels, these have "
                f"{data.size}"
            )
        if data.size % denoiser.multiple:
            raise UsageProblem(
                f"the diffusion model takes sides that are multiples of {denoiser.multiple}, not "
                f"{data.size} pixels"
            )
        network = denoiser.network.to(data.pixels.device)

        def change(pixels: Tensor, rng: Rng) -> Tensor:
            predict: Predictor = lambda noisy, steps: network(noisy, steps).sample  # noqa: E731
            return purified(pixels, predict, denoiser.betas[:start], rng)

        return each_batch(change)(data, seed)

    return Countermeasure(
        "diffusion",
        f"Every picture gets {start} of {STEPS} steps of diffusion noise and is denoised by a "
        "diffusion model of the copier's, at the size the copier keeps (DiffPure; Nie et al., "
        "2022; AVATAR; Dolatabadi et al., 2023).",
        once=once,
    )


def load_denoiser(folder: Path) -> Denoiser:
    """Return the model that diffusers saved in a folder, alone or with its pipeline.

    Raises EnvironmentProblem with the reason for what is missing, damaged or of another kind.
    """
    try:
        from diffusers import DDPMScheduler, UNet2DModel
    except ImportError as error:
        raise EnvironmentProblem(
            "the countermeasure diffusion needs diffusers: pip install diffusers"
        ) from error
    unet = folder / "unet" if (folder / "unet").is_dir() else folder
    if not (unet / _WEIGHTS).is_file():
        raise EnvironmentProblem(
            f"{printable(folder)}: no diffusion model; expected a folder with config.json and "
            f"{_WEIGHTS}, since other formats can run code (see docs/purification.md)"
        )
    places = (unet / _SCHEDULE, unet.parent / "scheduler" / _SCHEDULE)
    try:
        with torch.random.fork_rng(devices=[]):  # for weights that are replaced
            network = UNet2DModel.from_config(_table(unet / "config.json"))
        network.load_state_dict(_weights(unet / _WEIGHTS))
        plain = next((_table(place) for place in places if place.is_file()), {})
        schedule = DDPMScheduler.from_config(plain)
        _check({**network.config, **schedule.config}, schedule.betas)
    except (*_UNFIT, RuntimeError, safetensors.SafetensorError) as error:
        reason = printable(" ".join(str(error).split()))
        raise EnvironmentProblem(f"{printable(unet)}: not usable: {reason:.200}") from error
    side = network.config.sample_size
    return Denoiser(
        network.eval(),
        side[0] if isinstance(side, list | tuple) else side,
        1 << (len(network.config.block_out_channels) - 1),
        schedule.betas.double(),
    )


def _table(path: Path) -> dict[str, Any]:
    """Read a JSON table; anything else, such as a name of the hub, raises ValueError."""
    plain = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(plain, dict):
        raise ValueError(f"{path.name} holds no table")  # noqa: TRY004
    return plain


def _weights(path: Path) -> dict[str, Tensor]:
    """Read weights, by the names that attentions have since diffusers 0.15."""
    return {
        ".".join(_OLD_NAMES.get(part, part) for part in name.split(".")): tensor.float()
        for name, tensor in safetensors.torch.load_file(path).items()
    }


def _check(config: Mapping[str, Any], betas: Tensor) -> None:
    """Raise ValueError for a model that does not predict the noise of colour pictures."""
    for name, value in _EXPECTED.items():
        if config[name] != value:
            raise ValueError(f"{name} is {config[name]!r}; only models with {value!r} can be used")
    if not ((betas > 0) & (betas < 1)).all():
        raise ValueError("betas lie outside 0 to 1")


@torch.no_grad()
def purified(pixels: Tensor, predict: Predictor, betas: Tensor, rng: Rng) -> Tensor:
    """Return pixels uint8 (N, 3, S, S) after one step of noise per beta, and as many back.

    Noise is added at once (Ho et al., 2020, Eq. 4) and taken away by their Algorithm 2, with the
    variance of the posterior (Eq. 7). betas float64 (T,) are the model's first T.
    """
    betas = betas.to(torch.float64).cpu()
    kept = (1 - betas).cumprod(dim=0)
    before = torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
    spread = (betas * (1 - before) / (1 - kept)).sqrt().tolist()
    towards = (betas / (1 - kept).sqrt()).tolist()
    scale = (1 - betas).rsqrt().tolist()
    shape = pixels.shape[1:]
    last = float(kept[-1])
    noisy = math.sqrt(last) * (pixels / 127.5 - 1) + math.sqrt(1 - last) * rng.normal(*shape)
    for step in reversed(range(len(betas))):
        steps = torch.full((len(pixels),), step, device=pixels.device)
        noisy = scale[step] * (noisy - towards[step] * predict(noisy, steps))
        if step:
            noisy = noisy + spread[step] * rng.normal(*shape)
    return ((noisy + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
