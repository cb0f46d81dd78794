"""Radius, an exact bound on how far one colour value may move."""

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from unlearn.errors import UsageProblem

WHITE = 255
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)", re.ASCII)


@dataclass(frozen=True, order=True)
class Radius:
    """An exact ℓ∞ radius as a share of the range [0, 1] of a colour value; 0 allows no change.

    Raises UsageProblem outside [0, 1).
    """

    value: Fraction

    def __post_init__(self) -> None:
        if not 0 <= self.value < 1:
            raise UsageProblem(
                f"{self.value} is not a radius: it is a share of the colour range, at least 0 and "
                f"below 1{_suggestion(self.value)}"
            )

    @classmethod
    def parse(cls, text: str) -> "Radius":
        """Read "8/255", "1.6/255" or "0.03"; raises UsageProblem for anything else."""
        try:
            return cls(parse_fraction(text))
        except (ValueError, ZeroDivisionError):
            raise UsageProblem(
                f"{text!r} is not a radius; write a fraction as 8/255 or a decimal as 0.03"
            ) from None

    @classmethod
    def of_levels(cls, levels: float) -> "Radius":
        """Return the radius of so many 8-bit steps, exactly as printed: 1.6 gives 1.6/255."""
        return cls(Fraction(str(levels)) / WHITE)

    @property
    def levels(self) -> int:
        """The whole 8-bit steps inside the radius, rounded down: never beyond the bound."""
        return math.floor(self.value * WHITE)

    def __float__(self) -> float:
        return float(self.value)

    def __str__(self) -> str:
        levels = _decimal(self.value * WHITE)
        return f"{levels}/{WHITE}" if levels else str(self.value)


# Of noise that keeps no bound of its own: all but the whole range of a colour value.
WIDEST = Radius.of_levels(WHITE - 1)


def parse_fraction(text: str) -> Fraction:
    """Read a decimal, or two with a slash between, exactly; no exponents, which may be of any size.

    Raises ValueError or ZeroDivisionError.
    """
    parts = [part.strip() for part in text.split("/")]
    if len(parts) > 2 or not all(_DECIMAL.fullmatch(part) for part in parts):
        raise ValueError(text)
    numbers = [Fraction(part) for part in parts]
    return numbers[0] / numbers[1] if len(numbers) == 2 else numbers[0]


def _decimal(value: Fraction) -> str | None:
    """Return the value as a short decimal, or None if it is not one exactly."""
    text = f"{float(value):g}"
    return text if "e" not in text and Fraction(text) == value else None


def _suggestion(value: Fraction) -> str:
    """Return the likely meaning of a value that is too large, ready to append."""
    decimal = _decimal(value)
    return f"; did you mean {decimal}/{WHITE}?" if decimal and 1 <= value < WHITE else ""
