"""Works through a queue of copiers to train, and keeps a journal that a rerun continues."""

import hashlib
import io
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tests.benchmarks.noise import attackers
from tests.benchmarks.noise.copier import CLASSES, Copier, fit
from tests.benchmarks.noise.learn import Learning, learn
from tests.benchmarks.noise.masking import Mask
from tests.benchmarks.noise.motifs import Design, Layer, Noise, unordered_gratings
from tests.benchmarks.noise.pictures import Photos, load, shown
from unlearn.device import select_run
from unlearn.generators.recipes import recipe_of
from unlearn.methods.base import PAPER, Method
from unlearn.methods.motifs import Motifs
from unlearn.radius import Radius

Job = dict  # name, noise (see `protected`), copier, seed, defence


def identity(job: Job) -> str:
    """Return what a job is known by in the journal: all of it but its name."""
    told = {key: value for key, value in job.items() if key not in ("name", "group")}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def design_of(noise: dict) -> Design:
    """Read a design from a job."""
    layers = tuple(Layer(**layer) for layer in noise["layers"])
    return Design(layers, noise.get("levels", 8), noise.get("sharing", "sum"))


def maker_of(noise: dict, tables: Path) -> Noise:
    """Return what makes a job's noise of motifs, drawn or with tables that were learned."""
    key = noise.get("key", "search").encode()
    maker = Noise(design_of(noise), noise.get("classes", CLASSES), key)
    if "tables" in noise:
        name = noise["tables"].removesuffix(".npz")
        first = name.removeprefix("gratings ")
        drawn = [unordered_gratings(first)] if first != name else None
        maker.tables = drawn or list(np.load(tables / noise["tables"]).values())
    return maker


