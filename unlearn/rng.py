"""Rng, one counter-based random stream per image: equal pictures draw equal numbers."""

import hashlib
import math

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_FIRST = -4658895280553007687  # 0xBF58476D1CE4E5B9
_SECOND = -7723592293110705685  # 0x94D049BB133111EB
_DRAW = 1 << 40  # numbers one draw may take from a stream before it meets the next draw's


class Rng:
    """Independent streams, one per image, drawn together; a stream depends on its key alone.

    The generator is SplitMix64 (Steele, Lea and Flood, 2014) read at a counter, so there is no
    state to save: a stream is its key and the number of draws made from it.
    """

    def __init__(self, keys: Tensor, seed: int = 0) -> None:
        self.keys = keys
        self._seed = seed
        self._draws = 0

    @classmethod
    def for_images(cls, seed: int, ids: Tensor) -> "Rng":
        """Return one stream per image: ids int64 (N,) name the pictures' contents, seed the run."""
        return cls(_mix(ids ^ _mix(torch.full_like(ids, seed))), seed)

    def common(self) -> "Rng":
        """Return equal streams for all images, which depend on the seed of for_images alone."""
        return Rng.for_images(self._seed, torch.zeros_like(self.keys))

    def fork(self, tag: int) -> "Rng":
        """Return streams of their own for a step; the parent's draws are not touched."""
        return Rng(_mix(self.keys + _mix(torch.full_like(self.keys, tag)) * 2), self._seed)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Draw float32 (N, *shape) from [low, high), each image from its own stream."""
        places = torch.arange(1, math.prod(shape) + 1, device=self.keys.device)
        counter = places + self._draws * _DRAW
        self._draws += 1
        bits = _mix(self.keys[:, None] + counter * _GOLDEN)
        unit = _shift(bits, 40).to(torch.float32) * 2.0**-24
        return (low + (high - low) * unit).reshape(len(self.keys), *shape)

    def normal(self, *shape: int) -> Tensor:
        """Draw float32 (N, *shape) with mean 0 and deviation 1 (Box and Muller, 1958)."""
        first, second = self.uniform(2, *shape).unbind(1)
        return (-2 * torch.log1p(-first)).sqrt() * torch.cos(2 * math.pi * second)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Draw int64 (N, *shape) from 0 … high - 1, each image from its own stream."""
        return (self.uniform(*shape) * high).to(torch.int64).clamp(max=high - 1)


def content_ids(pixels: Tensor) -> Tensor:
    """Return int64 (N,) ids of uint8 pixels (N, ...), each from its contents only."""
    rows = pixels.cpu().flatten(1).contiguous().numpy()
    digests = (hashlib.blake2b(row, digest_size=8).hexdigest() for row in rows)
    return torch.tensor([id_of_digest(digest) for digest in digests], dtype=torch.int64)


def id_of_digest(digest: str) -> int:
    """Return the int64 id of a picture from the hexadecimal digest of its file."""
    return int.from_bytes(bytes.fromhex(digest)[:8], "little", signed=True)


def _shift(value: Tensor, bits: int) -> Tensor:
    """Shift int64 right as if it were unsigned."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _mix(value: Tensor) -> Tensor:
    """Apply the SplitMix64 finaliser to int64 of any shape."""
    value = (value ^ _shift(value, 30)) * _FIRST
    value = (value ^ _shift(value, 27)) * _SECOND
    return value ^ _shift(value, 31)
