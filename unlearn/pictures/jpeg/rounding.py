"""Changes of a picture that a JPEG can store: whole quantisation steps, between two limits.

A block of 8 x 8 values is a sum of 64 patterns, each a whole number of steps strong. `settle` looks
for the steps near a wanted change that leave every value within its limits: it rounds, then changes
single steps for as long as that lowers

    sum (change - wanted)^2 + weight * sum (excess over the limits)^2

with growing weight, and asks for less of the change where that does not help. Blocks are float32
(64, n), values row by row. Sums are spelled out, since a matrix product may depend on processor and
threads, and a rounding that goes the other way changes bytes.
"""

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unlearn.pictures.jpeg.coefficients import storable

Blocks = NDArray[np.float32]
Steps = NDArray[np.float32]  # (64, 1)

_SHARES: Final = (0.85, 0.7, 0.55, 0.4, 0.2, 0.0)  # of the change that is asked for
_WEIGHTS: Final = (8.0, 32.0)
_ROUNDS: Final = 6  # steps changed per weight
_TRIED: Final = 2  # patterns tried for a step
_INSIDE: Final = 1.0  # levels; a repair aims so far within the limits
_LEAST_GAIN: Final = 1e-3

_COS: Final = [np.float32(math.cos(k * math.pi / 16) / 2) for k in range(8)]
_DC: Final = np.float32(math.sqrt(1 / 8))


