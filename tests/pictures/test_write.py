"""The writer keeps the bound on the decoded file, or leaves nothing behind."""

import errno
import os
import stat

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from tests.support.made_pictures import CELLS, SIZES, made_file
from tests.support.writing import FORMATS, write_picture
from unlearn.errors import EnvironmentProblem, PictureError
from unlearn.files import replace
from unlearn.pictures import write as module
from unlearn.pictures.compare import difference, mismatch
from unlearn.pictures.decoded import to_image
from unlearn.pictures.metadata.kept import Metadata
from unlearn.pictures.read import Picture, Preparation, prepare


def picture_of(pixels, alpha=None, format="PNG", lossless=True):
    return Picture(
        to_image(pixels, alpha),
        format=format,
        sha256="0" * 64,
        metadata=Metadata(),
        lossless=lossless,
    )


def noisy(pixels, levels=8, seed=0):
    noise = np.random.default_rng(seed).integers(-levels, levels + 1, pixels.shape)
    noise.reshape(-1)[0] = levels if pixels.reshape(-1)[0] < 128 else -levels
    return np.clip(pixels.astype(int) + noise, 0, 255).astype(np.uint8)


def write(picture, protected, target, format="PNG", levels=8, metadata="keep"):
    return write_picture(
        picture, protected, target, format=format, metadata=metadata, levels=levels
    )


@pytest.mark.parametrize("sizes", [SIZES[:3], pytest.param(SIZES[3:], marks=pytest.mark.slow)])
@pytest.mark.parametrize("cell", CELLS)
def test_the_written_file_keeps_the_bound_and_the_alpha(tmp_path, cell, sizes):
    source = tmp_path / "source.dat"
    for size in sizes:
        source.write_bytes(made_file(cell, size))
        picture = prepare(source, Preparation())
        if picture.alpha is not None:
            picture.alpha[0, 0] = 255
        for format, suffix in FORMATS.items():
            target = tmp_path / f"out{suffix}"
            result = write(picture, noisy(picture.pixels), target, format)
            decoded = prepare(target, Preparation())
            assert decoded.format == format
            assert decoded.lossless
            assert result.sha256 == decoded.sha256
            assert result.size_bytes == target.stat().st_size
            assert_within_the_bound(picture, decoded, result)
    assert {path.name for path in tmp_path.iterdir()} == {
        "source.dat",
        *(f"out{suffix}" for suffix in FORMATS.values()),
    }


def assert_within_the_bound(picture, decoded, result):
    change = abs(decoded.pixels.astype(int) - picture.pixels)
    visible = np.ones(change.shape[:2], bool) if picture.alpha is None else picture.alpha > 0
    assert change[visible].max() == result.linf <= 8
    assert change[~visible].max(initial=0) == 0
    assert np.isclose(change[visible].mean(), result.mean_abs)
    if picture.alpha is not None:
        opaque = np.full_like(picture.alpha, 255)
        assert ((opaque if decoded.alpha is None else decoded.alpha) == picture.alpha).all()
    if picture.pixels.shape[2] == 1:
        assert (decoded.pixels == decoded.pixels[..., :1]).all()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    npst.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))),
    st.data(),
    st.sampled_from(list(FORMATS)),
    st.integers(1, 16),
)
def test_any_picture_is_written_within_the_bound_or_not_at_all(
    tmp_path, pixels, data, format, levels
):
    alpha = data.draw(st.one_of(st.none(), npst.arrays(np.uint8, pixels.shape[:2])))
    change = data.draw(npst.arrays(np.int16, pixels.shape, elements=st.integers(-18, 18)))
    protected = np.clip(pixels + change, 0, 255).astype(np.uint8)
    picture = picture_of(pixels, alpha)
    visible = np.ones(pixels.shape[:2], bool) if alpha is None else alpha > 0
    actual = int(abs(protected.astype(int) - pixels)[visible].max(initial=0))
    target = tmp_path / "out.dat"
    target.unlink(missing_ok=True)
    if 1 <= actual <= levels:
        assert write(picture, protected, target, format, levels).linf == actual
    else:
        with pytest.raises(PictureError, match=r"over the bound|nothing changed"):
            write(picture, protected, target, format, levels)
        assert not list(tmp_path.iterdir())


def test_one_level_too_much_at_one_place_leaves_no_file(tmp_path):
    pixels = np.full((40, 30, 3), 100, np.uint8)
    protected = pixels + np.uint8(8)
    protected[39, 29, 2] = 109
    with pytest.raises(PictureError, match="over the bound after writing: 9, allowed 8"):
        write(picture_of(pixels), protected, tmp_path / "out.png")
    assert not list(tmp_path.iterdir())


def test_an_unchanged_picture_is_a_failure(tmp_path):
    pixels = np.full((4, 3, 3), 100, np.uint8)
    with pytest.raises(PictureError, match="nothing changed"):
        write(picture_of(pixels), pixels, tmp_path / "out.png")
    assert not list(tmp_path.iterdir())


