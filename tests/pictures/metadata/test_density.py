"""Resolution, pixel shape, Adobe RGB by EXIF and comments, in every format that can say them."""

import struct
from fractions import Fraction
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.support.made_pictures import jpeg_segments, made_file, made_image, saved, with_png_chunks
from tests.support.writing import FORMATS, write_picture
from unlearn.pictures.jpeg.segments import dressed
from unlearn.pictures.metadata.density import INCH, METRE, SHAPE, Density
from unlearn.pictures.metadata.exif import SHORT, Entry, Exif, whole, write_exif
from unlearn.pictures.read import Preparation, prepare

SIZE = (20, 10)
WRITTEN = {**FORMATS, "BMP": ".bmp"}


def read(tmp_path, data):
    path = tmp_path / "source.dat"
    path.write_bytes(data)
    return prepare(path, Preparation())


def written(tmp_path, picture, format, metadata="keep"):
    target = tmp_path / f"out{WRITTEN[format]}"
    write_picture(picture, picture.pixels ^ 1, target, format=format, metadata=metadata, levels=8)
    return target.read_bytes()


def stored_as_jpeg(picture, metadata="keep"):
    """Return a JPEG as protect writes it, turned as its source was."""
    turn = picture.orientation > 4
    size = picture.size[::-1] if turn else picture.size
    data = made_file("jpeg", size)
    return dressed(data, picture.metadata.chosen(metadata, size), picture.orientation)


def adobe_rgb():
    photo = {40961: whole("<", SHORT, 0xFFFF), 37386: whole("<", SHORT, 50)}
    interop = {1: Entry(2, 4, b"R03\0"), 2: Entry(7, 4, b"0100")}
    return b"Exif\0\0" + write_exif(Exif("<", {}, photo, interop=interop))


def interop_of(data):
    with Image.open(BytesIO(data)) as image:
        exif = image.getexif()
        return exif.get_ifd(40965), exif.get_ifd(34665)


@pytest.mark.parametrize("metadata", ["keep", "copyright", "none"])
@pytest.mark.parametrize("format", FORMATS)
def test_adobe_rgb_by_exif_stays_said_whatever_else_goes(tmp_path, format, metadata):
    picture = read(tmp_path, saved(made_image("RGB", SIZE), "JPEG", exif=adobe_rgb()))
    for data in (written(tmp_path, picture, format, metadata), stored_as_jpeg(picture, metadata)):
        interop, photo = interop_of(data)
        assert interop == {1: "R03", 2: b"0100"}
        assert photo[40961] == 0xFFFF
        assert (37386 in photo) == (metadata == "keep")


def test_a_png_of_adobe_rgb_says_so_in_its_colour_chunks_too(tmp_path):
    picture = read(tmp_path, saved(made_image("RGB", SIZE), "JPEG", exif=adobe_rgb()))
    with Image.open(BytesIO(written(tmp_path, picture, "PNG"))) as image:
        assert image.info["gamma"] == pytest.approx(0.45471)
        assert image.info["chromaticity"][4:6] == pytest.approx((0.21, 0.71))


RESOLUTIONS = {
    "jpeg": lambda: saved(made_image("RGB", SIZE), "JPEG", dpi=(300, 200)),
    "png": lambda: saved(made_image("RGB", SIZE), "PNG", dpi=(300, 200)),
    "bmp": lambda: saved(made_image("RGB", SIZE), "BMP", dpi=(300, 200)),
    "tiff": lambda: saved(made_image("RGB", SIZE), "TIFF", dpi=(300, 200)),
    "exif": lambda: saved(
        made_image("RGB", SIZE),
        "WEBP",
        exif=write_exif(Exif("<", Density(Fraction(300), Fraction(200), INCH).entries("<"))),
    ),
}


@pytest.mark.parametrize("metadata", ["keep", "none"])
@pytest.mark.parametrize("format", WRITTEN)
@pytest.mark.parametrize("source", RESOLUTIONS)
def test_300_dots_per_inch_stay_300(tmp_path, source, format, metadata):
    picture = read(tmp_path, RESOLUTIONS[source]())
    with Image.open(BytesIO(written(tmp_path, picture, format, metadata))) as image:
        exif = image.getexif()
        found = image.info.get("dpi", (exif.get(282), exif.get(283)))
    assert tuple(map(float, found)) == pytest.approx((300, 200), abs=0.01)
    with Image.open(BytesIO(stored_as_jpeg(picture, metadata))) as image:
        assert (image.info["jfif_unit"], image.info["jfif_density"]) == (1, (300, 200))


def test_the_resolution_of_a_png_is_kept_to_the_last_digit(tmp_path):
    for content in (struct.pack(">IIB", 11_812, 2_835, 1), struct.pack(">IIB", 4, 3, 0)):
        picture = read(tmp_path, with_png_chunks(made_file("png-rgb", SIZE), (b"pHYs", content)))
        assert b"pHYs" + content in written(tmp_path, picture, "PNG")


def test_the_shape_of_pixels_is_kept_without_a_unit(tmp_path):
    gif = bytearray(saved(made_image("P", SIZE), "GIF"))
    gif[12] = 113  # pixels twice as wide as high
    density = read(tmp_path, bytes(gif)).metadata.density
    assert density == Density(Fraction(64), Fraction(128), SHAPE)
    assert density.jfif() == struct.pack(">BHH", 0, 64, 128)
    assert density.png() == struct.pack(">IIB", 64, 128, 0)


def test_resolution_turns_with_the_picture(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    data = saved(made_image("RGB", SIZE), "JPEG", dpi=(300, 200), exif=exif)
    picture = read(tmp_path, data)
    assert picture.metadata.density == Density(Fraction(200), Fraction(300), INCH)
    with Image.open(BytesIO(stored_as_jpeg(picture))) as image:
        assert image.info["jfif_density"] == (300, 200)


def test_numbers_that_fit_nowhere_are_left_out():
    for value in (Fraction(0), Fraction(1 << 40)):
        density = Density(value, value, METRE)
        assert density.png() is None
        assert density.entries("<") == {}
        assert density.jfif() == struct.pack(">BHH", 0, 1, 1)


def test_hdr_chunks_travel_with_their_colour(tmp_path):
    chunks = [(b"cICP", b"\x09\x10\0\1"), (b"mDCV", bytes(24)), (b"cLLI", bytes(8))]
    picture = read(tmp_path, with_png_chunks(made_file("png-rgb", SIZE), *chunks))
    data = written(tmp_path, picture, "PNG")
    assert all(name + content in data for name, content in chunks)


def test_every_comment_of_a_jpeg_stays_byte_for_byte(tmp_path):
    data = jpeg_segments(made_file("jpeg", SIZE), (0xFE, b"Zo\xe9"), (0xFE, b"another"))
    picture = read(tmp_path, data)
    with Image.open(BytesIO(stored_as_jpeg(picture))) as image:
        assert [part for name, part in image.applist if name == "COM"] == [b"Zo\xe9", b"another"]
        assert np.asarray(image).shape == (10, 20, 3)
    assert b"another" in written(tmp_path, picture, "PNG")
    assert b"another" not in stored_as_jpeg(picture, "none")
