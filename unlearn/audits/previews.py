"""Three sheets that show what was done to the audited pictures, as PNG files."""

from pathlib import Path

import numpy as np
from torch import Tensor

from unlearn.audits.copies import Copies
from unlearn.errors import PictureError
from unlearn.files.text import printable
from unlearn.pictures.decoded import Picture, Preparation, to_image
from unlearn.pictures.preview import preview_sheet
from unlearn.pictures.read import prepare

_SHEETS = 3


def preview_sheets(copies: Copies, folder: Path) -> tuple[tuple[str, bytes], ...]:
    """Draw sheets of pictures of different classes; return their names and PNG bytes."""
    folder.mkdir(exist_ok=True)
    sheets: list[tuple[str, bytes]] = []
    for number in _spread(copies):
        name = copies.clean.names[number] if copies.files else f"picture {number}"
        target = folder / f"{len(sheets) + 1}.png"
        try:
            source, protected = pair(copies, number)
            preview_sheet(source, protected, target, printable(name))
        except PictureError:
            continue  # a sheet less is no reason to lose an audit
        sheets.append((name, target.read_bytes()))
    return tuple(sheets)


def _spread(copies: Copies) -> list[int]:
    """Return the first picture of each of a few classes that has a copy."""
    labels = copies.data.labels.tolist()
    firsts = [labels.index(label) for label in sorted(set(labels))]
    own = copies.clean.own
    return [number for number in firsts if own[number]][:_SHEETS]


def pair(copies: Copies, number: int) -> tuple[Picture, Picture]:
    """Return a clean picture and its protected one, at full size."""
    if copies.files:
        files = (copies.clean.files[number], copies.files[number])
        return prepare(files[0], Preparation()), prepare(files[1], Preparation())
    return square(copies.clean.train.pixels[number]), square(copies.data.pixels[number])


def square(pixels: Tensor) -> Picture:
    """Return pixels uint8 (3, S, S) as a picture."""
    return Picture(to_image(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())))
