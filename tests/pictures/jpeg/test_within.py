"""JPEG stays JPEG: every decoded value within the bound, or no file."""

import random
import struct
import sys
from io import BytesIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageDraw

from tests.support.made_pictures import SIZES, full_exif, jpeg_segments, made_image, saved
from unlearn.errors import PictureError
from unlearn.pictures.decoded import Picture, to_image
from unlearn.pictures.grid import add_noise
from unlearn.pictures.jpeg import coefficients, within
from unlearn.pictures.jpeg.coefficients import Coding, read_coefficients, write_coefficients
from unlearn.pictures.jpeg.segments import bare
from unlearn.pictures.jpeg.within import LEAST_ENERGY, Demands, keep_jpeg, stored
from unlearn.pictures.metadata.kept import Metadata
from unlearn.pictures.read import Preparation, prepare
from unlearn.pictures.write import write_data

LEVELS = 8
KINDS = {
    "4:4:4 q95": {"subsampling": 0, "quality": 95},
    "4:2:2 q90": {"subsampling": 1, "quality": 90},
    "4:2:0 q75": {"subsampling": 2, "quality": 75},
    "4:2:0 q40": {"subsampling": 2, "quality": 40},
    "4:2:0 q100": {"subsampling": 2, "quality": 100},
    "progressive": {"subsampling": 2, "quality": 85, "progressive": True},
    "restarts": {"subsampling": 1, "quality": 85, "restart_marker_blocks": 2},
    "grey": {"quality": 85},
    "grey progressive": {"quality": 60, "progressive": True},
}


def smooth(size, seed=0, mode="RGB"):
    """Return a picture with soft colours, edges and flat parts."""
    small = np.random.default_rng(seed).integers(20, 236, (5, 6, 3), np.uint8)
    image = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
    ImageDraw.Draw(image).rectangle((2, 3, 20, 12), fill=(250, 3, 90))
    return image.convert(mode)


def noise_for(picture, seed=0, amplitude=LEVELS, grid=(6, 7)):
    """Return the picture with coarse noise, and the size of the noise's grid."""
    rng = np.random.default_rng(seed)
    shape = (min(grid[1], picture.pixels.shape[0]), min(grid[0], picture.pixels.shape[1]))
    delta = rng.choice([-1, 1], (*shape, picture.pixels.shape[2])).astype(np.float32)
    noisy = add_noise(picture.pixels, delta * np.float32(amplitude / 255), LEVELS, 1.0)
    return noisy, shape[::-1]


def kept(folder, data, *, levels=LEVELS, metadata="keep", seed=0, amplitude=LEVELS):
    """Keep a JPEG through the file's own check; return the output's bytes and the numbers."""
    (folder / "source.jpg").write_bytes(data)
    picture = prepare(folder / "source.jpg", Preparation())
    protected, grid = noise_for(picture, seed, amplitude)
    made, keeping = keep_jpeg(
        picture, protected, data, grid=grid, demands=Demands(levels), metadata=metadata
    )
    written = write_data(picture, made, folder / "out.jpg", levels=levels)
    assert (folder / "out.jpg").read_bytes() == made
    assert written.linf <= levels
    return made, keeping


def change(one, other):
    """Return the difference of two files' values as Pillow alone decodes them."""
    with Image.open(BytesIO(one)) as first, Image.open(BytesIO(other)) as second:
        assert (first.mode, first.size, second.format) == (second.mode, second.size, "JPEG")
        return np.asarray(second).astype(int) - np.asarray(first)


def transposed(data):
    """Return a JPEG with rows and columns exchanged without loss: 4:2:2 becomes 4:4:0."""
    coding, parts = read_coefficients(data)

    def flip(table):
        return table.reshape(8, 8).T.reshape(64)

    sampling = tuple((across, down) for down, across in coding.sampling)
    tables = tuple(flip(table) for table in coding.tables)
    turned = [
        part.reshape(*part.shape[:2], 8, 8).transpose(1, 0, 3, 2).reshape(part.shape[1], -1, 64)
        for part in parts
    ]
    return write_coefficients(Coding(coding.size[::-1], tables, sampling), turned)


