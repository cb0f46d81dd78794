"""A forecast: what a run costs before it is begun, on this machine and on others."""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

H100_FLOPS: Final = 989e12  # a second, dense bfloat16, by NVIDIA's data sheet of the SXM form
H100_SHARE: Final = 0.1  # of that; a guess for networks as small as these, no measurement


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a run costs, without starting and ending it.

    passes count forward+backward passes of one picture, flops the operations in all of them.
    seconds are those of this machine, None if nobody knows; known_by says how in words, or why not.
    Work can be shared by up to `most` machines; what cannot be parted are the seconds in parts, of
    which one machine does so many at_a_time.
    """

    work: str
    passes: int
    flops: float
    seconds: float | None
    known_by: str
    most: int
    parts: tuple[float, ...] = ()
    at_a_time: int = 1

    @property
    def h100_seconds(self) -> float:
        """The seconds of all passes on one H100, by arithmetic."""
        return self.flops / (H100_FLOPS * H100_SHARE)

    def machines(self, deadline_seconds: float) -> int | None:
        """Return how many machines like this one meet a deadline; None if no number is known to."""
        if self.seconds is None:
            return None
        if not self.parts:
            return self._within(math.ceil(self.seconds / deadline_seconds))
        fewest = math.ceil(sum(self.parts) / self.at_a_time / deadline_seconds)
        for count in range(max(1, fewest), self.most + 1):
            if longest_first(self.parts, count * self.at_a_time) <= deadline_seconds:
                return count
        return None

    def h100s(self, deadline_seconds: float) -> int | None:
        """Return how many H100s meet a deadline by arithmetic; None if no number does."""
        return self._within(math.ceil(self.h100_seconds / deadline_seconds))

    def _within(self, count: int) -> int | None:
        """Return the number if the work can be shared by so many."""
        return max(1, count) if count <= max(1, self.most) else None


def longest_first(parts: Sequence[float], places: int) -> float:
    """Return when the last part ends if each place takes the longest part that is left."""
    return max(sum((parts[number] for number in hand), 0.0) for hand in hands(parts, places))


def hands(parts: Sequence[float], places: int) -> list[list[int]]:
    """Deal parts out by their numbers, the longest first, each to the place with least to do."""
    dealt: list[list[int]] = [[] for _ in range(max(1, places))]
    ends = [(0.0, place) for place in range(len(dealt))]
    for number in sorted(range(len(parts)), key=parts.__getitem__, reverse=True):
        end, place = ends[0]
        dealt[place].append(number)
        heapq.heapreplace(ends, (end + parts[number], place))
    return dealt
