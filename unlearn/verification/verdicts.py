"""One source and one output compared, and outputs that were swapped among sources found."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unlearn.errors import PictureError
from unlearn.pictures.compare import Difference, difference, mismatch
from unlearn.pictures.decoded import Picture, Preparation, eight_bit
from unlearn.pictures.read import prepare
from unlearn.radius import Radius

State = Literal[
    "ok",
    "over",
    "unchanged",
    "missing",
    "extra",
    "swapped",
    "changed",
    "alpha",
    "incomparable",
    "unreadable",
]
_PRINT_SIDE = 8
_LOSSY_GAP = 4  # levels by which averages move where a copy was encoded again
_CHANNELS = ("red", "green", "blue")


@dataclass(frozen=True)
class Check:
    """The verdict on one file: its state, why, and the numbers measured where there are any."""

    source: str | None
    output: str | None
    state: State
    reason: str = ""
    linf: int | None = None
    worst: tuple[int, int, int] | None = None
    mean_abs: float | None = None
    psnr: float | None = None


@dataclass(frozen=True)
class Task:
    """One pair to compare; the names are those the person knows the files by."""

    source: str
    source_path: Path
    output: str
    output_path: Path
    recorded_sha256: str | None = None


def check_pair(task: Task, radius: Radius, preparation: Preparation) -> Check:
    """Compare one pair from its pixels; raises nothing for whatever is wrong with the files."""
    pair = _prepared(task, task, preparation)
    if isinstance(pair, str):
        return Check(task.source, task.output, "unreadable", pair)
    clean, protected = pair
    problem = mismatch(clean, protected)
    if problem == "size":
        sizes = (f"{width} x {height}" for width, height in (protected.size, clean.size))
        reason = "size {}, expected {}".format(*sizes) + _turned(clean, protected, radius)
        return Check(task.source, task.output, "incomparable", reason)
    if problem == "channels":
        return Check(task.source, task.output, "incomparable", "grey against colour")
    found = difference(clean, protected)
    state, reason = _judge(found, radius, clean, protected)
    if state == "over":
        reason += _turned(clean, protected, radius)
    if state == "ok" and problem == "alpha":
        state, reason = "alpha", "the alpha channel is not the source's"
    if state == "ok":
        state, reason = _untouched(task, protected)
    return Check(
        task.source,
        task.output,
        state,
        reason,
        found.linf,
        found.worst,
        found.mean_abs,
        found.psnr,
    )


def find_swaps(
    checks: Sequence[Check], tasks: Sequence[Task], radius: Radius, preparation: Preparation
) -> list[Check]:
    """Return the checks, with failing outputs named that belong to another failing source."""
    result = list(checks)
    failing = [i for i, c in enumerate(checks) if c.state in ("over", "incomparable", "alpha")]
    prints = {i: _prints(tasks[i], preparation) for i in failing} if len(failing) > 1 else {}
    for i, own in prints.items():
        for j, other in prints.items():
            if i == j or not own or not other or not _alike(other[0], own[1], radius):
                continue
            pair = _prepared(tasks[j], tasks[i], preparation)
            if not isinstance(pair, str) and _belong(*pair, radius):
                reason = f"this is the protected {tasks[j].source}"
                result[i] = replace(checks[i], state="swapped", reason=reason)
    return result


def _prepared(
    source: Task, output: Task, preparation: Preparation
) -> tuple[Picture, Picture] | str:
    """Return the source of one task and the output of another, or what cannot be read."""
    try:
        clean = prepare(source.source_path, preparation)
    except PictureError as problem:
        return f"source: {problem}"
    try:
        return clean, prepare(output.output_path, Preparation(max_pixels=preparation.max_pixels))
    except PictureError as problem:
        return f"output: {problem}"


def _judge(
    found: Difference, radius: Radius, clean: Picture, protected: Picture
) -> tuple[State, str]:
    """Return what the numbers say."""
    if found.linf > radius.levels:
        x, y, channel = found.worst
        colour = "grey" if clean.pixels.shape[2] == 1 else _CHANNELS[channel]
        why = "" if protected.lossless else f" after lossy {protected.format}"
        return "over", f"{found.linf}/255{why} at x {x}, y {y}, {colour}; allowed {radius}"
    if found.hidden:
        return "alpha", f"fully transparent pixels changed by {found.hidden}/255"
    if not found.linf:
        return "unchanged", "the output is the clean picture"
    return "ok", ""


def _untouched(task: Task, protected: Picture) -> tuple[State, str]:
    """Return whether a file within the bound is the very file that was written."""
    if task.recorded_sha256 not in (None, protected.sha256):
        return "changed", "within the bound, but not the file that was written"
    if task.output_path.is_symlink():
        return "changed", f"a link to {task.output_path.readlink()}, not a file of its own"
    return "ok", ""


def _prints(
    task: Task, preparation: Preparation
) -> tuple[NDArray[np.int16], NDArray[np.int16]] | None:
    """Return small averages of source and output; bounded noise moves them by its bound only."""
    pair = _prepared(task, task, preparation)
    return None if isinstance(pair, str) else (_print(pair[0]), _print(pair[1]))


def _print(picture: Picture) -> NDArray[np.int16]:
    """Return averages over a small grid, followed by the size."""
    colours = np.broadcast_to(eight_bit(picture.pixels), (*picture.pixels.shape[:2], 3))
    planes = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(colours[..., channel])).resize(
                (_PRINT_SIDE, _PRINT_SIDE), Image.Resampling.BOX
            ),
            np.int16,
        )
        for channel in range(3)
    ]
    return np.append(np.stack(planes), np.array(picture.size, np.int16))


def _turned(clean: Picture, protected: Picture, radius: Radius) -> str:
    """Return that an output looks like its source turned or mirrored, "" if it does not."""
    one, two = (_print(picture)[:-2].reshape(3, _PRINT_SIDE, -1) for picture in (clean, protected))
    ways = [np.rot90(side, turns, (1, 2)) for side in (two, two[..., ::-1]) for turns in range(4)]
    gaps = [int(np.abs(one - way).max()) for way in ways]
    near = radius.levels + _LOSSY_GAP
    return "; it is turned or mirrored" if min(gaps) <= near < gaps[0] else ""


def _alike(clean: NDArray[np.int16], protected: NDArray[np.int16], radius: Radius) -> bool:
    """Tell whether two prints can be of a picture and its protected version."""
    gap = np.abs(clean - protected)
    return not gap[-2:].any() and int(gap.max()) <= radius.levels + 1  # 1 for rounding


def _belong(clean: Picture, protected: Picture, radius: Radius) -> bool:
    """Tell whether an output is a protected version of a source."""
    if mismatch(clean, protected) is not None:
        return False
    return 1 <= difference(clean, protected).linf <= radius.levels
