"""Writing whole files or nothing: a temporary file beside the target, flushed, then renamed."""

import contextlib
import hashlib
import os
from pathlib import Path

from unlearn.errors import EnvironmentProblem

TEMPORARY_PREFIX = ".unlearn-tmp-"


def file_sha256(path: Path) -> str | None:
    """Return the SHA-256 of a file's bytes, or None if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def replace_file(path: Path, content: bytes) -> None:
    """Write beside path, flush to disk and rename; raises EnvironmentProblem."""
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise EnvironmentProblem(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        with contextlib.suppress(OSError):  # a name that cannot be made cannot be removed either
            temporary.unlink(missing_ok=True)
