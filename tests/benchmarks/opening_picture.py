"""The README's picture: one drawn picture as it was, as it is protected, and the noise ten times.

    python -m tests.benchmarks.opening_picture

Draws the pictures of `unlearn demo`, protects them with the bundled generator and a fixed key, and
writes docs/images/protected.jpg.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import unlearn
from unlearn.demo.options import DemoOptions
from unlearn.demo.run import demo

TARGET = Path(__file__).resolve().parents[2] / "docs" / "images" / "protected.jpg"
CHOSEN = "waves/waves-03"
KEY = bytes(range(32))
AMPLIFY = 10
QUALITY = 90
GAP, LINE, TEXT = 12, 26, 17
PAPER, INK = (255, 255, 255), (30, 30, 30)


def main() -> None:
    """Draw, protect and write the picture."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        photos, out, key = folder / "photos", folder / "protected", folder / "key"
        key.write_bytes(KEY)
        demo(DemoOptions(photos, per_class=3))
        report = unlearn.protect(photos, out, key=key, format="png", preview=0)
        before, after = pixels(photos / f"{CHOSEN}.jpg"), pixels(out / f"{CHOSEN}.png")
    TARGET.parent.mkdir(exist_ok=True)
    composed(before, after).save(TARGET, quality=QUALITY, subsampling=0)
    sys.stderr.write(f"{TARGET}: largest change {report.largest_change}/255\n")


def pixels(path: Path) -> NDArray[np.int16]:
    """Return the colour values of a picture."""
    return np.asarray(Image.open(path).convert("RGB"), np.int16)


def composed(before: NDArray[np.int16], after: NDArray[np.int16]) -> Image.Image:
    """Return the three panels side by side, each under its title; grey is no change."""
    noise = 128 + AMPLIFY * (after - before)
    panels = {"original": before, "protected": after, f"the noise, x{AMPLIFY}": noise}
    height, width = before.shape[:2]
    sheet = Image.new("RGB", (3 * width + 2 * GAP, height + LINE), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
    for place, (title, values) in enumerate(panels.items()):
        left = place * (width + GAP)
        draw.text((left, 0), title, INK, font)
        sheet.paste(Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)), (left, LINE))
    return sheet


if __name__ == "__main__":
    main()
