"""XMP packets read as XML: the rights in them, and packets that are true of the output."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from json import detect_encoding
from typing import Final
from xml.dom.minidom import Document, Element, parseString
from xml.parsers.expat import ExpatError

_MOST_PARSED: Final = 2 << 20  # bytes; as a tree it takes many times as much
_OPENING: Final = b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
_CLOSING: Final = b'\n<?xpacket end="w"?>'
_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DECLARATIONS: Final = "http://www.w3.org/2000/xmlns/"
_DECLARED: Final = re.compile(r"<!(DOCTYPE|ENTITY)")

# The properties about rights by namespace; None stands for all of one.
_RIGHTS: Final[dict[str, frozenset[str] | None]] = {
    "http://purl.org/dc/elements/1.1/": frozenset({"rights", "creator"}),
    "http://ns.adobe.com/xap/1.0/rights/": None,
    "http://ns.useplus.org/ldf/xmp/1.0/": None,
    "http://creativecommons.org/ns#": None,
    "http://www.w3.org/ns/tdmrep#": None,
    "http://www.w3.org/ns/tdmrep/": None,
    "http://ns.adobe.com/photoshop/1.0/": frozenset(
        {"AuthorsPosition", "Credit", "Instructions", "Source"}
    ),
    "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/": frozenset({"CreatorContactInfo"}),
    "http://ns.adobe.com/tiff/1.0/": frozenset({"Artist", "Copyright"}),
    "http://ns.adobe.com/xmp/1.0/DynamicMedia/": frozenset({"artist", "copyright"}),
    "http://cipa.jp/exif/1.0/": frozenset({"Photographer"}),
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": frozenset({"ArtworkOrObject", "DataMining"}),
}

# Properties that speak of a second picture or a video, which is never in an output. The last of the
# pairs is how names begin in that namespace; "" stands for all of it.
_ANNOUNCED: Final = (
    ("http://ns.google.com/photos/1.0/camera/", ("MotionPhoto", "MicroVideo", "HdrPlusMakernote")),
    ("http://ns.google.com/photos/1.0/container/", ("",)),
    ("http://ns.google.com/photos/1.0/depthmap/", ("",)),
    ("http://ns.google.com/photos/1.0/image/", ("",)),
    ("http://ns.google.com/photos/1.0/audio/", ("",)),
    ("http://ns.google.com/photos/dd/", ("",)),
    ("http://ns.adobe.com/hdr-gain-map/", ("",)),
    ("http://ns.apple.com/HDRGainMap/", ("",)),
    ("http://ns.apple.com/pixeldatainfo/", ("",)),
    ("http://ns.adobe.com/xmp/note/", ("HasExtendedXMP",)),
    ("http://purl.org/dc/terms/", ("provenance",)),  # where its content credentials are
)
_SPEAKS: Final = re.compile(
    rb":provenance|MotionPhoto|MicroVideo|HdrPlusMakernote|HasExtendedXMP|hdrgm:|hdr-gain-map|HDRGainMap"
    rb"|pixeldatainfo|google\.com/photos/(dd|1\.0/(container|depthmap|image|audio))/"
)

_PLACE: Final = (
    ("http://ns.adobe.com/exif/", ("GPS",)),
    ("http://ns.adobe.com/photoshop/", ("City", "State", "Country")),
    ("http://iptc.org/std/Iptc4xmpCore/", ("Location", "CountryCode")),
    ("http://iptc.org/std/Iptc4xmpExt/", ("LocationCreated", "LocationShown")),
    ("http://www.w3.org/2003/01/geo/", ("",)),
    ("http://www.dji.com/drone-dji/", ("Gps", "GPS", "Latitude", "Longitude")),
)
_NAMES_PLACE: Final = re.compile(
    rb"GPS|Gps|Latitude|Longitude|LocationCreated|LocationShown|:(City|State|Country|Location)\b"
    rb"|CountryCode|w3\.org/2003/01/geo/"
)

# What speaks of places in the picture as it is stored: faces, subjects, crops, panoramas.
_REGIONS: Final = (
    ("http://www.metadataworkinggroup.com/schemas/regions/", ("",)),
    ("http://ns.microsoft.com/photo/1.2/", ("",)),
    ("http://ns.apple.com/faceinfo/", ("",)),
    ("http://ns.acdsee.com/regions/", ("",)),
    ("http://iptc.org/std/Iptc4xmpExt/", ("ImageRegion",)),
    ("http://ns.adobe.com/exif/", ("SubjectArea", "SubjectLocation")),
    ("http://ns.adobe.com/camera-raw-settings/", ("Crop", "HasCrop")),
    ("http://ns.google.com/photos/1.0/panorama/", ("",)),
)
_HAS_REGIONS: Final = re.compile(
    rb"schemas/regions/|microsoft\.com/photo/1\.2/|faceinfo/|acdsee\.com/regions|ImageRegion"
    rb"|SubjectArea|SubjectLocation|crs:(Has)?Crop|photos/1\.0/panorama/"
)

# How large the file is that a packet came from, which an output that was turned or shrunk is not.
_SIZES: Final = (
    ("http://ns.adobe.com/tiff/1.0/", ("ImageWidth", "ImageLength")),
    ("http://ns.adobe.com/exif/1.0/", ("PixelXDimension", "PixelYDimension")),
)
_STATES_SIZE: Final = re.compile(rb"ImageWidth|ImageLength|Pixel[XY]Dimension")

Wanted = Callable[[str, str], bool]  # of a namespace and a name in it


def in_utf8(packet: bytes) -> bytes:
    """Return a packet in UTF-8, in whatever Unicode it is; one that is in none as it is."""
    codec = detect_encoding(packet)
    if codec.startswith("utf-8"):
        return packet
    with suppress(UnicodeDecodeError):
        return packet.decode(codec).removeprefix("\ufeff").encode()
    return packet


def rights_of(packet: bytes) -> bytes | None:
    """Return a packet with the rights alone, None if it states none.

    Raises ValueError if the packet cannot be read.
    """
    return only(packet, _is_about_rights)


def joined(packets: Sequence[bytes]) -> bytes:
    """Return the last packet with what only those before it say; as it is if one is unreadable."""
    if len(packets) < 2:
        return b"".join(packets)
    try:
        *others, document = (_parsed(packet) for packet in packets)
        (whole,) = document.getElementsByTagNameNS(_RDF, "RDF")
        for other in reversed(others):
            said = {name for part in _descriptions(document) for name in _properties(part)}
            for part in _descriptions(other):
                if _cut(part, lambda *name: name not in said):  # noqa: B023 - called at once
                    _declare(part)
                    whole.appendChild(document.importNode(part, deep=True))
        packet = _packed(document)
        _parsed(packet)
    except ValueError:
        return packets[-1]
    return packet


def true_of_one(packet: bytes) -> bytes | None:
    """Return a packet that speaks of no second picture and no video; None if nothing is left.

    Raises ValueError if it speaks of them and cannot be read.
    """
    return only(packet, _is_of_picture) if _SPEAKS.search(packet) else packet


def without_place(packet: bytes) -> bytes | None:
    """Return a packet that does not say where the picture was taken; None if nothing is left.

    Raises ValueError if it says that and cannot be read.
    """
    return only(packet, _is_no_place) if names_place(packet) else packet


def names_place(packet: bytes) -> bool:
    """Tell whether a packet says where the picture was taken."""
    return _NAMES_PLACE.search(packet) is not None


def without_regions(packet: bytes) -> bytes | None:
    """Return a packet that names no places in the picture nor its size; None if nothing is left.

    Raises ValueError if it does and cannot be read.
    """
    says = names_regions(packet) or _STATES_SIZE.search(packet)
    return only(packet, _is_no_region) if says else packet


def names_regions(packet: bytes) -> bool:
    """Tell whether a packet names places in the picture, such as faces."""
    return _HAS_REGIONS.search(packet) is not None


def is_readable(packet: bytes) -> bool:
    """Tell whether a packet can be read as XML."""
    try:
        _parsed(packet)
    except ValueError:
        return False
    return True


def only(packet: bytes, wanted: Wanted) -> bytes | None:
    """Return a packet with the wanted properties, None if it has none of them.

    Raises ValueError if the packet cannot be read.
    """
    document = _parsed(packet)
    left = [_cut(description, wanted) for description in _descriptions(document)]
    return _packed(document) if any(left) else None


def _none_of(properties: Sequence[tuple[str, tuple[str, ...]]]) -> Wanted:
    """Return what tells whether a property is none of these."""
    return lambda namespace, name: (
        not any(
            namespace.startswith(space) and name.startswith(names) for space, names in properties
        )
    )


_is_of_picture: Final = _none_of(_ANNOUNCED)
_is_no_place: Final = _none_of(_PLACE)
_is_no_region: Final = _none_of((*_REGIONS, *_SIZES))


def _is_about_rights(namespace: str, name: str) -> bool:
    """Tell whether a property is about rights."""
    names = _RIGHTS.get(namespace, frozenset())
    return names is None or name in names


def _parsed(packet: bytes) -> Document:
    """Return the tree of a packet; raises ValueError if there is none, or one too large."""
    if len(packet) > _MOST_PARSED:
        raise ValueError("too large")
    text = packet.strip(b"\0 \t\r\n").decode("utf-8-sig")
    if _DECLARED.search(text):
        raise ValueError("declares entities")
    try:
        return parseString(text)
    except ExpatError as problem:
        raise ValueError(str(problem)) from problem


def _packed(document: Document) -> bytes:
    """Return the bytes of a packet; raises ValueError if it is nested too deeply."""
    root = document.documentElement
    if root is None:
        raise ValueError("empty")
    try:
        return _OPENING + root.toxml("utf-8") + _CLOSING
    except RecursionError as problem:
        raise ValueError("nested too deeply") from problem


def _descriptions(document: Document) -> Iterator[Element]:
    """Yield the elements whose attributes and children are properties of the picture."""
    for element in document.getElementsByTagNameNS(_RDF, "Description"):
        parent = element.parentNode
        if isinstance(parent, Element) and (parent.namespaceURI, parent.localName) == (_RDF, "RDF"):
            yield element


def _properties(description: Element) -> Iterator[tuple[str, str]]:
    """Yield namespace and name of the properties in a description."""
    parts = (*(description.attributes or {}).values(), *description.childNodes)
    for part in parts:
        if part.namespaceURI not in (None, _RDF, _DECLARATIONS):
            yield part.namespaceURI, part.localName


def _declare(description: Element) -> None:
    """Copy into a description the prefixes that are declared around it."""
    around = description.parentNode
    while isinstance(around, Element):
        for attribute in (around.attributes or {}).values():
            declared = attribute.namespaceURI == _DECLARATIONS
            if declared and not description.hasAttribute(attribute.name):
                description.setAttributeNS(_DECLARATIONS, attribute.name, attribute.value)
        around = around.parentNode


def _cut(description: Element, wanted: Wanted) -> int:
    """Take all other properties out of a description; return how many are left."""
    left = 0
    for attribute in list((description.attributes or {}).values()):
        space, name = attribute.namespaceURI or "", attribute.localName or attribute.name
        if space in (_RDF, _DECLARATIONS):
            continue
        if wanted(space, name):
            left += 1
        else:
            description.removeAttributeNode(attribute)
    for child in list(description.childNodes):
        if isinstance(child, Element) and wanted(child.namespaceURI or "", child.localName or ""):
            left += 1
        else:
            description.removeChild(child)
    return left
