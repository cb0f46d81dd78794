"""What travels with a picture, and that no second picture does."""

import os
import struct
import time
from base64 import b64encode
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support.made_pictures import (
    JPEG_START,
    full_exif,
    jpeg_segments,
    made_file,
    made_image,
    saved,
    with_png_chunks,
)
from tests.support.made_tiff import made_tiff
from tests.support.writing import FORMATS, write_picture
from unlearn.errors import PictureError
from unlearn.pictures.kinds import holds_picture
from unlearn.pictures.metadata.exif import Entry, Exif, for_output, read_exif, write_exif
from unlearn.pictures.read import Preparation, prepare

PHOTOS = os.environ.get("UNLEARN_TEST_DATA", "")
ICC = b"not a real profile, but kept byte for byte" * 40
SECOND = saved(made_image("RGB", (20, 20)), "JPEG")


def read(tmp_path, data):
    path = tmp_path / "source.dat"
    path.write_bytes(data)
    return prepare(path, Preparation())


def written(tmp_path, picture, format="PNG", metadata="keep"):
    target = tmp_path / f"out{FORMATS[format]}"
    write_picture(picture, picture.pixels ^ 1, target, format=format, metadata=metadata, levels=8)
    return target.read_bytes()


def opened(data):
    image = Image.open(BytesIO(data))
    image.load()
    return image


def exif_of(data):
    exif = opened(data).getexif()
    return dict(exif), dict(exif.get_ifd(34665)), dict(exif.get_ifd(34853))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP"])
def test_exif_survives_upright_and_without_second_pictures(tmp_path, source, format):
    picture = read(tmp_path, saved(made_image("RGB", (20, 10)), source, exif=full_exif(6)))
    assert {"thumbnail", "maker-note"} <= set(picture.dropped)
    data = written(tmp_path, picture, format)
    image, photo, gps = exif_of(data)
    assert (image[271], image[274], image[315], image[33432]) == (
        "Made",
        1,
        "An Artist",
        "(c) 2026",
    )
    assert photo[36867] == "2026:01:02 03:04:05"
    assert photo[33434] == pytest.approx(0.01)
    assert (photo[40962], photo[40963]) == (10, 20)
    assert 37500 not in photo
    assert (gps[1], gps[2]) == ("N", (48.0, 51.0, pytest.approx(29.6)))
    assert JPEG_START not in data


@pytest.mark.parametrize("format", FORMATS)
def test_exif_of_a_tiff_survives_and_its_own_layout_does_not(tmp_path, format):
    info = Image.Exif()
    info[315], info[270] = "An Artist", "described"
    source = saved(made_image("RGB", (20, 10)), "TIFF", tiffinfo=info, icc_profile=ICC)
    data = written(tmp_path, read(tmp_path, source), format)
    image = exif_of(data)[0]
    assert (image[315], image[270], image[274]) == ("An Artist", "described", 1)
    assert opened(data).info["icc_profile"] == ICC
    if format != "TIFF":
        assert not {256, 257, 273, 279, 34675} & image.keys()


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_tags_of_a_bigtiff_are_kept_as_those_of_a_tiff(tmp_path, order):
    samples = np.zeros((4, 5, 3), np.uint8)
    tags = {270: (3, [20_000] * 9), 34735: (3, [1, 1, 0, 0]), 296: (3, [3]), 40961: (4, [7])}
    plain, big = (
        read_exif(made_tiff(samples, 2, order=order, big=big, tags=tags)) for big in (False, True)
    )
    assert big == plain
    assert (len(big.image[270].raw), big.geo.keys()) == (18, {34735})
    if order == "<":  # Pillow opens no other BigTIFF
        data = made_tiff(samples, 2, big=True, tags=tags)
        assert read(tmp_path, data).metadata.exif.image == big.image


@pytest.mark.parametrize("pointer", [4, 13, 16, 18])
def test_directories_of_a_bigtiff_are_found_by_any_pointer(tmp_path, pointer):
    gps = struct.pack("<QHHQ8sQ", 1, 1, 2, 2, b"N\0".ljust(8, b"\0"), 0)
    rows = [(33432, 2, 9, 16 + 8 + 40 + 8), (34853, pointer, 1, 16 + 8 + 40 + 8 + 10)]
    table = struct.pack("<Q", 2) + b"".join(struct.pack("<HHQQ", *row) for row in rows)
    exif = read_exif(
        b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) + table + bytes(8) + b"(c) 2026\0\0" + gps
    )
    assert exif.image[33432].raw == b"(c) 2026\0"
    assert exif.gps[1].raw == b"N\0"


