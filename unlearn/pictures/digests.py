"""Whether a decoded file holds exactly the values that were meant, without both in memory."""

import hashlib
from typing import Self

import numpy as np

from unlearn.errors import PictureError
from unlearn.pictures.compare import OPAQUE
from unlearn.pictures.decoded import Alpha, Picture, Pixels


class Prints:
    """Digests of colours with 1 or 3 channels and of alpha, added strip by strip from the top.

    A missing alpha is a fully opaque one.
    """

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self._colour, self._alpha = hashlib.blake2b(), hashlib.blake2b()

    @classmethod
    def of(cls, decoded: Picture, channels: int) -> Self:
        """Return those of a decoded file; raises PictureError if it has other channels.

        Grey in three equal channels is grey.
        """
        found = cls(channels)
        for _, pixels, alpha in decoded.strips():
            if pixels.shape[2] != channels and (channels != 1 or (pixels != pixels[..., :1]).any()):
                raise PictureError("the written file did not keep the channels")
            found.add(pixels[..., :channels], alpha)
        return found

    def add(self, pixels: Pixels, alpha: Alpha) -> None:
        """Add a strip of colours (h, W, C) and alpha (h, W)."""
        self._colour.update(np.ascontiguousarray(pixels).data)
        if alpha is None:
            alpha = np.full(pixels.shape[:2], OPAQUE, np.uint8)
        self._alpha.update(np.ascontiguousarray(alpha).data)

    def compare(self, decoded: "Prints") -> None:
        """Raise PictureError unless a decoded file has the same values."""
        if self._alpha.digest() != decoded._alpha.digest():
            raise PictureError("the written file did not keep the alpha")
        if self._colour.digest() != decoded._colour.digest():
            raise PictureError("the written file does not hold the colours that were meant")
