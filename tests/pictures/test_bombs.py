"""Files made to exhaust memory or time: each has a reason within a moment."""

import functools
import struct
import subprocess
import sys
import time
from io import BytesIO
from zlib import compress

import pytest
from PIL import Image

from tests.support.corpus import values
from tests.support.made_heic import box, made_heic
from tests.support.made_pictures import made_file, made_image, saved, with_png_chunks
from tests.support.sweeps import few
from unlearn.errors import PictureError
from unlearn.pictures.metadata.isobmff import read_container
from unlearn.pictures.read import Preparation, prepare
from unlearn.pictures.sniff import picture_size

SIZE = (20, 12)


@functools.cache
def zeros():
    """200 MB of nothing, which take a second to compress."""
    return compress(bytes(200 << 20), 9)


def read(tmp_path, data):
    path = tmp_path / "picture.dat"
    path.write_bytes(data)
    return prepare(path, Preparation())


def bomb(case):
    plain = made_file("png-rgb", SIZE)
    if case == "profile":
        return with_png_chunks(plain, (b"iCCP", b"a\0\0" + zeros()))
    if case == "text":
        return with_png_chunks(plain, (b"zTXt", b"a\0\0" + zeros()))
    if case == "international text":
        return with_png_chunks(plain, (b"iTXt", b"a\0\1\0\0\0" + zeros()))
    if case == "many texts":
        part = compress(bytes(1 << 20), 9)
        return with_png_chunks(plain, *[(b"zTXt", b"a%d\0\0" % n + part) for n in range(100)])
    return with_png_chunks(plain, *[(b"tEXt", b"a%d\0b" % n) for n in range(50_000)])


@pytest.mark.parametrize("case", ["profile", "text", "international text", "many texts"])
def test_what_swells_up_is_refused_at_once(tmp_path, case):
    begun = time.process_time()
    with pytest.raises(PictureError, match="its text or colour profile is over 16 MB"):
        read(tmp_path, bomb(case))
    assert time.process_time() - begun < 3


def test_many_small_texts_take_a_moment(tmp_path):
    data = bomb("small texts")
    begun = time.process_time()
    assert len(read(tmp_path, data).metadata.text) == 50_000
    assert time.process_time() - begun < 5


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
    begun = time.process_time()
    many = b"".join(box(b"free", b"") for _ in range(200_000))
    assert read_container(many).size is None
    nested = b""
    for _ in range(2000):
        nested = box(b"trak", nested)
    assert read_container(box(b"moov", nested)).frames == 1
    assert read_container(bytes(8) * 1000).size is None
    assert read_container(struct.pack(">I4sQ", 1, b"meta", 1 << 63) + bytes(50)).size is None
    assert time.process_time() - begun < 2


def test_the_size_of_a_heic_is_told_without_decoding(tmp_path):
    path = tmp_path / "a.heic"
    path.write_bytes(made_heic(values(SIZE, 3)))
    assert picture_size(BytesIO(path.read_bytes())) == SIZE
    path.write_bytes(b"\0\0\0\x18ftypheic")
    assert picture_size(BytesIO(path.read_bytes())) is None


MEASURE = """
import sys
from pathlib import Path
import numpy as np
from unlearn.pictures.read import Preparation
from unlearn.protection import worker
from unlearn.protection.plan import PlannedPicture
folder, format = Path(sys.argv[1]), sys.argv[2]
source = folder / "a.png"
shared = worker.Shared(
    out=folder, preparation=Preparation(), grid=16, levels=8, metadata="keep"
)
planned = PlannedPicture(folder=folder, name="a.png", out="out", format=format, label="all")
read = worker.read(shared, worker.Job(planned))
delta = np.full(read.pixels.shape, 8 / 255, np.float32)
done = worker.write(shared, worker.Job(planned, read.sha256, delta))
assert not isinstance(done, worker.Failure), done
status = Path("/proc/self/status").read_text()  # the peak of this program, not of its parent
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is looked up under /proc")
@pytest.mark.parametrize("format", few(["PNG", "TIFF"], "PNG"))
def test_a_large_picture_is_in_memory_once(tmp_path, format):
    side = 3000

    def peak(image):
        image.save(tmp_path / "a.png")
        command = [sys.executable, "-c", MEASURE, str(tmp_path), format]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(done.stdout) * 1024

    large = peak(Image.linear_gradient("L").resize((side, side)).convert("RGB"))
    small = peak(Image.linear_gradient("L").convert("RGB"))
    assert 4 <= (large - small) / side**2 < 7  # bytes a pixel; Pillow holds RGB in 4
