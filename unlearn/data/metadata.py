"""What travels with a picture besides its pixels, and which clean copies are left behind.

Kept: the colour profile byte for byte, EXIF entry by entry, XMP, the text chunks of a PNG and its
colour chunks. Left out and named: every place where a camera or an editor stores a second, clean
picture, and content credentials, whose signature any change breaks.
"""

import re
from dataclasses import dataclass, field
from typing import Literal

from PIL import Image

from unlearn.data.exif import Exif, for_output, read_exif, write_exif
from unlearn.data.formats import chunks, holds_picture

MetadataChoice = Literal["keep", "copyright", "none"]

_COLOUR_CHUNKS = (b"cICP", b"cHRM", b"gAMA", b"sRGB")
_LARGEST_COLOUR = 32
_XMP_OPEN = re.compile(rb"<(?:xmp|xap):Thumbnails\b[^>]{0,1000}>")
_XMP_CLOSE = re.compile(rb"</(?:xmp|xap):Thumbnails\s{0,9}>")
_XMP_PICTURES = re.compile(rb":Thumbnails|xmpGImg|xapGImg|GImage:|GDepth:|[A-Za-z0-9+/]{4096}")
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))([0-9])")
_MOTION_TAIL = re.compile(rb"\0\0\0.ftyp(mp4|iso|qt )|MotionPhoto_Data", re.DOTALL)
_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"


@dataclass(frozen=True)
class Metadata:
    """What an output may carry: colour profile and chunks, EXIF block, XMP packet, text."""

    icc: bytes | None = None
    exif: Exif | None = None
    xmp: bytes | None = None
    text: tuple[tuple[str, str], ...] = ()
    colour: tuple[tuple[bytes, bytes], ...] = ()

    def chosen(self, choice: MetadataChoice, size: tuple[int, int]) -> "Metadata":
        """Return what an output of `size` (width, height) carries under the user's choice."""
        if choice == "none":
            return Metadata(self.icc, colour=self.colour)
        exif = self.exif and for_output(self.exif, size, copyright_only=choice == "copyright")
        if choice == "copyright":
            return Metadata(self.icc, exif, colour=self.colour)
        return Metadata(self.icc, exif, self.xmp, self.text, self.colour)

    @property
    def exif_block(self) -> bytes:
        """The EXIF as bytes without the "Exif" prefix, empty when there is none."""
        return write_exif(self.exif) if self.exif else b""


@dataclass
class Findings:
    """What reading one file's metadata brought to light."""

    metadata: Metadata = field(default_factory=Metadata)
    orientation: int = 1
    dropped: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def read_metadata(image: Image.Image, data: bytes, name: str) -> Findings:
    """Collect the metadata of a decoded picture whose file has the bytes `data`.

    `image` is loaded, because PNG and TIFF may store their notes behind the pixels.
    """
    found = Findings()
    exif = _exif(image, data, name, found)
    xmp = _xmp(image, found)
    found.orientation = _orientation(exif, image, name)
    found.dropped += _second_pictures(image, data, name)
    icc = image.info.get("icc_profile")
    if "icc_profile" in image.info and not icc:
        found.notices.append("the colour profile is damaged and was left out")
    colour = [
        (chunk, bytes(content))
        for chunk, content in (chunks(data, name) if name == "PNG" else ())
        if chunk in _COLOUR_CHUNKS and len(content) <= _LARGEST_COLOUR
    ]
    found.metadata = Metadata(icc or None, exif, xmp, _text(image, name, found), tuple(colour))
    found.dropped = list(dict.fromkeys(found.dropped))
    return found


def _exif(image: Image.Image, data: bytes, name: str, found: Findings) -> Exif | None:
    """Return the EXIF block, or None with a notice when it cannot be read."""
    block = data if name == "TIFF" else image.info.get("exif")
    if block is None and (profile := image.info.get("Raw profile type exif")):
        hexadecimal = "".join(str(profile).split("\n")[3:])
        block = (
            bytes.fromhex(hexadecimal) if re.fullmatch("([0-9a-fA-F]{2})*", hexadecimal) else b"?"
        )
    if not block:
        return None
    try:
        exif = read_exif(block)
    except ValueError:
        found.notices.append("the EXIF block is damaged and was left out")
        return None
    if exif.damaged:
        found.notices.append(f"{exif.damaged} damaged or oversized EXIF entries were left out")
    found.dropped += exif.dropped
    return exif if exif.image or exif.photo or exif.gps else None


