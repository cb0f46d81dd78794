"""Pillow's modes brought to those that noise is added to, each against a closed form."""

import struct
import subprocess
import sys
from io import BytesIO
from zlib import compress

import numpy as np
import pytest
from PIL import Image

from tests.support.corpus import by_hand, cmyk, made_png, srgb, values
from tests.support.made_heic import box, made_heic
from tests.support.made_pictures import made_image, png_chunk, saved
from tests.support.made_tiff import made_tiff
from unlearn.errors import PictureError
from unlearn.pictures.colour import CMYK_CONVERTED, CMYK_PLAIN
from unlearn.pictures.decoded import eight_bit
from unlearn.pictures.metadata.isobmff import read_container
from unlearn.pictures.read import Preparation, prepare

SIZE = (20, 12)


def read(tmp_path, data, **preparation):
    path = tmp_path / "picture.dat"
    path.write_bytes(data)
    return prepare(path, Preparation(**preparation))


def cmyk_profile():
    """Return a profile whose Lab lightness falls with ink: 100 without any, 0 with black."""
    curve = bytes(range(256))
    inks = [(c, m, y, k) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)]
    table = b"".join(bytes([0 if k else 255 - 60 * (c + m + y), 128, 128]) for c, m, y, k in inks)
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + 4 * curve + table + 3 * curve
    lut += bytes(-len(lut) % 4)
    tags = struct.pack(">I4sII", 1, b"A2B0", 144, len(lut))
    head = struct.pack(
        ">I4sI4s4s4s", 144 + len(lut), b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab "
    )
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    return head.ljust(128, b"\0") + tags + lut


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_becomes_srgb_by_its_profile_which_is_not_handed_on(tmp_path, format):
    flat = Image.new("CMYK", SIZE, (0, 0, 0, 0))
    flat.paste((0, 0, 0, 255), (0, 0, 8, 12))
    picture = read(tmp_path, saved(flat, format, icc_profile=cmyk_profile(), **subsampled(format)))
    assert picture.pixels[0, 0].max() <= 1
    assert picture.pixels[0, 19].min() >= 254
    assert picture.metadata.icc is None
    assert picture.notices == (CMYK_CONVERTED,)
    again = read(tmp_path, (tmp_path / "picture.dat").read_bytes())
    assert (again.pixels == picture.pixels).all()


def test_half_the_ink_is_half_the_lightness_and_not_the_plain_conversion(tmp_path):
    flat = Image.new("CMYK", SIZE, (0, 0, 0, 128))
    picture = read(tmp_path, saved(flat, "TIFF", icc_profile=cmyk_profile()))
    assert abs(picture.pixels.astype(int) - 119).max() <= 2  # L* 50 is 119 in sRGB
    assert read(tmp_path, saved(flat, "TIFF")).pixels[0, 0].tolist() == [127, 127, 127]


def subsampled(format):
    return {"quality": 100, "subsampling": 0} if format == "JPEG" else {}


@pytest.mark.parametrize("profile", [None, b"x" * 300, srgb(), cmyk_profile()[:160]])
def test_cmyk_without_a_usable_profile_is_converted_plainly_and_said(tmp_path, profile):
    options = {"icc_profile": profile} if profile else {}
    data = saved(cmyk(SIZE), "TIFF", **options)
    picture = read(tmp_path, data)
    inks = np.asarray(cmyk(SIZE)).astype(int)
    plain = 255 - inks[..., :3] - inks[..., 3:] + inks[..., :3] * inks[..., 3:] / 255
    assert abs(picture.pixels - plain).max() <= 1
    assert picture.notices == (CMYK_PLAIN,)
    assert picture.metadata.icc is None


def test_ycck_and_adobe_cmyk_are_not_inverted_twice(tmp_path):
    white = Image.new("CMYK", SIZE, (0, 0, 0, 0))
    assert read(tmp_path, saved(white, "JPEG")).pixels.min() >= 254
    picture = read(tmp_path, saved(Image.new("CMYK", SIZE, (0, 0, 0, 255)), "JPEG"))
    assert picture.pixels.max() <= 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_grey_keeps_every_value(tmp_path, order):
    grey = values(SIZE, 1, 3, np.uint16)
    for data in (made_tiff(grey, 1, order=order), saved(Image.fromarray(grey[..., 0]), "PNG")):
        picture = read(tmp_path, data)
        assert picture.mode == "I;16"
        assert picture.notices == ()
        assert (picture.pixels == grey).all()
        assert picture.pixels.dtype == np.dtype(np.uint16).newbyteorder("=")


def test_white_that_is_zero_is_turned_to_black(tmp_path):
    for dtype, top in ((np.uint8, 255), (np.uint16, 65535)):
        grey = values(SIZE, 1, 3, dtype)
        assert (read(tmp_path, made_tiff(grey, 0)).pixels == top - grey).all()


