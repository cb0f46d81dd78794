"""Nothing that is in a source and not in the output goes unnamed; places go where asked."""

import struct
import zlib

import numpy as np
import pytest

from tests.support.made_pictures import (
    full_exif,
    gif_with,
    jpeg_segments,
    made_file,
    made_image,
    saved,
    with_png_chunks,
)
from tests.support.made_tiff import made_tiff
from tests.support.writing import write_picture
from unlearn.cli.notice_text import left_out_line
from unlearn.pictures.metadata.exif import Entry, Exif, write_exif
from unlearn.pictures.metadata.iptc import write_iptc
from unlearn.pictures.read import Preparation, prepare
from unlearn.protection.manifest import PictureRecord

SIZE = (20, 10)
SETS = ((2, 80, b"A Photographer"), (2, 90, b"Paris"))
PLACE = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/"'
    b' xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" photoshop:City="Paris"'
    b' photoshop:Headline="News" exif:GPSLatitude="48,51.0N" exif:FNumber="4/1"/>'
    b"</rdf:RDF></x:xmpmeta>"
)


def resources(*parts):
    return b"Photoshop 3.0\0" + b"".join(
        b"8BIM" + struct.pack(">HHI", number, 0, len(content)) + content + bytes(len(content) % 2)
        for number, content in parts
    )


SOURCES = {
    "maker-note": lambda: saved(made_image("RGB", SIZE), "JPEG", exif=full_exif(thumbnail=False)),
    "editor-data": lambda: jpeg_segments(
        made_file("jpeg", SIZE), (0xED, resources((0x0408, bytes(16)), (0x0404, b"")))
    ),
    "private-data in a tiff": lambda: saved(
        made_image("RGB", SIZE), "TIFF", tiffinfo={65000: "a scanner's own"}
    ),
    "private-data in a jpeg": lambda: jpeg_segments(made_file("jpeg", SIZE), (0xE7, b"a camera's")),
    "private-data in a png": lambda: with_png_chunks(made_file("png-rgb", SIZE), (b"prVt", b"own")),
    "private-data in a gif": lambda: gif_with(SIZE, b"MAGICK 7abc", b"\x03own\0"),
    "private-data in the second part of exif": lambda: saved(
        made_image("RGB", SIZE),
        "JPEG",
        exif=b"Exif\0\0" + write_exif(Exif("<", photo={65_000: Entry(2, 4, b"own\0")})),
    ),
    "hints in a png": lambda: with_png_chunks(
        made_file("png-rgb", SIZE), (b"tIME", bytes.fromhex("07e60102030405")), (b"sBIT", b"\5\6\5")
    ),
    "hints in a tiff": lambda: saved(made_image("RGB", SIZE), "TIFF", tiffinfo={337: "a printer"}),
    "hints where a tiff lies on its page": lambda: saved(
        made_image("RGB", SIZE), "TIFF", tiffinfo={286: 2.5}
    ),
    "editor-data in a channel of a tiff": lambda: made_tiff(
        np.zeros((4, 4, 5), np.uint8), 2, extra=(2, 0)
    ),
    "private-data in a second block of exif": lambda: jpeg_segments(
        made_file("jpeg", SIZE),
        *[
            (0xE1, b"Exif\0\0" + write_exif(Exif("<", {315: Entry(2, 4, name)})))
            for name in (b"Zoe\0", b"Ann\0")
        ],
    ),
    "private-data behind a jpeg": lambda: made_file("jpeg", SIZE) + b"SEFT a phone's own",
    "private-data behind a png": lambda: made_file("png-rgb", SIZE) + b"PK\3\4",
    "other-copy behind a bmp": lambda: made_file("bmp", SIZE) + made_file("jpeg", SIZE),
}


def read(tmp_path, data):
    path = tmp_path / "source.dat"
    path.write_bytes(data)
    return prepare(path, Preparation())


def placed():
    """Return a JPEG that says where it was taken in EXIF, XMP and IPTC."""
    return jpeg_segments(
        saved(made_image("RGB", SIZE), "JPEG", exif=full_exif(1, thumbnail=False), xmp=PLACE),
        (0xED, resources((0x0404, write_iptc(SETS)))),
    )


