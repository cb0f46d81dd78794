"""Arms: the training sets that an audit compares, cut by the pictures' contents."""

from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.audits.plan import Cell
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run
from unlearn.errors import UsageProblem
from unlearn.generators.recipes import recipe_of
from unlearn.methods.base import Spec
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import add_levels, to_images, to_levels

_SPLIT_SEED, _CHOICE_SEED = 1, 2  # two orders of the same pictures that know nothing of each other
_HALVINGS = 14
_MOTIFS, _RANDOM = "motifs", "random"  # the method and recipe that every method must beat
_CHUNK_VALUES = 1 << 22


def split(data: LabelledPictures, share: Fraction) -> tuple[Tensor, Tensor]:
    """Return the numbers of the pictures to train on and of those held out, int64 and ascending.

    Of each class the share with the lowest hash is held out, so few pictures change sides when
    others are added. Equal contents stay on one side, and both sides get one of each class, where
    a class has different contents. Raises UsageProblem for no share.
    """
    if not 0 < share < 1:
        raise UsageProblem(f"a share of {share} cannot be held out; choose one between 0 and 1")
    held_out = torch.zeros(len(data), dtype=torch.bool)
    for numbers, keys in _classes(data, _SPLIT_SEED):
        held_out[numbers[: _cut(keys, round(share * len(keys)))]] = True
    return (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]


def _cut(keys: Tensor, count: int) -> int:
    """Return the place nearest to count, neither end, where sorted keys change; 0 if none does."""
    places = 1 + (keys[1:] != keys[:-1]).nonzero()[:, 0]
    return int(places[(places - count).abs().argmin()]) if len(places) else 0


def chosen(data: LabelledPictures, fraction: Fraction) -> Tensor:
    """Return the numbers of a fraction of each class, rounded, int64 and ascending.

    A larger fraction takes the same pictures and more. data are the clean pictures: the choice is
    by their contents.
    """
    parts = [
        numbers[: round(fraction * len(numbers))] for numbers, _ in _classes(data, _CHOICE_SEED)
    ]
    return torch.cat(parts).sort().values if parts else torch.empty(0, dtype=torch.int64)


def _classes(data: LabelledPictures, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Return of each class its pictures' numbers and hashes, in ascending order of the hash."""
    keys = Rng.for_images(seed, data.ids.cpu()).keys
    order = keys.argsort(stable=True)
    labels = data.labels.cpu()[order]
    members = [order[labels == label] for label in range(len(data.classes))]
    return [(numbers, keys[numbers]) for numbers in members if len(numbers)]


def training_set(
    cell: Cell, clean: LabelledPictures, copies: LabelledPictures | None
) -> LabelledPictures:
    """Return what the victim of a cell is trained on, before any countermeasure.

    copies are the same pictures with what the cell's arm does to them: protected or a placebo.
    Raises UsageProblem for copies that are missing or others, and a remainder without pictures.
    """
    if cell.arm == "clean":
        return clean
    marked = torch.zeros(len(clean), dtype=torch.bool)
    marked[chosen(clean, cell.fraction)] = True
    if cell.arm == "remainder":
        if marked.all():
            raise UsageProblem(
                f"no picture is left beside the protected ones: --fraction {cell.fraction} takes "
                f"all {len(marked)}"
            )
        return clean.subset((~marked).nonzero()[:, 0])
    if copies is None:
        raise UsageProblem(f"the plan asks for a {cell.arm} set, but none was made")
    if not torch.equal(copies.labels, clean.labels):
        raise UsageProblem(
            f"the {len(copies)} {cell.arm} pictures are not copies of the {len(clean)} clean ones: "
            "their labels differ"
        )
    return copies if marked.all() else mixed(marked, copies, clean)


def mixed(marked: Tensor, noisy: LabelledPictures, clean: LabelledPictures) -> LabelledPictures:
    """Return the marked pictures of one set and the others of the other, in their places."""
    pixels = torch.where(marked[:, None, None, None], noisy.pixels, clean.pixels)
    return LabelledPictures(
        pixels, clean.labels, clean.classes, torch.where(marked, noisy.ids, clean.ids)
    )


def placebo(
    clean: LabelledPictures, protected: LabelledPictures, radius: Radius, grid: int, seed: int
) -> LabelledPictures:
    """Return the clean pictures with random noise as strong as the protection and nothing else.

    Noise is uniform on a grid of grid x grid, enlarged bilinearly like the real one, and amplified
    until it changes a picture, within the radius, by the same mean as its protected copy; it knows
    neither labels nor classes. The pictures keep the ids of the clean ones.
    """
    if clean.pixels.shape != protected.pixels.shape:
        raise UsageProblem("a placebo needs clean and protected pictures of one size")
    count = max(1, _CHUNK_VALUES // max(1, clean.pixels[:1].numel()))
    parts = [
        _with_noise(clean.subset(part), protected.pixels[part], radius, grid, seed)
        for part in torch.arange(len(clean)).split(count)
    ]
    return LabelledPictures(torch.cat(parts), clean.labels, clean.classes, clean.ids)


def motif(clean: LabelledPictures, radius: Radius, seed: int) -> LabelledPictures:
    """Return the clean pictures with a random motif for each class at the bound, never trained.

    The seed is the key: it draws the motifs, and where each picture begins its own. The pictures
    keep the ids of the clean ones.
    """
    method = recipe_of(_MOTIFS, _RANDOM).at(radius)
    run = Run(torch.device("cpu"))
    maker = method.ready(method.build(Spec("", len(clean.classes), clean.size)), run)
    pixels = torch.empty_like(clean.pixels)
    count = max(1, _CHUNK_VALUES // max(1, clean.pixels[:1].numel()))
    for part in torch.arange(len(clean)).split(count):
        some = clean.subset(part)
        images = to_images(some.pixels)
        delta = maker(images, some.labels, Rng.for_images(seed, some.ids))
        pixels[part] = add_levels(some.pixels, to_levels(delta, radius))
    return LabelledPictures(pixels, clean.labels, clean.classes, clean.ids)


def _with_noise(
    clean: LabelledPictures, protected: Tensor, radius: Radius, grid: int, seed: int
) -> Tensor:
    """Return pixels with noise of the mean change of their protected copies."""
    wanted = _mean_change(protected, clean.pixels)
    side = min(grid, clean.size)
    noise = Rng.for_images(seed, clean.ids).uniform(3, side, side, low=-1)
    if side < clean.size:
        noise = F.interpolate(noise, clean.size, mode="bilinear", align_corners=False)
    low, high = torch.zeros_like(wanted), torch.full_like(wanted, 1.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        weak = _mean_change(_amplified(clean.pixels, noise, middle, radius), clean.pixels) < wanted
        low, high = torch.where(weak, middle, low), torch.where(weak, high, middle)
    return _amplified(clean.pixels, noise, high, radius)


def _amplified(pixels: Tensor, noise: Tensor, strength: Tensor, radius: Radius) -> Tensor:
    """Add noise, in -1…1, of a strength in 0…1 (N,): at 1 nearly every value is at the bound."""
    levels = radius.levels
    gain = levels * strength / (1 - strength).clamp(min=1e-3)
    noise = (noise * gain[:, None, None, None]).round().clamp(-levels, levels)
    return add_levels(pixels, noise.to(torch.int16))


def _mean_change(pixels: Tensor, other: Tensor) -> Tensor:
    """Return the mean absolute difference of each picture, float32 (N,), in levels."""
    return (pixels.float() - other.float()).abs().mean(dim=(1, 2, 3))
