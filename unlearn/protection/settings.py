"""Everything that decides the bytes of a protect run's outputs, and how two runs differ in it."""

import json
from dataclasses import dataclass
from typing import Final

from unlearn.files.text import printable
from unlearn.protection.key import Key
from unlearn.protection.manifest import UNBOUNDED, RunHeader
from unlearn.protection.options import ProtectOptions

NOISE_VERSION: Final = 1  # raise it when equal settings no longer give equal bytes


@dataclass(frozen=True)
class Settings:
    """Everything that decides the bytes of the outputs, besides the sources."""

    options: ProtectOptions
    key: Key | None  # None: no key was made yet, so no output can have been written with it
    generator_sha256: str
    grid: int
    bounded: bool = True  # else the generator's noise keeps no bound, and its largest is measured

    @property
    def rho(self) -> str:
        """The bound that the outputs keep, or a word that there is none."""
        return str(self.options.rho) if self.bounded else UNBOUNDED

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
        return name and f"{name} {printable(there[name])}, you asked {here[name]}"

    def compared(self) -> dict[str, str]:
        """Return what all pictures of one output folder share, as it is shown."""
        options = self.options
        return {
            "rho": self.rho,
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
