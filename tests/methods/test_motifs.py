"""Motifs: drawn from the key, apart for any number of classes, rolled, masked, within the bound."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.made_pictures import noise_image
from tests.support.making import CPU, make_images, noise_of
from tests.support.sweeps import few
from unlearn.errors import UsageProblem
from unlearn.generators.artefact import NoiseGenerator
from unlearn.generators.catalogue import resolve
from unlearn.generators.header import read_header
from unlearn.methods.motifs import (
    FINE,
    MOST_ALIKE,
    WORKING_SIZE,
    Mask,
    Motifs,
    class_motifs,
    likeness,
    repeated,
    shown,
)
from unlearn.protection.options import ProtectOptions
from unlearn.protection.run import protect
from unlearn.radius import Radius
from unlearn.rng import Rng

PLAIN = Motifs(period=2, cell=10, kind="opponent", mask=None)
MASKED = replace(PLAIN, mask=Mask())
kinds = pytest.mark.parametrize("kind", ["random", "opponent", "gratings"])


def noise(method, images, labels, key=7, first=0):
    ids = torch.arange(len(images)) + first
    labels = torch.as_tensor(labels)
    return noise_of(method, method.build(None), images, labels, Rng.for_images(key, ids))


def grey_images(count, height=WORKING_SIZE, width=WORKING_SIZE, channels=3):
    return torch.full((count, channels, height, width), 0.5)


def test_one_key_gives_one_noise_and_another_key_other_motifs():
    images = grey_images(4)
    here = noise(PLAIN, images, [0, 1, 2, 3])
    assert torch.equal(here, noise(PLAIN, images, [0, 1, 2, 3]))
    tables = [class_motifs(key, 16, "random", 2, 3) for key in range(6)]
    for one, other in itertools.combinations(tables, 2):
        assert any(not torch.equal(*pair) for pair in zip(one[:4], other[:4], strict=True))
    method = replace(PLAIN, kind="random")
    tints = [
        noise(method, images, [0, 1, 2, 3], key)[..., :20, :20].sign().sum(dim=(2, 3))
        for key in (7, 8)  # over a whole period, wherever it begins
    ]
    assert not torch.equal(*tints)


def test_pictures_of_a_class_share_a_motif_and_begin_it_elsewhere():
    delta = noise(PLAIN, grey_images(2), [3, 3]).sign()
    assert not torch.equal(delta[0], delta[1])
    rolls = [
        delta[0].roll((down, across), dims=(1, 2))[:, 40:200, 40:200]
        for down in range(20)
        for across in range(20)
    ]
    assert sum(torch.equal(roll, delta[1][:, 40:200, 40:200]) for roll in rolls) >= 1


@kinds
@pytest.mark.parametrize("channels", [1, 3])
def test_the_noise_is_the_whole_radius_everywhere_without_a_mask(kind, channels):
    method = replace(PLAIN, kind=kind, radius=Radius.of_levels(5))
    delta = noise(method, make_images(3, 40, channels=channels), [0, 1, 2])
    assert torch.equal(delta.abs(), torch.full_like(delta, float(method.radius)))


def test_opponent_motifs_have_no_tint_and_hardly_any_luma():
    for motif in class_motifs(3, 64, "opponent", 2, 3):
        assert torch.equal(motif.sum(dim=(1, 2)), torch.zeros(3))
        assert torch.equal(motif[0], -motif[1])
        luma = (motif * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=0)
        assert float(luma.abs().max()) < 0.41


def test_gratings_are_one_wave_each_in_magenta_and_green():
    motifs = class_motifs(3, 9, "gratings", 4, 3)
    assert [motif.shape[-1] for motif in motifs] == [4] * 8 + [8]
    for motif in motifs[:8]:
        assert torch.equal(motif[0], motif[2])
        assert torch.equal(motif[0], -motif[1])
        assert float(motif.sum(dim=(1, 2)).abs().max()) == 0
        assert int((torch.fft.fft2(motif[0]).abs() > 1).sum()) in (1, 2)


def test_stripes_along_the_sides_and_the_checks_are_the_first_gratings():
    orders = set()
    for key in range(8):
        waves = []
        for motif in class_motifs(key, 8, "gratings", 4, 3):
            down, across = divmod(int(torch.fft.fft2(motif[0]).abs().argmax()), 4)
            waves.append((min(down, 4 - down), min(across, 4 - across)))
        assert len(set(waves)) == 8
        assert set(waves[:5]) == {(0, 1), (1, 0), (0, 2), (2, 0), (2, 2)}
        orders.add(tuple(waves))
    assert len(orders) > 4


def test_cells_are_of_many_sizes_around_the_given_one_and_of_a_picture_alone():
    method = replace(PLAIN, kind="gratings", period=4, cell=7, varied=0.2)
    images = grey_images(64)
    delta = noise(method, images, [0] * 64).sign()
    assert torch.equal(delta[5:6], noise(method, images[5:6], [0], first=5).sign())
    widths = []
    for picture in delta:
        steps = [picture[0].diff(dim=across).ne(0).sum(dim=across) for across in (0, 1)]
        turns = max(int(step.max()) for step in steps)
        widths.append(224 / turns)  # of one stripe, of one cell or of two
    cells = torch.tensor(widths) / round(min(widths) / 7)
    assert 7 * 0.8 - 0.4 < cells.min() < 7 * 0.87
    assert 7 * 1.13 < cells.max() < 7 * 1.2 + 0.5
    assert len({round(width, 2) for width in widths}) >= 6


@pytest.mark.parametrize(
    ("varied", "least", "most"), [(0, 0.99, 1.01), (0.2, 0.75, 0.85), (0.3, 0.0, 0.75)]
)
def test_few_directions_hold_the_noise_of_a_class_only_if_cells_have_one_size(varied, least, most):
    method = replace(PLAIN, kind="gratings", period=4, cell=7, varied=varied)
    delta = noise(method, grey_images(200, 112, 112), [0] * 200).flatten(1).double()
    energy = torch.linalg.eigvalsh(delta @ delta.T)
    assert least <= float(energy[-8:].sum() / energy.sum()) <= most


def test_the_mean_over_the_pictures_of_a_class_fades():
    delta = noise(PLAIN, grey_images(400, 24, 24), [2] * 400) / float(PLAIN.radius)
    assert float(delta.mean(dim=0).abs().mean()) < 0.06
    fixed = delta[:1].expand(400, -1, -1, -1).mean(dim=0)
    assert float(fixed.abs().mean()) == 1.0


@pytest.mark.parametrize(("height", "width"), [(224, 224), (224, 300), (448, 224), (112, 200)])
def test_cells_are_squares_of_whole_pixels_at_any_shape(height, width):
    method = replace(PLAIN, kind="random")
    delta = noise(method, grey_images(3, height, width), [0, 1, 2]).sign()
    cell = 10 * min(height, width) // WORKING_SIZE
    for picture in delta:
        for across in (1, 2):
            turns = picture.diff(dim=across).abs().amax(dim=(0, 3 - across)).nonzero()[:, 0]
            assert len(turns) >= min(height, width) // cell - 1
            assert set(turns.diff().tolist()) <= {cell, 2 * cell}


@kinds
@pytest.mark.parametrize("channels", few([1, 3], 3))
def test_classes_are_apart_at_any_roll_and_mirrored(kind, channels):
    motifs = class_motifs(11, 40, kind, 2, channels)
    for one, other in itertools.combinations(motifs, 2):
        if one.shape == other.shape:
            for mirrored in (one, one.flip(2)):
                assert float(likeness(mirrored[None], other[None])) <= MOST_ALIKE
    pixels = [repeated(motif, FINE, torch.Size((16, 16)), torch.zeros(2)) for motif in motifs]
    spectra = torch.fft.fft2(torch.stack(pixels))
    for number in range(1, len(pixels)):
        agreement = torch.fft.ifft2(spectra[:number].conj() * spectra[number]).real.sum(dim=1)
        assert float(agreement.max()) / pixels[0].numel() < 0.9


@pytest.mark.parametrize("count", few([1, 2, 5, 1000], 1, 2, 5))
def test_any_number_of_classes_is_served(count, monkeypatch):
    tables = []
    monkeypatch.setattr(
        "unlearn.methods.motifs.class_motifs",
        lambda *given: tables.append(class_motifs(*given)) or tables[-1],
    )
    labels = torch.tensor([0, count // 2, count - 1])
    delta = noise(replace(PLAIN, kind="random"), grey_images(3, 32, 32), labels)
    assert torch.isfinite(delta).all()
    motifs = tables[0][:count]
    assert len({(motif.shape, motif.numpy().tobytes()) for motif in motifs}) == count


@kinds
def test_the_motif_of_a_class_does_not_depend_on_the_classes_after_it(kind):
    few, many = (class_motifs(4, count, kind, 2, 3) for count in (3, 100))
    assert all(torch.equal(one, other) for one, other in zip(few, many, strict=False))


def test_a_mask_is_small_on_plain_areas_and_whole_on_texture():
    images = grey_images(1)
    images[..., 112:] = torch.randint(
        0, 2, images[..., 112:].shape, generator=torch.Generator().manual_seed(0)
    ).float()
    share = shown(images, Mask())
    assert torch.equal(share[..., :100], torch.full((1, 1, 224, 100), 0.375))
    assert torch.equal(share[..., 120:], torch.ones(1, 1, 224, 104))
    masked = noise(MASKED, images, [1])
    assert torch.equal(masked, noise(PLAIN, images, [1]) * share)
    assert torch.equal(masked.abs().max(), torch.tensor(float(MASKED.radius)))


def test_the_share_that_a_mask_allows_is_that_of_numpy():
    images = make_images(1, 31)
    levels = (images[0].numpy().astype(np.float64) * 255).round()
    luma = np.floor(np.tensordot([299.0, 587.0, 114.0], levels, 1) / 1000)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(luma, 1, mode="edge"), (3, 3))
    deviation = windows.std(axis=(2, 3))
    for start in (0, 50):
        expected = np.minimum(1, 0.1 + 0.005 * np.maximum(deviation - start, 0))
        found = shown(images, Mask(least=0.1, gain=0.005, start=start))[0, 0].numpy()
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"period": 0}, "0 cells of 7 px"),
        ({"cell": 0}, "4 cells of 0 px"),
        ({"kind": "gratings", "period": 1}, "a period of 1 cell"),
        ({"kind": "grey"}, "kind 'grey' is none of random, opponent, gratings"),
        ({"varied": 1}, "cells varied by 1 are none"),
        ({"varied": -0.1}, "cells varied by -0.1"),
    ],
)
def test_a_motif_that_cannot_be_is_refused(changes, words):
    with pytest.raises(UsageProblem, match=words):
        Motifs(**changes)


def test_the_mask_that_spares_plain_areas_leaves_them_a_quarter_and_plain_pictures_a_half():
    images = grey_images(2)
    images[0, ..., 80:] = torch.randint(
        0, 2, images[0, ..., 80:].shape, generator=torch.Generator().manual_seed(0)
    ).float()
    method = Motifs.recipes()["spared"]
    shares = noise(method, images, [1, 1]).abs() / float(method.bound)
    torch.testing.assert_close(shares[0, ..., :70], torch.full((3, 224, 70), 0.25))
    torch.testing.assert_close(shares[0, ..., 90:], torch.ones(3, 224, 134))
    torch.testing.assert_close(shares[1], torch.full((3, 224, 224), 0.5))


def test_what_a_plain_picture_lacks_is_added_everywhere_and_alone():
    images = grey_images(2)
    images[0, ..., 168:] = torch.randint(
        0, 2, images[0, ..., 168:].shape, generator=torch.Generator().manual_seed(0)
    ).float()
    mask = Mask(least=0, start=5, mean=0.5)
    share = shown(images, mask)
    bare = shown(images, replace(mask, least=0.001, mean=0))[0]
    lacking = 0.5 - float(bare.mean())
    assert 0.2 < lacking < 0.25
    assert float((share[0] - (bare + lacking).clamp(max=1)).abs().max()) < 0.002
    assert torch.equal(share[:1], shown(images[:1], mask))
    assert torch.equal(share[1], torch.full_like(share[1], 0.5))


@pytest.mark.parametrize(
    "changes",
    [
        {"least": 0},
        {"least": 1.5},
        {"mean": -0.1},
        {"mean": 1.5},
        {"gain": -1},
        {"start": -1},
        {"window": 0},
    ],
)
def test_a_mask_that_cannot_be_is_refused(changes):
    with pytest.raises(UsageProblem, match="least and mean are within 0 and 1"):
        Mask(**changes)


STRONG = Motifs.recipes()["strong"]


def test_strong_has_the_whole_radius_everywhere_and_cells_of_many_sizes():
    images = torch.full((8, 3, 96, 96), 0.5)
    labels, rng = torch.zeros(8, dtype=torch.int64), Rng.for_images(5, torch.arange(8))
    noise = STRONG.ready(STRONG.build(None), CPU)(images, labels, rng)
    assert (noise.abs() * 255).round().unique().tolist() == [8]
    plain = replace(STRONG, varied=0.0)
    same = plain.ready(plain.build(None), CPU)(images, labels, rng)
    assert not torch.equal(noise, same)


@pytest.mark.parametrize(("name", "method"), [("motifs", Motifs()), ("strong", STRONG)])
def test_a_bundled_generator_holds_no_motif_and_the_published_settings(name, method):
    path = resolve(name)
    header = read_header(path)
    assert path.stat().st_size < 2000
    assert (header.method, header.classes, header.working_size) == ("motifs", (), WORKING_SIZE)
    assert (header.rho, header.architecture, header.name) == ("8/255", "none", name)
    loaded = NoiseGenerator.load(path, CPU)
    assert loaded.method == method
    assert not loaded.module.state_dict()
    assert header.command in path.with_suffix(".md").read_text()


def test_the_bundled_generator_protects_more_classes_than_anybody_trained_on(tmp_path):
    for number in range(14):
        path = tmp_path / "photos" / f"class {number}" / "0.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (60, 40), (128, 128, 128)).save(path)
    for key in ("one", "other"):
        (tmp_path / key).write_bytes(key.encode().ljust(32, b"."))
    written = {}
    for out, key in (("a", "one"), ("again", "one"), ("b", "other")):
        options = ProtectOptions(
            inputs=(str(tmp_path / "photos"),),
            out=tmp_path / out,
            generator="motifs",
            key=tmp_path / key,
            device="cpu",
            workers=0,
            preview=0,
        )
        records = protect(options, lambda event: None).protected
        assert len(records) == 14
        written[out] = [(tmp_path / out / record.out).read_bytes() for record in records]
    assert len(set(written["a"])) == 14
    assert written["a"] == written["again"]
    assert all(one != other for one, other in zip(written["a"], written["b"], strict=True))


@pytest.mark.slow
def test_a_large_picture_has_most_values_at_full_strength(tmp_path):
    photos = tmp_path / "photos" / "one"
    photos.mkdir(parents=True)
    noise_image((1200, 900), 120).save(photos / "0.png")
    (tmp_path / "key").write_bytes(bytes(range(32)))
    options = ProtectOptions(
        inputs=(str(tmp_path / "photos"),),
        out=tmp_path / "out",
        generator="motifs",
        key=tmp_path / "key",
        device="cpu",
        workers=0,
        preview=0,
    )
    (record,) = protect(options, lambda event: None).protected
    before = np.asarray(Image.open(photos / "0.png"), np.int16)
    change = np.abs(np.asarray(Image.open(tmp_path / "out" / record.out), np.int16) - before)
    free = (before >= 8) & (before <= 247)
    assert change.max() == record.linf == 8
    assert (change[free] == 8).mean() > 0.75
