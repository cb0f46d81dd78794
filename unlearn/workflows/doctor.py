"""Show what this machine offers and test that protecting works on it."""

import hashlib
import os
import platform
import shutil
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import platformdirs
from numpy.typing import NDArray
from PIL import features

from unlearn import __version__
from unlearn.data.disk import existing_part
from unlearn.data.grid import add_noise, to_grid
from unlearn.data.key import default_path, load_key
from unlearn.errors import EnvironmentProblem, UnlearnError
from unlearn.generators import BUNDLED, resolve

if TYPE_CHECKING:
    from unlearn.generator import NoiseGenerator

PACKAGES: Final = ("torch", "torchvision", "numpy", "pillow", "safetensors", "typer", "rich")
CODECS: Final = {"JPEG": "jpg", "PNG": "zlib", "WebP": "webp", "TIFF": "libtiff"}
VARIABLES: Final = (
    "UNLEARN_DEVICE",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
    "TMPDIR",
    "NO_COLOR",
    "FORCE_COLOR",
    "TERM",
)
SIDE: Final = 64
SAME_SIGN_SHARE: Final = 0.75  # chance is about a half; devices that work agree far better


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


@dataclass(frozen=True)
class Place:
    """A place the tool writes to."""

    name: str
    path: Path
    writable: bool
    free_bytes: int


@dataclass(frozen=True)
class DoctorResult:
    """Everything doctor found; `problems` is empty if protecting works here."""

    versions: dict[str, str]
    devices: tuple[Device, ...]
    tests: tuple[SelfTest, ...]
    codecs: dict[str, str]
    places: tuple[Place, ...]
    key: str
    environment: dict[str, str]
    problems: tuple[str, ...]


def doctor(generator: str = BUNDLED) -> DoctorResult:
    """Look at everything; nothing is written and the network is not used."""
    problems: list[str] = []
    versions, devices = _versions(), _devices(problems)
    tests = self_tests(generator, devices) if devices else ()
    problems += [f"self-test on {test.device}: {test.detail}" for test in tests if not test.ok]
    codecs = _codecs()
    problems += [f"Pillow has no {name} codec" for name, found in codecs.items() if not found]
    places = _places()
    problems += [f"cannot write to {place.path}" for place in places if not place.writable]
    return DoctorResult(
        versions=versions,
        devices=devices,
        tests=tests,
        codecs=codecs,
        places=places,
        key=_key(problems),
        environment={name: os.environ[name] for name in VARIABLES if name in os.environ},
        problems=tuple(problems),
    )


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
    from unlearn.generator import NoiseGenerator

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
    before, levels = made_picture(), loaded.radius.levels
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


def _versions() -> dict[str, str]:
    """Return the versions that matter; "missing" for a package that is not installed."""
    versions = {
        "unlearn": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "missing"
    return versions


def _devices(problems: list[str]) -> tuple[Device, ...]:
    """Return the devices, the CPU first; none, and a problem, if PyTorch cannot be imported."""
    try:
        import torch
        import torchvision  # noqa: F401 - it fails to import beside a PyTorch of another build
    except (ImportError, OSError, RuntimeError) as error:
        problems.append(f"PyTorch cannot be imported: {' '.join(str(error).split())}")
        return ()
    devices = [Device("cpu", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads")]
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        devices.append(Device(f"cuda:{index}", found.name, found.total_memory))
    if torch.backends.mps.is_available():
        devices.append(Device("mps", "Apple GPU"))
    return tuple(devices)


def _codecs() -> dict[str, str]:
    """Return the version of the library behind every format; empty if Pillow lacks it."""
    return {
        name: (features.version(feature) or "present") if features.check(feature) else ""
        for name, feature in CODECS.items()
    }


def _places() -> tuple[Place, ...]:
    """Return where the tool writes besides the folders that commands name."""
    paths = {
        "key": default_path().parent,
        "crash reports": platformdirs.user_state_path("unlearn"),
        "temporary": Path(tempfile.gettempdir()),
    }
    return tuple(_place(name, path) for name, path in paths.items())


def _place(name: str, path: Path) -> Place:
    """Return what is known of a place that may not exist yet."""
    existing = existing_part(path)
    writable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    return Place(name, path, writable, shutil.disk_usage(existing).free)


def _key(problems: list[str]) -> str:
    """Return the fingerprint of the user's own key, or that there is none yet."""
    try:
        key = load_key(create=False)
    except UnlearnError as error:
        problems.append(str(error))
        return "unusable"
    return "none yet; made on first use" if key is None else f"fingerprint {key.fingerprint}"