def test_big_endian_exif_keeps_its_order(tmp_path):
    block = b"MM\0*\0\0\0\x08" + struct.pack(">HHHII", 1, 315, 2, 6, 26) + bytes(4) + b"Artis\0"
    for format in FORMATS:
        picture = read(tmp_path, saved(made_image("L", (4, 4)), "JPEG", exif=b"Exif\0\0" + block))
        assert exif_of(written(tmp_path, picture, format))[0][315] == "Artis"


def test_text_in_exif_is_kept_byte_for_byte(tmp_path):
    name = "Zoé Müller".encode()
    exif = Exif("<", {315: Entry(2, len(name) + 1, name + b"\0")})
    picture = read(
        tmp_path, saved(made_image("RGB", (4, 4)), "JPEG", exif=b"Exif\0\0" + write_exif(exif))
    )
    assert name in written(tmp_path, picture)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("choice", ["keep", "copyright", "none"])
def test_the_choice_of_metadata_is_kept_to(tmp_path, choice, format):
    source = saved(
        made_image("RGB", (20, 10)),
        "JPEG",
        exif=full_exif(1),
        icc_profile=ICC,
        xmp=b"<x:xmpmeta>mine</x:xmpmeta>",
    )
    data = written(tmp_path, read(tmp_path, source), format, choice)
    image, photo, gps = exif_of(data)
    assert opened(data).info["icc_profile"] == ICC
    assert (b"<x:xmpmeta>mine" in data) == (choice == "keep")
    assert bool(photo) == bool(gps) == (choice == "keep")
    assert (271 in image) == (choice == "keep")
    assert (315 in image and 33432 in image) == (choice != "none")


def test_png_text_and_colour_chunks_are_kept(tmp_path):
    gamma, chromaticities = b"\0\0\xb1\x8f", bytes(range(32))
    source = with_png_chunks(
        made_file("png-rgb", (20, 10)),
        (b"gAMA", gamma),
        (b"cHRM", chromaticities),
        (b"tEXt", b"Title\0a picture"),
        (b"iTXt", b"Author\0\0\0\0\0" + "Zoé \U0001f600".encode()),
    )
    picture = read(tmp_path, source)
    data = written(tmp_path, picture)
    assert b"gAMA" + gamma in data
    assert b"cHRM" + chromaticities in data
    assert opened(data).text == {"Title": "a picture", "Author": "Zoé \U0001f600"}
    bare = written(tmp_path, picture, metadata="none")
    assert b"gAMA" + gamma in bare
    assert not opened(bare).text


def xmp(inner):
    return b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + inner + b"</x:xmpmeta>"


