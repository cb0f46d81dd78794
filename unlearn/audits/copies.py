"""Protected copies for an audit: given, made from files, or made from arrays; always checked."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from unlearn.audits.pictures import Material, keep, read_copies
from unlearn.config import to_plain
from unlearn.datasets.folders import Change
from unlearn.datasets.labelled import Data
from unlearn.device import Run
from unlearn.errors import UnlearnError
from unlearn.files.replace import file_sha256
from unlearn.files.text import shown
from unlearn.generators.artefact import NoiseGenerator, generator_from
from unlearn.generators.header import read_header
from unlearn.methods import MinMaxMin
from unlearn.protection.events import Event, ProtectResult
from unlearn.protection.options import ProtectOptions
from unlearn.protection.run import protect
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import add_levels, to_images, to_levels
from unlearn.verification.options import VerifyOptions
from unlearn.verification.run import VerifyResult, verify
from unlearn.verification.verdicts import Check

_TOGETHER = 500  # pictures of an archive that go through the network at once
_NAMED = 3  # files named in a refusal
_TRAINED_SIDE = 64  # pictures on which a generator of the audit's own is trained


@dataclass(frozen=True)
class Copies:
    """Protected copies of the training pictures, checked: files for folders, else arrays only."""

    material: Material  # the pictures that have a copy
    data: Data
    files: tuple[Path, ...]
    rho: Radius
    largest_change: int
    mean_change: float
    origin: str


@dataclass(frozen=True)
class Making:
    """How copies are made: with which generator, where, and who hears of the progress."""

    generator: Path
    name: str
    out: Path
    rho: Radius
    device: str
    workers: int
    key: Path | None = None
    labels: str = "auto"

    @property
    def origin(self) -> str:
        """The generator in words, without the folder that it lies in."""
        name = Path(self.name).stem if self.name.endswith(".safetensors") else self.name
        return f"generator {name} (SHA-256 {(file_sha256(self.generator) or '')[:12]})"


class NotProtected(UnlearnError):
    """The copies are not what they claim to be; nothing was trained."""


class Interrupted(UnlearnError):
    """The person stopped the protecting; the same audit goes on with what is left."""


def make_files(material: Material, making: Making, report: Callable[[Event], None]) -> Copies:
    """Protect the training pictures with the tool's own command and check what it wrote."""
    options = ProtectOptions(
        inputs=(str(material.folder),),
        out=making.out,
        generator=str(making.generator),
        generator_name=making.name,
        rho=making.rho,
        labels=making.labels,
        include=material.selection.include,
        follow_symlinks=True,
        key=making.key,
        device=making.device,
        workers=making.workers,
    )
    result = protect(options, report)
    if result.interrupted:
        raise Interrupted("stopped while the pictures were being protected")
    if not result.protected:
        raise NotProtected(f"none of the pictures could be protected; the first: {_first(result)}")
    return check_files(material, making.out, making.rho, making.origin)


def _first(result: ProtectResult) -> str:
    """Return the first failure in words."""
    return next((f"{shown(r.src)} ({r.reason})" for r in result.failed), "interrupted")


def check_files(material: Material, folder: Path, rho: Radius | None, origin: str) -> Copies:
    """Prove the bound of every copy in a folder and read the copies of the training pictures.

    Raises NotProtected for anything that is wrong but a source that could not be protected.
    """
    result = verify(material.folder, folder, VerifyOptions(rho))
    wrong = [check for check in result.checks if not _tolerable(check)]
    good = {check.source: check for check in result.checks if check.state == "ok"}
    if wrong or not good:
        raise NotProtected(_refusal(material, folder, wrong))
    index = [n for n, name in enumerate(material.names) if name in good]
    kept = keep(material, torch.tensor(index, dtype=torch.int64))
    files = tuple(folder / (good[name].output or "") for name in kept.names)
    data = read_copies(kept.train, files)
    return Copies(kept, data, files, result.radius, *_strength(result), origin)


def _tolerable(check: Check) -> bool:
    """Tell whether a verdict is no reason to stop: fine, or refused by protect for a reason."""
    return check.state == "ok" or (check.state == "missing" and check.reason.startswith("failed"))


