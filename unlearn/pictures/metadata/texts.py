"""The texts of a PNG and the comments of other formats: what they say, and which state rights."""

import re

from PIL import Image

from unlearn.pictures.kinds import Data, chunks, holds_picture
from unlearn.pictures.metadata.embedded import left_of_photoshop
from unlearn.pictures.metadata.iptc import from_raw_profile, profile_in

IPTC_TEXTS = frozenset({"Raw profile type iptc", "Raw profile type 8bim"})
# Of a PNG by ImageMagick; the last holds EXIF or XMP, as the segment of a JPEG does.
EXIF_TEXT, XMP_TEXT, APP1_TEXT = (f"Raw profile type {kind}" for kind in ("exif", "xmp", "APP1"))
_PROFILE_TEXTS = IPTC_TEXTS | {EXIF_TEXT, XMP_TEXT, APP1_TEXT}
_RIGHTS_KEY = re.compile(  # of the text of a PNG, by itself or as a program's own (dc:rights)
    "([a-z]+:)?(author|artist|creator|photographer|copyright([ _]?notice)?|rights|licen[cs]e|credit"
    "|disclaimer|usage[ _]?terms|web[ _]?statement|data[ _]?mining|tdm-(reservation|policy))",
    re.IGNORECASE,
)
_STATES_RIGHTS = re.compile(r"copyright|\(c\)|©|\ball rights\b|\blicen[cs]ed?\b", re.IGNORECASE)


def read_texts(
    image: Image.Image, data: Data, name: str
) -> tuple[tuple[tuple[str, str], ...], tuple[bytes, ...], int]:
    """Return text and comments that describe the picture, and how many texts hold one and go.

    A comment of a JPEG is among both; that of another format is text.
    """
    texts: list[tuple[str, str]] = []
    if name == "PNG":
        texts = [(key, str(value)) for key, value in getattr(image, "text", {}).items()]
        pairs = [part.partition(b"\0") for chunk, part in chunks(data, name) if chunk == b"tEXt"]
        every = [(key.decode("latin-1"), value.decode("latin-1")) for key, _, value in pairs if key]
        texts = [*dict.fromkeys([*every, *texts])]  # Pillow has the last text of a name only
    comments = [part for segment, part in getattr(image, "applist", ()) if segment == "COM"]
    if not comments and isinstance(image.info.get("comment"), bytes):
        comments = [image.info["comment"]]
    comments = [comment for comment in comments if comment]
    texts += [("Comment", as_text(comment)) for comment in comments]
    kept: list[tuple[str, str]] = []
    pictures = 0
    for key, value in texts:
        if key in _PROFILE_TEXTS and _is_read(key, value):
            continue
        if key.startswith("Raw profile type") or holds_picture(value.encode("utf-8", "replace")):
            pictures += 1
        elif key != "XML:com.adobe.xmp":
            kept.append((key, value))
    plain = tuple(comment for comment in comments if not holds_picture(comment))
    return tuple(kept), plain, pictures


def _is_read(key: str, value: str) -> bool:
    """Tell whether a profile in a text was understood, so that nothing of it goes unnamed."""
    if key in IPTC_TEXTS:
        return bool(resources := from_raw_profile(value)) and not left_of_photoshop(resources)
    return profile_in(value) is not None


def is_about_rights(key: str, value: str) -> bool:
    """Tell whether a text of a PNG, or a comment, is about rights."""
    states = key.lower() in ("comment", "description") and _STATES_RIGHTS.search(value)
    return bool(states or _RIGHTS_KEY.fullmatch(key))


def as_text(comment: bytes) -> str:
    """Return a comment as text: UTF-8, else Latin-1 as older programs write it."""
    try:
        return comment.decode()
    except UnicodeDecodeError:
        return comment.decode("latin-1")