@pytest.mark.parametrize("kind", KINDS)
def test_every_decoded_value_is_within_the_bound(tmp_path, kind):
    for seed, size in enumerate(SIZES):
        mode = "L" if kind.startswith("grey") else "RGB"
        source = saved(smooth(size, seed, mode), "JPEG", **KINDS[kind])
        try:
            made, keeping = kept(tmp_path, source, seed=seed)
        except PictureError:
            assert max(size) < 64  # so little room that the noise is not in it any more
            assert not (tmp_path / "out.jpg").exists()
            continue
        assert 1 <= abs(change(source, made)).max() <= LEVELS
        assert keeping.correlation >= within.LEAST_CORRELATION
        assert 0 < keeping.energy < 1.3
        assert keeping.passes >= 1
        with Image.open(BytesIO(made)) as image:
            assert bool(image.info.get("progressive")) == ("progressive" in kind)
        (tmp_path / "out.jpg").unlink()


def test_upright_sampling_is_kept_too(tmp_path):
    source = transposed(saved(smooth((96, 70)), "JPEG", subsampling=1, quality=85))
    with Image.open(BytesIO(source)) as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 2), (1, 1), (1, 1)]
        assert image.size == (70, 96)
    made, keeping = kept(tmp_path, source)
    assert 1 <= abs(change(source, made)).max() <= LEVELS
    with Image.open(BytesIO(made)) as image:
        assert [layer[:3] for layer in image.layer] == [(1, 1, 2), (2, 1, 1), (3, 1, 1)]
    assert keeping.correlation > 0.9


@pytest.mark.parametrize("levels", [3, 4, 12, 24])
def test_other_bounds_are_kept_as_exactly(tmp_path, levels):
    source = saved(smooth((64, 48)), "JPEG", subsampling=2, quality=97)
    made, _ = kept(tmp_path, source, levels=levels, amplitude=levels)
    assert 1 <= abs(change(source, made)).max() <= levels


@pytest.mark.parametrize("colours", [("black", "black"), ("white", "white"), ("white", "black")])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_saturated_pictures_are_within_the_bound(tmp_path, colours, mode):
    image = Image.new(mode, (90, 70), colours[0])
    draw = ImageDraw.Draw(image)
    for row in range(0, 70, 12):
        draw.text((row % 7, row), "the quick brown fox", fill=colours[1])
    source = saved(image, "JPEG", quality=80)
    made, _ = kept(tmp_path, source)
    found = change(source, made)
    assert 1 <= abs(found).max() <= LEVELS
    with Image.open(BytesIO(source)) as before:
        pixels = np.asarray(before)
    assert (found[pixels == 0] >= 0).all()
    assert (found[pixels == 255] <= 0).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("metadata", ["keep", "copyright", "none"])
def test_a_turned_picture_stays_as_it_is_stored(tmp_path, orientation, metadata):
    exif = Image.Exif()
    exif[274], exif[271] = orientation, "Made"
    source = saved(smooth((60, 41)), "JPEG", quality=90, exif=exif.tobytes())
    made, keeping = kept(tmp_path, source, metadata=metadata)
    one, two = (prepare(tmp_path / name, Preparation()) for name in ("source.jpg", "out.jpg"))
    assert (two.orientation, two.size) == (orientation, one.size)
    assert keeping.correlation > 0.9
    assert 1 <= abs(change(source, made)).max() <= LEVELS
    with Image.open(BytesIO(made)) as image:
        tags = dict(image.getexif())
    wanted = {271: "Made"} if metadata == "keep" else {}
    if metadata == "keep" or orientation != 1:
        wanted[274] = orientation
    assert tags == wanted


@pytest.mark.parametrize("orientation", range(1, 9))
def test_stored_is_the_inverse_of_turning_upright(tmp_path, orientation):
    image = made_image("RGB", (5, 3))
    exif = Image.Exif()
    exif[274] = orientation
    image.save(tmp_path / "a.png", exif=exif.tobytes())
    upright = prepare(tmp_path / "a.png", Preparation()).pixels
    assert np.array_equal(stored(upright, orientation), np.asarray(image))


