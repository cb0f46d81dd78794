"""Every kind of file that is read, all the way: prepared, given noise, written, looked at again.

What was written is decoded by Pillow alone here, so that the bound is not judged by the code that
is to keep it.
"""

import os
from io import BytesIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.support.corpus import CORPUS, READABLE, opened
from tests.support.made_pictures import SIZES
from tests.support.writing import FORMATS, lossless_format, write_picture
from unlearn.errors import PictureError
from unlearn.pictures.compare import difference, mismatch
from unlearn.pictures.grid import add_noise, to_grid
from unlearn.pictures.read import Preparation, prepare

LEVELS = 8
SMALL = (7, 5)


def noise(picture, seed=0, grid=16):
    """Return noise of full strength on the grid of a picture."""
    shape = to_grid(picture.pixels, grid).shape
    signs = np.random.default_rng(seed).choice([-1, 1], shape)
    return (signs * LEVELS / 255).astype(np.float32)


def protect(source, target, format=None, seed=0, metadata="keep"):
    """Prepare a file, add noise and write it; return what was prepared, protected and written.

    None where there is nothing to see, or where the noise points out of the range everywhere.
    """
    picture = prepare(source, Preparation())
    if picture.alpha is not None and not picture.alpha.any():
        return None
    protected = add_noise(picture.pixels, noise(picture, seed), LEVELS, 1.0)
    options = {"format": format or lossless_format(picture), "metadata": metadata}
    seen = ... if picture.alpha is None else picture.alpha > 0
    if (protected == picture.pixels)[seen].all():
        with pytest.raises(PictureError, match="nothing changed"):
            write_picture(picture, protected, target, **options, levels=LEVELS)
        return None
    written = write_picture(picture, protected, target, **options, levels=LEVELS)
    return picture, protected, written


def shown(target):
    """Return colour (H, W, C) as int and alpha of a written file, as Pillow decodes it."""
    with Image.open(target) as image:
        assert getattr(image, "n_frames", 1) == 1
        values = np.asarray(image).astype(int)
        bands = image.getbands()
    values = values.reshape(*values.shape[:2], -1)
    return (values[..., :-1], values[..., -1]) if bands[-1] == "A" else (values, None)


def assert_protected(picture, protected, written, target):
    colour, alpha = shown(target)
    steps = 257 if picture.pixels.dtype == np.uint16 else 1
    gap = abs(colour - picture.pixels)
    clear = np.zeros(gap.shape[:2], bool) if picture.alpha is None else picture.alpha == 0
    assert gap.max() <= LEVELS * steps
    assert gap[clear].max(initial=0) == 0
    assert gap[~clear].max() == written.linf * steps > 0
    assert (colour[~clear] == protected[~clear]).all()
    if picture.alpha is None:
        assert alpha is None
    else:
        assert (picture.alpha == (255 if alpha is None else alpha)).all()
    assert colour.shape == picture.pixels.shape or (colour == colour[..., :1]).all()
    again = prepare(target, Preparation())
    assert mismatch(picture, again) is None
    assert difference(picture, again).linf == written.linf


def assert_mode(picture, cell, size):
    """Assert the mode; small pictures may have no clear place, which some encoders notice."""
    if picture.mode != cell.mode:
        assert size[0] < 64
        assert f"{picture.mode}A" == cell.mode


