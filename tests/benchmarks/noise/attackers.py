"""Who has the tool subtracts its motifs: with the owner's key, and without it.

    python -m tests.benchmarks.noise.attackers --photos imagenette5 --cache here/cache

The product's own default motifs, or those of a recipe, are put on 200 photos of 224 pixels. A
copier knows neither where a picture's motif begins nor the size of its cells, which the picture's
original decides: 161 sizes and 784 places are tried. One who has the key tries the motif of the
picture's class, one who has not every grating of the tool. The best is subtracted, under the tool's
own mask as the protected picture shows it. What is reported is the share of the noise's energy that
is gone, 1 less |rest|² / |noise|².
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.benchmarks.noise.pictures import Photos, load
from unlearn.countermeasures import find
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import select_run
from unlearn.methods.base import PAPER, Method
from unlearn.methods.motifs import (
    FINE,
    WORKING_SIZE,
    Motifs,
    class_motifs,
    gratings,
    shown,
    summed,
)
from unlearn.radius import WHITE
from unlearn.rng import Rng, content_ids

COUNT = 200
_TOGETHER = 50
_SIZES, _STARTS = 161, 28  # of cells, and of a motif down and across, that are tried
_CLASSES = 16  # to which the product rounds up: its table depends on no later class


def protected(pixels: Tensor, labels: Tensor, key: int, method: Method | None = None) -> Tensor:
    """Return pixels uint8 (N, 3, S, S) with noise of a method that trains nothing, of a key."""
    maker = (method or Motifs()).ready(nn.Module(), select_run("cpu"))
    changed = torch.empty_like(pixels)
    for n in range(0, len(pixels), _TOGETHER):
        part = pixels[n : n + _TOGETHER]
        rng = Rng.for_images(key, content_ids(part))
        levels = (maker(part.float() / WHITE, labels[n : n + _TOGETHER], rng) * WHITE).round()
        changed[n : n + _TOGETHER] = (part + levels).clamp(0, WHITE).to(torch.uint8)
    return changed


def known_motifs(key: int, method: Motifs) -> Tensor:
    """Return the motifs (K, 3, p, p) of a key's classes, as far as they have one period."""
    stream = int(Rng.for_images(key, torch.zeros(1, dtype=torch.int64)).common().keys[0])
    table = class_motifs(stream, _CLASSES, method.kind, method.period, 3)
    return torch.stack([one for one in table if one.shape[-1] == method.period])


def every_grating(period: int) -> Tensor:
    """Return the tool's gratings (N, 3, p, p), each once: what anybody can draw."""
    return gratings(period, 3, Rng.for_images(0, torch.zeros(1, dtype=torch.int64)))