def test_transparent_pixels_are_written_as_they_were(tmp_path):
    pixels = np.full((2, 2, 3), 100, np.uint8)
    alpha = np.array([[0, 255], [1, 255]], np.uint8)
    protected = pixels + np.uint8(5)
    for format, suffix in FORMATS.items():
        target = tmp_path / f"out{suffix}"
        write(picture_of(pixels, alpha), protected, target, format)
        assert prepare(target, Preparation()).pixels[..., 0].tolist() == [[100, 105], [105, 105]]
    assert (protected == 105).all()


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), EnvironmentProblem),
        (OSError(errno.EACCES, "Permission denied"), PictureError),
        (OSError("encoder error -2"), PictureError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (MemoryError(), MemoryError),
        (PictureError("reason"), PictureError),
    ],
)
@pytest.mark.parametrize("step", ["encode", "open_picture", "_sync_folder", "fsync"])
def test_no_failure_leaves_a_temporary_file(tmp_path, monkeypatch, step, problem, expected):
    def fail(*_, **__):
        raise problem

    if step == "encode":
        monkeypatch.setitem(module.ENCODERS, "PNG", fail)
    else:
        owners = {"open_picture": module, "_sync_folder": replace, "fsync": os}
        monkeypatch.setattr(owners[step], step, fail)
    pixels = np.full((4, 3, 3), 100, np.uint8)
    with pytest.raises(expected):
        write(picture_of(pixels), pixels ^ 1, tmp_path / "out.png")
    assert [p.name for p in tmp_path.iterdir()] == (["out.png"] if step == "_sync_folder" else [])


def test_a_failure_leaves_the_old_output_alone(tmp_path):
    target = tmp_path / "out.png"
    target.write_bytes(b"old")
    pixels = np.full((4, 3, 3), 100, np.uint8)
    with pytest.raises(PictureError):
        write(picture_of(pixels), pixels, target)
    assert target.read_bytes() == b"old"
    write(picture_of(pixels), pixels ^ 1, target)
    assert prepare(target, Preparation()).pixels[0, 0, 0] == 101


def one_pixel_changed(image):
    """Return the picture with one value one level nearer to the source."""
    values = np.array(image)
    values[5, 7, 1] ^= 1
    return Image.fromarray(values)


def test_a_codec_that_loses_something_is_caught(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    alpha = np.full((16, 16), 9, np.uint8)
    alpha[0] = 0

    def encoder(change):
        def encode(canvas, file):
            change(canvas.image).save(file, format="PNG")

        return encode

    cases = {
        "did not keep the alpha": lambda image: image.convert("RGB"),
        "did not keep the size": lambda image: image.crop((0, 0, 15, 16)),
        "did not keep the channels": lambda image: image.convert("LA"),
        "not hold the colours that were meant": lambda image: Image.fromarray(
            np.asarray(image) ^ np.array([1, 0, 0, 0], np.uint8)
        ),
        "not hold the colours": one_pixel_changed,
    }
    for words, change in cases.items():
        monkeypatch.setitem(module.ENCODERS, "PNG", encoder(change))
        with pytest.raises(PictureError, match=words):
            write(picture_of(pixels, alpha), pixels ^ 1, tmp_path / "out.png")
    assert not list(tmp_path.iterdir())


def test_an_output_has_ordinary_permissions(tmp_path):
    previous = os.umask(0o027)
    try:
        pixels = np.full((4, 3, 3), 100, np.uint8)
        write(picture_of(pixels), pixels ^ 1, tmp_path / "out.png")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "out.png").stat().st_mode) == 0o640


def test_a_link_at_the_target_is_replaced_and_not_followed(tmp_path):
    clean = tmp_path / "clean.png"
    clean.write_bytes(b"clean")
    target = tmp_path / "out.png"
    target.symlink_to(clean)
    pixels = np.full((4, 3, 3), 100, np.uint8)
    write(picture_of(pixels), pixels ^ 1, target)
    assert clean.read_bytes() == b"clean"
    assert not target.is_symlink()


def test_a_target_without_folder_or_that_is_a_folder_is_a_picture_error(tmp_path):
    pixels = np.full((4, 3, 3), 100, np.uint8)
    (tmp_path / "folder.png").mkdir()
    for target in (tmp_path / "nowhere" / "out.png", tmp_path / "folder.png"):
        with pytest.raises(PictureError, match="cannot be written"):
            write(picture_of(pixels), pixels ^ 1, target)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.png"]


def test_arrays_of_another_shape_are_a_bug(tmp_path):
    pixels = np.zeros((4, 3, 3), np.uint8)
    for wrong in (pixels[:3], pixels.astype(np.int16)):
        with pytest.raises(ValueError, match="protected is"):
            write(picture_of(pixels), wrong, tmp_path / "out.png")


