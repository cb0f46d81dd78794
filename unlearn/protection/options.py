"""The settings of a protect run: what was asked, and what of it an output must answer to."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from unlearn.errors import UsageProblem
from unlearn.files.text import shown
from unlearn.pictures.metadata.kept import MetadataChoice
from unlearn.pictures.read import Preparation
from unlearn.pictures.write import FormatChoice
from unlearn.protection.key import Key
from unlearn.protection.manifest import RunHeader
from unlearn.protection.plan import PlanRequest
from unlearn.protection.scan import Selection
from unlearn.radius import Radius

NOISE_VERSION: Final = 1  # raise it when equal settings no longer give equal bytes
SMALLEST_GRID: Final = 8
SMALLEST_SIDE: Final = 16


@dataclass(frozen=True)
class ProtectOptions:
    """What the person asked of one run; raises UsageProblem for values that make no sense."""

    inputs: tuple[str, ...]
    out: Path
    generator: Path
    generator_name: str = "base"
    rho: Radius = Radius.of_levels(8)
    labels: str = "auto"
    format: FormatChoice = "auto"
    metadata: MetadataChoice = "keep"
    max_side: int | None = None
    selection: Selection = Selection()
    key: Path | None = None
    grid: int | None = None
    seed: int = 0
    device: str = "auto"
    workers: int = 1
    batch_size: int | None = None
    preview: int = 3
    max_pixels: int = 512_000_000
    force: bool = False
    fail_fast: bool = False
    dry_run: bool = False
    report_survival: bool = False
    argv: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rho.levels < 1:
            raise UsageProblem(
                f"rho {self.rho} is less than one step of an 8-bit colour value, so nothing could "
                "change; use at least 1/255"
            )
        if self.grid is not None and self.grid < SMALLEST_GRID:
            raise UsageProblem(f"--grid {self.grid} is too small; use at least {SMALLEST_GRID}")
        if self.max_side is not None and self.max_side < SMALLEST_SIDE:
            raise UsageProblem(
                f"--max-side {self.max_side} is too small; use at least {SMALLEST_SIDE}"
            )

    @property
    def request(self) -> PlanRequest:
        """The part that decides which files are read and written."""
        return PlanRequest(self.inputs, self.out, self.selection, self.labels, self.format)

    @property
    def preparation(self) -> Preparation:
        """The part that decides how a source is decoded."""
        return Preparation(self.max_side, self.max_pixels)


@dataclass(frozen=True)
class Settings:
    """Everything that decides the bytes of the outputs, besides the sources."""

    options: ProtectOptions
    key: Key | None  # None: no key was made yet, so no output can have been written with it
    generator_sha256: str
    grid: int

    def conflict(self, header: RunHeader | None) -> str | None:
        """Return how the folder's last run differs ("rho 4/255, you asked 8/255"), or None."""
        if header is None:
            return None
        here = self.compared()
        there = {
            "rho": header.rho,
            "generator": header.generator_sha256[:12],
            "grid": str(header.grid),
            "seed": str(header.seed),
            "key": header.key,
            "format": header.format,
            "metadata": header.metadata,
            "max-side": str(header.max_side),
            "noise version": str(header.noise),
        }
        name = next((name for name in here if here[name] != there[name]), None)
        return name and f"{name} {shown(there[name])}, you asked {here[name]}"

    def compared(self) -> dict[str, str]:
        """Return what all pictures of one output folder share, as it is shown."""
        options = self.options
        return {
            "rho": str(options.rho),
            "generator": self.generator_sha256[:12],
            "grid": str(self.grid),
            "seed": str(options.seed),
            "key": self.key.fingerprint if self.key else "none",
            "format": options.format,
            "metadata": options.metadata,
            "max-side": str(options.max_side),
            "noise version": str(NOISE_VERSION),
        }

    def fingerprint(self, target: int, output_format: str) -> str | None:
        """Return what tells outputs of one source apart; it gives away neither key nor target."""
        if self.key is None:
            return None
        options = self.options
        text = json.dumps(
            {
                "generator": self.generator_sha256,
                "rho": str(options.rho.value),
                "seed": options.seed,
                "target": target,
                "grid": self.grid,
                "format": output_format,
                "metadata": options.metadata,
                "max_side": options.max_side,
                "noise": NOISE_VERSION,
            },
            sort_keys=True,
        )
        return self.key.digest(text.encode()).hex()[:16]
