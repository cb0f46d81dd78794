"""A radius for every pixel: small where a picture is plain, full where its texture hides noise."""

from dataclasses import dataclass

import numpy as np

_LUMA = np.array([299, 587, 114])  # thousandths, as Pillow converts to grey


@dataclass(frozen=True)
class Mask:
    """The radius in levels: least on plain areas, growing by gain for each level of local spread.

    The spread is the standard deviation of luma in a square of `window` pixels at 224. All sums are
    of whole numbers, so that equal pictures get equal radii everywhere.
    """

    least: float = 3.0
    gain: float = 0.7
    window: int = 9

    def __call__(self, pixels: np.ndarray, levels: int) -> np.ndarray:
        """Return the radius float32 (H, W) of uint8 pixels (3, H, W), at most levels."""
        luma = np.tensordot(_LUMA, pixels.astype(np.int64), axes=1) // 1000
        half = max(1, round(self.window * min(luma.shape) / 224) // 2)
        count = (2 * half + 1) ** 2
        spread = np.sqrt(count * boxed(luma**2, half) - boxed(luma, half) ** 2) / count
        return np.clip(self.least + self.gain * spread, None, levels).astype(np.float32)


def boxed(plane: np.ndarray, half: int) -> np.ndarray:
    """Return the sum int64 of the (2 half + 1) squared neighbours of each, edges repeated."""
    for axis in (0, 1):
        sides = [(half + 1, half) if n == axis else (0, 0) for n in (0, 1)]
        total = np.pad(plane.astype(np.int64), sides, mode="edge").cumsum(axis=axis)
        length = plane.shape[axis]
        high = total.take(range(2 * half + 1, 2 * half + 1 + length), axis=axis)
        plane = high - total.take(range(length), axis=axis)
    return plane