def test_what_is_not_changed_is_stored_as_it_was(tmp_path):
    source = saved(smooth((256, 64)), "JPEG", subsampling=2, quality=85)
    (tmp_path / "a.jpg").write_bytes(source)
    picture = prepare(tmp_path / "a.jpg", Preparation())
    protected, grid = noise_for(picture)
    protected[:, 128:] = picture.pixels[:, 128:]
    made, _ = keep_jpeg(
        picture, protected, source, grid=grid, demands=Demands(LEVELS), metadata="keep"
    )
    (coding, before), (other, after) = read_coefficients(source), read_coefficients(made)
    assert all(map(np.array_equal, coding.tables, other.tables))
    for number, (one, two) in enumerate(zip(before, after, strict=True)):
        columns = slice(144 // 8 // (1 if number == 0 else 2) + 1, None)
        assert np.array_equal(one[:, columns], two[:, columns])
        assert not np.array_equal(one, two)


def test_coefficients_are_written_as_they_were_read():
    for size in SIZES:
        for kind, options in KINDS.items():
            data = saved(smooth(size, mode="L" if "grey" in kind else "RGB"), "JPEG", **options)
            coding, parts = read_coefficients(data)
            for final in (False, True):
                again = write_coefficients(coding, parts, final=final)
                assert not change(data, again).any()
                second, same = read_coefficients(again)
                assert (second.size, second.sampling) == (coding.size, coding.sampling)
                for component, (one, two) in enumerate(zip(parts, same, strict=True)):
                    rows, columns = coding.blocks(component)
                    assert np.array_equal(one[:rows, :columns], two[:rows, :columns])


def test_nothing_but_chosen_metadata_is_in_the_file(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + bytes(150_000)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6" b="c"/></x:xmpmeta>'
    plain = saved(smooth((64, 48)), "JPEG", quality=90, exif=full_exif(), icc_profile=profile)
    source = jpeg_segments(
        plain,
        (0xE0, b"JFXX\0\x10" + saved(made_image("RGB", (8, 8)), "JPEG")),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp),
        (0xE2, b"something of a camera"),
        (0xEB, b"JP\0\0c2pa"),
        (0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x02ab"),
        (0xFE, b"a comment"),
    )
    source += plain[:2000]
    made, _ = kept(tmp_path, source)
    at, names = 2, []
    while made[at + 1] != 0xDA:
        length = struct.unpack(">H", made[at + 2 : at + 4])[0]
        names.append((made[at + 1], made[at + 4 : at + 8]))
        at += 2 + length
    head = [(0xE0, b"JFIF"), (0xE1, b"Exif"), (0xE1, b"http")]
    assert names[:3] == head
    assert [name for name in names if 0xE0 <= name[0] <= 0xEF or name[0] == 0xFE] == (
        head + [(0xE2, b"ICC_")] * 3 + [(0xFE, b"a co")]
    )
    assert made.endswith(b"\xff\xd9")
    assert made.count(b"\xff\xd8\xff") == 1
    assert made.count(b"\xff\xd9") == 1
    with Image.open(BytesIO(made)) as image:
        image.load()
        assert image.info["icc_profile"] == profile
        assert image.getexif()[315] == "An Artist"
        assert image.getexif().get_ifd(34665)[40962] == 64
        assert image.info["xmp"] == xmp
    none, _ = kept(tmp_path, source, metadata="none")
    with Image.open(BytesIO(none)) as image:
        assert dict(image.getexif()) == {274: 6}
        assert "xmp" not in image.info
        assert image.info["icc_profile"] == profile


def test_metadata_that_does_not_fit_is_no_reason_for_a_broken_file(tmp_path):
    source = saved(smooth((32, 32)), "JPEG", quality=90)
    (tmp_path / "a.jpg").write_bytes(source)
    picture = prepare(tmp_path / "a.jpg", Preparation())
    large = Picture(to_image(picture.pixels), metadata=Metadata(xmp=b"x" * 66_000))
    protected, grid = noise_for(picture)
    with pytest.raises(PictureError, match="its metadata does not fit into a JPEG"):
        keep_jpeg(large, protected, source, grid=grid, demands=Demands(LEVELS), metadata="keep")


def test_noise_that_changes_nothing_is_refused(tmp_path):
    source = saved(smooth((32, 32)), "JPEG", quality=90)
    with pytest.raises(PictureError, match="nothing changed"):
        kept(tmp_path, source, amplitude=0)
    assert not (tmp_path / "out.jpg").exists()


def test_noise_that_no_step_can_hold_is_refused_with_what_is_left_of_it(tmp_path):
    rng = np.random.default_rng(0)
    source = saved(smooth((96, 96)), "JPEG", quality=30)
    (tmp_path / "a.jpg").write_bytes(source)
    picture = prepare(tmp_path / "a.jpg", Preparation())
    fine = rng.choice([-4, 4], picture.pixels.shape)
    protected = np.clip(picture.pixels.astype(int) + fine, 0, 255).astype(np.uint8)
    with pytest.raises(PictureError, match=r"correlates -?0\.\d\d with the wanted one"):
        keep_jpeg(
            picture, protected, source, grid=(96, 96), demands=Demands(LEVELS), metadata="keep"
        )


def rgb_stored():
    return saved(smooth((32, 32)), "JPEG", keep_rgb=True)


def odd_sampling():
    coding, parts = read_coefficients(saved(smooth((64, 64)), "JPEG", subsampling=2))
    data = write_coefficients(coding, parts)
    at = data.index(b"\xff\xc0") + 10
    return data[: at + 1] + b"\x11" + data[at + 2 : at + 4] + b"\x22" + data[at + 5 :]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (rgb_stored, "stores red, green and blue"),
        (odd_sampling, "sampling cannot be kept|damaged|cannot be taken apart"),
        (
            lambda: saved(smooth((32, 32)), "JPEG").replace(b"\xff\xc0", b"\xff\xc9"),
            "damaged|coding",
        ),
    ],
)
def test_unusual_kinds_are_refused(tmp_path, make, reason):
    data = make()
    size = (64, 64) if make is odd_sampling else (32, 32)
    pixels = np.asarray(smooth(size))
    with pytest.raises(PictureError, match=reason):
        within.encode_within(pixels, pixels ^ 1, data, (4, 4), Demands(LEVELS))


