"""Fitting the coefficients of one JPEG: into the bound, pass by pass, as decoders see it."""

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from unlearn.errors import PictureError
from unlearn.pictures.jpeg.coefficients import BLOCK, Coefficients, Table, write_coefficients
from unlearn.pictures.jpeg.room import (
    STRIP_PIXELS,
    Scene,
    Units,
    blue_limit,
    cut,
    red_limits,
    to_blocks,
)
from unlearn.pictures.jpeg.rounding import Blocks, Problem, forward, inverse, settle
from unlearn.pictures.pillow import decoding

RESIZED: Final = "it is shrunk, so that nothing is left of how its source was stored"
_ANY_SIZE: Final = 1 << 40  # the source was decoded before; another size than its is refused
_GROUP: Final = 512  # units that are fitted again together
_PASSES: Final = 8
_COLOUR: Final = (1.0, 0.5, 0.0)  # share of the colours' change that is asked for, by failures
_LIGHT: Final = (1.0, 1.0, 1.0, 0.5, 0.0)
_MARGIN: Final = 0.05  # levels; decoders round a little otherwise than the transform here
_MORE_MARGIN: Final = 0.15  # for each failure
_MOST_MARGINS: Final = 3  # so that the source's own value always is within the limits
_ALONE: Final = 3  # passes after which a unit's neighbours, whose colours reach into it, yield too


class Fit:
    """The coefficients of one file on their way into the bound."""

    def __init__(
        self,
        scene: Scene,
        colours: list[NDArray[np.float16]],
        stored: list[Coefficients],
        tables: tuple[Table, ...],
    ) -> None:
        self.scene, self.colours, self.stored = scene, colours, stored
        self.coding = replace(scene.coding, tables=tables)
        self.found = [np.zeros_like(part) for part in stored]
        self.failures = np.zeros(self.coding.units, np.int8)
        self.decoded = scene.pixels
        self._own, self._steps = (
            [table.astype(np.float32)[:, None] for table in kind]
            for kind in (scene.coding.tables, tables)
        )

    def passes(self) -> Iterator[bool]:
        """Fit until no pixel is over the bound; tell after each pass whether that is so.

        The last pass tells no if it never is.
        """
        groups = self.scene.strips()
        for number in range(1, _PASSES + 1):
            planes = None
            self.decoded = self.scene.pixels  # of the pass before no more is needed
            if self.colours:
                for units in groups:
                    self._fit_colours(units)
                planes = decoded_planes(self.data(), self.scene.pixels.shape)
            for units in groups:
                self._fit_light(units, planes)
            del planes
            self.decoded = _decoded(self.data(), self.scene.pixels.shape)
            over = _over(self.scene, self.decoded)
            done = not over.any()
            yield done
            if done:
                return
            if number >= _ALONE:
                over = _with_neighbours(over)
            self.failures[over] += 1
            rows, columns = np.nonzero(over)
            starts = range(0, len(rows), _GROUP)
            groups = [(rows[k : k + _GROUP], columns[k : k + _GROUP]) for k in starts]

    def data(self, *, final: bool = False) -> bytes:
        """Return the file as far as it is made."""
        return write_coefficients(self.coding, self.found, final=final)

    def _fit_colours(self, units: Units) -> None:
        """Fit the colours of some units: blue, then red within what is left of the room."""
        most = blue_limit(self.scene.levels)
        limits = np.full((BLOCK**2, 1), -most), np.full((BLOCK**2, 1), most)
        for number, change in enumerate(self.colours, 1):
            wanted = to_blocks(cut(change, units, self.coding.sampling[number]))
            low, high = (np.broadcast_to(limit, wanted.shape) for limit in limits)
            wanted = self._asked(units, _COLOUR, number) * np.clip(wanted, low, high)
            base = self._base(units, number)
            made = self._put(units, number, Problem(base, wanted, forward(wanted), low, high))
            limits = red_limits(made, self.scene.levels)

    def _fit_light(self, units: Units, planes: NDArray[np.uint8] | None) -> None:
        """Fit the brightness of some units to the colours that the file has."""
        change, low, high = self.scene.light(units, planes)
        change *= self._asked(units, _LIGHT, 0)
        base = self._base(units, 0)
        rest = inverse(base)
        failed = np.minimum(self._failed(units, 0), _MOST_MARGINS)
        slack = np.float32(0.5 - _MARGIN) - np.float32(_MORE_MARGIN) * failed
        middle = (low + high) / 2
        low = np.minimum(low - slack, middle) - rest
        high = np.maximum(high + slack, middle) - rest
        self._put(units, 0, Problem(base, change, forward(change), low, high))

    def _base(self, units: Units, component: int) -> Blocks:
        """Return what the source stores in some units, (64, n)."""
        place = self._place(units, component)
        counts = self.stored[component][place].reshape(-1, BLOCK**2)
        return counts.T.astype(np.float32, order="C") * self._own[component]

    def _put(self, units: Units, component: int, problem: Problem) -> Blocks:
        """Settle some units of a component and return the change of their values."""
        counts, made = settle(problem, self._steps[component])
        place = self._place(units, component)
        shape = (-1, *self.coding.sampling[component], BLOCK**2)
        self.found[component][place] = counts.T.astype(np.int16).reshape(shape)
        return made

    def _place(self, units: Units, component: int) -> Units:
        """Return rows and columns of the blocks in some units, which make (n, down, across)."""
        down, across = self.coding.sampling[component]
        rows = units[0][:, None] * down + np.arange(down)
        columns = units[1][:, None] * across + np.arange(across)
        return rows[:, :, None], columns[:, None, :]

    def _asked(self, units: Units, shares: tuple[float, ...], component: int) -> Blocks:
        """Return the share of the change that is asked of every block."""
        failures = np.minimum(self._failed(units, component), len(shares) - 1)
        return np.array(shares, np.float32)[failures]

    def _failed(self, units: Units, component: int) -> NDArray[np.int8]:
        """Return how often the unit of each block has failed."""
        down, across = self.coding.sampling[component]
        return self.failures[units].repeat(down * across)


