"""What never reaches an output, by what a person may want to do about it."""

from typing import Final

CREDENTIALS: Final = "credentials"  # signed; they can be issued again for the output
MOTION_VIDEO: Final = "motion-video"
GAIN_MAP: Final = "gain-map"  # without it the picture is no longer HDR
THUMBNAIL: Final = "thumbnail"
OTHER_COPY: Final = "other-copy"  # whatever else holds the picture, or may
