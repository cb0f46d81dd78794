"""How fast pictures are protected, kept for the forecast of the next run."""

from time import monotonic
from typing import Final

from unlearn.files.pace import remember, seconds_each
from unlearn.protection.events import Progress, Started
from unlearn.protection.options import ProtectOptions
from unlearn.protection.plan import PlannedPicture

LEAST_KNOWN: Final = 3  # pictures after the first, for a pace that is worth keeping
_LEAST_SECONDS: Final = 1.0
_EACH: Final = 0.1  # megapixels whose time any picture takes, however small; measured on a CPU


def work_of(picture: PlannedPicture, most: int) -> float:
    """Return how much work a picture is, in megapixels.

    One whose header says nothing, or more than `most` pixels, is refused at once.
    """
    known = picture.size and picture.pixels <= most
    return (picture.pixels if known else 0) / 1e6 + _EACH


def pace_kind(options: ProtectOptions, generator_sha256: str, device: str) -> str:
    """Return what runs have in common that are as fast as each other."""
    parts = (options.workers, options.format, options.max_side or "whole", options.grid or "own")
    return " ".join(["protect", generator_sha256[:16], device, *map(str, parts)])


class Pace:
    """How far a run is, and its seconds a megapixel from the first picture on.

    What is finished first pays for the start.
    """

    def __init__(self, options: ProtectOptions, started: Started) -> None:
        self.kind = pace_kind(options, started.generator_sha256, started.device)
        self._work = {one.name: work_of(one, options.max_pixels) for one in started.todo}
        self._whole = sum(self._work.values())
        self._done = 0.0
        self._first = self._last = (0, 0.0, 0.0)  # pictures, work and the time by then

    @property
    def expected_seconds(self) -> float | None:
        """The seconds of all pictures by the pace of earlier runs; None if unknown."""
        each = seconds_each(self.kind)
        return None if each is None else each * self._whole

    @property
    def share(self) -> float:
        """How much of the work is done, in 0…1."""
        return self._done / self._whole

    def see(self, event: Progress) -> None:
        """Take note of a finished picture."""
        self._done += self._work.get(event.record.src, 0.0)
        self._last = (event.done, self._done, monotonic())
        self._first = self._last if event.done == 1 else self._first

    def remember(self, least_seconds: float = _LEAST_SECONDS) -> None:
        """Keep the pace, if enough was measured."""
        pictures, work, seconds = (b - a for a, b in zip(self._first, self._last, strict=True))
        if pictures >= LEAST_KNOWN and seconds >= least_seconds:
            remember(self.kind, seconds / work)