def test_a_picture_too_long_for_webp_is_refused(tmp_path):
    pixels = np.zeros((1, 16_384, 1), np.uint8)
    with pytest.raises(PictureError, match="16383 pixels a side"):
        write(picture_of(pixels), pixels + np.uint8(1), tmp_path / "out.webp", "WEBP")


def test_a_picture_too_large_for_tiff_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("unlearn.pictures.encode._TIFF_LARGEST", 10)
    pixels = np.zeros((9, 9, 1), np.uint8)
    with pytest.raises(PictureError, match="4 GB"):
        write(picture_of(pixels), pixels + np.uint8(1), tmp_path / "out.tif", "TIFF")


def test_a_tiff_of_many_strips_is_the_same_picture(tmp_path, monkeypatch):
    monkeypatch.setattr("unlearn.pictures.encode._TIFF_STRIP_BYTES", 100)
    pixels = np.random.default_rng(0).integers(0, 256, (31, 17, 3), dtype=np.uint8)
    assert write(picture_of(pixels), noisy(pixels), tmp_path / "out.tif", "TIFF").linf == 8


@given(
    npst.arrays(np.uint8, (5, 4, 3)),
    npst.arrays(np.int16, (5, 4, 3), elements=st.integers(-255, 255)),
    st.sampled_from([1, 8, 20, 21, 255]),
    st.one_of(st.none(), npst.arrays(np.uint8, (5, 4))),
)
def test_the_difference_is_the_closed_form(one, change, most, alpha):
    two = np.clip(one + np.clip(change, -most, most), 0, 255).astype(np.uint8)
    found = difference(picture_of(one, alpha), picture_of(two, alpha))
    gap = abs(one.astype(int) - two)
    visible = np.ones((5, 4), bool) if alpha is None else alpha > 0
    assert found.linf == gap[visible].max(initial=0)
    assert found.hidden == gap[~visible].max(initial=0)
    x, y, channel = found.worst
    if found.linf:
        assert gap[y, x, channel] == found.linf
        assert visible[y, x]
        assert np.isclose(found.mean_abs, gap[visible].mean())
        assert np.isclose(found.psnr, 10 * np.log10(255**2 / (gap[visible] ** 2).mean()))
    else:
        assert found.psnr == float("inf")


def test_the_difference_in_strips_equals_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    one, two = (picture_of(rng.integers(0, 256, (41, 7, 3), dtype=np.uint8)) for _ in range(2))
    whole = difference(one, two)
    monkeypatch.setattr("unlearn.pictures.compare.STRIP_PIXELS", 21)
    assert difference(one, two) == whole


def test_grey_in_three_channels_is_grey_and_opaque_alpha_is_none():
    grey = np.arange(12, dtype=np.uint8).reshape(4, 3, 1)
    wide, opaque = np.repeat(grey, 3, axis=2), np.full((4, 3), 255, np.uint8)
    colour = wide.copy()
    colour[0, 0, 0] = 9
    assert mismatch(picture_of(grey), picture_of(wide, opaque)) is None
    assert mismatch(picture_of(wide, opaque), picture_of(grey)) is None
    assert difference(picture_of(wide), picture_of(grey)).linf == 0
    assert mismatch(picture_of(grey), picture_of(colour)) == "channels"
    assert mismatch(picture_of(grey), picture_of(grey[:3])) == "size"
    assert mismatch(picture_of(grey), picture_of(grey, opaque - 1)) == "alpha"
    assert mismatch(picture_of(grey, opaque - 1), picture_of(grey)) == "alpha"
    for other in (picture_of(colour), picture_of(grey[:3])):
        with pytest.raises(ValueError, match="shapes"):
            difference(picture_of(grey), other)


def test_a_jpeg_of_the_output_is_not_within_the_bound(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    protected = noisy(pixels)
    Image.fromarray(protected).save(tmp_path / "out.jpg")
    assert difference(picture_of(pixels), prepare(tmp_path / "out.jpg", Preparation())).linf > 8


def test_folders_are_synchronised_only_where_that_is_possible(tmp_path, monkeypatch):
    def refuse(number):
        raise OSError(number, "no")

    cannot = ("EINVAL", "ENOTSUP", "EPERM", "EACCES", "EBADF", "EISDIR", "ENOSYS")
    for name in (*cannot, "EIO", "ENOSPC", "EDQUOT", "ESTALE", "EROFS"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda _, name=name: refuse(getattr(errno, name)))
            if name in cannot:
                replace._sync_folder(tmp_path)
            else:
                with pytest.raises(OSError, match="no"):
                    replace._sync_folder(tmp_path)
    with monkeypatch.context() as patch:  # a folder that may be written and not read
        patch.setattr(os, "open", lambda *_: refuse(errno.EACCES))
        replace._sync_folder(tmp_path)
    monkeypatch.setattr(os, "name", "nt")
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("opened a folder"))
    replace._sync_folder(tmp_path)
