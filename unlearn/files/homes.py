"""Homes: the folders of the person who runs the tool, who may be nobody with no home at all."""

import os
import stat
import tempfile
from pathlib import Path
from typing import Final, Literal

import platformdirs

NO_HOME: Final = "there is no home folder (HOME is not set)"


def own_folder(kind: Literal["cache", "config", "data", "state"]) -> Path | None:
    """Return the tool's folder of a kind in the person's home; None if there is no home."""
    places = {
        "cache": platformdirs.user_cache_path,
        "config": platformdirs.user_config_path,
        "data": platformdirs.user_data_path,
        "state": platformdirs.user_state_path,
    }
    try:
        path = places[kind]("unlearn")
    except RuntimeError:  # neither HOME nor an entry among the system's users
        return None
    return path if path.is_absolute() else None  # earlier versions of platformdirs return "~/…"


def temporary_folder() -> Path | None:
    """Return the system's folder of temporary files; None if there is none that can be written."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return None


def no_file(path: Path) -> str | None:
    """Return what a path is that could keep its reader waiting for ever; None for files.

    A folder is left to whoever opens it. Raises OSError.
    """
    mode = path.stat().st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode) or path.samefile(os.devnull):
        return None
    return "a device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "a pipe or socket"
