"""Protected copies for an audit: given, made from files, or made from arrays; always checked."""

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from unlearn.audits.crops import resized_whole
from unlearn.audits.pictures import CleanPictures, is_theirs, keep, read_copies
from unlearn.audits.runner import Interrupted
from unlearn.config import to_plain
from unlearn.datasets import stored
from unlearn.datasets.cifar import as_png
from unlearn.datasets.folders import Change
from unlearn.datasets.labelled import LabelledPictures
from unlearn.device import Run, select_run
from unlearn.errors import PictureError, UnlearnError
from unlearn.files.replace import file_sha256
from unlearn.files.text import command_line, printable
from unlearn.generators.artefact import NoiseGenerator, generator_from
from unlearn.generators.header import read_header
from unlearn.methods import Method
from unlearn.pictures.decoded import eight_bit
from unlearn.protection.events import Event, ProtectReport
from unlearn.protection.key import Key, load_key
from unlearn.protection.noise import KeyedNoise, targets_of, threads_for
from unlearn.protection.options import ProtectOptions
from unlearn.protection.run import load_generator, protect
from unlearn.protection.settings import Settings
from unlearn.radius import WIDEST, Radius
from unlearn.rng import Rng, id_of_digest
from unlearn.tensors import add_levels, to_images, to_levels
from unlearn.verification.options import VerifyOptions
from unlearn.verification.run import VerifyReport, verify
from unlearn.verification.verdicts import Check