def decoded_planes(data: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the planes of a JPEG, the colours enlarged as decoders do, (H, W, C)."""
    return _decoded(data, shape, "YCbCr" if shape[2] == 3 else "L")


def _decoded(data: bytes, shape: tuple[int, ...], mode: str | None = None) -> NDArray[np.uint8]:
    """Return a JPEG's pixels, or its planes, of a known shape; raises PictureError for another."""
    with (
        decoding("JPEG", _ANY_SIZE),
        Image.open(BytesIO(data), formats=["JPEG"]) as image,
    ):
        _refuse(image, shape)
        if mode:
            image.draft(mode, image.size)
        image.load()
        return np.asarray(image).reshape(shape)


def working_bytes(data: bytes) -> int:
    """Return about how much memory fitting a JPEG takes, by its header.

    Measured: four arrays of pixels, and four of coefficients in two bytes each, half of them in
    jpeglib while it writes.
    """
    with decoding("JPEG", _ANY_SIZE), Image.open(BytesIO(data), formats=["JPEG"]) as image:
        if not isinstance(image, JpegImagePlugin.JpegImageFile):
            raise PictureError("not a JPEG")
        areas = [layer[1] * layer[2] for layer in image.layer]
        samples = sum(areas) / max(areas)
        return round(image.size[0] * image.size[1] * (14 * len(areas) / 3 + 8.5 * samples))


def _refuse(image: Image.Image, shape: tuple[int, ...]) -> None:
    """Raise PictureError for what is not stored as grey or as brightness and colour."""
    if image.mode not in ("L", "RGB"):
        raise PictureError(f"{image.mode} JPEG cannot be kept")
    names = (
        [layer[0] for layer in image.layer]
        if isinstance(image, JpegImagePlugin.JpegImageFile)
        else []
    )
    if image.mode == "RGB" and (image.info.get("adobe_transform") == 0 or names == [*b"RGB"]):
        raise PictureError("a JPEG that stores red, green and blue cannot be kept")
    if (image.size[1], image.size[0], len(image.getbands())) != shape:
        raise PictureError(RESIZED)


def _with_neighbours(units: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the units that are set, and the eight around each."""
    rows = units.copy()
    rows[1:] |= units[:-1]
    rows[:-1] |= units[1:]
    found = rows.copy()
    found[:, 1:] |= rows[:, :-1]
    found[:, :-1] |= rows[:, 1:]
    return found


def _over(scene: Scene, decoded: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell which units of a decoded file hold a pixel over the bound."""
    over = np.zeros(scene.coding.units, bool)
    (high, wide), (height, width) = scene.coding.unit, scene.pixels.shape[:2]
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        before, after = scene.pixels[top : top + rows], decoded[top : top + rows]
        far = np.maximum(before, after) - np.minimum(before, after) > scene.levels
        if far.any():
            y, x, _ = np.nonzero(far)
            over[(y + top) // high, x // wide] = True
    return over
