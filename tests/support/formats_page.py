"""The tables of metadata in docs/formats.md: python -m tests.support.formats_page docs/formats.md.

What is kept is found out by asking the code about samples; a name without a line is an error.
"""

import re
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from unlearn.pictures.choices import MetadataChoice
from unlearn.pictures.metadata import left_out
from unlearn.pictures.metadata.density import INCH, Density
from unlearn.pictures.metadata.exif import ARTIST, ASCII, ORIENTATION, RATIONAL, SHORT, Entry, Exif
from unlearn.pictures.metadata.kept import Metadata

CHUNKS = "Colour chunks of a PNG"
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP")
CHOICES: tuple[MetadataChoice, ...] = ("keep", "no-location", "copyright", "none")
SIZE = (4, 3)
PACKET = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
    b' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    b' xmlns:dc="http://purl.org/dc/elements/1.1/" dc:rights="all" dc:title="one"'
    b' xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" photoshop:City="Paris"'
    b' xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" crs:CropTop="1"/></rdf:RDF>'
    b"</x:xmpmeta>"
)
_TEXTS = {tag: Entry(ASCII, 4, b"Zoe\0") for tag in (ARTIST, 270)}
_PLACE = {2: Entry(RATIONAL, 1, bytes(8))}
_AREA = {37396: Entry(SHORT, 2, bytes(4))}
_GEO = {34735: Entry(SHORT, 4, bytes(8))}
SAMPLES = {
    "EXIF with its place and the subject's area": Metadata(
        exif=Exif("<", _TEXTS, _AREA, _PLACE), moved=True
    ),
    "Tags of GeoTIFF and GDAL": Metadata(exif=Exif(geo=_GEO), moved=True),
    "XMP": Metadata(xmp=PACKET, moved=True),
    "IPTC": Metadata(iptc=((2, 80, b"Zoe"), (2, 90, b"Paris"), (2, 25, b"cat"))),
    "Text of a PNG, comments": Metadata(text=(("Title", "one"), ("Author", "Zoe"))),
    "Colour profile (ICC)": Metadata(icc=b"profile"),
    CHUNKS: Metadata(colour=((b"gAMA", bytes(4)),)),
    "Resolution, shape of pixels": Metadata(density=Density(Fraction(300), Fraction(300), INCH)),
}
# What each name stands for, and what can be done about it.
MEANINGS = {
    "credentials": (
        "content credentials (C2PA): any change breaks their signature. The end of a run says how "
        "many pictures had them",
        "sign the outputs anew",
    ),
    "motion-video": (
        "the video of a motion photo, behind the picture or beside it",
        "publish it apart, knowing that it shows the clean scene",
    ),
    "gain-map": (
        "what makes a picture HDR (Ultra HDR, AVIF, HEIC)",
        "nothing: the output is the picture as it is shown without HDR",
    ),
    "thumbnail": (
        "a small copy in EXIF, JFIF, XMP, AVIF or HEIC",
        "nothing: programs make a new one",
    ),
    "maker-note": (
        "a camera's own notes, which often hold a preview and break when they are moved",
        "nothing",
    ),
    "other-copy": (
        "anything else: previews, layers and resources of cameras and editors, depth and other "
        "pictures in the same file, previews in IPTC, extended XMP but for rights, raw profiles in "
        "text that are not read, and any "
        "chunk, value, text or tail in which a picture begins, also in base64 or hexadecimal",
        "nothing",
    ),
    "editor-data": (
        "resources of Photoshop beside previews and rights, such as paths and guides; channels of "
        "a TIFF beside colour and alpha, such as saved selections",
        "keep the document itself",
    ),
    "regions": (
        "faces, the subject's area, crops and panoramas by their place (MWG, Microsoft, Apple, "
        "ACDSee and IPTC regions, Camera Raw's crop, GPano, EXIF), where the picture was turned or "
        "shrunk",
        "`--format keep` keeps a JPEG as it is stored, and them; else mark them anew",
    ),
    "hints": (
        "a PNG's time of change, background colour, significant bits, histogram and suggested "
        "palette; a TIFF's transfer function, response of grey, halftone, inks, printer and "
        "place on a page",
        "nothing",
    ),
    "private-data": (
        "tags, segments and chunks whose meaning is not known here, and what lies behind the end "
        "of a picture; those of GeoTIFF and GDAL where the output is no TIFF, or was turned or "
        "shrunk",
        "keep the source",
    ),
    "exif": ("EXIF, which the output's format has no place for", "choose `--format png`"),
    "xmp": (
        "XMP, where the output's format has no place for it, or where only a part of it may stay "
        "and it cannot be read",
        "choose `--format png`",
    ),
    "iptc": ("IPTC, which the output's format has no place for", "choose `--format png`"),
    "text": ("text and comments, likewise", "choose `--format png`"),
    "colour": ("colour chunks of a PNG, likewise", "choose `--format png`"),
}
_TABLE = re.compile(r"(<!-- table of (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def names():
    """Return all names of what is left out, in the order of the code."""
    return [value for key, value in vars(left_out).items() if key.isupper()]


def by_choice():
    """Return what each choice keeps of what a picture has, and of a picture that was turned."""
    rows = []
    for title, sample in SAMPLES.items():
        still = replace(sample, moved=False)
        cells = [_kept(still, still.chosen(choice, SIZE)) for choice in CHOICES]
        turned = _kept(still, sample.chosen("keep", SIZE))
        rows.append((title, *cells, "as `keep`" if turned == cells[0] else turned))
    heads = [f"`{choice}`" for choice in CHOICES]
    return _table(("What a picture has", *heads, "turned or shrunk"), rows)


def _kept(before, after):
    """Return how much of some metadata is left."""
    before, after = _bare(before.chosen("keep", SIZE)), _bare(after)
    return "kept" if after == before else "no" if after == Metadata() else "in part"


def _bare(metadata):
    """Return metadata without an orientation, which every output has."""
    exif = metadata.exif
    left = exif and replace(exif, image={t: e for t, e in exif.image.items() if t != ORIENTATION})
    return replace(metadata, exif=None if left == Exif() else left)


def by_format():
    """Return what each format of an output has a place for."""
    rows = [
        [title, *("no" if list(sample.lost(kind)) else "yes" for kind in FORMATS)]
        for title, sample in SAMPLES.items()
    ]
    rows[list(SAMPLES).index(CHUNKS)][1 + FORMATS.index("JPEG")] = "none has"
    return _table(("What a picture has", *FORMATS), rows)


def left_out_names():
    """Return what each name means."""
    rows = [(f"`{name}`", *MEANINGS[name]) for name in names()]
    return _table(("Name", "What it is", "What to do"), rows)


def _table(heads, rows):
    """Return a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines).replace("| --- ", "|---")


TABLES = {
    "metadata by choice": by_choice,
    "metadata by format": by_format,
    "what is left out": left_out_names,
}


def rewritten(document):
    """Return a document with its tables as the code has them; raises KeyError for others."""
    return _TABLE.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", document)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(rewritten(page.read_text(encoding="utf-8")), encoding="utf-8")