def test_16_bits_are_rounded_to_the_nearest_of_8(tmp_path):
    every = np.arange(65_536).astype(np.uint16)
    assert (eight_bit(every) == np.floor(every / 257 + 0.5)).all()
    assert eight_bit(np.arange(256, dtype=np.uint8)).tolist() == list(range(256))


def test_16_bit_grey_is_shrunk_in_16_bits(tmp_path):
    grey = np.full((40, 40, 1), 12_345, np.uint16)
    picture = read(tmp_path, made_tiff(grey, 1), max_side=10)
    assert picture.size == (10, 10)
    assert (picture.pixels == 12_345).all()


@pytest.mark.parametrize(
    ("bands", "photometric", "extra"), [(3, 2, ()), (4, 2, (2,)), (4, 5, ()), (4, 2, (0,))]
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_deeper_colour_is_reduced_to_its_high_bytes_and_said(
    tmp_path, bands, photometric, extra, order
):
    deep = values(SIZE, bands, 3, np.uint16)
    picture = read(tmp_path, made_tiff(deep, photometric, extra=extra, order=order))
    assert picture.notices[0] == "16-bit colour is reduced to 8 bit"
    if photometric == 2:
        assert (picture.pixels == deep[..., :3] >> 8).all()
        assert (picture.alpha is not None) == (extra == (2,))


def png(depth, colour, row, *chunks):
    width = len(row) * 8 // depth // {0: 1, 2: 3, 4: 2}[colour]
    header = struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0)
    parts = ((b"IHDR", header), *chunks, (b"IDAT", compress(b"\0" + row)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)


@pytest.mark.parametrize(
    ("depth", "row"), [(1, b"\x50"), (2, b"\x1b"), (4, b"\x01\x23"), (8, b"\0\1\2\3")]
)
def test_the_clear_value_of_a_grey_png_is_its_own_at_any_depth(tmp_path, depth, row):
    picture = read(tmp_path, png(depth, 0, row, (b"tRNS", b"\0\1")))
    bits = np.unpackbits(np.frombuffer(row, np.uint8)).reshape(-1, depth)
    grey = bits @ (1 << np.arange(depth)[::-1])
    assert (picture.pixels[0, :, 0] == grey * (255 // (2**depth - 1))).all()
    assert (picture.alpha[0] == np.where(grey == 1, 0, 255)).all()


def test_the_clear_value_of_16_bit_grey_is_one_of_65536(tmp_path):
    row = struct.pack(">3H", 0x1234, 0x1235, 0x12FF)
    picture = read(tmp_path, png(16, 0, row, (b"tRNS", b"\x12\x35")))
    assert picture.mode == "LA"
    assert picture.alpha[0].tolist() == [255, 0, 255]
    assert picture.pixels[0, :, 0].tolist() == [0x12] * 3
    assert picture.notices == ("16-bit colour is reduced to 8 bit",)


def test_16_bit_grey_with_alpha_stays_grey(tmp_path):
    row = struct.pack(">4H", 0x1234, 0x8080, 0xFFFE, 0xFFFF)
    picture = read(tmp_path, png(16, 4, row))
    assert picture.mode == "LA"
    assert picture.pixels[0, :, 0].tolist() == [0x12, 0xFF]
    assert picture.alpha[0].tolist() == [0x80, 0xFF]


@pytest.mark.parametrize("format", ["PNG", "GIF", "TIFF", "BMP"])
def test_a_palette_of_greys_is_grey(tmp_path, format):
    image = Image.fromarray(values(SIZE, 1)[..., 0] // 64)
    image.putpalette([level for level in (9, 200, 3, 77) for _ in range(3)])
    picture = read(tmp_path, saved(image, format))
    assert picture.mode == "L"
    assert (picture.pixels == np.array([9, 200, 3, 77])[np.asarray(image)][..., None]).all()


def test_associated_alpha_is_kept_bit_by_bit_and_its_colour_divided(tmp_path):
    samples = values(SIZE, 4, 8)
    samples[..., :3] = samples[..., :3] // 2 * (samples[..., 3:] > 0)
    picture = read(tmp_path, made_tiff(samples, 2, extra=[1]))
    assert (picture.alpha == samples[..., 3]).all()
    share = np.maximum(samples[..., 3:], 1)
    expected = np.minimum(255, samples[..., :3] * 255.0 / share)
    visible = samples[..., 3] > 0
    assert abs(picture.pixels - expected)[visible].max() <= 1
    assert picture.notices == ("colour multiplied by alpha was divided by it",)


def test_a_bmp_of_five_bits_a_value_is_not_called_deep(tmp_path):
    pixels = np.full((4, 4), 0xF800, "<u2").tobytes()
    head = struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, 16, 3, len(pixels), 0, 0, 0, 0)
    head += struct.pack("<3I", 0xF800, 0x7E0, 0x1F)
    data = b"BM" + struct.pack("<IHHI", 14 + len(head + pixels), 0, 0, 14 + len(head))
    picture = read(tmp_path, data + head + pixels)
    assert picture.notices == ()
    assert (picture.pixels == (255, 0, 0)).all()


@pytest.mark.parametrize(("bits", "words"), [(12, "12-bit values"), (24, "24-bit values")])
def test_odd_depths_are_refused_with_what_to_do(tmp_path, bits, words):
    data = bytearray(by_hand(1, 1, np.uint16)((8, 8), 1))
    entry = struct.pack("<HHIHH", 258, 3, 1, 16, 0)
    at = data.find(entry)
    data[at + 8 : at + 10] = struct.pack("<H", bits)
    with pytest.raises(PictureError, match=words):
        read(tmp_path, bytes(data))


def test_values_below_zero_are_refused(tmp_path):
    for dtype in (np.uint8, np.uint16):
        image = Image.fromarray(values((8, 8), 1, 0, dtype)[..., 0])
        with pytest.raises(PictureError, match=r"below zero|32-bit|unsupported"):
            read(tmp_path, saved(image, "TIFF", tiffinfo={339: 2}))


def test_grey_heic_and_its_turns_are_exact(tmp_path):
    grey = values(SIZE, 1, 6)
    for turn, expected in (((b"irot", 1), np.rot90(grey)), ((b"imir", 1), grey[:, ::-1])):
        exif = Image.Exif()
        exif[274] = 8  # what a phone adds to irot; it must not turn the picture a second time
        picture = read(tmp_path, made_heic(grey, turn=[turn], exif=exif.tobytes()[6:]))
        assert picture.mode == "L"
        assert (picture.pixels == expected).all()
        assert picture.metadata.exif.orientation == 1


def test_orientation_in_exif_alone_does_not_turn_a_heic_or_avif(tmp_path):
    exif, packet = Image.Exif(), b'<x:xmpmeta tiff:Orientation="6"/>'
    exif[274] = 6
    colour = values(SIZE, 3, 6)
    assert read(tmp_path, made_heic(colour, exif=exif.tobytes()[6:], xmp=packet)).size == SIZE
    assert read(tmp_path, saved(made_image("RGB", SIZE), "AVIF", xmp=packet)).size == SIZE


def test_10_bits_are_reduced_and_said(tmp_path):
    data = saved(made_image("RGB", SIZE), "AVIF")
    deep = data.replace(box(b"pixi", b"\3\x08\x08\x08", 0), box(b"pixi", b"\3\x0a\x0a\x0a", 0))
    assert deep != data
    assert read_container(deep).bits == 10
    assert read(tmp_path, heic_of_bits(10)).notices == ("10-bit colour is reduced to 8 bit",)


def heic_of_bits(bits):
    data = made_heic(values(SIZE, 3))
    return data.replace(b"\3\x08\x08\x08", bytes([3, bits, bits, bits]))


def test_a_colour_space_beyond_srgb_is_stated_in_the_output(tmp_path):
    data = made_heic(values(SIZE, 3))
    wide = data.replace(b"nclx\0\1\0\x0d", b"nclx\0\x0c\0\x0d")
    assert read(tmp_path, wide).metadata.colour == ((b"cICP", bytes([12, 13, 0, 1])),)
    assert read(tmp_path, data).metadata.colour == ()
    profiled = saved(made_image("RGB", SIZE), "AVIF", icc_profile=srgb())
    wide = profiled.replace(b"nclx\0\2\0\2", b"nclx\0\x0c\0\x0d")
    assert wide != profiled
    assert read(tmp_path, wide).metadata.colour == ()


def test_heic_without_pi_heif_says_what_to_install(tmp_path, monkeypatch):
    data = made_heic(values(SIZE, 3))
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(PictureError) as raised:
        read(tmp_path, data)
    assert str(raised.value) == "HEIC needs pi-heif (pip install pi-heif); or convert to JPEG"


def test_a_heic_that_moves_is_refused_with_its_frames(tmp_path):
    sizes = box(b"stsz", struct.pack(">II", 0, 7), 0)
    movie = sizes
    for name in (b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        movie = box(name, movie)
    with pytest.raises(PictureError, match=r"animated \(7 frames\).*export the frame"):
        read(tmp_path, made_heic(values(SIZE, 3), tail=movie))


def test_pi_heif_is_not_imported_before_a_heic_is_met(tmp_path):
    code = (
        "import sys; from pathlib import Path; from unlearn.pictures.read import *\n"
        "prepare(Path(sys.argv[1]), Preparation()); sys.exit('pi_heif' in sys.modules)"
    )
    Image.new("L", (3, 3)).save(tmp_path / "a.png")
    command = [sys.executable, "-c", code, str(tmp_path / "a.png")]
    assert subprocess.run(command, check=False).returncode == 0


def test_interlaced_pngs_are_read_as_plain_ones(tmp_path):
    for colour in (0, 2, 3, 6):
        data = made_png((33, 17), 8, colour, interlaced=True)
        with Image.open(BytesIO(data)) as image:
            shown = np.asarray(image.convert("RGBA"))
        picture = read(tmp_path, data)
        assert (picture.pixels == shown[..., :3]).all()
