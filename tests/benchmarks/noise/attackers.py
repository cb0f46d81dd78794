"""Who has the tool subtracts its motifs: with the owner's key, and without it.

    python -m tests.benchmarks.noise.attackers --photos imagenette5 --cache here/cache

The product's own default motifs are put on 200 photos of 224 pixels. A copier does not know where a
picture's motif begins, which the picture's original decides: every roll is tried. One who has the
key tries the motif of the picture's class, one who has not every grating of the tool. The best is
subtracted, under the tool's own mask as the protected picture shows it. What is reported is the
share of the noise's energy that is gone, 1 less |rest|² / |noise|².
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.benchmarks.noise.pictures import Photos, load
from unlearn.countermeasures import find
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import select_run
from unlearn.methods.base import Method
from unlearn.methods.motifs import WORKING_SIZE, Motifs, class_motifs, gratings, shown, summed
from unlearn.radius import WHITE
from unlearn.rng import Rng, content_ids

COUNT = 200
_TOGETHER = 50
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
    """Return pixels uint8 (N, 3, S, S) less the best of motifs (K, 3, p, p) at the best roll.

    chosen int64 (N,) says which motif is each picture's; None lets the correlation decide.
    """
    method = method or Motifs()
    cell = max(1, round(method.cell * pixels.shape[-1] / WORKING_SIZE))
    tiles = motifs.repeat_interleave(cell, 2).repeat_interleave(cell, 3)
    changed = torch.empty_like(pixels)
    for n in range(0, len(pixels), _TOGETHER):
        part = pixels[n : n + _TOGETHER]
        images = part.float()
        mask = shown(images / WHITE, method.mask) if method.mask else torch.ones_like(images[:, :1])
        scores = correlations(images, mask, tiles)
        own = None if chosen is None else chosen[n : n + _TOGETHER]
        if own is not None:
            scores = scores[torch.arange(len(part)), own][:, None]
        best = scores.flatten(1).argmax(dim=1)
        which, roll = best // scores[0, 0].numel(), best % scores[0, 0].numel()
        tile = tiles[which if own is None else own]
        noise = torch.stack(
            [laid(*pair, part.shape[-1]) for pair in zip(tile, roll.tolist(), strict=True)]
        )
        levels = (method.radius.levels * noise * mask).round()
        changed[n : n + _TOGETHER] = (images - levels).clamp(0, WHITE).to(torch.uint8)
    return changed


def correlations(images: Tensor, mask: Tensor, tiles: Tensor) -> Tensor:
    """Return (N, K, q, q): how well each tile (K, 3, q, q) at each roll fits images (N, 3, S, S).

    Pictures are freed of what is smooth, weighed by the mask and folded to one period, since tiles
    repeat themselves.
    """
    side, period = images.shape[-1], tiles.shape[-1]
    half = period // 2
    blurred = summed(images, half) / (2 * half + 1) ** 2
    rest = (images - blurred).clamp(-16, 16) * mask  # edges of the picture count no more than noise
    missing = -side % period
    rest = nn.functional.pad(rest, (0, missing, 0, missing))
    folds = rest.shape[-1] // period
    folded = rest.view(len(images), 3, folds, period, folds, period).sum(dim=(2, 4))
    product = torch.fft.fft2(folded)[:, None] * torch.fft.fft2(tiles).conj()[None]
    return torch.fft.ifft2(product.sum(dim=2)).real


def laid(tile: Tensor, roll: int, side: int) -> Tensor:
    """Return a tile (3, q, q) repeated over a square, moved down and right by a roll's number."""
    period = tile.shape[-1]
    times = -(-side // period)
    moved = tile.roll((roll // period, roll % period), dims=(1, 2))
    return moved.repeat(1, times, times)[:, :side, :side]


def attacked(pixels: Tensor, labels: Tensor, defence: str, key: int) -> Tensor:
    """Return stored pictures after `subtract-nokey`, `subtract-key` or a countermeasure."""
    if defence == "subtract-nokey":
        return subtracted(pixels, every_grating(Motifs().period), None)
    if defence == "subtract-key":
        return subtracted(pixels, known_motifs(key, Motifs()), labels)
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
    options = parser.parse_args(arguments)
    pixels, labels = some(load(options.photos, options.cache)[0], COUNT)
    for key in options.key:
        noisy = protected(pixels, labels, key)
        for defence in ("subtract-nokey", "subtract-key"):
            gone = removed(pixels, noisy, attacked(noisy, labels, defence, key))
            print(f"key {key}, {defence}: {gone:.1%} of the noise's energy removed", flush=True)


if __name__ == "__main__":
    main()
