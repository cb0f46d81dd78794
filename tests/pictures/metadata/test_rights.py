"""Rights stay wherever they stand, in EXIF, XMP or IPTC, with the rest or by themselves."""

import struct
from io import BytesIO

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.support.made_pictures import (
    full_exif,
    gif_with,
    jpeg_segments,
    made_file,
    made_image,
    saved,
    with_png_chunks,
)
from tests.support.writing import write_picture
from unlearn.pictures.jpeg.segments import dressed
from unlearn.pictures.metadata.exif import Entry, Exif, write_exif
from unlearn.pictures.metadata.iptc import raw_profile, read_iptc, rights_in, write_iptc
from unlearn.pictures.metadata.xmp import rights_of
from unlearn.pictures.read import Preparation, prepare

SIZE = (20, 10)
SETS = (
    (1, 90, b"\x1b%G"),
    (2, 25, b"a keyword"),
    (2, 80, b"A Photographer"),
    (2, 92, b"a street"),
    (2, 116, b"(c) 2026"),
    (2, 120, "Zoé at work".encode()),
)
XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"
PROHIBITED = b"http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED-AIMLTRAINING"
PACKET = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/"'
    b' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    b' xmlns:xmpRights="http://ns.adobe.com/xap/1.0/rights/"'
    b' xmp:CreatorTool="a tool" xmpRights:Marked="True" plus:DataMining="' + PROHIBITED + b'">'
    b'<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">(c) Zo\xc3\xa9</rdf:li></rdf:Alt>'
    b"</dc:rights>"
    b"<dc:subject><rdf:Bag><rdf:li>a subject</rdf:li></rdf:Bag></dc:subject>"
    b"</rdf:Description>"
    b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="3"/>'
    b'</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


def resource(block):
    return b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(block)) + block


SOURCES = {
    "jpeg": lambda: jpeg_segments(made_file("jpeg", SIZE), (0xED, resource(write_iptc(SETS)))),
    "tiff": lambda: saved(made_image("RGB", SIZE), "TIFF", tiffinfo={33723: write_iptc(SETS)}),
    "png": lambda: with_png_chunks(
        made_file("png-rgb", SIZE), (b"tEXt", "\0".join(raw_profile(SETS)).encode())
    ),
}


def read(tmp_path, data):
    path = tmp_path / "source.dat"
    path.write_bytes(data)
    return prepare(path, Preparation())


def written(tmp_path, picture, format, metadata="keep"):
    if format == "JPEG":
        chosen = picture.metadata.chosen(metadata, picture.size)
        return dressed(made_file("jpeg", picture.size), chosen, 1)
    target = tmp_path / "out.dat"
    write_picture(picture, picture.pixels ^ 1, target, format=format, metadata=metadata, levels=8)
    return target.read_bytes()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("source", SOURCES)
def test_iptc_travels_between_formats(tmp_path, source, format):
    picture = read(tmp_path, SOURCES[source]())
    assert picture.dropped == ()
    assert read(tmp_path, written(tmp_path, picture, format)).metadata.iptc == SETS
    rights = read(tmp_path, written(tmp_path, picture, format, "copyright")).metadata.iptc
    assert rights == (SETS[0], SETS[2], SETS[4], SETS[5])
    assert read(tmp_path, written(tmp_path, picture, format, "none")).metadata.iptc == ()


def test_rights_in_the_text_of_a_png_stay_alone(tmp_path):
    texts = (("Title", "a title"), ("Author", "Zoé"), ("copyright", "(c) Zoé"), ("prompt", "x"))
    text = PngInfo()
    for key, value in texts:
        text.add_text(key, value)
    picture = read(tmp_path, saved(made_image("RGB", SIZE), "PNG", pnginfo=text))
    for choice, kept in (("keep", texts), ("copyright", texts[1:3]), ("none", ())):
        left = read(tmp_path, written(tmp_path, picture, "PNG", choice)).metadata.text
        assert sorted(left) == sorted(kept)


def test_a_preview_and_records_that_nobody_knows_leave_iptc():
    for extra in ((2, 202, b"preview"), (8, 10, b"object"), (2, 25, b"\xff\xd8\xff\xe0 picture")):
        assert read_iptc(write_iptc((*SETS, extra)) + b"\0\0") == (SETS, True)
    assert read_iptc(write_iptc(SETS)) == (SETS, False)
    for tail in (b"\xff\xff", b"\x1c\2", b"\x1c\2\x78\x80\4\0\1\0\0"):
        assert read_iptc(write_iptc(SETS) + tail) == (SETS, True)
    assert rights_in(SETS[:2]) == ()


