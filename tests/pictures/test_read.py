"""Pictures read: what comes out, what is refused, and that nothing else escapes."""

import os
import re
import resource
import struct
import threading
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, TiffImagePlugin

from tests.support.made_pictures import (
    CELLS,
    SIZES,
    full_exif,
    made_file,
    made_image,
    png_chunk,
    saved,
    with_png_chunks,
)
from tests.support.made_tiff import made_tiff
from unlearn.errors import PictureError
from unlearn.pictures.kinds import tiff_pages
from unlearn.pictures.read import Preparation, prepare

NASTY = os.environ.get("UNLEARN_TEST_DATA")


def read(tmp_path, data, **preparation):
    path = tmp_path / "picture.dat"
    path.write_bytes(data)
    return prepare(path, Preparation(**preparation))


def refusal(tmp_path, data, **preparation):
    with pytest.raises(PictureError) as caught:
        read(tmp_path, data, **preparation)
    text = str(caught.value)
    assert "\n" not in text
    assert "picture.dat" not in text
    return text


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_is_read_as_pillow_shows_it(tmp_path, cell):
    for size in SIZES:
        assert_read_as_pillow_shows_it(tmp_path, cell, size)


def assert_read_as_pillow_shows_it(tmp_path, cell, size):
    data = made_file(cell, size)
    picture = read(tmp_path, data)
    mode, format, options = CELLS[cell]
    assert picture.format == format
    assert picture.size == size
    grey = mode in ("1", "L", "LA")
    assert picture.pixels.shape == (size[1], size[0], 1 if grey else 3)
    with Image.open(tmp_path / "picture.dat") as image:
        has_alpha = image.has_transparency_data
        shown = np.asarray(image.convert("RGBA"))
    assert (picture.alpha is not None) == has_alpha
    assert (picture.pixels == shown[..., :3]).all()
    if has_alpha:
        assert (picture.alpha == shown[..., 3]).all()
    assert picture.pixels.flags.writeable
    assert picture.lossless == (format in ("PNG", "TIFF", "BMP") or "lossless" in options)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations_are_baked_in_as_pillow_bakes_them(tmp_path, orientation, format):
    exif = Image.Exif()
    exif[274] = orientation
    data = saved(made_image("RGB", (13, 7)), format, exif=exif.tobytes())
    picture = read(tmp_path, data)
    with Image.open(tmp_path / "picture.dat") as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert (picture.pixels == expected).all()
    assert picture.size == ((7, 13) if orientation > 4 else (13, 7))
    assert picture.metadata.exif is not None
    assert picture.metadata.chosen("keep", picture.size).exif.orientation == 1


def test_orientation_in_xmp_counts_where_exif_is_silent(tmp_path):
    packet = b'<x:xmpmeta><rdf tiff:Orientation="6"/></x:xmpmeta>'
    data = saved(made_image("RGB", (13, 7)), "JPEG", xmp=packet)
    picture = read(tmp_path, data)
    assert picture.size == (7, 13)
    assert b'tiff:Orientation="1"' in picture.metadata.xmp


@pytest.mark.parametrize("orientation", [0, 9, 99])
def test_orientation_that_makes_no_sense_is_ignored(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    assert read(tmp_path, saved(made_image("RGB", (4, 3)), "JPEG", exif=exif)).size == (4, 3)


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [
        ((64, 48), 32, (32, 24)),
        ((48, 64), 32, (24, 32)),
        ((300, 1), 30, (30, 1)),
        ((20, 10), 20, (20, 10)),
        ((20, 10), 21, (20, 10)),
    ],
)
def test_pictures_are_shrunk_to_the_longest_side_and_never_enlarged(
    tmp_path, size, max_side, expected
):
    for mode in ("L", "RGB", "RGBA"):
        data = saved(made_image(mode, size), "PNG")
        assert read(tmp_path, data, max_side=max_side).size == expected


def test_shrinking_is_lanczos(tmp_path):
    image = made_image("RGB", (64, 48))
    picture = read(tmp_path, saved(image, "PNG"), max_side=32)
    assert (picture.pixels == np.asarray(image.resize((32, 24), Image.Resampling.LANCZOS))).all()


def test_an_mpo_is_a_jpeg_of_its_first_picture(tmp_path):
    one, two = made_image("RGB", (32, 24), 1), made_image("RGB", (32, 24), 2)
    picture = read(tmp_path, saved(one, "MPO", save_all=True, append_images=[two]))
    assert picture.format == "JPEG"
    assert "other-copy" in picture.dropped
    alone = read(tmp_path, saved(one, "JPEG"))
    assert (picture.pixels == alone.pixels).all()


