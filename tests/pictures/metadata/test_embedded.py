"""No second picture: every place where files keep one, and no output that holds it."""

import re
import struct
from base64 import b64decode, b64encode
from io import BytesIO

import pytest
from PIL import Image, ImageCms

from tests.support.corpus import srgb, values
from tests.support.made_heic import box, coded, made_heic, picture_properties
from tests.support.made_pictures import (
    full_exif,
    gif_with,
    jpeg_segments,
    made_file,
    made_image,
    saved,
    with_png_chunks,
)
from tests.support.writing import FORMATS, write_picture
from unlearn.pictures.read import Preparation, prepare

SIZE = (30, 20)
SECOND = saved(made_image("RGB", (20, 20), 9), "JPEG")
SECOND_PNG = saved(made_image("RGB", (20, 20), 9), "PNG")
VIDEO = b"\0\0\0\x18ftypmp42" + bytes(8) + SECOND
STARTS = re.compile(
    rb"\xff\xd8\xff|\x89PNG|RIFF....WEBP|GIF8[79]a|ftyp|8BPS|ffd8ff|FFD8FF|89504e47", re.DOTALL
)
C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
MAKE = {
    "JPEG": lambda **more: saved(made_image("RGB", SIZE), "JPEG", **more),
    "AVIF": lambda **more: saved(made_image("RGB", SIZE), "AVIF", **more),
}


def xmp(inner):
    return b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + inner + b"</x:xmpmeta>"


def heic(**more):
    return made_heic(values(SIZE, 3), **more)


def heic_with(kind, reference, aux=None):
    """Return a HEIC with a second picture that refers to the first one."""
    other = values((16, 16), 1, 7)
    own = picture_properties(other)
    if aux:
        own.append(box(b"auxC", aux + b"\0", 0))
    references = [(reference, 10, 1)] if reference else []
    return heic(items=[(kind, coded(other), own, 0)], references=references)


def webp(*parts):
    """Return a WebP with further chunks at its end."""
    data = bytearray(saved(made_image("RGB", SIZE), "WEBP", xmp=xmp(b"<my:own/>")))
    for name, content in parts:
        data += name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
    data[4:8] = struct.pack("<I", len(data) - 8)
    return bytes(data)


def photoshop(tag):
    """Return a TIFF with Photoshop's resources."""
    preview = b"8BIM" + struct.pack(">H", tag) + b"\0\0" + struct.pack(">I", len(SECOND)) + SECOND
    return saved(made_image("RGB", SIZE), "TIFF", tiffinfo={34377: preview})