@pytest.mark.parametrize(
    "block", [b"nothing", b"\x1c\2", b"\x1c\2\5\0\x09short", b"\x1c\2\5\xff\xff"]
)
def test_what_is_no_iptc_is_refused(block):
    with pytest.raises(ValueError, match="IPTC"):
        read_iptc(block)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_rights_in_xmp_stay_where_only_rights_stay(tmp_path, format):
    picture = read(tmp_path, saved(made_image("RGB", SIZE), "JPEG", xmp=PACKET, exif=full_exif(1)))
    data = written(tmp_path, picture, format, "copyright")
    assert b'plus:DataMining="' + PROHIBITED in data
    assert b'xmpRights:Marked="True"' in data
    assert "(c) Zoé</rdf:li>".encode() in data
    assert not any(other in data for other in (b"a tool", b"a subject", b"Rating"))
    with Image.open(BytesIO(data)) as image:
        assert image.getexif()[33432] == "(c) 2026"
    assert PROHIBITED not in written(tmp_path, picture, format, "none")


def test_rights_stay_when_the_rest_of_a_packet_holds_a_picture(tmp_path):
    packet = PACKET.replace(b"a subject", b"A" * 5000)
    picture = read(tmp_path, saved(made_image("RGB", SIZE), "JPEG", xmp=packet))
    assert picture.dropped == ("other-copy",)
    assert PROHIBITED in picture.metadata.xmp
    assert b"AAAA" not in picture.metadata.xmp


def test_a_packet_without_rights_gives_none():
    assert (
        rights_of(
            PACKET.replace(b"xmpRights", b"mine")
            .replace(b"plus", b"other")
            .replace(b"ns.useplus", b"ns")
            .replace(b"xap/1.0/rights", b"xap")
            .replace(b"purl", b"else")
        )
        is None
    )


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"no xml",
        b"\xff\xfe",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a/>',
        b"<a>" + b" " * (2 << 20) + b"</a>",
    ],
)
def test_a_packet_that_cannot_be_read_says_so(packet):
    with pytest.raises(ValueError):  # noqa: PT011 - as many reasons as packets
        rights_of(packet)


def test_the_photographer_in_exif_is_kept_as_the_artist_is(tmp_path):
    photo = {42_038: Entry(2, 6, b"Title\0"), 42_039: Entry(2, 4, b"Zoe\0")}
    data = saved(
        made_image("RGB", SIZE), "JPEG", exif=b"Exif\0\0" + write_exif(Exif("<", photo=photo))
    )
    metadata = read(tmp_path, data).metadata
    assert metadata.chosen("keep", SIZE).exif.photo.keys() == photo.keys()
    assert metadata.chosen("copyright", SIZE).exif.photo == {42_039: photo[42_039]}


def test_rights_in_the_text_of_a_png_are_kept_by_any_name_for_them(tmp_path):
    rights = ("Author", "artist", "Copyright", "License", "dc:rights", "Disclaimer")
    rights += ("Copyright Notice", "Usage Terms", "tdm-reservation", "Data Mining")
    others = ("Title", "Authority", "Creator Tool", "Software", "Comment")
    chunks = [(b"tEXt", f"{key}\0x".encode()) for key in (*rights, *others)]
    metadata = read(tmp_path, with_png_chunks(made_file("png-rgb", SIZE), *chunks)).metadata
    assert dict(metadata.text).keys() == {*rights, *others}
    assert dict(metadata.chosen("copyright", SIZE).text).keys() == set(rights)


def test_the_xmp_of_a_gif_is_kept_and_so_are_its_rights(tmp_path):
    magic = bytes([1, *range(255, -1, -1), 0])
    picture = read(tmp_path, gif_with(SIZE, b"XMP DataXMP", PACKET + magic))
    assert (picture.metadata.xmp, picture.dropped) == (PACKET, ())
    rights = picture.metadata.chosen("copyright", SIZE).xmp
    assert PROHIBITED in rights
    assert b"a subject" not in rights


RESOURCES = ((0x040A, b"\1"), (0x040B, b"https://zoe.example"), (0x0404, write_iptc(SETS[2:3])))
BESIDE = (SETS[2], (4, 0x0A, b"\1"), (4, 0x0B, b"https://zoe.example"))


