"""One way from a picture to its noise, for what `protect` writes and for what an audit tries.

The key orders the classes and seeds the streams, the generator makes the noise on the working grid,
and enlarged noise is amplified. None of it knows whether the picture is a file.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from unlearn.errors import PictureError
from unlearn.pictures.decoded import Pixels
from unlearn.pictures.grid import add_noise, to_grid
from unlearn.protection.key import Key, permutation, stream_seed
from unlearn.protection.settings import Settings
from unlearn.radius import Radius

Delta = NDArray[np.float32]  # (h, w, C) on the working grid, in shares of the colour range

# Enlarging noise bilinearly flattens it; this much more brings its mean strength back. Applied only
# where the grid is smaller than the picture, and clipped to the bound like everything else; noise
# that keeps no bound has the strength that it has.
GAIN: Final = 1.5
_MOST_THREADS: Final = 8


class LoadedGenerator(Protocol):
    """What a run needs of a loaded generator; see NoiseGenerator."""

    @property
    def by_class(self) -> bool: ...

    def noise_for_picture(
        self,
        pixels: NDArray[np.uint8],
        target: int,
        stream_seed: int,
        content_sha256: str,
        radius: Radius | None = None,
    ) -> Delta: ...


@dataclass(frozen=True)
class KeyedNoise:
    """The noise of one run: a generator, the seed of all its streams, and how far it may go."""

    generator: LoadedGenerator
    stream_seed: int
    rho: Radius
    bounded: bool = True  # else the noise is as the generator makes it, and rho the widest

    @classmethod
    def of(cls, generator: LoadedGenerator, key: Key, settings: Settings) -> "KeyedNoise":
        """Return the noise of a run with a key."""
        options = settings.options
        seed = stream_seed(key, options.seed)
        return cls(generator, seed, options.rho, bounded=settings.bounded)

    def delta(self, pixels: NDArray[np.uint8], target: int, sha256: str) -> Delta:
        """Return δ (h, w, C) for a picture on the working grid and the digest of its file.

        Raises PictureError if the generator makes none that can be used.
        """
        rho = self.rho if self.bounded else None
        delta = self.generator.noise_for_picture(pixels, target, self.stream_seed, sha256, rho)
        if delta.shape != pixels.shape or not np.isfinite(delta).all():
            raise PictureError("the generator made no usable noise for it")
        return delta

    def protected(self, pixels: Pixels, target: int, sha256: str, grid: int) -> Pixels:
        """Return a picture (H, W, C) with its noise, as a file without loss would hold it."""
        delta = self.delta(to_grid(pixels, grid), target, sha256)
        size = pixels.shape[1], pixels.shape[0]
        gain = gain_for(delta, size, bounded=self.bounded)
        return add_noise(pixels, delta, self.rho.levels, gain)


def targets_of(key: Key | None, classes: Iterable[str], room: int) -> dict[str, int]:
    """Return the generator's class, of so many, for each class name; zeros without a key.

    A generator without classes, room 0, has a place for any number.
    """
    names = sorted(set(classes))
    if key is None:
        return dict.fromkeys(names, 0)
    places = permutation(key, room) if room else range(len(names))
    return dict(zip(names, places, strict=False))


def gain_for(delta: Delta, size: tuple[int, int], *, bounded: bool = True) -> float:
    """Return what δ is multiplied by for a picture of (width, height): 1 if it has that size."""
    return GAIN if bounded and delta.shape[1::-1] != size else 1.0


def threads_for(device: str, workers: int) -> int:
    """Return how many threads make noise beside each other, 0 for none.

    An accelerator has one queue; more threads than these would wait for Python's lock.
    """
    return min(workers, _MOST_THREADS) if device.startswith("cpu") else 0
