"""HEIC and HEIF through pi-heif, which is imported when the first such file is met.

pi-heif decodes the primary picture, applies rotation and mirroring as the boxes of the file ask
for, and sets the orientation in EXIF and XMP to 1, so that nobody turns the picture twice.
"""

from unlearn.errors import PictureError

MISSING = "HEIC needs pi-heif (pip install pi-heif); or convert to JPEG"


def enable_heif() -> None:
    """Let Pillow open HEIC files; raises PictureError if pi-heif is not installed."""
    try:
        import pi_heif  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError as problem:
        raise PictureError(MISSING) from problem
    # Thumbnails and the like are named by the boxes of the file; nothing needs to decode them.
    pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