def in_photoshop(*resources):
    return b"".join(
        b"8BIM" + struct.pack(">HHI", number, 0, len(value)) + value + bytes(len(value) % 2)
        for number, value in resources
    )


def in_text(kind, content):
    """Return a PNG with a profile in its text, as ImageMagick writes it."""
    text = f"Raw profile type {kind}\0\n{kind}\n{len(content):8d}\n{content.hex()}\n"
    return with_png_chunks(made_file("png-rgb", SIZE), (b"tEXt", text.encode()))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("source", ["jpeg", "png", "tiff"])
def test_copyright_flag_and_address_of_photoshop_travel(tmp_path, source, format):
    block = in_photoshop(*RESOURCES)
    data = {
        "jpeg": lambda: jpeg_segments(made_file("jpeg", SIZE), (0xED, b"Photoshop 3.0\0" + block)),
        "png": lambda: in_text("8bim", block),
        "tiff": lambda: saved(made_image("RGB", SIZE), "TIFF", tiffinfo={34377: block}),
    }[source]()
    picture = read(tmp_path, data)
    assert (picture.metadata.iptc, picture.dropped) == (BESIDE, ())
    for choice, kept in (("keep", BESIDE), ("copyright", BESIDE), ("none", ())):
        assert read(tmp_path, written(tmp_path, picture, format, choice)).metadata.iptc == kept


def test_other_resources_in_a_tiff_are_named_for_what_they_are(tmp_path):
    for block, name in (
        (in_photoshop((0x0408, bytes(16))), "editor-data"),
        (in_photoshop((0x040C, bytes(40))), "other-copy"),
        (b"none of its resources", "other-copy"),
    ):
        data = saved(made_image("RGB", SIZE), "TIFF", tiffinfo={34377: block})
        assert read(tmp_path, data).dropped == (name,)


@pytest.mark.parametrize("text", ["Copyright 2026 Zoé", "(c) Zoé", "© Zoé", "All rights reserved"])
def test_comments_that_state_rights_are_kept_as_rights(tmp_path, text):
    picture = read(tmp_path, saved(made_image("RGB", SIZE), "JPEG", comment=text.encode()))
    assert picture.metadata.chosen("copyright", SIZE).comments == (text.encode(),)
    assert text.encode() in written(tmp_path, picture, "JPEG", "copyright")
    assert read(tmp_path, written(tmp_path, picture, "PNG", "copyright")).metadata.text
    data = saved(made_image("RGB", SIZE), "JPEG", comment=text.encode("latin-1"))
    assert read(tmp_path, data).metadata.chosen("copyright", SIZE).text == (("Comment", text),)
    data = saved(made_image("RGB", SIZE), "JPEG", comment=b"by a tool")
    plain = read(tmp_path, data).metadata.chosen("copyright", SIZE)
    assert (plain.comments, plain.text) == ((), ())


def test_a_name_of_a_text_may_stand_twice_in_a_png(tmp_path):
    chunks = [(b"tEXt", b"Copyright\0" + name) for name in (b"Zo\xe9", b"Joe")]
    picture = read(tmp_path, with_png_chunks(made_file("png-rgb", SIZE), *chunks))
    both = (("Copyright", "Zoé"), ("Copyright", "Joe"))
    assert picture.metadata.text == both
    assert read(tmp_path, written(tmp_path, picture, "PNG")).metadata.text == both


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-be", "utf-16-le", "utf-32-be"])
def test_a_packet_in_other_unicode_is_read_and_written_in_utf_8(tmp_path, codec):
    packet = PACKET.decode().encode(codec)
    picture = read(tmp_path, saved(made_image("RGB", SIZE), "JPEG", xmp=packet))
    assert picture.metadata.xmp == PACKET
    assert PROHIBITED in picture.metadata.chosen("copyright", SIZE).xmp


def test_chunks_that_a_webp_does_not_announce_are_read_and_turn_nothing(tmp_path):
    data = bytearray(saved(made_image("RGB", SIZE), "WEBP", exif=full_exif(6), xmp=PACKET))
    data[data.index(b"VP8X") + 8] = 0
    picture = read(tmp_path, bytes(data))
    assert picture.size == SIZE
    assert picture.metadata.xmp == PACKET
    assert picture.metadata.exif.image[33432].raw == b"(c) 2026\0"
    assert picture.metadata.exif.orientation == 1
    assert set(picture.dropped) == {"thumbnail", "maker-note"}