def test_the_type_is_told_by_content_and_never_by_name(tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(made_file("png-rgb", (7, 5)))
    assert prepare(path, Preparation()).format == "PNG"


def test_preparing_twice_gives_the_same_and_leaves_the_source_alone(tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(made_file("jpeg", (64, 48)))
    os.utime(path, (1, 1))
    before = path.read_bytes()
    one, two = prepare(path, Preparation()), prepare(path, Preparation())
    assert (one.pixels == two.pixels).all()
    assert one.sha256 == two.sha256
    assert path.read_bytes() == before
    assert path.stat().st_mtime == 1


def deep_png(*, clear=False):
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    from zlib import compress

    pixels = compress(b"".join(b"\0" + bytes(12) for _ in range(2)))
    colour = [(b"tRNS", struct.pack(">HHH", 1, 2, 3))] if clear else []
    chunks = ((b"IHDR", header), *colour, (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def bomb_png(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"")


def frames(format, count, **options):
    pictures = [made_image("RGB", (8, 8), seed) for seed in range(count)]
    return saved(pictures[0], format, save_all=True, append_images=pictures[1:], **options)


def tagged_tiff(**tags):
    numbers = {int(name[1:]): value for name, value in tags.items()}
    return saved(made_image("RGB", (8, 8)), "TIFF", tiffinfo=numbers)


def rgb_tiff(photometric=2, **tags):
    """Return a TIFF of three 16-bit values a pixel with tags of whole numbers (t339=3)."""
    extra = {int(name[1:]): (3, [value] * 3) for name, value in tags.items()}
    return made_tiff(np.zeros((4, 4, 3), np.uint16), photometric, tags=extra)


def jpeg_frame(at, value):
    """Return a JPEG with one byte of its frame changed: 1 is the marker, 4 the bits a value."""
    data = bytearray(made_file("jpeg", (8, 8)))
    data[data.index(b"\xff\xc0") + at] = value
    return bytes(data)


REFUSED = {
    "empty file": (b"", "empty file"),
    "text": (b"just some text, nothing else", "not a picture file"),
    "16-bit colour with a clear one": (lambda: deep_png(clear=True), "convert to 8 bit"),
    "32-bit tiff": (lambda: saved(Image.new("I", (4, 4)), "TIFF"), "32-bit"),
    "float tiff": (lambda: saved(Image.new("F", (4, 4)), "TIFF"), "floating point"),
    "animated png": (lambda: frames("PNG", 3), "animated (3 frames)"),
    "animated webp": (lambda: frames("WEBP", 4), "animated (4 frames)"),
    "animated gif": (lambda: frames("GIF", 5), "animated (5 frames)"),
    "pages": (lambda: frames("TIFF", 12), "12 pages"),
    "animated avif": (lambda: frames("AVIF", 2), "animated (2 frames)"),
    "avif": (b"\0\0\0\x18ftypavif" + bytes(40), "damaged or unsupported AVIF"),
    "raw": (b"II*\0\x10\0\0\0CR\x02\0" + bytes(40), "camera raw"),
    "dng": (lambda: tagged_tiff(t50706=b"\1\4\0\0"), "camera raw"),
    "preview first": (lambda: tagged_tiff(t254=1), "camera raw"),
    "psd": (b"8BPS" + bytes(40), "Photoshop"),
    "video": (b"\0\0\0\x18ftypisom" + bytes(40), "video"),
    "svg": (b'<?xml version="1.0"?>\n<svg xmlns="">', "SVG"),
    "pdf": (b"%PDF-1.7\n", "PDF"),
    "bomb": (lambda: bomb_png(60_000, 60_000), "more than 512,000,000 pixels"),
    "float rgb tiff": (lambda: rgb_tiff(t339=3), "floating point"),
    "signed rgb tiff": (lambda: rgb_tiff(t339=2), "below zero"),
    "16-bit lab tiff": (lambda: rgb_tiff(8), "a kind of TIFF that is not supp"),
    "big-endian bigtiff": (
        lambda: made_tiff(np.zeros((4, 4, 3), np.uint8), 2, order=">", big=True),
        "a big-endian BigTIFF",
    ),
    "12-bit jpeg": (lambda: jpeg_frame(4, 12), "12-bit JPEG"),
    "jpeg-ls": (lambda: jpeg_frame(1, 0xF7), "this coding of a JPEG"),
    "web page": (b"\n<!DOCTYPE html><html><body>404", "a web page"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "broken": (b"\x89PNG\r\n\x1a\n" + bytes(30), "damaged or unsupported PNG"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_protected_is_refused_with_a_reason(tmp_path, case):
    data, reason = REFUSED[case]
    assert reason in refusal(tmp_path, data() if callable(data) else data)


def test_pages_are_counted_without_reading_them(tmp_path):
    data = bytearray(made_file("tiff-raw", (4, 4)))
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    directory = bytes(data[start : start + 2 + 12 * entries])
    struct.pack_into("<I", data, start + len(directory), len(data))
    for _ in range(20_000):
        data += directory + struct.pack("<I", len(data) + len(directory) + 4)
    begun = time.process_time()
    assert "20001 pages" in refusal(tmp_path, bytes(data))
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("start", [b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"])
def test_a_chain_of_pages_that_breaks_or_bites_its_tail_ends(start):
    order = "little" if start[:2] == b"II" else "big"
    width = 8 if len(start) == 8 else 4
    at = 2 * width
    head = start + at.to_bytes(width, order)
    empty = bytes(8 if width == 8 else 2)
    assert tiff_pages(head + empty + at.to_bytes(width, order)) == 1
    assert tiff_pages(head + empty + (1 << 30).to_bytes(width, order)) == 1
    assert tiff_pages(head + empty) == 1
    assert tiff_pages(head) == 0


@pytest.mark.parametrize("cell", ["jpeg", "png-rgb", "webp-lossless", "tiff-raw", "bmp"])
def test_a_truncated_picture_is_refused(tmp_path, cell):
    data = made_file(cell, (64, 48))
    assert "damaged" in refusal(tmp_path, data[: len(data) * 2 // 3])


def test_the_pixel_limit_is_exact(tmp_path):
    data = made_file("png-rgb", (7, 5))
    assert read(tmp_path, data, max_pixels=35).size == (7, 5)
    assert "pixels" in refusal(tmp_path, data, max_pixels=34)
    assert "17 x 2 is more than 33 pixels" in refusal(
        tmp_path, made_file("png-rgb", (17, 2)), max_pixels=33
    )


def test_a_file_too_large_for_its_pixels_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("unlearn.pictures.contents.LARGE_FILE", 0)
    assert "too large" in refusal(tmp_path, made_file("png-rgb", (64, 48)), max_pixels=4)


def test_an_exception_of_any_kind_becomes_a_reason(tmp_path, monkeypatch):
    data = made_file("png-rgb", (7, 5))
    for problem, words in ((MemoryError(), "memory"), (struct.error("x"), "damaged PNG file")):

        def fail(*_, problem=problem, **__):
            raise problem

        monkeypatch.setattr("unlearn.pictures.read.read_metadata", fail)
        assert words in refusal(tmp_path, data)


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path):
    with pytest.raises(PictureError, match="cannot be read"):
        prepare(tmp_path / "nothing.jpg", Preparation())
    with pytest.raises(PictureError, match="not a regular file"):
        prepare(tmp_path, Preparation())
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(PictureError, match="not a regular file"):
        prepare(tmp_path / "pipe.jpg", Preparation())


def test_pillow_is_left_as_it_was(tmp_path):
    filters, limit = list(warnings.filters), Image.MAX_IMAGE_PIXELS
    read(tmp_path, made_file("png-rgb", (7, 5)))
    refusal(tmp_path, bomb_png(60_000, 60_000))
    assert limit == Image.MAX_IMAGE_PIXELS
    assert filters == list(warnings.filters)


def test_threads_may_prepare_at_the_same_time(tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(made_file("jpeg", (257, 129)))
    filters, limit, results = list(warnings.filters), Image.MAX_IMAGE_PIXELS, []

    def work(pixels):
        results.extend(prepare(path, Preparation(max_pixels=pixels)).sha256 for _ in range(10))

    threads = [threading.Thread(target=work, args=(40_000 * n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 40
    assert limit == Image.MAX_IMAGE_PIXELS
    assert filters == list(warnings.filters)


FUZZED_CELLS = (
    "jpeg jpeg-progressive png-p-alphas png-rgba webp-lossless-alpha webp-lossy tiff-lzw "
    "tiff-deflate-rgba tiff-raw bmp bmp-p"
)
FUZZED = [
    *(made_file(cell, (20, 15)) for cell in FUZZED_CELLS.split()),
    saved(made_image("RGB", (20, 15)), "JPEG", exif=full_exif()),
    saved(made_image("RGB", (20, 15)), "PNG", exif=full_exif()),
    with_png_chunks(made_file("png-l", (20, 15)), (b"tEXt", b"a\0b"), (b"gAMA", b"\0\1\2\3")),
]


def outcome(path, **preparation):
    """Return the picture, or the one-line reason why there is none."""
    try:
        return prepare(path, Preparation(**preparation))
    except PictureError as problem:
        return str(problem)


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.sampled_from(FUZZED),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), max_size=6),
    st.one_of(st.none(), st.integers(0, 10_000)),
    st.binary(max_size=40),
)
def test_damaged_files_raise_nothing_but_a_reason(tmp_path, data, flips, cut, tail):
    spoiled = bytearray(data)
    for at, bits in flips:
        spoiled[at % len(spoiled)] ^= bits
    if cut is not None:
        del spoiled[cut % len(spoiled) :]
    path = tmp_path / "picture.dat"
    path.write_bytes(bytes(spoiled) + tail)
    result = outcome(path, max_pixels=1_000_000)
    if isinstance(result, str):
        assert result
        assert "\n" not in result
    else:
        assert result.pixels.size
        assert isinstance(result.metadata.chosen("keep", result.size).exif_block, bytes)


@pytest.mark.skipif(not NASTY, reason="UNLEARN_TEST_DATA names no folder of broken pictures")
def test_broken_pictures_from_bug_reports_raise_nothing_but_a_reason():
    root = Path(NASTY)
    files = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".npz"]
    assert files, f"no files in {root}"
    for path in files:
        start = time.process_time()
        assert outcome(path), path
        assert time.process_time() - start < 10, path
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert most < 2 << 30


def test_a_jpeg_that_lacks_only_its_end_is_whole(tmp_path):
    for data in (made_file("jpeg", (64, 48)), made_file("jpeg-progressive", (64, 48))):
        for cut in (1, 2):
            assert (read(tmp_path, data[:-cut]).pixels == read(tmp_path, data).pixels).all()


def test_a_progressive_jpeg_that_lacks_whole_scans_is_damaged(tmp_path):
    data = made_file("jpeg-progressive", (64, 48))
    scans = [found.start() for found in re.finditer(rb"\xff\xda", data)]
    assert len(scans) == 10
    for start in scans[1:]:
        assert "damaged JPEG file" in refusal(tmp_path, data[:start])


def test_a_jpeg_that_lacks_more_is_damaged(tmp_path):
    data = made_file("jpeg", (64, 48))
    for cut in (8, 40, 300):
        assert "damaged JPEG file" in refusal(tmp_path, data[:-cut])


def test_a_reduced_copy_in_a_tiff_is_no_page_wherever_it_stands(tmp_path):
    main, copy = made_image("RGB", (40, 30)), made_image("RGB", (10, 8), 5)
    for first, second in ((main, copy), (copy, main)):
        for image in (main, copy):
            image.encoderinfo = {}
        target = tmp_path / "made.tif"
        with TiffImagePlugin.AppendingTiffWriter(str(target), new=True) as file:
            for image in (first, second):
                reduced = int(image is copy)
                image.save(file, "TIFF", tiffinfo={254: reduced, 315: f"artist {reduced}"})
                file.newFrame()
        picture = read(tmp_path, target.read_bytes())
        assert (picture.pixels == np.asarray(main)).all()
        assert picture.dropped == ("thumbnail",)
        assert picture.metadata.exif.image[315].raw == b"artist 0\0"


def test_large_texts_and_profiles_of_a_png_are_read_up_to_the_limit(tmp_path):
    plain, large = made_file("png-rgb", (7, 5)), bytes(range(65, 91)) * 60_000
    text = with_png_chunks(plain, (b"zTXt", b"history\0\0" + zlib.compress(large)))
    assert read(tmp_path, text).metadata.text == (("history", large.decode()),)
    profile = with_png_chunks(plain, (b"iCCP", b"own\0\0" + zlib.compress(large)))
    assert read(tmp_path, profile).metadata.icc == large
    beyond = zlib.compress(bytes((16 << 20) + 1))
    assert refusal(tmp_path, with_png_chunks(plain, (b"zTXt", b"a\0\0" + beyond))) == (
        "its text or colour profile is over 16 MB (all text: 64 MB); export it without, or save "
        "it as TIFF"
    )


def test_what_pillow_does_not_support_is_not_called_damaged(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("decoder jpeg2k not available")

    monkeypatch.setattr("unlearn.pictures.read.read_metadata", fail)
    assert refusal(tmp_path, made_file("tiff-raw", (7, 5))) == (
        "a kind of TIFF that is not supported (decoder jpeg2k not available); save it again as PNG"
    )
