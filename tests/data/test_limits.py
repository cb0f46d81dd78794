"""Files made to exhaust memory or time: each has a reason within a moment."""

import struct
import subprocess
import sys
import time
from zlib import compress

import pytest
from corpus import values
from made_heic import box, made_heic
from made_pictures import made_file, made_image, saved, with_png_chunks
from PIL import Image

from unlearn.data.boxes import read_container
from unlearn.data.prepare import Preparation, prepare
from unlearn.data.sniff import picture_size
from unlearn.errors import PictureError

SIZE = (20, 12)
ZEROS = compress(bytes(200 << 20), 9)


def read(tmp_path, data):
    path = tmp_path / "picture.dat"
    path.write_bytes(data)
    return prepare(path, Preparation())


def bomb(case):
    plain = made_file("png-rgb", SIZE)
    if case == "profile":
        return with_png_chunks(plain, (b"iCCP", b"a\0\0" + ZEROS))
    if case == "text":
        return with_png_chunks(plain, (b"zTXt", b"a\0\0" + ZEROS))
    if case == "international text":
        return with_png_chunks(plain, (b"iTXt", b"a\0\1\0\0\0" + ZEROS))
    if case == "many texts":
        part = compress(bytes(1 << 20), 9)
        return with_png_chunks(plain, *[(b"zTXt", b"a%d\0\0" % n + part) for n in range(100)])
    return with_png_chunks(plain, *[(b"tEXt", b"a%d\0b" % n) for n in range(50_000)])


@pytest.mark.parametrize("case", ["profile", "text", "international text", "many texts"])
def test_what_swells_up_is_refused_at_once(tmp_path, case):
    begun = time.monotonic()
    with pytest.raises(PictureError, match="damaged PNG file"):
        read(tmp_path, bomb(case))
    assert time.monotonic() - begun < 3


def test_many_small_texts_take_a_moment(tmp_path):
    data = bomb("small texts")
    begun = time.monotonic()
    assert len(read(tmp_path, data).metadata.text) == 50_000
    assert time.monotonic() - begun < 5


def test_exif_that_points_at_itself_ends(tmp_path):
    entry = struct.pack("<HHII", 34665, 4, 1, 8)
    block = b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + entry + struct.pack("<I", 8)
    for source in ("JPEG", "PNG", "WEBP"):
        picture = read(tmp_path, saved(made_image("RGB", SIZE), source, exif=b"Exif\0\0" + block))
        assert picture.size == SIZE
    looped = bytearray(saved(made_image("RGB", SIZE), "TIFF"))
    (start,) = struct.unpack_from("<I", looped, 4)
    (count,) = struct.unpack_from("<H", looped, start)
    struct.pack_into("<I", looped, start + 2 + 12 * count, start)
    assert read(tmp_path, bytes(looped)).size == SIZE


@pytest.mark.parametrize("format", ["AVIF", "HEIC"])
def test_a_promise_of_too_many_pixels_is_refused(tmp_path, format):
    data = (
        made_heic(values(SIZE, 3)) if format == "HEIC" else saved(made_image("RGB", SIZE), format)
    )
    huge = data.replace(
        struct.pack(">4sIII", b"ispe", 0, *SIZE), struct.pack(">4sIII", b"ispe", 0, 60_000, 60_000)
    )
    assert huge != data
    with pytest.raises(PictureError):
        read(tmp_path, huge)


def test_boxes_in_great_number_or_without_end_are_read_in_a_moment():
    begun = time.monotonic()
    many = b"".join(box(b"free", b"") for _ in range(200_000))
    assert read_container(many).size is None
    nested = b""
    for _ in range(2000):
        nested = box(b"trak", nested)
    assert read_container(box(b"moov", nested)).frames == 1
    assert read_container(bytes(8) * 1000).size is None
    assert read_container(struct.pack(">I4sQ", 1, b"meta", 1 << 63) + bytes(50)).size is None
    assert time.monotonic() - begun < 2


def test_the_size_of_a_heic_is_told_without_decoding(tmp_path):
    path = tmp_path / "a.heic"
    path.write_bytes(made_heic(values(SIZE, 3)))
    assert picture_size(path) == SIZE
    path.write_bytes(b"\0\0\0\x18ftypheic")
    assert picture_size(path) is None
    assert picture_size(tmp_path / "nothing") is None


MEASURE = """
import resource, sys
from pathlib import Path
import numpy as np
from unlearn.data.grid import add_noise
from unlearn.data.prepare import Preparation, prepare
from unlearn.data.writer import write_picture
folder, format = Path(sys.argv[1]), sys.argv[2]
picture = prepare(folder / "a.png", Preparation())
delta = np.full((8, 8, picture.pixels.shape[2]), 8 / 255, np.float32)
write_picture(picture, add_noise(picture.pixels, delta, 8, 1.0), folder / "out", format=format,
              metadata="keep", levels=8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_a_large_picture_takes_few_times_its_own_memory(tmp_path, format):
    side = 2000
    Image.linear_gradient("L").resize((side, side)).convert("RGB").save(tmp_path / "a.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "small.png")

    def peak(name):
        (tmp_path / name).rename(tmp_path / "a.png")
        command = [sys.executable, "-c", MEASURE, str(tmp_path), format]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(done.stdout) * 1024

    large, small = peak("a.png"), peak("small.png")
    assert (large - small) / side**2 < 12  # bytes a pixel; an RGB picture has 3, in Pillow 4