_NAMED = 3  # files named in a refusal
_UNBOUNDED = "; its noise keeps no bound, rho is the largest change measured"
_FEW = 0.01  # of pictures that a mark without a bound may leave as they are
_TRAINED_SIDE = 64  # pictures on which a generator of the audit's own is trained


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Protected copies of the training pictures, checked: files for folders, else arrays only."""

    clean: CleanPictures  # those that have a copy
    data: LabelledPictures
    files: tuple[Path, ...] = ()
    rho: Radius
    largest_change: int
    mean_change: float
    origin: str


class NotProtected(UnlearnError):
    """The copies are not what they claim to be; nothing was trained."""


def make_files(
    clean: CleanPictures, options: ProtectOptions, report: Callable[[Event], None]
) -> Copies:
    """Protect the training pictures with the tool's own command and check what it wrote.

    Raises Interrupted if the person stops it.
    """
    result = protect(options, report)
    if result.interrupted:
        raise Interrupted("stopped while the pictures were being protected")
    if not result.protected:
        raise NotProtected(f"none of the pictures could be protected; the first: {_first(result)}")
    header = read_header(Path(options.generator))
    bound = options.rho if header.rho else None
    return check_files(clean, options.out, bound, origin_of(options))


def origin_of(options: ProtectOptions) -> str:
    """Return the generator in words, without the folder that it lies in."""
    name = options.called
    name = Path(name).stem if name.endswith(".safetensors") else name
    return f"generator {name} (SHA-256 {(file_sha256(Path(options.generator)) or '')[:12]})"


def _first(result: ProtectReport) -> str:
    """Return the first failure in words."""
    return next((f"{printable(r.src)} ({r.reason})" for r in result.failed), "interrupted")


def check_files(clean: CleanPictures, folder: Path, rho: Radius | None, origin: str) -> Copies:
    """Prove the bound of every copy in a folder and read the copies of the training pictures.

    Raises NotProtected for anything that is wrong but a source that could not be protected.
    """
    result = verify(clean.folder, folder, VerifyOptions(rho))
    wrong = [check for check in result.checks if not _tolerable(check)]
    good = {check.source: check for check in result.checks if check.state == "ok"}
    if wrong or not good:
        raise NotProtected(_refusal(clean, folder, wrong))
    index = [n for n, name in enumerate(clean.names) if name in good or is_theirs(name)]
    kept = keep(clean, torch.tensor(index, dtype=torch.int64))
    files = tuple(  # what is another's stays as it is
        Path(name) if is_theirs(name) else folder / (good[name].output or "") for name in kept.names
    )
    largest, mean = _strength(result)
    measured = result.radius_origin == "measured"
    return Copies(
        clean=kept,
        data=read_copies(kept.train, files),
        files=files,
        rho=result.radius,
        largest_change=largest,
        mean_change=mean,
        origin=origin + _UNBOUNDED if measured else origin,
    )


def _tolerable(check: Check) -> bool:
    """Tell whether a verdict is no reason to stop: fine, or refused by protect for a reason."""
    return check.state == "ok" or (check.state == "missing" and check.reason.startswith("failed"))


def _strength(result: VerifyReport) -> tuple[int, float]:
    """Return the largest and the mean change of the pairs, in levels."""
    changes = [check.mean_abs for check in result.checks if check.mean_abs is not None]
    largest = max((check.linf or 0 for check in result.checks), default=0)
    return largest, sum(changes) / max(1, len(changes))


def _refusal(clean: CleanPictures, folder: Path, wrong: list[Check]) -> str:
    """Return why the copies are refused, with the first few files."""
    named = "; ".join(
        f"{printable(check.source or check.output or '')}: {check.state}"
        + (f" ({check.reason})" if check.reason else "")
        for check in wrong[:_NAMED]
    )
    more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    return (
        f"{printable(folder)} is not a protected copy of {printable(clean.folder)}: {named}{more}. "
        f"See {command_line('unlearn', 'verify', clean.folder, folder)}"
    )


def make_arrays(clean: CleanPictures, options: ProtectOptions, batch: int = 1) -> Copies:
    """Protect an archive's pictures in memory, as their files would be, and check every value.

    With a batch above 1 so many go through the network at a time, several times as fast; noise then
    differs from that of files in the last bits. What was made before in the same way is taken
    again.
    """
    header = read_header(Path(options.generator))
    if header.classes and len(clean.train.classes) > len(header.classes):
        raise NotProtected(
            f"generator {options.called} tells {len(header.classes)} classes apart, the "
            f"data has {len(clean.train.classes)}; train one of your own: unlearn train-generator"
        )
    key, sha256 = load_key(options.key, create=True), file_sha256(Path(options.generator)) or ""
    bounded, grid = header.rho is not None, options.grid or header.working_size
    if not bounded:
        options = replace(options, rho=WIDEST)  # as protect does
    settings = Settings(options, key, sha256, grid, bounded=bounded)
    device = select_run(options.device).words
    made = f"{settings.fingerprint(0, 'PNG')} {clean.train.fingerprint} {device}"
    made += f" {batch}" if batch > 1 else ""
    kept = options.out / f"{hashlib.sha256(made.encode()).hexdigest()[:16]}.safetensors"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        targets = targets_of(key, clean.train.classes, len(header.classes))
        stored.store(_protected(clean, settings, key, targets, batch), kept)
    bound = options.rho if bounded else None
    return check_arrays(clean, stored.load(kept), bound, origin_of(options))


def _protected(
    clean: CleanPictures, settings: Settings, key: Key, targets: Mapping[str, int], batch: int
) -> LabelledPictures:
    """Return an archive's pictures as `protect` would write their files; raises NotProtected."""
    data, options = clean.train, settings.options
    generator, device = load_generator(Path(options.generator), options.device)
    noise = KeyedNoise.of(generator, key, settings)
    if batch > 1 and settings.grid == data.size and isinstance(generator, NoiseGenerator):
        return _in_batches(data, generator, noise, targets, batch)

    def copy(picture: tuple[Tensor, int]) -> Tensor:
        """Return the protected pixels (3, H, W) of one picture with its label."""
        pixels = np.ascontiguousarray(picture[0].permute(1, 2, 0).numpy())
        digest = _digest(pixels)
        target = targets[data.classes[picture[1]]]
        copied = noise.protected(pixels, target, digest, settings.grid)
        return torch.from_numpy(eight_bit(copied)).permute(2, 0, 1)

    pairs = zip(data.pixels, data.labels.tolist(), strict=True)
    try:
        with ThreadPoolExecutor(max(1, threads_for(device, options.workers))) as pool:
            return replace(data, pixels=torch.stack(list(pool.map(copy, pairs))))
    except PictureError as error:
        raise NotProtected(f"a picture of {printable(clean.folder)}: {error}") from error


