"""Show what this machine offers and test that protecting works on it."""

import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from PIL import features

from unlearn import __version__
from unlearn.doctor.self_test import Device, SelfTest, self_tests
from unlearn.errors import UnlearnError
from unlearn.files.homes import own_folder, temporary_folder
from unlearn.files.places import existing_part
from unlearn.generators.catalogue import BUNDLED, pulled_folder
from unlearn.protection.key import load_key
from unlearn.settings_file import Tables, described

PACKAGES: Final = (
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "jpeglib",
    "safetensors",
    "typer",
    "rich",
)
CODECS: Final = {"JPEG": "jpg", "PNG": "zlib", "WebP": "webp", "TIFF": "libtiff"}
VARIABLES: Final = (
    "UNLEARN_DEVICE",
    "UNLEARN_CONFIG",
    "UNLEARN_OFFLINE",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "TMPDIR",
    "NO_COLOR",
    "FORCE_COLOR",
    "TERM",
)


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
    configuration: dict[str, str]
    environment: dict[str, str]
    problems: tuple[str, ...]


def doctor(generator: str = BUNDLED, tables: Tables | None = None) -> DoctorResult:
    """Look at everything; nothing is written and the network is not used.

    `tables` are the settings that commands know; without them no file of settings is looked at.
    """
    problems: list[str] = []
    versions, devices = _versions(), _devices(problems)
    tests = self_tests(generator, devices) if devices else ()
    problems += [f"self-test on {test.device}: {test.detail}" for test in tests if not test.ok]
    codecs = _codecs()
    problems += [f"Pillow has no {name} codec" for name, found in codecs.items() if not found]
    places = _places()
    if temporary_folder() is None:
        problems.append("no folder for temporary files can be written; set TMPDIR to one")
    problems += [f"cannot write to {place.path}" for place in places if not place.writable]
    configuration, wrong = ({}, []) if tables is None else described(tables)
    problems += wrong
    return DoctorResult(
        versions=versions,
        devices=devices,
        tests=tests,
        codecs=codecs,
        places=places,
        key=_key(problems),
        configuration=configuration,
        environment={name: os.environ[name] for name in VARIABLES if name in os.environ},
        problems=tuple(problems),
    )


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
    cores, threads = os.cpu_count() or 1, torch.get_num_threads()
    used = f"{cores} core{'s' * (cores > 1)}, {threads} thread{'s' * (threads > 1)}"
    devices = [Device("cpu", used)]
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        devices.append(Device(f"cuda:{index}", found.name, found.total_memory))
    if torch.backends.mps.is_available():
        devices.append(Device("mps", "Apple GPU"))
    return tuple(devices)


def _codecs() -> dict[str, str]:
    """Return the version of the library behind every format; empty if Pillow lacks it.

    AVIF and HEIC are read where they can be; to lack them is no problem.
    """
    found = {
        name: (features.version(feature) or "present") if features.check(feature) else ""
        for name, feature in CODECS.items()
    }
    avif = features.version("avif") if features.check("avif") else None
    return found | {"AVIF": avif or "no, Pillow was built without", "HEIC": _heif()}


def _heif() -> str:
    """Return the version of what reads HEIC, or how to get it."""
    try:
        return f"pi-heif {version('pi-heif')}"
    except PackageNotFoundError:
        return "no, pip install pi-heif"


def _places() -> tuple[Place, ...]:
    """Return where the tool writes besides the folders that commands name."""
    paths = {
        "key": own_folder("config"),
        "generators": pulled_folder(),
        "state": own_folder("state"),
        "temporary": temporary_folder(),
    }
    return tuple(_place(name, path) for name, path in paths.items() if path is not None)


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