THUMBNAIL = (
    b"<xmp:Thumbnails><rdf:Alt><xmpGImg:image>"
    + b64encode(SECOND)
    + (b"</xmpGImg:image></rdf:Alt></xmp:Thumbnails>")
)
EMBEDDED = {
    "thumbnail as exif thumbnail": lambda: saved(
        made_image("RGB", (30, 20)), "JPEG", exif=full_exif()
    ),
    "thumbnail as xmp thumbnail": lambda: saved(
        made_image("RGB", (30, 20)), "JPEG", xmp=xmp(THUMBNAIL)
    ),
    "other-copy as xmp picture": lambda: saved(
        made_image("RGB", (30, 20)), "JPEG", xmp=xmp(b"<my:own>" + b64encode(SECOND) + b"</my:own>")
    ),
    "other-copy as mpf preview": lambda: saved(
        made_image("RGB", (30, 20)),
        "MPO",
        save_all=True,
        append_images=[made_image("RGB", (30, 20), 2)],
    ),
    "gain-map": lambda: saved(made_image("RGB", (30, 20)), "JPEG", xmp=xmp(b'<r hdrgm:V="1"/>')),
    "other-copy as photoshop preview": lambda: jpeg_segments(
        made_file("jpeg", (30, 20)),
        (0xED, b"Photoshop 3.0\x008BIM\x04\x0c\0\0" + struct.pack(">I", len(SECOND)) + SECOND),
    ),
    "other-copy as iptc": lambda: jpeg_segments(
        made_file("jpeg", (30, 20)), (0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x02ab")
    ),
    "other-copy as extended xmp": lambda: jpeg_segments(
        made_file("jpeg", (30, 20)), (0xE1, b"http://ns.adobe.com/xmp/extension/\0" + SECOND)
    ),
    "thumbnail as jfif thumbnail": lambda: jpeg_segments(
        made_file("jpeg", (30, 20)), (0xE0, b"JFXX\0\x10" + SECOND)
    ),
    "credentials as c2pa": lambda: jpeg_segments(
        made_file("jpeg", (30, 20)), (0xEB, b"JP\0\1jumb" + SECOND)
    ),
    "credentials as c2pa in png": lambda: with_png_chunks(
        made_file("png-rgb", (30, 20)), (b"caBX", SECOND)
    ),
    "credentials as c2pa in tiff": lambda: saved(
        made_image("RGB", (8, 8)), "TIFF", tiffinfo={52545: SECOND}
    ),
    "motion-video as motion photo": lambda: (
        made_file("jpeg", (30, 20)) + b"\0\0\0\x18ftypmp42" + bytes(8) + SECOND
    ),
    "other-copy as text picture": lambda: with_png_chunks(
        made_file("png-rgb", (30, 20)), (b"tEXt", b"image\0" + b64encode(SECOND))
    ),
    "other-copy as text profile": lambda: with_png_chunks(
        made_file("png-rgb", (30, 20)),
        (b"tEXt", b"Raw profile type 8bim\0\n8bim\n  4\n" + SECOND.hex().encode()),
    ),
    "maker-note": lambda: saved(
        made_image("RGB", (30, 20)), "JPEG", exif=full_exif(thumbnail=False)
    ),
    "other-copy as exif picture": lambda: saved(
        made_image("RGB", (30, 20)),
        "JPEG",
        exif=b"Exif\0\0" + write_exif(Exif("<", {}, {37510: Entry(7, len(SECOND), SECOND)})),
    ),
    "other-copy as photoshop layers": lambda: saved(
        made_image("RGB", (30, 20)), "TIFF", tiffinfo={37724: SECOND}
    ),
}


# The EXIF of the first has a maker's note, the video of the other a picture inside.
AS_WELL = {
    "thumbnail as exif thumbnail": {"maker-note"},
    "motion-video as motion photo": {"other-copy"},
}


@pytest.mark.parametrize("case", EMBEDDED)
def test_no_embedded_picture_reaches_an_output(tmp_path, case):
    picture = read(tmp_path, EMBEDDED[case]())
    assert set(picture.dropped) == {case.split(" ")[0], *AS_WELL.get(case, ())}
    for format in FORMATS:
        data = written(tmp_path, picture, format)
        assert JPEG_START not in data
        assert JPEG_START.hex().encode() not in data
        assert b"/9j/" not in data
        assert data.count(b"\x89PNG") == (format == "PNG")
        assert data.count(b"RIFF") == (format == "WEBP")
        assert getattr(opened(data), "n_frames", 1) == 1


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        (b"<a/><xmp:Thumbnails/><b/>", b"<a/><b/>"),
        (b"<a/><xap:Thumbnails x='1'><c/></xap:Thumbnails ><b/>", b"<a/><b/>"),
        (b"<xmp:Thumbnails>1</xmp:Thumbnails>2<xmp:Thumbnails>3</xmp:Thumbnails>4", b"24"),
        (b"<a/><xmp:Thumbnails>never closed", None),
        (b"<a/><xmp:Thumbnails" + b" " * 2000 + b"/>", None),
        (b"<a>" + b"A" * 5000 + b"</a>", None),
        (b"<tiff:Orientation>1</tiff:Orientation>", b"<tiff:Orientation>1</tiff:Orientation>"),
    ],
)
def test_thumbnails_are_cut_out_of_xmp_or_all_of_it_goes(tmp_path, inner, expected):
    picture = read(tmp_path, saved(made_image("RGB", (4, 4)), "JPEG", xmp=xmp(inner)))
    assert picture.metadata.xmp == (None if expected is None else xmp(expected))


def test_hostile_xmp_takes_no_time(tmp_path):
    data = saved(made_image("RGB", (4, 4)), "WEBP", xmp=b"<xmp:Thumbnails>" * 200_000)
    begun = time.process_time()
    assert read(tmp_path, data).metadata.xmp is None
    assert time.process_time() - begun < 3


