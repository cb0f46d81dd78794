"""What a person chooses of written pictures; apart, since options load neither NumPy nor Pillow."""

from typing import Literal

FormatChoice = Literal["auto", "keep", "png", "webp", "tiff"]
TimesChoice = Literal["now", "keep"]
MetadataChoice = Literal["keep", "no-location", "copyright", "none"]
ArchiveChoice = Literal["archive", "folder"]