def test_profiles_in_the_text_of_a_png_are_read(tmp_path):
    segment = XMP_SEGMENT + PACKET
    for kind, content in (("xmp", PACKET), ("APP1", segment)):
        picture = read(tmp_path, in_text(kind, content))
        assert (picture.metadata.xmp, picture.dropped) == (PACKET, ())
    picture = read(tmp_path, in_text("APP1", full_exif(6, thumbnail=False)))
    assert picture.size == SIZE[::-1]
    assert picture.metadata.exif.image[33432].raw == b"(c) 2026\0"
    assert picture.dropped == ("maker-note",)


@pytest.mark.parametrize(
    "property",
    [
        b'xmlns:a="http://cipa.jp/exif/1.0/" a:Photographer="Zoe"',
        b'xmlns:a="http://ns.adobe.com/xmp/1.0/DynamicMedia/" a:copyright="Zoe"',
        b'xmlns:a="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" a:ArtworkOrObject="Zoe"',
        b'xmlns:a="http://www.w3.org/ns/tdmrep#" a:reservation="1"',
        b'xmlns:a="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" a:DataMining="no"',
    ],
)
def test_rights_have_more_names_in_xmp(property):
    packet = PACKET.replace(b' xmp:Rating="3"', b" " + property)
    assert property.partition(b" ")[2] in rights_of(packet)


def test_credentials_that_forbid_training_are_said(tmp_path):
    store = b"JP\0\1\0\0\0\1jumbc2pa"
    rule = b"cawg.training-mining\0" + bytes(20) + b"cawg.ai_inference\xa1cusejnotAllowed"
    for content, said in ((store + rule, True), (store, False)):
        picture = read(tmp_path, jpeg_segments(made_file("jpeg", SIZE), (0xEB, content)))
        assert picture.dropped == ("credentials",)
        assert any("not for training" in notice for notice in picture.notices) is said


def test_two_packets_of_one_jpeg_are_joined(tmp_path):
    title = PACKET.replace(b'plus:DataMining="' + PROHIBITED + b'"', b'xmp:Nickname="two"')
    title = title.replace(b' xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/"', b"")
    title = title.replace(b"(c) Zo\xc3\xa9", b"(c) Ann")
    plus = b' xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/"'
    around = PACKET.replace(plus, b"").replace(b"<rdf:RDF", b"<rdf:RDF" + plus)
    segments = [(0xE1, XMP_SEGMENT + packet) for packet in (around, title)]
    picture = read(tmp_path, jpeg_segments(made_file("jpeg", SIZE), *segments))
    packet = picture.metadata.xmp
    assert PROHIBITED in rights_of(packet)
    assert (packet.count(b'"two"'), packet.count(b"(c) Ann"), packet.count(b"(c) Zo")) == (1, 1, 0)
    broken = [segments[0], (0xE1, XMP_SEGMENT + title[:-80])]
    picture = read(tmp_path, jpeg_segments(made_file("jpeg", SIZE), *broken))
    assert picture.metadata.xmp == title[:-80]


def test_rights_in_an_extended_packet_are_kept_and_nothing_else_of_it(tmp_path):
    digest = b"0123456789ABCDEF" * 2
    main = PACKET.replace(b'plus:DataMining="' + PROHIBITED, b'plus:Version="2').replace(
        b' xmp:CreatorTool="a tool"',
        b' xmlns:n="http://ns.adobe.com/xmp/note/" n:HasExtendedXMP="' + digest + b'"',
    )
    head = b"http://ns.adobe.com/xmp/extension/\0"
    sizes = [struct.pack(">2I", len(PACKET), at) for at in (0, 500)]
    pieces = [digest + sizes[0] + PACKET[:500], digest + sizes[1] + PACKET[500:]]
    for order in (pieces, pieces[::-1]):
        segments = [(0xE1, part) for part in (XMP_SEGMENT + main, *(head + one for one in order))]
        picture = read(tmp_path, jpeg_segments(made_file("jpeg", SIZE), *segments))
        assert picture.dropped == ("other-copy",)
        assert PROHIBITED in picture.metadata.xmp
        assert b"a tool" not in picture.metadata.xmp
    stale = jpeg_segments(
        made_file("jpeg", SIZE),
        (0xE1, XMP_SEGMENT + main),
        *[(0xE1, head + one.replace(b"0123", b"3210", 1)) for one in pieces],
    )
    assert PROHIBITED not in read(tmp_path, stale).metadata.xmp