def _xmp(image: Image.Image, found: Findings) -> bytes | None:
    """Return the XMP packet upright and without embedded pictures, or None."""
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    packet = packet.encode() if isinstance(packet, str) else bytes(packet)
    packet, thumbnails = _without_thumbnails(packet)
    if thumbnails:
        found.dropped.append("xmp-thumbnail")
    if b"hdrgm:" in packet:
        found.dropped.append("gain-map")
    if _XMP_PICTURES.search(packet) or holds_picture(packet):
        found.dropped.append("xmp-picture")
        return None
    return _XMP_ORIENTATION.sub(rb"\g<1>1", packet) or None


def _without_thumbnails(packet: bytes) -> tuple[bytes, int]:
    """Return the packet without its lists of thumbnails, and how many there were."""
    kept, at, count = b"", 0, 0
    while opening := _XMP_OPEN.search(packet, at):
        single = opening[0].endswith(b"/>")
        closing = opening if single else _XMP_CLOSE.search(packet, opening.end())
        if closing is None:
            break
        kept += packet[at : opening.start()]
        at = closing.end()
        count += 1
    return kept + packet[at:], count


def _orientation(exif: Exif | None, image: Image.Image, name: str) -> int:
    """Return the orientation still to be applied, 1 to 8, from EXIF or else from XMP."""
    if name == "TIFF":
        return 1  # Pillow turns TIFF while it decodes
    if exif is not None and 274 in exif.image:
        return exif.orientation
    packet = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp") or b""
    packet = packet.encode() if isinstance(packet, str) else packet
    match = _XMP_ORIENTATION.search(packet)
    value = int(match[2]) if match else 1
    return value if 1 <= value <= 8 else 1


def _second_pictures(image: Image.Image, data: bytes, name: str) -> list[str]:
    """Name the clean copies and credentials that stay behind in the source file."""
    if name == "JPEG":
        return _in_jpeg(image, data)
    if name == "TIFF":
        tags = set(getattr(image, "tag_v2", ()))
        named = {34377: "photoshop-preview", 37724: "photoshop-layers", 330: "sub-image"}
        return [what for tag, what in (named | {52545: "c2pa"}).items() if tag in tags]
    if name in ("PNG", "WEBP"):
        credentials = b"caBX" if name == "PNG" else b"C2PA"
        return ["c2pa"] if any(chunk == credentials for chunk, _ in chunks(data, name)) else []
    return []


def _in_jpeg(image: Image.Image, data: bytes) -> list[str]:
    """Name what the application segments and the tail of a JPEG hold."""
    named: list[str] = []
    for segment, content in getattr(image, "applist", ()):
        if segment == "APP0" and (content.startswith(b"JFXX") or len(content) > 14):
            named.append("jfif-thumbnail")
        elif segment == "APP1" and content.startswith(_EXTENDED_XMP):
            named.append("extended-xmp")
        elif segment == "APP2" and content.startswith(b"MPF\0"):
            named.append("mpf-preview")
        elif segment == "APP11" and content.startswith(b"JP"):
            named.append("c2pa")
    resources = image.info.get("photoshop", {})
    named += ["photoshop-preview"] if {0x0409, 0x040C} & resources.keys() else []
    named += ["iptc"] if 0x0404 in resources else []
    named += ["motion-photo"] if _MOTION_TAIL.search(data) else []
    return named


def _text(image: Image.Image, name: str, found: Findings) -> tuple[tuple[str, str], ...]:
    """Return the text chunks of a PNG that describe it and hold no picture."""
    if name != "PNG":
        return ()
    kept: list[tuple[str, str]] = []
    for key, value in getattr(image, "text", {}).items():
        if key.startswith("Raw profile type") or holds_picture(value.encode("utf-8", "replace")):
            found.dropped.append("text-profile" if key.startswith("Raw") else "text-picture")
        elif key != "XML:com.adobe.xmp":
            kept.append((key, str(value)))
    return tuple(kept)
