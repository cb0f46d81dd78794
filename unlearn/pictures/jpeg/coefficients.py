"""JPEG files as what they store: whole numbers of quantisation steps, read and written unchanged.

jpeglib works on files, prints, and keeps state in C for whatever a file says about itself. So it
gets only what it needs, `jpeg.bare`, in a folder of its own. No copy of a source stays there unless
the process is killed.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from unlearn.errors import PictureError
from unlearn.pictures.jpeg.segments import PROGRESSIVE, SEQUENTIAL, bare

BLOCK: Final = 8
Coefficients = NDArray[np.int16]  # (rows, columns, 64) of blocks, filled up to whole units
Table = NDArray[np.int32]  # (64,) steps, row by row

_LIBRARY: Final = "turbo210"
_PROGRESSIVE_LIBRARY: Final = "mozjpeg403"  # writes progressive files only
_LARGEST_AC, _LARGEST_DC = 1023, 1024  # what the coding of 8-bit samples can hold


@dataclass(frozen=True)
class Coding:
    """How a JPEG stores a picture of `size` (width, height): per component its table, sampling.

    `sampling` is (down, across) blocks in the smallest part that all components share, the unit.
    """

    size: tuple[int, int]
    tables: tuple[Table, ...]
    sampling: tuple[tuple[int, int], ...]
    progressive: bool = False

    @property
    def unit(self) -> tuple[int, int]:
        """Height and width of a unit in pixels."""
        down, across = self.sampling[0]
        return BLOCK * down, BLOCK * across

    @property
    def units(self) -> tuple[int, int]:
        """How many units there are, down and across."""
        return -(-self.size[1] // self.unit[0]), -(-self.size[0] // self.unit[1])

    def steps(self, component: int) -> tuple[int, int]:
        """Return how many pixels, down and across, share one value of a component."""
        (down, across), (most_down, most_across) = self.sampling[component], self.sampling[0]
        return most_down // down, most_across // across

    def blocks(self, component: int) -> tuple[int, int]:
        """Return how many blocks of a component a file holds, down and across."""
        down, across = self.steps(component)
        return -(-self.size[1] // (BLOCK * down)), -(-self.size[0] // (BLOCK * across))


def read_coefficients(data: bytes) -> tuple[Coding, list[Coefficients]]:
    """Return how a JPEG is coded and its coefficients; raises PictureError for unusual kinds."""
    plain, frame = bare(data)
    if frame not in (*SEQUENTIAL, PROGRESSIVE):
        raise PictureError("this coding of a JPEG cannot be kept")
    with _jpeglib() as (jpeglib, folder):
        path = folder / "source.jpg"
        path.write_bytes(plain)
        image = jpeglib.read_dct(str(path))
        if image.num_components not in (1, 3):
            raise PictureError("only grey JPEG, and brightness with two colours, can be kept")
        image.load()
    parts = [image.Y, image.Cb, image.Cr][: image.num_components]
    sampling = [(int(down), int(across)) for down, across in image.samp_factor]
    sampling = [(1, 1)] if len(parts) == 1 else sampling
    most = [max(factors) for factors in zip(*sampling, strict=True)]
    if list(sampling[0]) != most or any(most[k] % pair[k] for pair in sampling for k in (0, 1)):
        raise PictureError("a JPEG with this sampling cannot be kept")
    tables = [image.qt[number].astype(np.int32).reshape(-1) for number in image.quant_tbl_no]
    if any(not table.all() for table in tables):
        raise PictureError("a JPEG with empty tables cannot be kept")
    coding = Coding(
        (int(image.width), int(image.height)), tuple(tables), tuple(sampling), frame == PROGRESSIVE
    )
    return coding, [_filled(part, coding, number) for number, part in enumerate(parts)]


def _filled(part: NDArray[np.int16], coding: Coding, component: int) -> Coefficients:
    """Return a component's coefficients with empty blocks up to whole units."""
    rows, columns = (
        count * factor
        for count, factor in zip(coding.units, coding.sampling[component], strict=True)
    )
    missing = (0, rows - part.shape[0]), (0, columns - part.shape[1]), (0, 0)
    return np.pad(part.reshape(*part.shape[:2], BLOCK**2), missing)


def write_coefficients(
    coding: Coding, coefficients: Sequence[Coefficients], *, final: bool = False
) -> bytes:
    """Return the JPEG of these coefficients without metadata.

    `final` takes longer for a smaller file, and a progressive one where the source is.
    """
    parts = []
    for number, part in enumerate(coefficients):
        rows, columns = coding.blocks(number)
        parts.append(part[:rows, :columns].reshape(rows, columns, BLOCK, BLOCK))
    own = len(parts) == 3 and not np.array_equal(coding.tables[1], coding.tables[2])
    numbers = [0] if len(parts) == 1 else [0, 1, 2] if own else [0, 1, 1]
    tables = [table.reshape(BLOCK, BLOCK) for table in coding.tables[: max(numbers) + 1]]
    with _jpeglib() as (jpeglib, folder):
        image = jpeglib.from_dct(
            *parts, qt=np.array(tables, np.uint16), quant_tbl_no=np.array(numbers)
        )
        image.width, image.height = coding.size
        image.samp_factor = np.array(coding.sampling, np.int32)
        path = folder / "made.jpg"
        image.write_dct(str(path), flags=["+OPTIMIZE_CODING"] if final else [])
        if final and coding.progressive:
            with jpeglib.version(_PROGRESSIVE_LIBRARY):
                jpeglib.read_dct(str(path)).write_dct(str(path))
        return path.read_bytes()


def storable(coefficients: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (64, n) coefficients cut, in place, to what a file can hold."""
    np.clip(coefficients[1:], -_LARGEST_AC, _LARGEST_AC, out=coefficients[1:])
    np.clip(coefficients[0], -_LARGEST_DC, _LARGEST_DC - 1, out=coefficients[0])
    return coefficients


@contextlib.contextmanager
def _jpeglib() -> Iterator[tuple[ModuleType, Path]]:
    """Yield jpeglib, silent, and a folder that its own temporary files go to as well.

    Raises PictureError if it is not installed, and for whatever it does not like about a file.
    """
    try:
        import jpeglib
    except (ImportError, OSError, RuntimeError) as problem:
        raise PictureError("the package jpeglib, which this needs, is not installed") from problem
    before = tempfile.tempdir
    try:
        with (
            tempfile.TemporaryDirectory(prefix="unlearn-") as folder,
            contextlib.redirect_stdout(io.StringIO()),
            jpeglib.version(_LIBRARY),
        ):
            tempfile.tempdir = folder
            yield jpeglib, Path(folder)
    except (OSError, ValueError, IndexError, KeyError) as problem:
        raise PictureError(f"its coding cannot be taken apart ({problem})") from problem
    finally:
        tempfile.tempdir = before