def _in_batches(
    data: LabelledPictures,
    generator: NoiseGenerator,
    noise: KeyedNoise,
    targets: Mapping[str, int],
    batch: int,
) -> LabelledPictures:
    """Return pictures of the working grid's size with their noise, so many at a time."""
    rows = data.pixels.permute(0, 2, 3, 1).contiguous().numpy()
    ids = torch.tensor([id_of_digest(_digest(pixels)) for pixels in rows])
    labels = torch.tensor([targets[data.classes[label]] for label in data.labels.tolist()])
    maker = generator.at(noise.rho if noise.bounded else None)
    device, made = generator.run.device, []
    for part in torch.arange(len(data)).split(batch):
        rng = Rng.for_images(noise.stream_seed, ids[part].to(device))
        images = to_images(data.pixels[part]).to(device)
        delta = maker(images, maker.targets(images, labels[part].to(device), rng), rng)
        if not torch.isfinite(delta).all():
            raise NotProtected("the generator made no usable noise")
        made.append(add_levels(data.pixels[part], to_levels(delta, noise.rho).cpu()))
    return replace(data, pixels=torch.cat(made))


def _digest(pixels: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of the file that would hold a picture (H, W, 3) of an archive."""
    return hashlib.sha256(as_png(pixels)).hexdigest()


def check_arrays(
    clean: CleanPictures, data: LabelledPictures, rho: Radius | None, origin: str
) -> Copies:
    """Prove the bound of every copy; raises NotProtected if one leaves it or is unchanged.

    Without a bound the copies' is what was measured, and up to one in a hundred may be unchanged:
    a mark of a few pixels changes no picture that has it already. `origin` then says how many.
    """
    change = (data.pixels.to(torch.int16) - clean.train.pixels.to(torch.int16)).abs()
    largest = change.flatten(1).amax(dim=1)
    free = rho is None
    if rho is None:
        rho, origin = Radius.of_levels(min(WIDEST.levels, int(largest.max()))), origin + _UNBOUNDED
    if int(largest.max()) > rho.levels:
        worst = int(largest.argmax())
        raise NotProtected(f"picture {worst} is changed by {int(largest[worst])}/255, over {rho}")
    if same := int((largest == 0).sum()):
        if not free or same > _FEW * len(largest):
            raise NotProtected(f"picture {int(largest.argmin())} is unchanged")
        origin += f"; {same} of {len(largest):,} pictures have its mark already and are unchanged"
    return Copies(
        clean=clean,
        data=data,
        rho=rho,
        largest_change=int(largest.max()),
        mean_change=float(change.to(torch.float32).mean()),
        origin=origin,
    )


def fit_generator(
    clean: CleanPictures, options: ProtectOptions, recipe: Method, architecture: str, run: Run
) -> ProtectOptions:
    """Train a generator on the training pictures; return how to protect with its artefact.

    A finished artefact of the same recipe for the same pictures is taken again.
    """
    out = options.out.with_name("generator.safetensors")
    data = at_size(clean.train, _TRAINED_SIDE)
    method = recipe if recipe.bound is None else recipe.at(options.rho)
    trained = replace(options, generator=str(out))
    if out.exists():
        found = read_header(out)
        made = (found.method, found.config, found.architecture, found.data_fingerprint)
        if made == (method.name, to_plain(method), architecture, data.fingerprint):
            return trained
    names = {"name": options.called, "training_data": clean.folder.resolve().name}
    generator_from(data, method, architecture, run, **names).save(out)
    return trained


def at_size(data: LabelledPictures, side: int) -> LabelledPictures:
    """Return a set with its pictures shrunk to a side, if they are larger."""
    if data.size <= side:
        return data
    return LabelledPictures(resized_whole(data.pixels, side), data.labels, data.classes)


def changed_arrays(data: LabelledPictures, change: Change) -> LabelledPictures:
    """Return a set whose pictures each went through a change, with the ids they had."""
    pixels = torch.empty_like(data.pixels)
    for number, (picture, seed) in enumerate(zip(data.pixels, data.ids.tolist(), strict=True)):
        image = Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())
        pixels[number] = torch.from_numpy(np.array(change(image, seed))).permute(2, 0, 1)
    return LabelledPictures(pixels, data.labels, data.classes, data.ids)
