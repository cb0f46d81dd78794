"""How large a picture is to be shown or printed, and the shape of its pixels."""

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from PIL import Image

from unlearn.pictures.kinds import Data, chunks
from unlearn.pictures.metadata.exif import (
    RATIONAL,
    SHORT,
    X_RESOLUTION,
    Y_RESOLUTION,
    Entry,
    Exif,
    Order,
    whole,
)

SHAPE, INCH, CENTIMETRE, METRE = range(4)  # the first three as JFIF numbers them
_PER_INCH: Final = {
    INCH: Fraction(1),
    CENTIMETRE: Fraction(254, 100),
    METRE: Fraction(254, 10_000),
}
_HUNDREDTH: Final = 100
_UNIT: Final = 296
_EXIF_UNITS: Final = {1: SHAPE, 2: INCH, 3: CENTIMETRE}
_LARGEST_JFIF, _LARGEST_PNG, _LARGEST_EXIF = 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF


@dataclass(frozen=True)
class Density:
    """Pixels across and down for each unit of length; of SHAPE only their ratio has a meaning."""

    across: Fraction
    down: Fraction
    unit: int

    def turned(self) -> "Density":
        """Return that of the picture turned by a quarter."""
        return Density(self.down, self.across, self.unit)

    @property
    def per_inch(self) -> tuple[Fraction, Fraction]:
        """Pixels for each inch, to a hundredth; of a SHAPE as they are."""
        if self.unit == SHAPE:
            return self.across, self.down
        across, down = (value * _PER_INCH[self.unit] for value in (self.across, self.down))
        return _hundredths(across), _hundredths(down)

    def jfif(self) -> bytes:
        """Return the unit and two numbers of a JFIF header; nothing stated if they do not fit."""
        values, unit = (self.across, self.down), self.unit
        if unit == METRE:
            values, unit = self.per_inch, INCH
        numbers = tuple(round(value) for value in values)
        if not all(0 < number <= _LARGEST_JFIF for number in numbers):
            return struct.pack(">BHH", SHAPE, 1, 1)
        return struct.pack(">BHH", unit, *numbers)

    def png(self) -> bytes | None:
        """Return the content of a pHYs chunk; None if the numbers do not fit."""
        scale = 1 if self.unit in (SHAPE, METRE) else _PER_INCH[self.unit] / _PER_INCH[METRE]
        numbers = tuple(round(value * scale) for value in (self.across, self.down))
        if not all(0 < number <= _LARGEST_PNG for number in numbers):
            return None
        return struct.pack(">IIB", *numbers, int(self.unit != SHAPE))

    def entries(self, order: Order) -> dict[int, Entry]:
        """Return the EXIF or TIFF entries; none if the numbers do not fit."""
        if not all(0 < value.numerator <= _LARGEST_EXIF for value in self.per_inch):
            return {}
        found = {
            tag: Entry(RATIONAL, 1, struct.pack(order + "II", value.numerator, value.denominator))
            for tag, value in zip((X_RESOLUTION, Y_RESOLUTION), self.per_inch, strict=True)
        }
        return found | {_UNIT: whole(order, SHORT, 1 if self.unit == SHAPE else 2)}


def read_density(image: Image.Image, data: Data, name: str, exif: Exif | None) -> Density | None:
    """Return what the file says, in its own header or else in EXIF; None if it says nothing."""
    found = _in_header(image, data, name) or _in_exif(exif)
    if found is None or min(found.across, found.down) <= 0:
        return None
    return None if found.unit == SHAPE and found.across == found.down else found


def _in_header(image: Image.Image, data: Data, name: str) -> Density | None:
    """Return what the format's own header says."""
    if name == "JPEG" and "jfif_density" in image.info:
        unit = int(image.info.get("jfif_unit", SHAPE))
        across, down = image.info["jfif_density"]
        stated = unit in (INCH, CENTIMETRE) or across != down
        return Density(Fraction(across), Fraction(down), unit) if stated and unit < METRE else None
    if name == "PNG":
        content = next((part for chunk, part in chunks(data, name) if chunk == b"pHYs"), b"")
        if len(content) == 9:
            across, down, known = struct.unpack(">IIB", content)
            return Density(Fraction(across), Fraction(down), METRE if known else SHAPE)
    if name == "BMP" and struct.unpack_from("<I", data, 14)[0] >= 40:
        across, down = struct.unpack_from("<ii", data, 38)
        return Density(Fraction(across), Fraction(down), METRE) if across else None
    if name == "GIF" and data[12]:
        return Density(Fraction(64), Fraction(data[12] + 15), SHAPE)
    return None


def _in_exif(exif: Exif | None) -> Density | None:
    """Return what EXIF says."""
    if exif is None or not {X_RESOLUTION, Y_RESOLUTION} <= exif.image.keys():
        return None
    across, down = (_rational(exif, exif.image[tag]) for tag in (X_RESOLUTION, Y_RESOLUTION))
    unit = _EXIF_UNITS.get(exif.number(exif.image.get(_UNIT)) or 2)
    return None if unit is None else Density(across, down, unit)


def _rational(exif: Exif, entry: Entry) -> Fraction:
    """Return the first value of an entry, 0 where it is no number."""
    if entry.kind != RATIONAL:
        return Fraction(exif.number(entry))
    above, below = struct.unpack_from(exif.order + "II", entry.raw)
    return Fraction(above, below) if below else Fraction(0)


def _hundredths(value: Fraction) -> Fraction:
    """Return a value rounded to hundredths."""
    return Fraction(round(value * _HUNDREDTH), _HUNDREDTH)
