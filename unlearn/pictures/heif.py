"""HEIC and HEIF through pi-heif, which is imported when the first such file is met.

pi-heif decodes the primary picture, applies rotation and mirroring as the boxes of the file ask
for, and sets the orientation in EXIF and XMP to 1, so that nobody turns the picture twice.
"""

from unlearn.errors import PictureError
from unlearn.extras import how_to_add

MISSING = f"HEIC needs pi-heif ({how_to_add('heif')}); or convert to JPEG"


def enable_heif() -> None:
    """Let Pillow open HEIC files; raises PictureError if pi-heif is not installed."""
    try:
        import pi_heif  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError as problem:
        raise PictureError(MISSING) from problem
    # Thumbnails and the like are named by the boxes of the file; nothing needs to decode them.
    pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
