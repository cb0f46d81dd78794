"""The user's secret key: a public tool with one fixed mapping of classes could be inverted.

The key and the order of classes drawn from it are never printed or written anywhere; the
fingerprint is.
"""

import hashlib
import hmac
import os
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, overload

from unlearn.errors import EnvironmentProblem, UsageProblem
from unlearn.files.homes import NO_HOME, no_file, own_folder
from unlearn.files.text import printable

KEY_BYTES: Final = 32
_PATIENCE_SECONDS: Final = 1.0  # another first run may be between creating and filling the file


@dataclass(frozen=True)
class Key:
    """32 secret bytes, left out of the representation."""

    secret: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that tell keys apart and reveal nothing about them."""
        return hashlib.sha256(b"unlearn-key" + self.secret).hexdigest()[:12]

    def digest(self, message: bytes) -> bytes:
        """Return the HMAC-SHA256 of a message under the key."""
        return hmac.digest(self.secret, message, "sha256")


def default_path() -> Path:
    """Return where the user's own key is kept; raises EnvironmentProblem without a home."""
    folder = own_folder("config")
    if folder is None:
        raise EnvironmentProblem(f"{NO_HOME} to keep your key in; set HOME, or use --key FILE")
    return folder / "key"


@overload
def load_key(path: Path | None = None, *, create: Literal[True]) -> Key: ...
@overload
def load_key(path: Path | None = None, *, create: bool) -> Key | None: ...
def load_key(path: Path | None = None, *, create: bool) -> Key | None:
    """Read the key at the path, or the user's own, which `create` makes if it is missing.

    None: there is no key of the user's own yet. Raises UsageProblem for a given path that holds
    none, and EnvironmentProblem if the user's own cannot be read or made.
    """
    if path is not None:
        return _given(path)
    own = default_path()
    try:
        if create and not own.exists():
            _make(own)
        if own.exists():
            return Key(_read(own))
        if create:
            raise AssertionError("the key was made and is gone")
    except OSError as error:
        raise EnvironmentProblem(
            f"{printable(own)}: the key cannot be read or made ({error.strerror}); use --key FILE"
        ) from error
    except ValueError as error:
        raise EnvironmentProblem(
            f"{printable(own)}: {error}; restore it, or use --key FILE"
        ) from error
    return None


def permutation(key: Key, classes: int) -> list[int]:
    """Return an order of so many classes that only the key's owner knows.

    Class k of the sorted class names of a data set takes place permutation[k] among the generator's
    classes.
    """
    return sorted(
        range(classes), key=lambda k: key.digest(b"unlearn-class %d of %d" % (k, classes))
    )


def stream_seed(key: Key, seed: int) -> int:
    """Return the 63-bit seed of all noise streams of a run."""
    return int.from_bytes(key.digest(b"unlearn-stream %d" % seed)[:8], "big") >> 1


def _given(path: Path) -> Key:
    """Read a key that the person named."""
    try:
        return Key(_read(path))
    except OSError as error:
        raise UsageProblem(
            f"--key {printable(path)}: {f'{error.strerror or error}'.lower()}; a key is a file of "
            f"{KEY_BYTES} random bytes, for instance from: head -c {KEY_BYTES} /dev/urandom"
        ) from error
    except ValueError as error:
        raise UsageProblem(f"--key {printable(path)}: {error}") from error


def _read(path: Path) -> bytes:
    """Return the key's bytes; raises ValueError if the file holds something else."""
    other = no_file(path)
    if other is not None:
        raise ValueError(f"{other}, not a key: it must be a file of exactly {KEY_BYTES} bytes")
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        with path.open("rb") as file:
            content = file.read(KEY_BYTES + 1)
        if len(content) == KEY_BYTES:
            return content
        if content or time.monotonic() > deadline:
            raise ValueError(f"not a key: it must hold exactly {KEY_BYTES} bytes")
        time.sleep(0.02)


def _make(path: Path) -> None:
    """Write a new key that only its owner can read, unless another run is faster."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    try:
        try:
            os.write(file, secrets.token_bytes(KEY_BYTES))
            os.fsync(file)
        finally:
            os.close(file)
    except OSError:
        path.unlink(missing_ok=True)  # part of a key would stand in the way of the next run
        raise
