"""Pillow's modes brought to the few that noise is added to: L, LA, RGB, RGBA and 16-bit grey.

A mode becomes supported by a row of MODES. Every conversion depends on the file alone, so that
protecting and verifying see the same picture.
"""

from collections.abc import Callable
from io import BytesIO
from typing import Final

import numpy as np
from PIL import Image

from unlearn.pictures.metadata.isobmff import Container

# Pillow mode -> the mode it is widened to, without and with transparency.
MODES: Final = {
    "1": ("L", "LA"),
    "L": ("L", "LA"),
    "LA": ("LA", "LA"),
    "La": ("LA", "LA"),
    "P": ("RGB", "RGBA"),
    "PA": ("RGBA", "RGBA"),
    "RGB": ("RGB", "RGBA"),
    "RGBX": ("RGB", "RGB"),
    "RGBA": ("RGBA", "RGBA"),
    "RGBa": ("RGBA", "RGBA"),
    "I;16": ("I;16", "LA"),
    "I;16L": ("I;16", "LA"),
    "I;16B": ("I;16", "LA"),
    "CMYK": ("RGB", "RGB"),
    "LAB": ("RGB", "RGB"),
    "HSV": ("RGB", "RGB"),
    "YCbCr": ("RGB", "RGB"),
}
CMYK_CONVERTED: Final = "CMYK colour was converted to sRGB by its profile"
CMYK_PLAIN: Final = "CMYK colour without a usable profile was converted plainly; colours may shift"
COLOUR_CONVERTED: Final = "{} colour was converted to RGB"
DEPTH_REDUCED: Final = "{}-bit colour is reduced to 8 bit"
ALPHA_UNMULTIPLIED: Final = "colour multiplied by alpha was divided by it"

_LEVELS_OF = {"L;2": 85, "L;4": 17}  # what Pillow multiplies the values of few bits with
_WHITE_IS_ZERO = 0


def raw_mode(image: Image.Image) -> str:
    """Return how the values lie in the file, in Pillow's words; only before it is loaded."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return ""
    layout = tiles[0][3]
    return str(layout[0] if isinstance(layout, tuple) else layout)


def widen(
    image: Image.Image, raw: str, container: Container | None, notices: list[str]
) -> Image.Image:
    """Return a loaded picture as L, LA, RGB, RGBA or I;16; transparency becomes alpha.

    `raw` is raw_mode of the same picture; what a person should know is added to `notices`.
    """
    if image.mode.startswith("I;16"):
        return _deep_grey(image, notices)
    if container is not None and container.bits > 8:
        notices.append(DEPTH_REDUCED.format(container.bits))
    elif ";16" in raw and raw != "BGR;16":  # 5 or 6 bits a value, in a BMP
        notices.append(DEPTH_REDUCED.format(16))
    if image.mode in _CONVERSIONS:
        return _CONVERSIONS[image.mode](image, notices)
    if raw.startswith(("RGBa", "La")):
        notices.append(ALPHA_UNMULTIPLIED)
    key = image.info.get("transparency")
    if raw in _LEVELS_OF and isinstance(key, int):
        image.info["transparency"] = key * _LEVELS_OF[raw]  # Pillow widens values, but not this
    plain, transparent = MODES[image.mode]
    wanted = transparent if image.has_transparency_data else plain
    if _is_grey(image, raw, container):
        wanted = {"RGB": "L", "RGBA": "LA"}.get(wanted, wanted)  # all channels are equal
    return image if image.mode == wanted else image.convert(wanted)


def _is_grey(image: Image.Image, raw: str, container: Container | None) -> bool:
    """Tell whether a file is grey though Pillow shows it in colour."""
    if image.mode in ("P", "PA"):
        colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        return bool(colours.size) and bool((colours == colours[:, :1]).all())
    return raw.startswith("LA;16") or (container is not None and container.grey)


def _deep_grey(image: Image.Image, notices: list[str]) -> Image.Image:
    """Return 16-bit grey in this machine's order, black being 0; as LA if one value is clear."""
    values = np.asarray(image).astype(np.uint16)
    if getattr(image, "tag_v2", {}).get(262, 1) == _WHITE_IS_ZERO:
        np.subtract(65_535, values, out=values)  # Pillow leaves this undone
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return Image.fromarray(values)
    notices.append(DEPTH_REDUCED.format(16))
    alpha = np.where(values == key, 0, 255).astype(np.uint8)
    return Image.fromarray(np.dstack([(values >> 8).astype(np.uint8), alpha]))


def _from_cmyk(image: Image.Image, notices: list[str]) -> Image.Image:
    """Return CMYK as sRGB by its profile, perceptually, or plainly without a usable one."""
    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            converted = ImageCms.profileToProfile(
                image,
                source,
                ImageCms.createProfile("sRGB"),
                ImageCms.Intent.PERCEPTUAL,
                outputMode="RGB",
            )
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            converted = None
        if converted is not None:
            notices.append(CMYK_CONVERTED)
            return converted
    notices.append(CMYK_PLAIN)
    return image.convert("RGB")


def _to_rgb(image: Image.Image, notices: list[str]) -> Image.Image:
    """Return another colour space as RGB."""
    notices.append(COLOUR_CONVERTED.format({"LAB": "Lab"}.get(image.mode, image.mode)))
    return image.convert("RGB")


_CONVERSIONS: Final[dict[str, Callable[[Image.Image, list[str]], Image.Image]]] = {
    "CMYK": _from_cmyk,
    "LAB": _to_rgb,
    "HSV": _to_rgb,
    "YCbCr": _to_rgb,
}
