"""How much noise is left: closed forms of the measure, odd pictures, and the published table."""

from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from unlearn.errors import PictureError
from unlearn.pictures import survival as module
from unlearn.pictures.decoded import to_image
from unlearn.pictures.read import Picture
from unlearn.pictures.survival import (
    TRANSFORMATIONS,
    Survival,
    Transformation,
    picture_survival,
    summary,
    survival,
)

LOSSLESS = {"lossless": True, "exact": True, "quality": 0, "method": 0}
IDENTITY = Transformation("nothing", "WEBP", LOSSLESS)
HALF = Transformation("half the sides", "WEBP", LOSSLESS, longest=32)


def grey(value=128, shape=(64, 64, 3)):
    return np.full(shape, value, np.uint8)


def added(pixels, noise):
    return (pixels.astype(int) + noise).astype(np.uint8)


def checks(period, shape=(64, 64, 3), levels=8):
    """Squares of period / 2 pixels, of +levels and -levels in turn."""
    rows, columns = (np.arange(length) // (period // 2) for length in shape[:2])
    signs = 1 - 2 * ((rows[:, None] + columns) % 2)
    return np.broadcast_to(levels * signs[..., None], shape)


def scene(size=(96, 64), channels=3, seed=0):
    """A smooth picture with a little grain, away from black and white."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(60, 196, (4, 6, 3), np.uint8))
    smooth = np.asarray(small.resize(size, Image.Resampling.BICUBIC))[..., :channels]
    grain = rng.integers(-3, 4, smooth.shape)
    return np.clip(smooth.astype(int) + grain, 20, 235).astype(np.uint8)


def measured(source, protected, transformation):
    return survival(source, protected, {"it": transformation})["it"]


def test_doing_nothing_leaves_all():
    source = scene()
    signs = np.random.default_rng(1).choice([-8, 8], source.shape)
    found = measured(source, added(source, signs), IDENTITY)
    assert found == Survival(*[pytest.approx(1, abs=1e-12)] * 3)


def test_flat_noise_survives_everything():
    found = survival(grey(), grey(136))
    for name in TRANSFORMATIONS:
        assert found[name] == Survival(*[pytest.approx(1, abs=0.02)] * 3), name


def test_a_checkerboard_of_single_pixels_does_not_survive_halving():
    source = grey()
    assert measured(source, added(source, checks(2)), HALF) == Survival(0, 0, 0)


def test_larger_checks_survive_halving_whole():
    source = grey()
    found = measured(source, added(source, checks(4)), HALF)
    assert found == Survival(*[pytest.approx(1, abs=1e-12)] * 3)


def test_what_shrinking_averages_away_counts_as_lost():
    # Halving keeps the flat part and loses the checks: R n = 6, rms(n) = sqrt(6^2 + 2^2).
    source = grey()
    found = measured(source, added(source, 6 + checks(2, levels=2)), HALF)
    left = 6 / 40**0.5
    assert found == Survival(
        share=pytest.approx(left), correlation=pytest.approx(1), strength=pytest.approx(left)
    )


def test_a_part_that_is_lost_is_missing_from_the_share():
    # Encoding that takes off the checks of +-8 and leaves the flat 4 is a fit of 16 / (16 + 64).
    class Smoothing(Transformation):
        def applied(self, pixels):
            return np.full_like(pixels, round(float(pixels.mean())))

    source = grey()
    found = measured(source, added(source, 4 + checks(2)), Smoothing("mean", "JPEG"))
    assert found.share == pytest.approx(16 / 80)
    assert found.strength == pytest.approx((16 / 80) ** 0.5)
    assert found.share == pytest.approx(found.strength * found.correlation)


def test_what_the_encoder_adds_is_in_the_strength_and_not_in_the_share():
    class Adding(Transformation):
        def applied(self, pixels):
            return added(pixels, checks(2)) if pixels.max() > 128 else pixels

    source = grey()
    found = measured(source, added(source, checks(8)), Adding("adds", "JPEG"))
    assert found.share == pytest.approx(1)
    assert found.strength == pytest.approx(2**0.5)
    assert found.correlation == pytest.approx(0.5**0.5)


def test_noise_turned_round_is_less_than_nothing():
    class Turning(Transformation):
        def applied(self, pixels):
            return (256 - pixels.astype(int)).astype(np.uint8)

    source = grey()
    found = measured(source, added(source, checks(2)), Turning("turns", "JPEG"))
    assert found == Survival(*map(pytest.approx, (-1, -1, 1)))


@pytest.mark.parametrize(("side", "low", "high"), [(1, 0.0, 0.45), (64, 0.9, 1.05)])
def test_random_coloured_noise_survives_if_it_is_coarse(side, low, high):
    source = scene((512, 512))
    signs = np.random.default_rng(1).choice([-8, 8], (512 // side, 512 // side, 3))
    found = survival(source, added(source, signs.repeat(side, axis=0).repeat(side, axis=1)))
    for name in TRANSFORMATIONS:
        assert low < found[name].share < high, name


@pytest.mark.parametrize("shape", [(64, 96, 1), (64, 96, 3)])
def test_grey_pictures_are_measured_like_coloured_ones(shape):
    source = scene(channels=shape[2])
    found = survival(source, added(source, checks(32, shape)))
    assert all(0.9 < one.share < 1.1 for one in found.values())


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (1, 300), (300, 1), (257, 256)])
@pytest.mark.parametrize("channels", [1, 3])
def test_tiny_and_narrow_pictures_are_measured(size, channels):
    source = grey(100, (size[1], size[0], channels))
    for one in survival(source, added(source, 8)).values():
        assert one.share == pytest.approx(1, abs=0.1)
        assert one.correlation == pytest.approx(1, abs=0.01)


def test_a_picture_is_shrunk_to_its_long_side_and_never_enlarged():
    box = TRANSFORMATIONS["box256-jpeg95"]
    assert box.size(4000, 3000) == (256, 192)
    assert box.size(3000, 4000) == (192, 256)
    assert box.size(224, 100) == (224, 100)
    assert box.size(10_000, 3) == (256, 1)
    assert box.applied(scene((512, 300))).shape == (150, 256, 3)
    assert box.expected(np.ones((300, 512, 3), np.int16)).shape == (150, 256, 3)


def test_files_are_what_they_are_called():
    seen = []
    real = Image.Image.save

    def save(image, file, form, **options):
        real(image, file, form, **options)
        with Image.open(file) as decoded:
            layers = [layer[1:3] for layer in getattr(decoded, "layer", [])]
            seen.append((decoded.format, decoded.size, layers[:1], options["quality"]))

    with patch.object(Image.Image, "save", save):
        survival(scene((512, 256)), scene((512, 256), seed=1))
    assert seen[::2] == [
        ("JPEG", (512, 256), [(2, 2)], 75),
        ("JPEG", (256, 128), [(2, 2)], 95),
        ("WEBP", (512, 256), [], 80),
    ]


def test_what_a_format_cannot_hold_is_not_measured():
    source = grey(100, (1, 16_384, 1))
    found = survival(source, added(source, 8))
    assert found["webp80"] is None
    assert found["jpeg75"].share == pytest.approx(1, abs=0.1)


def test_equal_pictures_have_nothing_to_measure():
    with pytest.raises(PictureError, match="no noise to measure"):
        survival(scene(), scene())


def test_different_shapes_are_a_mistake():
    with pytest.raises(ValueError, match="shapes"):
        survival(grey(), grey(shape=(64, 63, 3)))


def test_arguments_stay_as_they_were():
    source, protected = scene(), scene(seed=1)
    copies = source.copy(), protected.copy()
    survival(source, protected)
    assert np.array_equal(source, copies[0])
    assert np.array_equal(protected, copies[1])


def picture(pixels, alpha=None):
    return Picture(to_image(pixels, alpha))


def test_noise_under_transparency_counts_as_far_as_it_is_seen():
    source, alpha = scene((64, 64)), np.zeros((64, 64), np.uint8)
    alpha[:, 32:] = 255
    protected = added(source, checks(32))
    seen = source.copy(), protected.copy()
    for pixels in seen:
        pixels[:, :32] = 255
    found = picture_survival(picture(source, alpha), picture(protected, alpha))
    assert found == survival(*seen)


def test_half_transparent_noise_is_half_as_strong():
    alpha = np.full((8, 8), 128, np.uint8)
    white = module._on_white(picture(grey(100, (8, 8, 3)), alpha))
    assert np.all(white == round(100 * 128 / 255 + 255 * 127 / 255))
    assert module._on_white(picture(grey(9), np.full((64, 64), 255, np.uint8))).max() == 9


def test_grey_stored_in_three_channels_goes_with_grey():
    source = scene(channels=1)
    protected = added(source, checks(32, source.shape))
    found = picture_survival(picture(source), picture(np.repeat(protected, 3, axis=2)))
    assert found["jpeg75"].share > 0.9


def test_pictures_that_are_no_pair_are_refused():
    with pytest.raises(PictureError, match="source and output differ in size"):
        picture_survival(picture(grey()), picture(grey(shape=(64, 63, 3))))


def test_a_summary_names_the_worst():
    found = [("a", Survival(0.9, 0.8, 1.0)), ("b", Survival(0.5, 0.6, 0.8))]
    total = summary(found)
    assert (total.pictures, total.worst_share, total.worst_picture) == (2, 0.5, "b")
    assert total.mean_share == pytest.approx(0.7)
    assert total.mean_correlation == pytest.approx(0.7)
    assert total.mean_strength == pytest.approx(0.9)
