"""What travels with a picture besides its pixels, and which clean copies are left behind.

Kept: the colour profile byte for byte, EXIF entry by entry, XMP, the text chunks of a PNG and its
colour chunks, comments, resolution and the shape of pixels. Left out and named: every place where a
camera or an editor stores a second, clean picture, and content credentials, whose signature any
change breaks.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from PIL import Image

from unlearn.pictures.choices import MetadataChoice
from unlearn.pictures.kinds import Data, chunks, holds_picture, tiff_directories
from unlearn.pictures.metadata.density import Density, read_density
from unlearn.pictures.metadata.embedded import (
    EXTENDED_XMP,
    XMP_OF_GIF,
    forbids_training,
    profile_of,
    resources_of_tiff,
    second_pictures,
)
from unlearn.pictures.metadata.exif import (
    ORIENTATION,
    SHORT,
    Exif,
    for_colour,
    for_output,
    read_exif,
    whole,
    without_regions,
    write_exif,
)
from unlearn.pictures.metadata.iptc import (
    DataSet,
    beside,
    from_raw_profile,
    profile_in,
    read_iptc,
    rights_in,
)
from unlearn.pictures.metadata.iptc import without_place as iptc_without_place
from unlearn.pictures.metadata.isobmff import Container
from unlearn.pictures.metadata.left_out import (
    COLOUR,
    CREDENTIALS,
    EXIF,
    GAIN_MAP,
    IPTC,
    OTHER_COPY,
    PRIVATE_DATA,
    TEXT,
    THUMBNAIL,
    XMP,
)
from unlearn.pictures.metadata.texts import (
    APP1_TEXT,
    EXIF_TEXT,
    IPTC_TEXTS,
    XMP_TEXT,
    as_text,
    is_about_rights,
    read_texts,
)
from unlearn.pictures.metadata.xmp import (
    in_utf8,
    is_readable,
    joined,
    names_place,
    names_regions,
    rights_of,
    true_of_one,
    without_place,
)
from unlearn.pictures.metadata.xmp import without_regions as xmp_without_regions

_COLOUR_CHUNKS = (b"cICP", b"cHRM", b"gAMA", b"sRGB", b"mDCV", b"cLLI")
_ADOBE_RGB = (
    (b"gAMA", struct.pack(">I", 45_471)),
    (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)),
)
_LARGEST_COLOUR = 32
_IPTC_RESOURCE, _IPTC_TAG = 0x0404, 33723
_OPT_OUT_LOST = (
    "its content credentials say that it is not for training, and are left out: say so in its XMP "
    "too (plus:DataMining)"
)
_XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_OPEN = re.compile(rb"<(?:xmp|xap):Thumbnails\b[^>]{0,1000}>")
_XMP_CLOSE = re.compile(rb"</(?:xmp|xap):Thumbnails\s{0,9}>")
_XMP_PICTURES = re.compile(rb":Thumbnails|xmpGImg|xapGImg|[A-Za-z0-9+/]{4096}")
_XMP_OTHERS = re.compile(rb"GImage:|GDepth:|GAudio:|HdrPlusMakernote|google\.com/photos/dd/")
_GPS_LATITUDE = 2
_XMP_OF_GIF = re.compile(rb"!\xff\x0b" + XMP_OF_GIF + rb"(.*?)\x01\xff\xfe\xfd", re.DOTALL)
_SIZE_KEY = re.compile(  # as ImageMagick writes them
    "(exif|tiff):(orientation|(exif)?image(width|length)|pixel[xy]dimension)", re.IGNORECASE
)
_PLACE_KEY = re.compile("gps|latitude|longitude|location", re.IGNORECASE)
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))([0-9])")
_PROFILE_FITS = {b"GRAY": ("L", "LA", "I;16"), b"RGB ": ("RGB", "RGBA")}
_PROFILE_SPACES = frozenset({b"GRAY", b"RGB ", b"CMYK", b"Lab ", b"XYZ ", b"YCbr", b"HSV "})


@dataclass(frozen=True)
class Metadata:
    """What an output may carry; `comments` are those of a JPEG, byte for byte, and in `text` too.

    The density is that of the upright picture; `moved` says whether that was turned, shrunk or cut
    out of what the file stores, so that what counts in pixels of the file is not true of it.
    """

    icc: bytes | None = None
    exif: Exif | None = None
    xmp: bytes | None = None
    text: tuple[tuple[str, str], ...] = ()
    colour: tuple[tuple[bytes, bytes], ...] = ()
    density: Density | None = None
    comments: tuple[bytes, ...] = ()
    iptc: tuple[DataSet, ...] = ()
    moved: bool = False

    def chosen(
        self, choice: MetadataChoice, size: tuple[int, int], *, as_stored: bool = False
    ) -> "Metadata":
        """Return what an output of `size` (width, height) carries under the user's choice.

        `as_stored` says that its pixels lie as the source's file has them.
        """
        if self.moved and not as_stored:
            return self._without_regions().chosen(choice, size)
        look = Metadata(
            self.icc,
            self.exif and for_colour(self.exif),
            colour=self.colour,
            density=self.density,
        )
        if choice == "none":
            return look
        exif = self.exif and for_output(self.exif, size, copyright_only=choice == "copyright")
        if choice == "no-location":
            return replace(self._without_place(), exif=exif and replace(exif, gps={}, geo={}))
        if choice == "copyright":
            xmp, iptc = self.xmp and _rights(self.xmp), rights_in(self.iptc)
            text = tuple(pair for pair in self.text if is_about_rights(*pair))
            comments = tuple(
                one for one in self.comments if is_about_rights("Comment", as_text(one))
            )
            return replace(look, exif=exif, xmp=xmp, iptc=iptc, text=text, comments=comments)
        return replace(self, exif=exif)

    def _without_place(self) -> "Metadata":
        """Return it without what XMP, IPTC and text say of a place."""
        try:
            xmp = self.xmp and without_place(self.xmp)
        except ValueError:
            xmp = None
        text = tuple(pair for pair in self.text if not _PLACE_KEY.search(pair[0]))
        return replace(self, xmp=xmp, iptc=iptc_without_place(self.iptc), text=text)

    def _without_regions(self) -> "Metadata":
        """Return it without what speaks of places in the file's pixels."""
        try:
            xmp = self.xmp and xmp_without_regions(self.xmp)
        except ValueError:
            xmp = None
        exif = self.exif and without_regions(self.exif)
        text = tuple(pair for pair in self.text if not _SIZE_KEY.fullmatch(pair[0]))
        return replace(self, exif=exif, xmp=xmp, text=text, moved=False)

    @property
    def names_regions(self) -> bool:
        """Whether it says where in the picture something is."""
        return bool(
            (self.exif and self.exif.names_regions) or (self.xmp and names_regions(self.xmp))
        )

    @property
    def names_place(self) -> bool:
        """Whether it says where the picture was taken."""
        return bool(
            (self.exif and (_GPS_LATITUDE in self.exif.gps or self.exif.geo))
            or (self.xmp and names_place(self.xmp))
            or self.iptc != iptc_without_place(self.iptc)
            or any(_PLACE_KEY.search(key) for key, _ in self.text)
        )

    def lost(self, format: str) -> Iterator[str]:
        """Name what an output of this format has no place for."""
        if format == "BMP":
            if self.exif_block:
                yield EXIF
            if self.xmp:
                yield XMP
        if self.exif and self.exif.geo and format != "TIFF":
            yield PRIVATE_DATA
        if self.iptc and format in ("WEBP", "BMP"):
            yield IPTC
        if self.text and format in ("TIFF", "WEBP", "BMP"):
            yield TEXT
        if format in ("TIFF", "WEBP", "BMP") and any(name != b"sRGB" for name, _ in self.colour):
            yield COLOUR

    @property
    def xmp_is_readable(self) -> bool:
        """Whether parts of the XMP can be told from each other; so they can where there is none."""
        return self.xmp is None or is_readable(self.xmp)

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