def protected(photos: Photos, noise: dict, tables: Path) -> Tensor:
    """Return the pixels with a job's noise: none, a placebo, or motifs, drawn or learned."""
    if noise["kind"] == "clean":
        return photos.pixels
    if noise["kind"] == "method":
        method = method_of(noise)
        return attackers.protected(photos.pixels, photos.labels, key_number(noise), method)
    key = noise.get("key", "search").encode()
    changed = torch.empty_like(photos.pixels)
    if noise["kind"] == "placebo":
        draw = np.random.default_rng(list(key))
        cells = -(-224 // int(noise.get("cell", 3)))
        for n in range(len(photos.pixels)):
            signs = np.sign(draw.random((3, cells, cells)) - 0.5) * noise.get("levels", 8)
            size = int(noise.get("cell", 3))
            delta = signs.repeat(size, 1).repeat(size, 2)[:, :224, :224].astype(np.int16)
            changed[n] = (photos.pixels[n] + torch.from_numpy(delta)).clamp(0, 255).byte()
        return changed
    mask = Mask(**noise["mask"]) if "mask" in noise else None
    maker = maker_of(noise, tables)
    chosen = noise.get("labels", list(range(CLASSES)))
    for n, (label, name) in enumerate(zip(photos.labels.tolist(), photos.names, strict=True)):
        delta = maker((224, 224), chosen[label], name).astype(np.int16)
        if mask:
            radius = mask(photos.pixels[n].numpy(), maker.design.levels)
            delta = np.rint(delta * radius / maker.design.levels).astype(np.int16)
        changed[n] = (photos.pixels[n] + torch.from_numpy(delta)).clamp(0, 255).byte()
    return changed


def method_of(noise: dict) -> Method:
    """Return the product's method that a job's noise is made by; motifs if none is named."""
    method = recipe_of(noise.get("method", "motifs"), noise.get("recipe", PAPER))
    return method.at(Radius.of_levels(noise.get("levels", 8)))


def key_number(noise: dict) -> int:
    """Return the seed of a key that a job names by number or by word."""
    key = noise.get("key", 0)
    if isinstance(key, int):
        return key
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")


def defended(pixels: Tensor, labels: Tensor, defence: str, noise: dict) -> Tensor:
    """Return what a copier makes of stored pictures before training; noise is a job's."""
    if defence in ("none", "crop8"):
        return pixels
    if defence in ("subtract-nokey", "subtract-key"):
        method = cast(Motifs, method_of(noise))
        return attackers.attacked(pixels, labels, defence, key_number(noise), method)
    if defence == "projection2":  # at 112 pixels, as the audit's copier keeps photos
        pixels = shown(pixels, 112)
    if defence in ("projection2", "notch", "grey-world"):
        return attackers.attacked(pixels, labels, defence, 0)
    if defence == "grey":
        return _each(pixels, lambda picture: picture.convert("L").convert("RGB"))
    if defence.startswith("jpeg"):
        return _each(pixels, lambda picture: _stored(picture, int(defence[4:])))
    if defence.startswith("resize"):
        side = int(defence[6:])
        small = (side, side)
        return _each(pixels, lambda picture: picture.resize(small, Image.Resampling.BILINEAR))
    from tests.benchmarks.noise.projection import projected

    return projected(pixels, labels, defence)


def _each(pixels: Tensor, change) -> Tensor:
    """Change each picture with Pillow."""
    pictures = (Image.fromarray(one.permute(1, 2, 0).numpy()) for one in pixels)
    changed = [np.asarray(change(one)).transpose(2, 0, 1) for one in pictures]
    return torch.from_numpy(np.stack(changed))


def _stored(picture: Image.Image, quality: int) -> Image.Image:
    """Return a picture as a JPEG file of a quality gives it back."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def learn_job(job: Job, photos: Photos, folder: Path) -> dict:
    """Learn motifs on CIFAR-10, whose classes no photo here has, or on the photos; keep them."""
    settings = Learning(**job["learn"])
    pixels, labels = photos.pixels, photos.labels
    if settings.source == "cifar10":
        with np.load(folder / "cifar10.npz") as data:
            labels = torch.from_numpy(data["y_train"][:20000])
            pixels = torch.from_numpy(data["x_train"][:20000]).permute(0, 3, 1, 2).contiguous()
    inside = labels < settings.classes
    began = time.process_time()
    signs, losses = learn(settings, pixels[inside], labels[inside])
    np.savez(folder / job["saved"], signs)
    return {
        **job,
        "id": identity(job),
        "losses": losses,
        "signs": signs.tolist(),
        "seconds": round(time.process_time() - began, 1),
    }


def run_job(job: Job, photos: tuple[Photos, Photos], tables: Path) -> dict:
    """Train one copier and return its line of the journal."""
    if "learn" in job:
        return learn_job(job, photos[0], tables)
    trained, tested = photos
    copier = Copier(**job.get("copier", {}))
    if job.get("defence") == "crop8":
        copier = replace(copier, smallest=0.08)
    pixels = protected(trained, job["noise"], tables)
    change = sum(
        (a.short() - b.short()).abs().float().mean().item()
        for a, b in zip(pixels[::50], trained.pixels[::50], strict=True)
    ) / len(pixels[::50])
    defence = job.get("defence", "none")
    pixels = defended(pixels, trained.labels, defence, job["noise"])
    test = tested.pixels
    if defence in ("grey", "grey-world"):
        test = defended(test, tested.labels, defence, job["noise"])
    test = shown(test, copier.view)
    labels = tested.labels
    if copier.view > 100:
        test, labels = test[::2], labels[::2]
    outcome, _ = fit(copier, pixels, trained.labels, (test, labels), job.get("seed", 1))
    last, best = outcome.curve[-1], max(outcome.curve)
    return {
        **job,
        "id": identity(job),
        "last": last,
        "best": best,
        "change": round(change, 2),
        "curve": outcome.curve,
        "train": outcome.train,
        "seconds": outcome.seconds,
        "precision": select_run("cpu").precision,
        "torch": torch.__version__,
        "pictures": len(pixels),
        "tested": len(test),
    }


def work(queue: Path, journal: Path, photos: tuple[Photos, Photos], *, wait: bool) -> None:
    """Do the jobs of the queue that the journal does not hold, the first first."""
    torch.set_num_threads(1)
    tables = queue.parent
    code = changed_at()
    while changed_at() == code:
        done = {json.loads(line)["id"] for line in read(journal)}
        job = next((job for job in jobs(queue) if identity(job) not in done | claimed(queue)), None)
        if job is None:
            if not wait:
                return
            time.sleep(3)
            continue
        claim = queue.parent / "claims" / identity(job)
        claim.parent.mkdir(exist_ok=True)
        try:
            claim.touch(exist_ok=False)
        except FileExistsError:
            continue
        try:
            line = run_job(job, photos, tables)
        except Exception as problem:  # noqa: BLE001 (one bad job must not stop the queue)
            line = {**job, "id": identity(job), "error": repr(problem)}
        with journal.open("a") as file:
            file.write(json.dumps(line) + "\n")


def changed_at() -> float:
    """Return when this package's code was changed last: a worker ends, to begin anew with it."""
    return max(path.stat().st_mtime for path in Path(__file__).parent.glob("*.py"))


def claimed(queue: Path) -> set[str]:
    """Return the jobs that some worker has begun."""
    folder = queue.parent / "claims"
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def read(path: Path) -> list[str]:
    """Return the lines of a file that may not be there."""
    return [line for line in path.read_text().splitlines() if line.strip()] if path.exists() else []


def jobs(queue: Path) -> Iterator[Job]:
    """Return the jobs of a queue, those with a typing error left out."""
    for line in read(queue):
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def photos_from(folder: Path, cache: Path) -> tuple[Photos, Photos]:
    """Load the photos."""
    return load(folder, cache)
