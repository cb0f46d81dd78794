"""From a picture on the working grid to its noise, as a key and a seed decide it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from unlearn.errors import PictureError
from unlearn.radius import Radius

Delta = NDArray[np.float32]  # (h, w, C) on the working grid, in shares of the colour range


class Generator(Protocol):
    """What a run needs of a loaded generator; see NoiseGenerator."""

    def noise_for_picture(
        self,
        pixels: NDArray[np.uint8],
        target: int,
        stream_seed: int,
        content_sha256: str,
        radius: Radius | None = None,
    ) -> Delta: ...


@dataclass(frozen=True)
class NoiseMaker:
    """A generator with the seed of its streams and the bound of one run."""

    generator: Generator
    stream_seed: int
    rho: Radius | None  # None: its noise keeps no bound

    def __call__(self, pixels: NDArray[np.uint8], target: int, sha256: str) -> Delta:
        """Make the noise of pixels (h, w, C) of a file with this hash.

        Raises PictureError if the generator returns none.
        """
        delta = self.generator.noise_for_picture(pixels, target, self.stream_seed, sha256, self.rho)
        if delta.shape != pixels.shape or not np.isfinite(delta).all():
            raise PictureError("the generator made no usable noise for it")
        return delta