def test_another_size_and_too_many_pixels_are_refused(tmp_path, monkeypatch):
    source = saved(smooth((64, 48)), "JPEG", quality=90)
    (tmp_path / "a.jpg").write_bytes(source)
    small = prepare(tmp_path / "a.jpg", Preparation(max_side=32))
    protected, grid = noise_for(small)
    with pytest.raises(PictureError, match="it is shrunk"):
        keep_jpeg(small, protected, source, grid=grid, demands=Demands(LEVELS), metadata="keep")
    monkeypatch.setattr(within, "MOST_BYTES", 64 * 48 * 20)
    with pytest.raises(PictureError, match="it is so large that fitting takes over"):
        kept(tmp_path, source)


def test_a_demand_of_energy_decides_as_a_whole_fit_would_and_sooner(tmp_path, monkeypatch):
    from unlearn.pictures.jpeg import fitting

    passes = []
    over = fitting._over
    monkeypatch.setattr(fitting, "_over", lambda *a: passes.append(1) or over(*a))
    for quality, holds, wanted in ((50, False, 1), (80, False, 2), (90, True, 2)):
        source = saved(smooth((96, 64), quality), "JPEG", quality=quality)
        whole, keeping = kept(tmp_path, source)
        assert (keeping.energy >= LEAST_ENERGY, keeping.passes) == (holds, 2)
        picture = prepare(tmp_path / "source.jpg", Preparation())
        protected, grid = noise_for(picture)
        asked = {"grid": grid, "demands": Demands(LEVELS, LEAST_ENERGY), "metadata": "keep"}
        passes.clear()
        if holds:
            assert keep_jpeg(picture, protected, source, **asked)[0] == whole
        else:
            with pytest.raises(PictureError, match=r"^only \d+% of the noise's energy fits"):
                keep_jpeg(picture, protected, source, **asked)
        assert len(passes) == wanted


def test_a_fit_that_never_ends_within_the_bound_is_refused(tmp_path, monkeypatch):
    from unlearn.pictures.jpeg import fitting

    monkeypatch.setattr(fitting, "_over", lambda scene, _: np.ones(scene.coding.units, bool))
    source = saved(smooth((32, 32)), "JPEG", quality=90)
    with pytest.raises(PictureError, match="leave the bound in whatever way"):
        kept(tmp_path, source)


def test_a_file_over_the_bound_gets_no_name_whatever_the_loop_says(tmp_path, monkeypatch):
    from unlearn.pictures.jpeg import fitting

    monkeypatch.setattr(fitting, "_over", lambda scene, _: np.zeros(scene.coding.units, bool))
    monkeypatch.setattr(fitting.Fit, "_fit_light", lambda *_: None)
    source = saved(smooth((32, 32)), "JPEG", quality=90)
    monkeypatch.setattr(within, "LEAST_CORRELATION", -1)
    with pytest.raises(PictureError, match="over the bound after writing"):
        kept(tmp_path, source)
    assert [path.name for path in tmp_path.iterdir()] == ["source.jpg"]