def _strength(result: VerifyResult) -> tuple[int, float]:
    """Return the largest and the mean change of the pairs, in levels."""
    changes = [check.mean_abs for check in result.checks if check.mean_abs is not None]
    largest = max((check.linf or 0 for check in result.checks), default=0)
    return largest, sum(changes) / max(1, len(changes))


def _refusal(material: Material, folder: Path, wrong: list[Check]) -> str:
    """Return why the copies are refused, with the first few files."""
    named = "; ".join(
        f"{shown(check.source or check.output or '')}: {check.state}"
        + (f" ({check.reason})" if check.reason else "")
        for check in wrong[:_NAMED]
    )
    more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    return (
        f"{shown(folder)} is not a protected copy of {shown(material.folder)}: {named}{more}. "
        f"See unlearn verify {shown(material.folder)} {shown(folder)}"
    )


def make_arrays(material: Material, making: Making, run: Run) -> Copies:
    """Protect an archive's pictures in memory and check every value of them."""
    header = read_header(making.generator)
    if len(material.train.classes) > len(header.classes):
        raise NotProtected(
            f"generator {making.name} tells {len(header.classes)} classes apart, the data has "
            f"{len(material.train.classes)}; train one of your own: unlearn train-generator"
        )
    generator = NoiseGenerator.load(making.generator, run)
    data = noisy(generator, material.train, making.rho)
    return check_arrays(material, data, making.rho, making.origin)


def noisy(generator: NoiseGenerator, data: Data, rho: Radius) -> Data:
    """Return the pictures with the generator's noise for their classes, in levels."""
    method, parts = generator.method.within(rho), []
    device = generator.run.device
    for part in (data.subset(index) for index in torch.arange(len(data)).split(_TOGETHER)):
        images, ids = to_images(part.pixels).to(device), part.ids.to(device)
        rng = Rng.for_images(generator.run.seed, ids)
        delta = method.noise(generator.module, images, part.labels.to(device), generator.run, rng)
        parts.append(add_levels(part.pixels, to_levels(delta, rho).cpu()))
    return Data(torch.cat(parts), data.labels, data.classes, data.ids)


def check_arrays(material: Material, data: Data, rho: Radius, origin: str) -> Copies:
    """Prove the bound of every copy; raises NotProtected if one leaves it or is unchanged."""
    change = (data.pixels.to(torch.int16) - material.train.pixels.to(torch.int16)).abs()
    largest = change.flatten(1).amax(dim=1)
    if int(largest.max()) > rho.levels:
        worst = int(largest.argmax())
        raise NotProtected(f"picture {worst} is changed by {int(largest[worst])}/255, over {rho}")
    if not int(largest.min()):
        raise NotProtected(f"picture {int(largest.argmin())} is unchanged")
    mean = float(change.to(torch.float32).mean())
    return Copies(material, data, (), rho, int(largest.max()), mean, origin)


def fit_generator(
    material: Material, making: Making, recipe: MinMaxMin, architecture: str, run: Run
) -> Making:
    """Train a generator on the training pictures; return how to use its artefact.

    A finished artefact of the same recipe for the same pictures is taken again.
    """
    out = making.out.with_name("generator.safetensors")
    data, method = at_size(material.train, _TRAINED_SIDE), recipe.within(making.rho)
    if out.exists():
        found = read_header(out)
        if (found.data_fingerprint, found.config) == (data.fingerprint, to_plain(method)):
            return replace(making, generator=out)
    source = material.folder.resolve().name
    generator_from(data, method, architecture, run, name=making.name, training_data=source).save(
        out
    )
    return replace(making, generator=out)


def at_size(data: Data, side: int) -> Data:
    """Return a set with its pictures shrunk to a side, if they are larger."""
    if data.size <= side:
        return data
    pixels = F.interpolate(data.pixels.float(), size=(side, side), mode="bilinear", antialias=True)
    return Data(pixels.round().to(torch.uint8), data.labels, data.classes)


def changed_arrays(data: Data, change: Change) -> Data:
    """Return a set whose pictures each went through a change, with the ids they had."""
    pixels = torch.empty_like(data.pixels)
    for number, (picture, seed) in enumerate(zip(data.pixels, data.ids.tolist(), strict=True)):
        image = Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())
        pixels[number] = torch.from_numpy(np.array(change(image, seed))).permute(2, 0, 1)
    return Data(pixels, data.labels, data.classes, data.ids)
