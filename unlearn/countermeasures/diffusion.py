"""Purification: drown the noise in more noise, and let a diffusion model take all of it away."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from unlearn.countermeasures.base import Countermeasure
from unlearn.countermeasures.denoiser import STEPS, Denoiser, load_denoiser
from unlearn.countermeasures.drawing import normal
from unlearn.countermeasures.sets import each_batch
from unlearn.datasets.labelled import Data
from unlearn.errors import UsageProblem
from unlearn.rng import Rng

Predictor = Callable[[Tensor, Tensor], Tensor]
# x_t float (N, 3, S, S), t int64 (N,) from 0 -> the standard normal noise in x_t


def diffusion(weights: Path, start: int = 100) -> Countermeasure:
    """Return purification by a model on disk; start is t* of 1000 steps (AVATAR: 100).

    weights is a folder that diffusers saved or the safetensors file in it; docs/purification.md
    says how to make one. Raises EnvironmentProblem if it is no such model, UsageProblem for a start
    outside 1 … 1000; the countermeasure raises UsageProblem for pictures the model does not fit.
    """
    if not 1 <= start <= STEPS:
        raise UsageProblem(f"purification can start at 1 to {STEPS} steps of noise, not {start}")
    denoiser = load_denoiser(weights)

    def once(data: Data, seed: int) -> Data:
        _check_size(denoiser, data.size)
        network = denoiser.network.to(data.pixels.device)
        betas = denoiser.betas[:start]
        return each_batch(lambda pixels, rng: purified(pixels, network, betas, rng))(data, seed)

    return Countermeasure(
        "diffusion",
        f"Every picture gets {start} of {STEPS} steps of diffusion noise and is denoised by a "
        "diffusion model of the copier's, at the size the copier keeps (DiffPure; Nie et al., "
        "2022; AVATAR; Dolatabadi et al., 2023).",
        once=once,
    )


def _check_size(denoiser: Denoiser, size: int) -> None:
    multiple = denoiser.network.shape.multiple
    if denoiser.side not in (None, size):
        raise UsageProblem(
            f"the diffusion model knows pictures of {denoiser.side} pixels, these have {size}"
        )
    if size % multiple:
        raise UsageProblem(
            f"the diffusion model takes sides that are multiples of {multiple}, not {size} pixels"
        )


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
    noisy = math.sqrt(last) * (pixels / 127.5 - 1) + math.sqrt(1 - last) * normal(rng, *shape)
    for step in reversed(range(len(betas))):
        steps = torch.full((len(pixels),), step, device=pixels.device)
        noisy = scale[step] * (noisy - towards[step] * predict(noisy, steps))
        if step:
            noisy = noisy + spread[step] * normal(rng, *shape)
    return ((noisy + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