def test_a_jpeg_that_is_one_level_over_gets_no_name(tmp_path):
    source = saved(smooth((96, 64)), "JPEG", quality=95)
    made, _ = kept(tmp_path, source, levels=LEVELS + 1, amplitude=LEVELS + 1)
    assert abs(change(source, made)).max() == LEVELS + 1
    (tmp_path / "out.jpg").unlink()
    picture = prepare(tmp_path / "source.jpg", Preparation())
    with pytest.raises(PictureError, match="over the bound after writing: 9, allowed 8"):
        write_data(picture, made, tmp_path / "out.jpg", levels=LEVELS)
    assert [path.name for path in tmp_path.iterdir()] == ["source.jpg"]


def test_finer_steps_are_whole_parts_so_that_the_source_still_fits_in():
    for step in range(1, 256):
        for most in (65_535, 8, 4, 2):
            part = within._part(step, most)
            assert step % part == 0
            assert part <= most
            assert not [k for k in range(part + 1, min(step, most) + 1) if step % k == 0]


def test_equal_pictures_give_equal_bytes(tmp_path, monkeypatch):
    from unlearn.pictures.jpeg import room

    source = saved(smooth((200, 150)), "JPEG", subsampling=2, quality=85)
    first = kept(tmp_path, source)
    assert kept(tmp_path, source) == first
    monkeypatch.setattr(room, "STRIP_PIXELS", 4000)  # no value depends on its neighbours in work
    assert kept(tmp_path, source) == first


def test_without_jpeglib_there_is_a_reason(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jpeglib", None)
    source = saved(smooth((32, 32)), "JPEG", quality=90)
    with pytest.raises(PictureError, match="the package jpeglib, which this needs, is not inst"):
        kept(tmp_path, source)


def test_jpeglib_stays_silent_and_leaves_no_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(coefficients.tempfile, "tempdir", str(tmp_path))
    data = saved(smooth((64, 48)), "JPEG", quality=90, progressive=True)
    cut = data[: len(data) // 2]
    for broken in (data[:40], cut, bare(data)[0].replace(b"\xff\xc2", b"\xff\xc3")):
        with pytest.raises(PictureError):
            within.encode_within(
                np.zeros((48, 64, 3), np.uint8),
                np.ones((48, 64, 3), np.uint8),
                broken,
                (4, 4),
                Demands(8),
            )
    read_coefficients(data)
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []
    assert coefficients.tempfile.tempdir == str(tmp_path)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 1000),
    quality=st.integers(5, 100),
    subsampling=st.integers(0, 2),
    levels=st.integers(1, 24),
    mode=st.sampled_from(["RGB", "L"]),
)
def test_any_picture_and_noise_is_within_the_bound_or_refused(
    tmp_path, size, seed, quality, subsampling, levels, mode
):
    options = {"subsampling": subsampling} if mode == "RGB" else {}
    source = saved(made_image(mode, size, seed), "JPEG", quality=quality, **options)
    (tmp_path / "out.jpg").unlink(missing_ok=True)
    try:
        made, _ = kept(tmp_path, source, levels=levels, seed=seed, amplitude=levels)
    except PictureError:
        assert not (tmp_path / "out.jpg").exists()
    else:
        assert 1 <= abs(change(source, made)).max() <= levels


@pytest.mark.slow
def test_a_damaged_file_is_kept_within_the_bound_or_refused(tmp_path):
    chance = random.Random(5)
    kinds = list(KINDS.items())
    counts = {True: 0, False: 0}
    for number in range(50):
        kind, options = kinds[number % len(kinds)]
        image = smooth((40, 33), number, "L" if "grey" in kind else "RGB")
        data = bytearray(saved(image, "JPEG", **options))
        for _ in range(chance.choice([1, 1, 3])):
            at = chance.randrange(2, len(data))
            data[at : at + chance.choice([0, 1, 1, 4])] = chance.randbytes(
                chance.choice([0, 1, 1, 3])
            )
        try:
            made, _ = kept(tmp_path, bytes(data), seed=number)
        except PictureError:
            counts[False] += 1
        else:
            counts[True] += 1
            assert abs(change(bytes(data), made)).max() <= LEVELS
    assert min(counts.values()) > 5