class Problem(NamedTuple):
    """What is wanted of blocks: all (64, n).

    `base` is what the source stores, times its steps; `wanted` the change of values, `target` its
    transform; `low` and `high` limit the change of every value.
    """

    base: Blocks
    wanted: Blocks
    target: Blocks
    low: Blocks
    high: Blocks

    def of(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> "Problem":
        """Return some of the blocks."""
        return Problem(*(blocks[:, chosen] for blocks in self))


def forward(blocks: Blocks) -> Blocks:
    """Return the orthonormal 8 x 8 cosine transform of every block."""
    return _both(blocks, _forward)


def inverse(coefficients: Blocks) -> Blocks:
    """Return the blocks with these coefficients."""
    return _both(coefficients, _inverse)


def settle(problem: Problem, steps: Steps) -> tuple[Blocks, Blocks]:
    """Return whole numbers of steps, and the change of values they make.

    Blocks that stay outside their limits in any case are returned as near to them as was found.
    """
    counts, change = np.empty_like(problem.base), np.empty_like(problem.base)
    left, part = np.arange(problem.base.shape[1]), problem
    for share in _SHARES:
        less = np.float32(share)
        aim = part._replace(wanted=less * part.wanted, target=less * part.target)
        found = storable(np.rint((aim.base + aim.target) / steps))
        made = inverse(found * steps - aim.base)
        _repair(found, made, aim, steps)
        counts[:, left], change[:, left] = found, made
        outside = _outside(made, part.low, part.high)
        left = left[outside]
        if not left.size:
            break
        part = part.of(outside)
    return counts, change


def _repair(counts: Blocks, made: Blocks, problem: Problem, steps: Steps) -> None:
    """Change steps of the blocks that leave the limits, in place, while that lowers the sum."""
    middle = (problem.low + problem.high) / 2
    inner = problem._replace(
        low=np.minimum(problem.low + np.float32(_INSIDE), middle),
        high=np.maximum(problem.high - np.float32(_INSIDE), middle),
    )
    for weight in _WEIGHTS:
        active = np.flatnonzero(_outside(made, problem.low, problem.high))
        for _ in range(_ROUNDS):
            if not active.size:
                break
            found = counts[:, active], made[:, active]
            better, changed = _changed(*found, inner.of(active), steps, np.float32(weight))
            active = active[better]
            counts[:, active], made[:, active] = changed
            active = active[_outside(changed[1], problem.low[:, active], problem.high[:, active])]


def _changed(
    counts: Blocks, made: Blocks, problem: Problem, steps: Steps, weight: np.float32
) -> tuple[NDArray[np.bool_], tuple[Blocks, Blocks]]:
    """Return which blocks a single step betters, and these with the best of the steps tried."""
    off = counts * steps - problem.base - problem.target
    excess = made - np.clip(made, problem.low, problem.high)
    best = _cost(made - problem.wanted, excess, weight) - np.float32(_LEAST_GAIN)
    slope = off + weight * forward(excess)
    gain = (2 * np.abs(slope) - steps) * steps
    column = np.arange(counts.shape[1])
    chosen, better = made.copy(), np.zeros(len(column), bool)
    added = np.zeros_like(counts)
    for _ in range(_TRIED):
        which = gain.argmax(axis=0)
        sign = -np.sign(slope[which, column])
        tried = made + _PATTERNS[:, which] * (sign * steps[which, 0])
        excess = tried - np.clip(tried, problem.low, problem.high)
        cost = _cost(tried - problem.wanted, excess, weight)
        less = cost < best
        best[less] = cost[less]
        chosen[:, less] = tried[:, less]
        added[:, less] = 0
        added[which[less], column[less]] = sign[less]
        better |= less
        gain[which, column] = -np.inf
    return better, (storable(counts[:, better] + added[:, better]), chosen[:, better])


def _cost(error: Blocks, excess: Blocks, weight: np.float32) -> NDArray[np.float32]:
    """Return the sum that a repair lowers, for every block."""
    cost: NDArray[np.float32] = (error * error + weight * (excess * excess)).sum(axis=0)
    return cost


def _outside(blocks: Blocks, low: Blocks, high: Blocks) -> NDArray[np.bool_]:
    """Tell which blocks leave their limits anywhere."""
    return np.asarray(((blocks < low) | (blocks > high)).any(axis=0))


def _both(blocks: Blocks, along: Callable[[Blocks], Blocks]) -> Blocks:
    """Apply a transform of eight values to columns and rows."""
    half = along(blocks.reshape(8, 8, -1)).swapaxes(0, 1)
    whole = along(np.ascontiguousarray(half)).swapaxes(0, 1)
    return np.ascontiguousarray(whole).reshape(64, -1)


def _forward(a: Blocks) -> Blocks:
    """Return the cosine transform of eight rows (8, ...)."""
    c, found = _COS, np.empty_like(a)
    sums = [a[k] + a[7 - k] for k in range(4)]
    gaps = [a[k] - a[7 - k] for k in range(4)]
    outer, inner = sums[0] + sums[3], sums[1] + sums[2]
    far, near = sums[0] - sums[3], sums[1] - sums[2]
    found[0], found[4] = (outer + inner) * _DC, (outer - inner) * _DC
    found[2], found[6] = far * c[2] + near * c[6], far * c[6] - near * c[2]
    found[1] = gaps[0] * c[1] + gaps[1] * c[3] + gaps[2] * c[5] + gaps[3] * c[7]
    found[3] = gaps[0] * c[3] - gaps[1] * c[7] - gaps[2] * c[1] - gaps[3] * c[5]
    found[5] = gaps[0] * c[5] - gaps[1] * c[1] + gaps[2] * c[7] + gaps[3] * c[3]
    found[7] = gaps[0] * c[7] - gaps[1] * c[5] + gaps[2] * c[3] - gaps[3] * c[1]
    return found


def _inverse(a: Blocks) -> Blocks:
    """Return the eight rows (8, ...) with this cosine transform."""
    c, found = _COS, np.empty_like(a)
    whole, half = (a[0] + a[4]) * _DC, (a[0] - a[4]) * _DC
    far, near = a[2] * c[2] + a[6] * c[6], a[2] * c[6] - a[6] * c[2]
    even = (whole + far, half + near, half - near, whole - far)
    odd = (
        a[1] * c[1] + a[3] * c[3] + a[5] * c[5] + a[7] * c[7],
        a[1] * c[3] - a[3] * c[7] - a[5] * c[1] - a[7] * c[5],
        a[1] * c[5] - a[3] * c[1] + a[5] * c[7] + a[7] * c[3],
        a[1] * c[7] - a[3] * c[5] + a[5] * c[3] - a[7] * c[1],
    )
    for k in range(4):
        found[k], found[7 - k] = even[k] + odd[k], even[k] - odd[k]
    return found


_PATTERNS: Final = inverse(np.eye(64, dtype=np.float32))  # columns: (value, coefficient)