def test_a_raw_exif_profile_that_is_no_hexadecimal_is_a_notice(tmp_path):
    text = b"Raw profile type exif\0\nexif\n  4\nzzzz\n"
    picture = read(tmp_path, with_png_chunks(made_file("png-rgb", (4, 4)), (b"tEXt", text)))
    assert picture.notices == ("the EXIF block is damaged and was left out",)


def test_a_webp_names_its_credentials(tmp_path):
    data = bytearray(saved(made_image("RGB", (8, 8)), "WEBP", exif=full_exif(thumbnail=False)))
    data += b"C2PA" + (4).to_bytes(4, "little") + b"jumb"
    data[4:8] = (len(data) - 8).to_bytes(4, "little")
    assert "credentials" in read(tmp_path, bytes(data)).dropped


def test_exif_that_cannot_be_read_is_a_notice_and_not_a_failure(tmp_path):
    for block in (b"Exif\0\0garbage, no header", b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(20)):
        picture = read(tmp_path, saved(made_image("RGB", (8, 8)), "JPEG", exif=block))
        assert picture.metadata.exif is None
        assert picture.notices == ("the EXIF block is damaged and was left out",)


def test_damaged_entries_are_counted_and_the_others_kept(tmp_path):
    entries = struct.pack("<HHII", 271, 2, 900, 4000) + struct.pack("<HHI4s", 315, 2, 3, b"Me\0\0")
    block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + bytes(4)
    picture = read(tmp_path, saved(made_image("RGB", (8, 8)), "JPEG", exif=block))
    assert picture.notices == ("1 damaged or oversized EXIF entries were left out",)
    assert exif_of(written(tmp_path, picture))[0][315] == "Me"


def test_a_raw_exif_profile_in_png_text_is_understood(tmp_path):
    block = full_exif(8, thumbnail=False)
    text = b"Raw profile type exif\0\nexif\n%8d\n%s\n" % (len(block), block.hex().encode())
    source = with_png_chunks(made_file("png-rgb", (20, 10)), (b"tEXt", text))
    picture = read(tmp_path, source)
    assert picture.size == (10, 20)
    assert exif_of(written(tmp_path, picture))[0][315] == "An Artist"


def test_a_damaged_profile_is_left_out_with_a_notice(tmp_path):
    pieces = jpeg_segments(made_file("jpeg", (8, 8)), (0xE2, b"ICC_PROFILE\0\x01\x05" + ICC))
    picture = read(tmp_path, pieces)
    assert picture.metadata.icc is None
    assert picture.notices == ("the colour profile is damaged and was left out",)


@given(st.binary(max_size=300))
def test_any_bytes_as_exif_are_read_or_refused(block):
    for prefix in (b"", b"II*\0\x08\0\0\0", b"Exif\0\0MM\0*\0\0\0\x08"):
        try:
            exif = read_exif(prefix + block)
        except ValueError:
            continue
        again = write_exif(for_output(exif, (3, 4)))
        assert read_exif(again).orientation == 1


ENTRIES = st.builds(
    lambda kind, raw: Entry(kind, len(raw), raw),
    st.sampled_from([2, 6]),
    st.binary(min_size=1, max_size=40).filter(lambda raw: not holds_picture(raw)),
)


@given(
    st.sampled_from("<>"),
    st.dictionaries(st.sampled_from([270, 271, 272, 305, 306, 315, 33432]), ENTRIES, min_size=1),
    st.dictionaries(st.sampled_from([36867, 37510, 41486]), ENTRIES),
    st.dictionaries(st.integers(0, 31), ENTRIES),
)
def test_exif_is_written_and_read_back_the_same(order, image, photo, gps):
    exif = Exif(order, image, photo, gps)
    assert read_exif(write_exif(exif)) == exif


@pytest.mark.skipif(
    not (Path(PHOTOS) / "photos").is_dir(), reason="UNLEARN_TEST_DATA has no photos"
)
def test_photos_with_strange_exif_are_written_without_a_second_picture(tmp_path):
    for path in sorted((Path(PHOTOS) / "photos").glob("*.[jJ][pP][gG]")):
        picture = prepare(path, Preparation(max_side=200))
        assert JPEG_START not in written(tmp_path, picture), path
        assert np.array_equal(
            prepare(tmp_path / "out.png", Preparation()).pixels, picture.pixels ^ 1
        )


def test_a_block_without_anything_to_keep_is_no_block(tmp_path):
    empty = Exif.__new__(Exif)
    assert write_exif(Exif()) == b""
    assert isinstance(empty, Exif)
    with pytest.raises(PictureError):
        read(tmp_path, b"")
