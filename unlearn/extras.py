"""How to add what is not installed with the rest: HEIC, the diffusion countermeasure."""

from typing import Final, Literal

DISTRIBUTION: Final = "unlearn-photos"  # on package indexes, `unlearn` is somebody else's


def how_to_add(extra: Literal["heif", "purify"]) -> str:
    """Return the command that installs an extra, from a checkout and from an index."""
    return f'pip install ".[{extra}]" in a checkout, else pip install "{DISTRIBUTION}[{extra}]"'
