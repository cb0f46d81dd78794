"""What never reaches an output, by what a person may want to do about it."""

from typing import Final

CREDENTIALS: Final = "credentials"  # signed; they can be issued again for the output
MOTION_VIDEO: Final = "motion-video"
GAIN_MAP: Final = "gain-map"  # without it the picture is no longer HDR
THUMBNAIL: Final = "thumbnail"
MAKER_NOTE: Final = "maker-note"  # many hold a preview, and break when they are moved
OTHER_COPY: Final = "other-copy"  # whatever else holds the picture, or may
EDITOR_DATA: Final = "editor-data"
REGIONS: Final = "regions"  # of an output that lies otherwise than its source does
HINTS: Final = "hints"  # for showing, sorting and printing it; not true of the output or not needed
PRIVATE_DATA: Final = "private-data"  # of makers and programs, whose meaning is not known here
EXIF: Final = "exif"  # these five where the format of the output has no place for them
XMP: Final = "xmp"
IPTC: Final = "iptc"
TEXT: Final = "text"
COLOUR: Final = "colour"