def read_metadata(
    image: Image.Image, data: Data, name: str, container: Container | None, mode: str
) -> Findings:
    """Collect the metadata of a decoded picture whose file has the bytes `data`.

    `image` is loaded, because PNG and TIFF may store their notes behind the pixels; `mode` is the
    one its colours were brought to.
    """
    found = Findings()
    exif = _exif(image, data, name, found)
    if name == "WEBP":
        exif = exif or _unannounced(image, data, found)
    xmp = _xmp(image, data, name, found)
    found.orientation = _orientation(exif, image, name)
    found.dropped += second_pictures(image, data, name)
    found.dropped += container.beside if container else ()
    if CREDENTIALS in found.dropped and forbids_training(data):
        found.notices.append(_OPT_OUT_LOST)
    icc = _profile(image, profile_of(data, name), mode, found)
    colour = tuple(_colour(data, name, container, profiled=icc is not None))
    if exif and exif.is_adobe_rgb and not colour and icc is None:
        colour = _ADOBE_RGB
    density = read_density(image, data, name, exif)
    stored = exif.orientation if exif and name == "TIFF" else found.orientation
    if density and stored > 4:
        density = density.turned()
    text, comments, pictures = read_texts(image, data, name)
    found.dropped += [OTHER_COPY] * pictures
    iptc = _iptc(image, name, found)
    moved = stored != 1 or bool(container and (container.turned or container.cropped))
    found.metadata = Metadata(icc, exif, xmp, text, colour, density, comments, iptc, moved)
    if container and container.cropped and image.size == container.size:
        found.notices.append("its clean aperture, a crop that some programs show, is not applied")
    found.dropped = list(dict.fromkeys(found.dropped))
    return found


