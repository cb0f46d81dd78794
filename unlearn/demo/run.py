"""Draw a small labelled folder of pictures to try the tool on: four classes of drawn scenes."""

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from unlearn.demo.options import DemoOptions
from unlearn.errors import UsageProblem

SIZES: Final = ((256, 192), (192, 256), (256, 256), (320, 214))
JPEG_QUALITY: Final = 92
OVERSAMPLING: Final = 2  # drawn twice as large and reduced, so that edges are smooth

Floats = NDArray[np.floating]
Grid = tuple[Floats, Floats]


@dataclass(frozen=True)
class DemoResult:
    """What was drawn: pictures per class folder."""

    folder: Path
    classes: dict[str, int]
    size_bytes: int


def demo(options: DemoOptions) -> DemoResult:
    """Draw the folder; the same seed draws the same pictures.

    Raises UsageProblem if the folder is a file, or holds something and force is off.
    """
    folder = options.folder
    if folder.exists() and not folder.is_dir():
        raise UsageProblem(f"{folder} is a file; name a folder that is new or empty")
    if folder.is_dir() and any(folder.iterdir()) and not options.force:
        raise UsageProblem(
            f"{folder} is not empty; name a new folder, or use --force to draw into this one"
        )
    size = 0
    for name, data in pictures(options.seed, options.per_class):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        size += len(data)
    return DemoResult(folder, dict.fromkeys(SCENES, options.per_class), size)


def pictures(seed: int, per_class: int) -> Iterator[tuple[str, bytes]]:
    """Yield every picture as its path inside the folder and its encoded bytes."""
    for kind, (name, paint) in enumerate(SCENES.items()):
        for number in range(per_class):
            rng = np.random.default_rng((seed, kind, number))
            image = draw(paint, rng)
            lossless = number % 3 == 0
            suffix = "png" if lossless else "jpg"
            buffer = io.BytesIO()
            if lossless:
                image.save(buffer, "PNG")
            else:
                image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
            yield f"{name}/{name}-{number + 1:02d}.{suffix}", buffer.getvalue()


def draw(paint: Callable[[Grid, Floats, Generator], Floats], rng: Generator) -> Image.Image:
    """Draw one scene in front of a background, with light from one side and a camera's grain."""
    width, height = SIZES[rng.integers(len(SIZES))]
    grid = coordinates(width * OVERSAMPLING, height * OVERSAMPLING)
    scene = paint(grid, background(grid, rng), rng)
    across, down = uniform(rng, -0.25, 0.25, 2)
    light = 1 + across * grid[0] + down * grid[1]
    pixels = np.clip(scene * light[..., None], 0, 1)
    image = Image.fromarray((255 * pixels).astype(np.uint8)).resize(
        (width, height), Image.Resampling.BOX
    )
    image = image.filter(ImageFilter.GaussianBlur(0.5))
    grain = 3.5 * rng.standard_normal((height, width, 3), dtype=np.float32)
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).round().astype(np.uint8))


def coordinates(width: int, height: int) -> Grid:
    """Return x and y (H, W) from the picture's centre, in units of its longer half side."""
    longer = max(width, height) / 2
    x = ((np.arange(width) - width / 2) / longer).astype(np.float32)
    y = ((np.arange(height) - height / 2) / longer).astype(np.float32)
    across, down = np.meshgrid(x, y)
    return across, down


def uniform(rng: Generator, low: float, high: float, *shape: int) -> Floats:
    """Return uniform random numbers of the given shape."""
    return low + np.float32(high - low) * rng.random(shape, dtype=np.float32)


def colour(rng: Generator, low: float = 0.1, high: float = 0.95) -> Floats:
    """Return a random colour (3,) that is neither black nor white."""
    return uniform(rng, low, high, 3)


def background(grid: Grid, rng: Generator) -> Floats:
    """Return a soft two-colour gradient (H, W, 3) with clouds in it."""
    x, y = grid
    angle = rng.uniform(0, 2 * math.pi)
    share = 0.5 + 0.5 * (math.cos(angle) * x + math.sin(angle) * y)
    share = np.clip(share + 0.22 * clouds(x.shape[1], x.shape[0], rng), 0, 1)[..., None]
    return (1 - share) * colour(rng) + share * colour(rng)


def clouds(width: int, height: int, rng: Generator) -> Floats:
    """Return smooth noise (H, W) of several sizes, roughly in [-1, 1]."""
    total = np.zeros((height, width), np.float32)
    for cells, weight in ((3, 1.0), (7, 0.5), (15, 0.25), (40, 0.12)):
        coarse = Image.fromarray(0.6 * rng.standard_normal((cells, cells), dtype=np.float32))
        total += weight * np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return total