@pytest.mark.parametrize("case", SOURCES)
def test_what_is_left_out_has_a_name(tmp_path, case):
    assert read(tmp_path, SOURCES[case]()).dropped == (case.split(" ")[0],)


def test_ordinary_pictures_lose_nothing(tmp_path):
    for cell in ("jpeg", "jpeg-progressive", "png-rgb", "webp-lossless", "tiff-raw", "bmp"):
        assert read(tmp_path, made_file(cell, SIZE)).dropped == ()


def test_what_a_format_has_no_place_for_is_named(tmp_path):
    metadata = read(tmp_path, placed()).metadata
    assert [list(metadata.lost(kind)) for kind in ("JPEG", "PNG", "TIFF", "WEBP", "BMP")] == [
        [],
        [],
        [],
        ["iptc"],
        ["exif", "xmp", "iptc"],
    ]
    chunks = (b"tEXt", b"Title\0mine"), (b"gAMA", struct.pack(">I", 100_000))
    metadata = read(tmp_path, with_png_chunks(made_file("png-rgb", SIZE), *chunks)).metadata
    assert list(metadata.lost("PNG")) == []
    assert list(metadata.lost("TIFF")) == ["text", "colour"]


def test_a_place_is_kept_unless_it_is_asked_to_go(tmp_path):
    metadata = read(tmp_path, placed()).metadata
    assert metadata.names_place
    assert metadata.chosen("keep", SIZE).names_place
    left = metadata.chosen("no-location", SIZE)
    assert not left.names_place
    assert left.exif.gps == {}
    assert left.exif.image[33432].raw == b"(c) 2026\0"
    assert left.iptc == SETS[:1]
    assert b"Paris" not in left.xmp
    assert b"GPSLatitude" not in left.xmp
    assert b'photoshop:Headline="News"' in left.xmp
    assert b'exif:FNumber="4/1"' in left.xmp


@pytest.mark.parametrize("place", ["exif", "xmp", "iptc", "text"])
def test_each_place_by_itself_is_noticed(tmp_path, place):
    plain = made_image("RGB", SIZE)
    data = {
        "exif": lambda: saved(plain, "JPEG", exif=full_exif(1, thumbnail=False)),
        "xmp": lambda: saved(plain, "JPEG", xmp=PLACE),
        "iptc": lambda: jpeg_segments(
            made_file("jpeg", SIZE), (0xED, resources((0x0404, write_iptc(SETS))))
        ),
        "text": lambda: with_png_chunks(
            made_file("png-rgb", SIZE), (b"tEXt", b"exif:GPSLatitude\x0048/1")
        ),
    }[place]()
    metadata = read(tmp_path, data).metadata
    assert metadata.names_place
    assert not metadata.chosen("no-location", SIZE).names_place


def test_what_loops_a_gif_is_nothing_that_is_left_out(tmp_path):
    assert read(tmp_path, gif_with(SIZE, b"NETSCAPE2.0", b"\3\1\0\0\0")).dropped == ()


def test_one_line_says_what_was_left_out_of_how_many():
    records = [
        PictureRecord(src=f"{number}", status="ok", dropped=dropped)
        for number, dropped in enumerate(
            [("maker-note", "thumbnail")] * 3 + [("motion-video",), (), ("a-later-name",)]
        )
    ]
    assert left_out_line(records) == (
        "of 3 pictures: thumbnail, maker notes; of 1: motion video, a-later-name"
    )
    assert left_out_line(records[3:4]) == "of 1 picture: motion video"
    assert left_out_line(records[4:5]) is None


def test_a_long_text_is_no_longer_in_the_output_than_in_its_source(tmp_path):
    chunk = (b"zTXt", b"history\0\0" + zlib.compress(b"again and again " * 50_000))
    picture = read(tmp_path, with_png_chunks(made_file("png-rgb", SIZE), chunk))
    target = tmp_path / "out.png"
    write_picture(picture, picture.pixels ^ 1, target, format="PNG", metadata="keep", levels=8)
    assert target.stat().st_size < 10_000
    assert read(tmp_path, target.read_bytes()).metadata.text == picture.metadata.text