def _unannounced(image: Image.Image, data: Data, found: Findings) -> Exif | None:
    """Read what a WebP holds though its header does not say so; nobody turns a picture by it."""
    parts = dict(chunks(data, "WEBP"))
    image.info.setdefault("xmp", parts.get(b"XMP "))
    block = parts.get(b"EXIF") if "exif" not in image.info else None
    exif = _read_exif(block, 0, found) if block else None
    upright = exif and {**exif.image, ORIENTATION: whole(exif.order, SHORT, 1)}
    return replace(exif, image=upright) if exif and upright else None


def _profile(image: Image.Image, own: bytes | None, mode: str, found: Findings) -> bytes | None:
    """Return the colour profile byte for byte if it speaks of colours such as the output has."""
    profile = own or image.info.get("icc_profile")
    if "icc_profile" in image.info and not profile:
        found.notices.append("the colour profile is damaged and was left out")
    if not profile or image.mode == "CMYK":
        return None  # what became of CMYK has been said
    space = bytes(profile[16:20])
    if space in _PROFILE_SPACES and mode not in _PROFILE_FITS.get(space, ()):
        kind = space.decode().strip()
        found.notices.append(f"a colour profile for {kind} does not fit the output; left out")
        return None
    return bytes(profile)


def _colour(
    data: Data, name: str, container: Container | None, *, profiled: bool
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the PNG chunks that say what the colours are."""
    for chunk, content in chunks(data, name) if name == "PNG" else ():
        if profiled and chunk == b"sRGB":
            continue  # a PNG has either
        if chunk in _COLOUR_CHUNKS and len(content) <= _LARGEST_COLOUR:
            yield chunk, bytes(content)
    # A profile says more, and in a PNG this chunk would be believed before it.
    if container is not None and container.cicp and not profiled:
        yield b"cICP", container.cicp


def _exif(image: Image.Image, data: Data, name: str, found: Findings) -> Exif | None:
    """Return the EXIF block, or None with a notice when it cannot be read."""
    block = data if name == "TIFF" else image.info.get("exif")
    if block is None and (profile := image.info.get(EXIF_TEXT)):
        block = profile_in(str(profile)) or b"?"
    if block is None and (segment := profile_in(str(image.info.get(APP1_TEXT, "")))):
        block = segment if segment.startswith(b"Exif\0") else None
    if not block:
        return None
    start = 0
    if name == "TIFF":
        directories = tiff_directories(data)
        start = next((at for at, reduced in directories if not reduced), 0)
        found.dropped += [THUMBNAIL] * (len(directories) - 1)
    return _read_exif(block, start, found)


def _read_exif(block: Data, start: int, found: Findings) -> Exif | None:
    """Return a block of EXIF, or None with a notice when it cannot be read."""
    try:
        exif = read_exif(block, start)
    except ValueError:
        found.notices.append("the EXIF block is damaged and was left out")
        return None
    if exif.damaged:
        found.notices.append(f"{exif.damaged} damaged or oversized EXIF entries were left out")
    found.dropped += exif.dropped
    return exif if exif.image or exif.photo or exif.gps or exif.geo else None


def _xmp(image: Image.Image, data: Data, name: str, found: Findings) -> bytes | None:
    """Return the XMP packet upright and without embedded pictures, or None."""
    packet = _packet(image)
    if name == "GIF" and (extension := _XMP_OF_GIF.search(data)):
        packet = in_utf8(extension[1])
    packet, thumbnails = _without_thumbnails(packet)
    if thumbnails:
        found.dropped.append(THUMBNAIL)
    if b"hdrgm:" in packet or b"HDRGainMap:" in packet:
        found.dropped.append(GAIN_MAP)
    if b":provenance" in packet and b"//purl.org/dc/terms/" in packet:
        found.dropped.append(CREDENTIALS)
    if _XMP_OTHERS.search(packet):
        found.dropped.append(OTHER_COPY)
    try:
        packet = true_of_one(packet) or b""
    except ValueError:
        found.notices.append("its XMP, which speaks of parts that are left out, cannot be read")
        return None
    if _XMP_PICTURES.search(packet) or holds_picture(packet):
        found.dropped.append(OTHER_COPY)
        return _rights(packet)
    return _XMP_ORIENTATION.sub(rb"\g<1>1", packet) or None


def _packet(image: Image.Image) -> bytes:
    """Return the XMP packet as the file has it, but one and in UTF-8; empty without one.

    Of an extended packet, which holds what is large, only the rights are in it. Each of its pieces
    begins with a digest (32), which the packet names, its size (4) and its place (4).
    """
    info = image.info
    segments = [part for name, part in getattr(image, "applist", ()) if name == "APP1"]
    packets = [part[len(_XMP_SEGMENT) :] for part in segments if part.startswith(_XMP_SEGMENT)]
    extended = [part[len(EXTENDED_XMP) :] for part in segments if part.startswith(EXTENDED_XMP)]
    extended = [part for part in extended if part[:32] in b"".join(packets)]
    extended.sort(key=lambda part: part[36:40])
    packets.insert(0, _rights(b"".join(part[40:] for part in extended)) or b"")
    packets = [in_utf8(packet) for packet in packets if packet]
    if len(packets) > 1:
        return joined(packets)
    packet = info.get("xmp") or info.get("XML:com.adobe.xmp") or b""
    if not packet and (text := info.get(XMP_TEXT) or info.get(APP1_TEXT)):
        segment = profile_in(str(text)) or b""
        packet = b"" if segment.startswith(b"Exif\0") else segment.removeprefix(_XMP_SEGMENT)
    return in_utf8(packet.encode() if isinstance(packet, str) else bytes(packet))


def _rights(packet: bytes) -> bytes | None:
    """Return a packet with the rights alone; None if there are none that can be read."""
    try:
        rights = rights_of(packet)
    except ValueError:
        return None
    pictures = rights and (_XMP_PICTURES.search(rights) or holds_picture(rights))
    return None if pictures else rights


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
    if name in ("AVIF", "HEIC"):
        return 1  # their boxes say it, which Pillow puts into EXIF and pi-heif applies
    match = _XMP_ORIENTATION.search(_packet(image))
    value = int(match[2]) if match else 1
    return value if 1 <= value <= 8 else 1


def _iptc(image: Image.Image, name: str, found: Findings) -> tuple[DataSet, ...]:
    """Return the data sets of IPTC that may stay."""
    resources = image.info.get("photoshop", {})
    texts = getattr(image, "text", {}) if name == "PNG" else {}
    for key in sorted(IPTC_TEXTS & texts.keys()):
        resources = {**resources, **from_raw_profile(str(texts[key]))}
    if name == "TIFF":
        resources = resources_of_tiff(image)
    block: object = resources.get(_IPTC_RESOURCE)
    rights = beside(resources)
    if name == "TIFF":
        block = getattr(image, "tag_v2", {}).get(_IPTC_TAG, block)
        if isinstance(block, tuple):  # of whole numbers, which is what many programs call it
            order = "<" if image.tag_v2.prefix == b"II" else ">"  # type: ignore[attr-defined]
            block = struct.pack(f"{order}{len(block)}I", *block)
    if not isinstance(block, bytes):
        return rights
    try:
        kept, dropped = read_iptc(block)
    except ValueError:
        found.dropped.append(OTHER_COPY)
        return rights
    found.dropped += [OTHER_COPY] * dropped
    return kept + rights