PLACES = {
    "thumbnail as exif thumbnail in heic": lambda: heic(exif=full_exif(1)[6:]),
    "thumbnail as xmp thumbnail in avif": lambda: MAKE["AVIF"](
        xmp=xmp(b"<xmp:Thumbnails>" + b64encode(SECOND) + b"</xmp:Thumbnails>")
    ),
    "other-copy as xmp picture in heic": lambda: heic(
        xmp=xmp(b"<a>" + b64encode(SECOND) + b"</a>")
    ),
    "other-copy as xmp picture of png": lambda: MAKE["JPEG"](
        xmp=xmp(b"<a>" + b64encode(SECOND_PNG) + b"</a>")
    ),
    "thumbnail in heic": lambda: heic_with(b"hvc1", b"thmb"),
    "other-copy as depth map in heic": lambda: heic_with(
        b"hvc1", b"auxl", b"urn:mpeg:hevc:2015:auxid:2"
    ),
    "gain-map of apple": lambda: heic_with(
        b"hvc1", b"auxl", b"urn:com:apple:photo:2020:aux:hdrgainmap"
    ),
    "gain-map of iso in heic": lambda: heic(items=[(b"tmap", bytes(20), [], 0)]),
    "other-copy as auxiliary picture in heic": lambda: heic_with(
        b"hvc1", b"auxl", b"urn:com:apple:photo:2018:aux:portraiteffectsmatte"
    ),
    "other-copy as other picture of a burst": lambda: heic_with(b"hvc1", None),
    "motion-video as motion photo in heic": lambda: heic(tail=box(b"mpvd", VIDEO)),
    "motion-video as motion photo of google": lambda: (
        MAKE["JPEG"](xmp=xmp(b'<a MotionPhoto="1"/>')) + VIDEO
    ),
    "motion-video as motion photo of samsung": lambda: (
        MAKE["JPEG"]() + SECOND + b"MotionPhoto_Data" + VIDEO
    ),
    "other-copy as appended picture in jpeg": lambda: MAKE["JPEG"]() + SECOND,
    "other-copy as appended picture in png": lambda: made_file("png-rgb", SIZE) + SECOND_PNG,
    "other-copy as appended picture in webp": lambda: made_file("webp-lossless", SIZE) + SECOND,
    "gain-map of iso in jpeg": lambda: jpeg_segments(
        MAKE["JPEG"](), (0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0")
    ),
    "other-copy as flashpix": lambda: jpeg_segments(MAKE["JPEG"](), (0xE2, b"FPXR\0" + SECOND)),
    "other-copy as chunk picture in png": lambda: with_png_chunks(
        made_file("png-rgb", SIZE), (b"prVW", SECOND_PNG)
    ),
    "other-copy as chunk picture in webp": lambda: webp((b"THMB", SECOND)),
    "other-copy as text picture in a comment": lambda: saved(
        made_image("P", SIZE), "GIF", comment=b64encode(SECOND_PNG)[:200]
    ),
    "other-copy as text picture in a jpeg's comment": lambda: MAKE["JPEG"](comment=SECOND.hex()),
    "other-copy as photoshop preview in tiff": lambda: photoshop(0x040C),
    "other-copy as photoshop resources": lambda: photoshop(0x0400),
    "credentials as c2pa in webp": lambda: webp((b"C2PA", b"jumb" + SECOND)),
    "credentials as c2pa in avif": lambda: MAKE["AVIF"]() + box(b"uuid", C2PA_UUID + SECOND),
    "credentials as c2pa in heic": lambda: heic(tail=box(b"uuid", C2PA_UUID + SECOND)),
    "credentials as c2pa in heic as jumb": lambda: heic(tail=box(b"jumb", SECOND)),
    "other-copy as iptc in tiff": lambda: saved(
        made_image("RGB", SIZE), "TIFF", tiffinfo={33723: b"\x1c\2"}
    ),
}


def read(tmp_path, data):
    path = tmp_path / "source.dat"
    path.write_bytes(data)
    return prepare(path, Preparation())


def written(tmp_path, picture, format, metadata="keep"):
    target = tmp_path / "out.dat"
    write_picture(picture, picture.pixels ^ 1, target, format=format, metadata=metadata, levels=8)
    return target.read_bytes()


def chunks_of(data, format):
    """Yield name and content of the chunks of a PNG or WebP file."""
    at, tail = (8, 4) if format == "PNG" else (12, 0)
    while at < len(data):
        first, second = data[at : at + 4], data[at + 4 : at + 8]
        name, size = (second, first) if format == "PNG" else (first, second)
        length = int.from_bytes(size, "big" if format == "PNG" else "little")
        yield name, data[at + 8 : at + 8 + length]
        at += 8 + length + (tail or length % 2)


def besides_pixels(data, format):
    """Return the bytes of an output without those of its own pixels and its own start."""
    if format == "TIFF":
        with Image.open(BytesIO(data)) as image:
            strips = zip(image.tag_v2[273], image.tag_v2[279], strict=True)
        kept = bytearray(data)
        for start, length in strips:
            kept[start : start + length] = bytes(length)
        return bytes(kept)
    pixels = {"PNG": (b"IDAT",), "WEBP": (b"VP8L", b"ALPH")}[format]
    found = list(chunks_of(data, format))
    assert sum(len(content) for _, content in found) > len(data) - 12 * len(found) - 12
    return b"|".join(name + content for name, content in found if name not in pixels)


def assert_no_picture(data):
    """Assert that no picture begins in bytes, be they plain, hexadecimal or in base64."""
    assert not STARTS.search(data)
    for run in re.finditer(rb"[A-Za-z0-9+/]{24,}", data):
        for start in range(4):
            text = run[0][start:]
            decoded = b64decode(text[: len(text) // 4 * 4])
            assert not STARTS.search(decoded[:4096])


# The EXIF of the first has a maker's note; the others' videos have pictures inside.
AS_WELL = {
    "thumbnail as exif thumbnail in heic": {"maker-note"},
    "motion-video as motion photo of google": {"other-copy"},
    "motion-video as motion photo of samsung": {"other-copy"},
}


@pytest.mark.parametrize("place", PLACES)
def test_no_output_holds_a_second_picture(tmp_path, place):
    data = PLACES[place]()
    picture = read(tmp_path, data)
    assert set(picture.dropped) == {place.split(" ")[0], *AS_WELL.get(place, ())}
    if "in heic" in place or "burst" in place:
        assert (picture.pixels == values(SIZE, 3)).all()
    for format in FORMATS:
        assert_no_picture(besides_pixels(written(tmp_path, picture, format), format))


def test_an_ultra_hdr_photo_loses_its_gain_map_wherever_it_is_mentioned(tmp_path):
    both = saved(
        made_image("RGB", SIZE), "MPO", save_all=True, append_images=[made_image("L", SIZE)]
    )
    packet = b"http://ns.adobe.com/xap/1.0/\0" + xmp(b'<r hdrgm:Version="1.0"/>')
    iso = (0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0")
    picture = read(tmp_path, jpeg_segments(both, (0xE1, packet), iso))
    assert set(picture.dropped) == {"gain-map", "other-copy"}
    for format in FORMATS:
        assert_no_picture(besides_pixels(written(tmp_path, picture, format), format))


def test_the_search_for_pictures_finds_them():
    for data in (
        b"x" + SECOND,
        b"<a>" + b64encode(SECOND) + b"</a>",
        SECOND_PNG.hex().encode(),
        b64encode(b"ab" + SECOND_PNG),
    ):
        with pytest.raises(AssertionError):
            assert_no_picture(data)
    plain = saved(made_image("RGB", SIZE), "PNG", exif=full_exif())
    with pytest.raises(AssertionError):
        assert_no_picture(besides_pixels(plain, "PNG"))


def test_the_source_alone_has_nothing_beside_it(tmp_path):
    for data in (heic(), MAKE["AVIF"](), MAKE["JPEG"](), made_file("webp-lossless", SIZE)):
        assert read(tmp_path, data).dropped == ()


def profile(space):
    """Return a profile whose header speaks of a colour space."""
    data = bytearray(srgb())
    data[16:20] = space
    return bytes(data)


@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
@pytest.mark.parametrize("metadata", ["keep", "copyright", "none"])
def test_a_profile_is_kept_byte_for_byte_from_every_format(tmp_path, source, metadata):
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options = {"icc": icc} if source == "HEIC" else {"icc_profile": icc}
    data = (
        heic(**options) if source == "HEIC" else saved(made_image("RGB", SIZE), source, **options)
    )
    picture = read(tmp_path, data)
    for format in FORMATS:
        written(tmp_path, picture, format, metadata)
        with Image.open(tmp_path / "out.dat") as image:
            assert image.info["icc_profile"] == icc


def test_a_profile_in_a_gif_or_a_bmp_is_kept_and_so_is_the_look(tmp_path):
    icc = srgb()
    blocks = b"".join(bytes([len(part)]) + part for part in (icc[:255], icc[255:400], icc[400:500]))
    pixels = made_file("bmp", SIZE)[54:]
    head = bytearray(made_file("bmp", SIZE)[14:54].ljust(124, b"\0"))
    head[0], head[56:60] = 124, b"DEBM"
    head[112:120] = struct.pack("<II", 124 + len(pixels), len(icc))
    body = bytes(head) + pixels + icc
    bmp = b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, 138) + body
    for data, profile in ((gif_with(SIZE, b"ICCRGBG1012", blocks + b"\0"), icc[:500]), (bmp, icc)):
        picture = read(tmp_path, data)
        assert (picture.metadata.icc, picture.dropped) == (profile, ())
        assert written(tmp_path, picture, "PNG", "none").count(b"iCCP") == 1
    assert read(tmp_path, gif_with(SIZE, b"ICCRGBG1012", b"\4none\0")).metadata.icc is None


@pytest.mark.parametrize(
    ("mode", "space", "kept"),
    [
        ("L", b"GRAY", True),
        ("LA", b"GRAY", True),
        ("RGB", b"RGB ", True),
        ("RGBA", b"RGB ", True),
        ("L", b"RGB ", False),
        ("RGB", b"GRAY", False),
        ("RGB", b"CMYK", False),
        ("L", b"Lab ", False),
    ],
)
def test_a_profile_for_other_colours_is_left_out_and_said(tmp_path, mode, space, kept):
    icc = profile(space)
    picture = read(tmp_path, saved(made_image(mode, SIZE), "PNG", icc_profile=icc))
    assert picture.metadata.icc == (icc if kept else None)
    said = f"a colour profile for {space.decode().strip()} does not fit the output; left out"
    assert picture.notices == (() if kept else (said,))


@pytest.mark.parametrize("source", ["AVIF", "HEIC"])
@pytest.mark.parametrize("format", FORMATS)
def test_exif_place_and_xmp_of_avif_and_heic_are_kept(tmp_path, source, format):
    block, packet = full_exif(1), xmp(b"<my:own/>")
    make = heic if source == "HEIC" else MAKE["AVIF"]
    data = make(exif=block[6:] if source == "HEIC" else block, xmp=packet)
    picture = read(tmp_path, data)
    out = written(tmp_path, picture, format)
    assert packet in out
    with Image.open(tmp_path / "out.dat") as image:
        exif = image.getexif()
        assert (exif[315], exif[274]) == ("An Artist", 1)
        assert exif.get_ifd(34665)[36867] == "2026:01:02 03:04:05"
        assert exif.get_ifd(34853)[1] == "N"
    bare = written(tmp_path, picture, format, "none")
    assert b"An Artist" not in bare
    assert packet not in bare
    artist = written(tmp_path, picture, format, "copyright")
    assert b"An Artist" in artist
    assert b"2026:01:02" not in artist


def test_a_comment_becomes_text(tmp_path):
    for data in (
        saved(made_image("P", SIZE), "GIF", comment=b"by me"),
        MAKE["JPEG"](comment=b"by me"),
    ):
        picture = read(tmp_path, data)
        assert picture.metadata.text == (("Comment", "by me"),)
        written(tmp_path, picture, "PNG")
        with Image.open(tmp_path / "out.dat") as image:
            assert image.text == {"Comment": "by me"}