def blend(scene: Floats, mask: Floats, paint: Floats) -> Floats:
    """Return the scene with paint (3,) or (H, W, 3) laid over it where mask (H, W) is 1."""
    return scene + mask[..., None] * (paint - scene)


def rotated(grid: Grid, rng: Generator) -> Grid:
    """Return the grid turned by a random angle, moved a little and gently bent."""
    x, y = grid
    angle = rng.uniform(0, math.pi)
    u = math.cos(angle) * x + math.sin(angle) * y + rng.uniform(-0.5, 0.5)
    v = math.cos(angle) * y - math.sin(angle) * x + rng.uniform(-0.5, 0.5)
    bend = rng.uniform(0, 0.06)
    return u + bend * np.sin(4 * v), v + bend * np.sin(4 * u)


def stripes(grid: Grid, scene: Floats, rng: Generator) -> Floats:
    """Lay bands of two colours over part of the scene, like an awning."""
    u, v = rotated(grid, rng)
    period = rng.uniform(0.14, 0.4)
    phase = u / period
    band = np.where(np.floor(phase).astype(int)[..., None] % 2, colour(rng), colour(rng))
    shade = 0.85 + 0.15 * np.cos(2 * np.pi * (phase % 1 - 0.5))[..., None]
    return blend(scene, (np.abs(v) < rng.uniform(0.45, 0.8)).astype(np.float32), band * shade)


def discs(grid: Grid, scene: Floats, rng: Generator) -> Floats:
    """Put shaded balls with soft shadows into the scene."""
    x, y = grid
    for _ in range(rng.integers(4, 10)):
        radius = rng.uniform(0.1, 0.3)
        across, down = rng.uniform(-0.85, 0.85), rng.uniform(-0.6, 0.6)
        far = np.hypot(x - across - 0.15 * radius, y - down - 0.3 * radius) / radius
        scene = scene * (1 - 0.45 * np.clip(1.25 - far, 0, 0.25) / 0.25)[..., None]
        distance = np.hypot(x - across, y - down) / radius
        glint = np.hypot(x - across + 0.35 * radius, y - down + 0.35 * radius) / radius
        ball = colour(rng) * (1.1 - 0.6 * distance[..., None]) + np.exp(-14 * glint**2)[..., None]
        scene = blend(scene, (distance < 1).astype(np.float32), ball)
    return scene


def checks(grid: Grid, scene: Floats, rng: Generator) -> Floats:
    """Lay a tiled floor into the scene, in perspective, with worn tiles."""
    u, v = rotated(grid, rng)
    depth = 1 + rng.uniform(0.0, 0.45) * v
    size = rng.uniform(0.14, 0.34)
    column, row = np.floor(u / depth / size), np.floor(v / depth / size)
    wear = uniform(rng, 0.8, 1.1, 64, 64)[column.astype(int) % 64, row.astype(int) % 64]
    tile = np.where((column + row)[..., None] % 2 == 0, colour(rng), colour(rng))
    gap = np.minimum(u / depth / size % 1, v / depth / size % 1) < 0.05
    floor = blend(tile * wear[..., None], gap.astype(np.float32), colour(rng, 0.05, 0.3))
    inside = (np.abs(u) < rng.uniform(0.7, 1.1)) & (np.abs(v) < rng.uniform(0.6, 0.9))
    return blend(scene, inside.astype(np.float32), floor)


def waves(grid: Grid, scene: Floats, rng: Generator) -> Floats:
    """Draw ranges of rolling hills or water, each in its own tone."""
    x, y = grid
    near, far = colour(rng), colour(rng)
    count = int(rng.integers(5, 9))
    for layer in range(count):
        share = layer / (count - 1)
        crest = rng.uniform(0.03, 0.1) * np.sin(rng.uniform(4, 11) * x + rng.uniform(0, 6.3))
        crest += 0.02 * np.sin(rng.uniform(15, 30) * x + rng.uniform(0, 6.3))
        depth = y - (-0.55 + 1.1 * share + crest)
        tone = (far + share * (near - far)) * (1 + 0.5 * np.exp(-30 * np.abs(depth)))[..., None]
        scene = blend(scene, (depth > 0).astype(np.float32), tone)
    return scene


SCENES: Final = {"checks": checks, "discs": discs, "stripes": stripes, "waves": waves}
