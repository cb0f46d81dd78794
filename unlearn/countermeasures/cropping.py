"""Crops of other strengths: what random resized crops show of photos, from little to all."""

from fractions import Fraction

from unlearn.countermeasures.base import Countermeasure

CROP8 = Countermeasure(
    "crop8",
    "Random resized crops show 8 % to all of a photo's area instead of 25 % to all, as is usual on "
    "ImageNet (Szegedy et al., 2015), and small pictures are shown as ever.",
    smallest_crop=Fraction(8, 100),
)
WHOLE = Countermeasure(
    "whole",
    "Photos are shown whole, mirrored half of the time, without any random crop.",
    smallest_crop=Fraction(1),
)