@pytest.mark.parametrize("sizes", [SIZES[:3], pytest.param(SIZES[3:], marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CORPUS)
def test_every_kind_of_file_is_protected_within_the_bound(tmp_path, name, sizes):
    cell, source = CORPUS[name], tmp_path / "source.dat"
    for size in sizes:
        source.write_bytes(cell.make(size, 1))
        os.utime(source, (1, 1))
        before = source.read_bytes()
        target = tmp_path / "out.dat"
        result = protect(source, target)
        if result is not None:
            assert_mode(result[0], cell, size)
            assert result[0].size == size
            assert_protected(*result, target)
        assert source.read_bytes() == before
        assert source.stat().st_mtime == 1


@pytest.mark.parametrize("name", [name for name, cell in CORPUS.items() if cell.turns])
def test_every_kind_of_file_is_upright_in_all_orientations(tmp_path, name):
    cell, source = CORPUS[name], tmp_path / "source.dat"
    size = (64, 48) if name == "avif-alpha" else SMALL
    source.write_bytes(cell.make(size, 1))
    upright = prepare(source, Preparation())
    for orientation in range(2, 9):
        source.write_bytes(cell.make(size, orientation))
        picture = prepare(source, Preparation())
        for plain, turned in ((upright.pixels, picture.pixels), (upright.alpha, picture.alpha)):
            if plain is not None:
                assert (as_turned(plain, orientation) == turned).all(), orientation
        exif = picture.metadata.chosen("keep", picture.size).exif
        assert exif is None or exif.orientation == 1


def as_turned(values, orientation):
    """Return an array (H, W, ...) as a viewer shows it under an orientation, after EXIF's table."""
    if orientation in (2, 3):
        values = values[:, ::-1]
    if orientation in (3, 4):
        values = values[::-1]
    if orientation > 4:
        values = values.swapaxes(0, 1)
        values = values[:, ::-1] if orientation in (6, 7) else values
        values = values[::-1] if orientation in (7, 8) else values
    return values


@pytest.mark.parametrize("name", ["png-rgba", "png-type0-16bit", "gif-clear", "heic-grey"])
@pytest.mark.parametrize("format", FORMATS)
def test_other_formats_are_written_too_or_refused_with_a_way_out(tmp_path, name, format):
    source, target = tmp_path / "source.dat", tmp_path / "out.dat"
    source.write_bytes(CORPUS[name].make((64, 48), 1))
    if (name, format) == ("png-type0-16bit", "WEBP"):
        with pytest.raises(PictureError, match="16-bit grey; choose png or tiff"):
            protect(source, target, format)
        assert not target.exists()
    else:
        assert_protected(*protect(source, target, format), target)


@pytest.mark.parametrize("name", ["png-rgb", "png-type0-16bit", "jpeg-cmyk", "webp-lossless-alpha"])
def test_bytes_do_not_depend_on_what_came_before(tmp_path, name):
    names = [name, "jpeg", "png-la", "gif"]
    for folder, order in (("one", names), ("two", names[::-1])):
        (tmp_path / folder).mkdir()
        for kind in order:
            source = tmp_path / folder / f"{kind}.dat"
            source.write_bytes(CORPUS[kind].make((64, 48), 1))
            protect(source, source.with_suffix(".out"))
    for kind in names:
        one, two = (tmp_path / folder / f"{kind}.out" for folder in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.sampled_from(sorted(READABLE)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(0, 1 << 32),
    st.sampled_from(["keep", "copyright", "none"]),
)
def test_any_size_noise_and_metadata_keep_the_promise(tmp_path, name, size, seed, metadata):
    source, target = tmp_path / "source.dat", tmp_path / "out.dat"
    source.write_bytes(CORPUS[name].make(size, 1))
    result = protect(source, target, seed=seed, metadata=metadata)
    if result is not None:
        assert_protected(*result, target)


def test_one_step_of_16_bits_beyond_the_bound_is_over_it(tmp_path):
    source = tmp_path / "source.dat"
    values = np.full((4, 3), 30_000, np.uint16)
    buffer = BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    source.write_bytes(buffer.getvalue())
    picture = prepare(source, Preparation())
    for format, suffix in (("PNG", ".png"), ("TIFF", ".tif")):
        within, over = (picture.pixels + np.uint16(257 * LEVELS + more) for more in (0, 1))
        over[1:] = within[1:]
        target = tmp_path / f"out{suffix}"
        with pytest.raises(PictureError, match="over the bound after writing: 9, allowed 8"):
            write_picture(picture, over, target, format=format, metadata="keep", levels=LEVELS)
        written = write_picture(
            picture, within, target, format=format, metadata="keep", levels=LEVELS
        )
        assert (written.linf, written.mean_abs) == (8, 8)
        assert written.psnr == pytest.approx(10 * np.log10(255**2 / 64))
        assert opened(target.read_bytes()).mode == "I;16"


def test_grey_of_16_bits_is_compared_with_8_bits_exactly(tmp_path):
    values = np.array([[0, 257 * 7, 257 * 200 + 1]], np.uint16)
    for name, pixels in (("deep", values), ("plain", np.array([[0, 7, 200]], np.uint8))):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    deep, plain = (prepare(tmp_path / f"{n}.png", Preparation()) for n in ("deep", "plain"))
    for one, two in ((deep, plain), (plain, deep)):
        assert mismatch(one, two) is None
        assert difference(one, two).linf == 1
        assert difference(one, two).mean_abs == pytest.approx(1 / 257 / 3)
