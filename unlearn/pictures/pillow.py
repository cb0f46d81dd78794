"""Pillow kept within bounds: its limits set, its warnings silenced, its exceptions translated.

Pillow's limit and Python's warning filters are process-wide, so the first user in sets them and the
last one out restores them; threads may decode at the same time.
"""

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from PIL import Image, PngImagePlugin

from unlearn.errors import PictureError

MOST_TEXT: Final = 16 << 20  # bytes of one text chunk or profile of a PNG, once it is unpacked
_MOST_TEXTS: Final = 64 << 20  # of all of them together
_UNSUPPORTED: Final = re.compile(r"unsupported|not (available|supported|implemented)", re.I)


class _Quiet:
    """The process-wide state that decoding needs, shared by everyone who is decoding."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._limit: int | None = None
        self._texts = (0, 0)
        self._filters = warnings.catch_warnings()

    def enter(self, max_pixels: int) -> None:
        """Set limit and filters, or widen the limit when somebody set them already."""
        half = (max_pixels + 1) // 2  # Pillow refuses pictures of more than twice its limit
        with self._lock:
            if not self._users:
                self._limit = Image.MAX_IMAGE_PIXELS
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
                Image.MAX_IMAGE_PIXELS = half
                self._texts = (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)
                PngImagePlugin.MAX_TEXT_CHUNK = MOST_TEXT
                PngImagePlugin.MAX_TEXT_MEMORY = _MOST_TEXTS
            Image.MAX_IMAGE_PIXELS = max(half, Image.MAX_IMAGE_PIXELS or 0)
            self._users += 1

    def leave(self) -> None:
        """Restore everything when the last user is gone."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self._filters.__exit__(None, None, None)
                Image.MAX_IMAGE_PIXELS = self._limit
                PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = self._texts


_quiet = _Quiet()


@contextmanager
def decoding(name: str, max_pixels: int) -> Iterator[None]:
    """Run Pillow on untrusted bytes; raises PictureError for whatever goes wrong inside.

    "Damaged" is said of what is damaged only; what is too large or not supported is called that.
    Hostile files make Pillow raise nearly anything (struct.error, SyntaxError, TypeError,
    MemoryError), so every exception counts as a problem of the file.
    """
    _quiet.enter(max_pixels)
    try:
        yield
    except PictureError:
        raise
    except Image.DecompressionBombError:
        raise PictureError(f"more than {max_pixels:,} pixels (--max-pixels)") from None
    except MemoryError as problem:
        raise PictureError("not enough memory to decode it") from problem
    except Exception as problem:
        raise PictureError(_reason(name, problem)) from problem
    finally:
        _quiet.leave()


def _reason(name: str, problem: Exception) -> str:
    """Return what is wrong with a file that made Pillow raise this."""
    words = str(problem)
    if isinstance(problem, ValueError) and "MAX_TEXT" in words:
        return (
            f"its text or colour profile is over {MOST_TEXT >> 20} MB (all text: "
            f"{_MOST_TEXTS >> 20} MB); export it without, or save it as TIFF"
        )
    if isinstance(problem, NotImplementedError) or _UNSUPPORTED.search(words):
        return f"a kind of {name} that is not supported{_because(problem)}; save it again as PNG"
    return f"damaged {name} file{_because(problem)}"


def _because(problem: Exception) -> str:
    """Return Pillow's own words in brackets, on one line, when they are worth reading."""
    words = " ".join(str(problem).split())
    return f" ({words[:120]})" if isinstance(problem, OSError | SyntaxError) and words else ""
