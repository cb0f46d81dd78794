"""Protect a made picture on every device, to see whether protecting works here."""

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from unlearn.errors import EnvironmentProblem, UnlearnError
from unlearn.generators.catalogue import resolve
from unlearn.pictures.grid import add_noise, to_grid
from unlearn.radius import WIDEST

if TYPE_CHECKING:
    from unlearn.generators.artefact import NoiseGenerator

SIDE: Final = 64
SAME_SIGN_SHARE: Final = 0.75  # unrelated noise agrees in about a half


@dataclass(frozen=True)
class Device:
    """A device PyTorch sees; memory is None where it is the machine's own."""

    name: str
    description: str
    memory_bytes: int | None = None


@dataclass(frozen=True)
class SelfTest:
    """One picture protected on one device: what came out, or the problem."""

    device: str
    ok: bool
    detail: str
    seconds: float = 0.0


def self_tests(generator: str, devices: tuple[Device, ...]) -> tuple[SelfTest, ...]:
    """Protect a made picture on every device: twice on the CPU, which must repeat itself exactly.

    Other devices round differently, so their noise only has to agree with the CPU's in most signs.
    """
    reference: NDArray[np.float32] | None = None
    tests = []
    for device in devices:
        start = time.monotonic()
        try:
            loaded = _load(generator, device.name)
            noise = _noise(loaded)
            reference = noise if reference is None else reference
            detail, ok = f"{_bound(loaded, noise)}, {_likeness(loaded, noise, reference)}", True
        except (UnlearnError, RuntimeError) as error:
            detail, ok = " ".join(str(error).split()), False
        tests.append(SelfTest(device.name, ok, detail, round(time.monotonic() - start, 2)))
    return tuple(tests)


def made_picture() -> NDArray[np.uint8]:
    """Return a picture (64, 64, 3) with slopes, edges, black and white in it."""
    y, x = np.mgrid[:SIDE, :SIDE]
    waves = 127.5 + 127.5 * np.sin(x / 5) * np.cos(y / 7)
    blocks = np.where((x // 16 + y // 16) % 2, 255, 0)
    return np.stack([4 * x, waves, blocks], axis=-1).astype(np.uint8)


def _load(generator: str, device: str) -> "NoiseGenerator":
    """Return the generator on a device, in the precision that all devices share."""
    from unlearn.device import select_run
    from unlearn.generators.artefact import NoiseGenerator

    return NoiseGenerator.load(resolve(generator), select_run(device, "fp32"))


def _noise(loaded: "NoiseGenerator") -> NDArray[np.float32]:
    """Return the noise of the made picture; raises EnvironmentProblem for values that are none."""
    pixels = to_grid(made_picture(), loaded.working_size)
    noise = loaded.noise_for_picture(pixels, 0, 1, hashlib.sha256(pixels.tobytes()).hexdigest())
    if not np.isfinite(noise).all():
        raise EnvironmentProblem("the noise holds values that are no numbers")
    return noise


def _bound(loaded: "NoiseGenerator", noise: NDArray[np.float32]) -> str:
    """Return the largest change of the made picture; raises EnvironmentProblem if it is none."""
    before, levels = made_picture(), (loaded.bound or WIDEST).levels
    after = add_noise(before, noise, levels, 1.0)
    largest = int(np.abs(after.astype(np.int16) - before).max())
    if not 1 <= largest <= levels:
        raise EnvironmentProblem(f"largest change {largest}, expected 1 to {levels}")
    return f"largest change {largest} of {levels} levels"


def _likeness(
    loaded: "NoiseGenerator", noise: NDArray[np.float32], reference: NDArray[np.float32]
) -> str:
    """Return how the noise compares to the CPU's; raises EnvironmentProblem if it is another's."""
    if loaded.run.device.type == "cpu":
        if not np.array_equal(_noise(loaded), noise):
            raise EnvironmentProblem("the same picture got different noise the second time")
        return "repeated exactly"
    agreement = float((np.sign(noise) == np.sign(reference)).mean())
    if agreement < SAME_SIGN_SHARE:
        raise EnvironmentProblem(
            f"only {agreement:.0%} of the noise has the CPU's sign; use --device cpu"
        )
    return f"{agreement:.0%} of the signs as on the CPU"