def subtracted(
    pixels: Tensor, motifs: Tensor, chosen: Tensor | None, method: Motifs | None = None
) -> Tensor:
    """Return pixels uint8 (N, 3, S, S) less the best of motifs (K, 3, p, p) at the best place.

    chosen int64 (N,) says which motif is each picture's; None lets the spectrum decide. The size of
    cells is that, of 161 of the method's, whose wave is strongest.
    """
    method = method or Motifs()
    changed, sizes = torch.empty_like(pixels), known_sizes(method, pixels.shape[-1])
    for n in range(0, len(pixels), _TOGETHER):
        part = pixels[n : n + _TOGETHER]
        images = part.float()
        mask = shown(images / WHITE, method.mask) if method.mask else torch.ones_like(images[:, :1])
        flat = flattened(images, method) * mask
        found = torch.stack([waves(flat, motif, sizes) for motif in motifs], dim=1)
        if chosen is not None:
            own = torch.zeros(found.shape[:2], dtype=torch.bool)
            own[torch.arange(len(part)), chosen[n : n + _TOGETHER]] = True
            found = torch.where(own[..., None], found, -1.0)
        best = found.flatten(1).argmax(dim=1).tolist()
        noise = torch.stack(
            [
                placed(one, motifs[number // len(sizes)], sizes[number % len(sizes)])
                for one, number in zip(flat, best, strict=True)
            ]
        )
        levels = (method.radius.levels * noise * mask).round()
        changed[n : n + _TOGETHER] = (images - levels).clamp(0, WHITE).to(torch.uint8)
    return changed


def flattened(images: Tensor, method: Motifs) -> Tensor:
    """Return images freed of what is smooth; edges of the picture count no more than noise."""
    half = max(1, round(method.cell * images.shape[-1] / WORKING_SIZE)) * method.period // 2
    return (images - summed(images, half) / (2 * half + 1) ** 2).clamp(-16, 16)


def known_sizes(method: Motifs, side: int) -> list[int]:
    """Return the sides of cells that are tried, in 1/256 px."""
    draws = torch.linspace(0, 1, _SIZES) if method.varied else torch.full((1,), 0.5)
    return method.cells(torch.empty(1, 3, side, side), draws)


def waves(flat: Tensor, motif: Tensor, sizes: list[int]) -> Tensor:
    """Return (N, M): how strong the motif's first wave is in pictures, for M sizes of cells."""
    side, period = flat.shape[-1], motif.shape[-1]
    spectrum = torch.fft.fft2(motif).abs().sum(dim=0)
    down, across = divmod(int(spectrum.argmax()), period)
    periods = torch.tensor(sizes) * period / FINE
    places = 2 * torch.pi * torch.arange(side) / periods[:, None]
    rows, columns = torch.exp(-1j * down * places), torch.exp(-1j * across * places)
    signs = motif[:, :1, :1]  # of the colours: they go together, or against each other
    grey = (flat * signs).sum(dim=1).to(torch.complex64)
    return torch.einsum("my,nyx,mx->nm", rows, grey, columns).abs()


def placed(flat: Tensor, motif: Tensor, fine: int) -> Tensor:
    """Return a motif (3, p, p) over a square, begun where it fits flat (3, S, S) best."""
    side, period = flat.shape[-1], motif.shape[-1]
    grid = [divmod(n, _STARTS) for n in range(_STARTS**2)]
    lines = [
        (torch.arange(side) * FINE + s * period * fine // _STARTS) // fine % period
        for s in range(_STARTS)
    ]
    folds = [torch.nn.functional.one_hot(line, period).float() for line in lines]
    rows = [torch.einsum("yp,cyx->cpx", fold, flat) for fold in folds]
    fits = [float(((rows[down] @ folds[across]) * motif).sum()) for down, across in grid]
    down, across = grid[max(range(len(grid)), key=fits.__getitem__)]
    return motif[:, lines[down][:, None], lines[across]]


def attacked(
    pixels: Tensor, labels: Tensor, defence: str, key: int, method: Motifs | None = None
) -> Tensor:
    """Return stored pictures after `subtract-nokey`, `subtract-key` or a countermeasure."""
    method = method or Motifs()
    if defence == "subtract-nokey":
        return subtracted(pixels, every_grating(method.period), None, method)
    if defence == "subtract-key":
        return subtracted(pixels, known_motifs(key, method), labels, method)
    classes = tuple(str(n) for n in range(int(labels.max()) + 1))
    return find(defence).once(LabelledPictures(pixels, labels, classes), 0).pixels


def removed(clean: Tensor, noisy: Tensor, rest: Tensor) -> float:
    """Return the share of the energy of the noise that is gone, all pixels uint8."""
    energy = (noisy.float() - clean).square().sum()
    return float(1 - (rest.float() - clean).square().sum() / energy)


def some(photos: Photos, count: int) -> tuple[Tensor, Tensor]:
    """Return the pixels and labels of so many photos, spread over all."""
    index = torch.arange(count) * len(photos.labels) // count
    return photos.pixels[index], photos.labels[index]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--key", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--recipe", default=PAPER)
    options = parser.parse_args(arguments)
    pixels, labels = some(load(options.photos, options.cache)[0], COUNT)
    method = Motifs.recipes()[options.recipe]
    for key in options.key:
        noisy = protected(pixels, labels, key, method)
        for defence in ("subtract-nokey", "subtract-key"):
            gone = removed(pixels, noisy, attacked(noisy, labels, defence, key, method))
            print(f"key {key}, {defence}: {gone:.1%} of the noise's energy removed", flush=True)


if __name__ == "__main__":
    main()
