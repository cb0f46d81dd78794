"""PNG files by hand: what Pillow reads from them, and how they are laid out."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image, PngImagePlugin

from unlearn.data.encode import Canvas, encode_png
from unlearn.data.exif import ASCII, COPYRIGHT, Entry, Exif
from unlearn.data.formats import chunks
from unlearn.data.metadata import Metadata
from unlearn.data.png import write_png

SAMPLES = npst.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)))
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def written(samples, more=()):
    file = io.BytesIO()
    write_png(samples, more, file)
    return file.getvalue()


def rows_of(data):
    """Return the filtered rows of a file, each behind the number of its filter."""
    packed = b"".join(content for name, content in chunks(data, "PNG") if name == b"IDAT")
    width, height = struct.unpack(">2I", data[16:24])
    return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, -1), width


@settings(deadline=None)
@given(SAMPLES)
def test_pillow_reads_back_every_value(samples):
    with Image.open(io.BytesIO(written(samples))) as image:
        assert image.mode == MODES[samples.shape[2]]
        assert (np.asarray(image).reshape(samples.shape) == samples).all()
    with Image.open(io.BytesIO(written(samples))) as image:
        image.verify()  # raises for a wrong checksum


def test_a_picture_of_many_strips_is_the_same_file_but_for_its_chunks(monkeypatch):
    samples = np.random.default_rng(0).integers(0, 256, (61, 17, 3), dtype=np.uint8)
    whole = written(samples)
    monkeypatch.setattr("unlearn.data.png._STRIP_BYTES", 200)
    strips = written(samples)
    assert (rows_of(strips)[0] == rows_of(whole)[0]).all()
    with Image.open(io.BytesIO(strips)) as image:
        assert (np.asarray(image) == samples).all()


def test_a_row_gets_the_filter_that_leaves_least():
    across = np.tile(np.arange(0, 120, 2, dtype=np.uint8)[None, :, None], (1, 1, 3))
    noise = np.random.default_rng(0).integers(0, 256, (1, 60, 3), dtype=np.uint8)
    halfway = np.zeros_like(noise)
    before = np.zeros(3, int)
    for x in range(60):  # each value exactly what Average foretells, and far from its neighbours
        halfway[0, x] = before = (before + noise[0, x].astype(int)) // 2
    rows, _ = rows_of(written(np.concatenate([across, noise, noise, halfway])))
    assert rows[0, 0] == 1
    assert (rows[0, 4:] == 2).all()
    assert (rows[2, 0], rows[2, 1:].any()) == (2, False)
    assert (rows[3, 0], rows[3, 1:].any()) == (3, False)


def test_smooth_pictures_with_noise_take_at_most_a_tenth_more_than_pillow_makes_of_them():
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((640, 480), Image.Resampling.BICUBIC))
    noisy = np.clip(smooth + rng.integers(-8, 9, smooth.shape), 0, 255).astype(np.uint8)
    pillow = io.BytesIO()
    Image.fromarray(noisy).save(pillow, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    assert len(written(noisy)) < 1.1 * len(pillow.getvalue())


@pytest.mark.parametrize("icc", [None, b"profile" * 99])
def test_what_travels_with_the_pixels_is_what_pillow_would_write(icc):
    colour = ((b"gAMA", b"\0\0\xb1\x8f"), (b"sRGB", b"\0"), (b"gAMA", b"\0\0\0\1"))
    text = (("Title", "näme"), ("Comment", "名"))
    exif = Exif(">", {COPYRIGHT: Entry(ASCII, 3, b"me\0")})
    metadata = Metadata(icc, exif, b"<x:xmpmeta/>", text, colour)
    canvas = Canvas(np.zeros((2, 3, 3), np.uint8), None, metadata)
    info = PngImagePlugin.PngInfo()
    for name, content in colour:
        info.add(name, content)
    for key, value in text:
        info.add_text(key, value)
    info.add(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta/>")
    ours, pillows = io.BytesIO(), io.BytesIO()
    encode_png(canvas, ours)
    canvas.image().save(pillows, "PNG", pnginfo=info, icc_profile=icc, exif=metadata.exif_block)
    found, wanted = (
        [chunk for chunk in chunks(file.getvalue(), "PNG") if chunk[0] != b"IDAT"]
        for file in (ours, pillows)
    )
    assert found == wanted
    assert (b"sRGB" in dict(found)) == (icc is None)
