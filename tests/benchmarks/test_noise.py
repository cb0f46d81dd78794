import numpy as np
import pytest
import torch

from tests.benchmarks.noise import attackers
from tests.benchmarks.noise.copier import Copier, crops, network
from tests.benchmarks.noise.eye import visibility
from tests.benchmarks.noise.learn import Learning, coverage, rendered
from tests.benchmarks.noise.masking import Mask, boxed
from tests.benchmarks.noise.motifs import Design, Layer, Noise, likeness, noise, spread, tables
from tests.benchmarks.noise.refuter import share_right
from tests.benchmarks.noise.runner import identity
from tests.benchmarks.noise.table import table

KEY = b"a key"


def test_a_motif_is_a_function_of_key_class_and_picture():
    design = Design((Layer(2, 5, "opponent"),))
    first = noise((60, 80), 3, "cats/1.jpg", KEY, design, 5)
    assert first.dtype == np.int8
    assert first.shape == (3, 60, 80)
    assert (np.abs(first) == 8).all()
    assert (first == noise((60, 80), 3, "cats/1.jpg", KEY, design, 5)).all()
    assert (first != noise((60, 80), 3, "cats/2.jpg", KEY, design, 5)).any()
    assert (first != noise((60, 80), 3, "cats/1.jpg", b"another", design, 5)).any()


def test_motifs_of_a_kind_are_what_they_are_called():
    opponent = tables(Layer(4, kind="opponent"), 5, KEY)
    assert (opponent[:, 0] == -opponent[:, 1]).all()
    assert (opponent.sum(axis=(2, 3)) == 0).all()
    grey = tables(Layer(4, kind="grey"), 5, KEY)
    assert (grey == grey[:, :1]).all()
    tint = tables(Layer(1, kind="tint"), 5, KEY)
    assert tint.shape == (5, 3, 1, 1)


def test_gratings_are_balanced_and_none_is_another_rolled_or_mirrored():
    motifs = tables(Layer(4, kind="gratings"), 32, KEY)
    assert set(np.unique(motifs)) == {-1, 1}
    assert (motifs.sum(axis=(2, 3)) == 0).all()
    assert all(likeness(motifs[n], motifs[n + 1 :]).max() < 1 for n in range(31))
    green = tables(Layer(4, kind="gratings", axes="mg"), 8, KEY)
    assert (green[:, 0] == -green[:, 1]).all()
    with pytest.raises(ValueError, match="8 gratings cannot tell 9 classes apart"):
        tables(Layer(4, kind="gratings", axes="mg"), 9, KEY)


def test_picked_motifs_are_no_more_alike_than_the_first_drawn():
    def most(motifs):
        return max(likeness(motifs[n], motifs[n + 1 :]).max() for n in range(len(motifs) - 1))

    assert most(tables(Layer(2), 5, KEY)) <= most(tables(Layer(2, apart=False), 5, KEY))


def test_a_motif_is_like_itself_at_any_roll_and_mirrored():
    motif = tables(Layer(4), 1, KEY)
    turned = np.roll(motif, (1, 3), axis=(2, 3))[..., ::-1]
    assert likeness(motif[0], turned)[0] == 1


def test_cells_scale_with_the_picture():
    layer = Layer(2, 10)
    motif = tables(layer, 1, KEY)[0]
    small = spread(motif, (224, 224), layer, np.array([0.3, 0.6]))
    large = spread(motif, (448, 448), layer, np.array([0.3, 0.6]))
    assert np.mean(large[:, ::2, ::2] == small) > 0.9


def test_the_rendering_of_learning_is_the_antialiased_crop_of_the_noise():
    settings = Learning(period=4, cell=10)
    motif = tables(Layer(4, 10), 1, KEY)[0]
    full = torch.from_numpy(spread(motif, (224, 224), Layer(4, 10), np.array([0.25, 0.5])))
    box = tuple(torch.tensor([side]) for side in (20.0, 30.0, 150.0, 130.0))
    rolls = torch.tensor([[0.25, 0.5]])
    made = rendered(torch.from_numpy(motif).float()[None], box, rolls, settings)
    wanted = torch.nn.functional.interpolate(
        full[None, :, 30:160, 20:170], (64, 64), mode="bilinear", antialias=True
    )
    assert torch.allclose(made, wanted, atol=1e-4)
    assert torch.allclose(coverage(box[0], box[2], rolls[:, 0], settings).sum(2), torch.ones(1, 64))


def test_fine_noise_is_seen_less_than_coarse_though_it_differs_as_much():
    grey = torch.full((1, 3, 96, 96), 128, dtype=torch.uint8)
    seen = {}
    for cell in (2, 16):
        signs = spread(
            np.array([[[1, -1], [-1, 1]]] * 3), (96, 96), Layer(2, cell * 224 / 96), np.zeros(2)
        )
        changed = (grey + 8 * torch.from_numpy(signs)).to(torch.uint8)
        seen[cell] = visibility(grey, changed)
    assert seen[2]["unfiltered"] == pytest.approx(seen[16]["unfiltered"], rel=0.05)
    assert seen[2]["seen"] < seen[16]["seen"] / 2


def test_a_mask_leaves_plain_areas_nearly_alone_and_textures_the_whole_bound():
    pixels = np.full((3, 64, 64), 90, np.uint8)
    pixels[:, :, 32:] = np.random.default_rng(0).integers(0, 255, (3, 64, 32))
    radius = Mask(least=2, gain=0.7, window=9)(pixels, 8)
    assert (radius[:, :20] == 2).all()
    assert (radius[:, 44:] == 8).all()
    assert (boxed(np.ones((9, 9)), 2) == 25).all()


def test_the_refuter_finds_loud_templates_and_loses_faint_ones():
    draw = torch.Generator().manual_seed(0)
    clean = torch.randn(40, 3, 16, 16, generator=draw) * 5
    templates = torch.randn(5, 3, 16, 16, generator=draw).sign()[None].expand(40, -1, -1, -1, -1)
    labels = torch.arange(40) % 5
    noisy = clean + 8 * templates[torch.arange(40), labels]
    assert share_right(noisy, 8 * templates, labels, 2, clean) == 1
    assert share_right(noisy, 8 * templates, labels, 9, clean) < 0.1


def test_crops_are_views_of_the_right_size_and_repeatable():
    pixels = torch.randint(0, 255, (4, 3, 50, 50), dtype=torch.uint8)
    one, two = (crops(pixels, 16, 0.25, torch.Generator().manual_seed(3)) for _ in range(2))
    assert one.shape == (4, 3, 16, 16)
    assert torch.equal(one, two)
    assert 0 <= one.min() <= one.max() <= 1


def test_networks_shrink_views_in_their_stem():
    assert network(64).body[0].stride == (2, 2)
    assert network(224).body[0].stride == (4, 4)
    assert Copier().view == 64


def test_a_job_is_known_by_all_but_its_name():
    job = {"name": "one", "noise": {"kind": "clean"}, "seed": 1}
    assert identity(job) == identity({**job, "name": "two"})
    assert identity(job) != identity({**job, "seed": 2})


def test_a_table_has_one_row_for_the_seeds_of_a_noise():
    line = {"name": "a", "copier": {"view": 64}, "curve": [0.2, 0.5], "train": [0.2, 0.6]}
    lines = [{**line, "last": last, "best": 0.5} for last in (0.4, 0.5)]
    assert "| 45.0 ± 7.1 | 50.0 ± 0.0 | 2 |" in table(lines)


def test_learned_tables_take_the_place_of_drawn_ones():
    maker = Noise(Design((Layer(2),)), 5, KEY)
    maker.tables = [np.ones((5, 3, 2, 2), np.int8)]
    assert (maker((8, 8), 0, "x") == 8).all()


def plain_photos(count=6):
    """Return smooth pictures (N, 3, 112, 112) that differ, and labels of three classes."""
    slopes = torch.linspace(60, 190, 112)
    shifts = torch.arange(count)[:, None, None, None] * 5
    pixels = (slopes[:, None] * 0.5 + slopes * 0.4 + shifts).expand(-1, 3, -1, -1)
    return pixels.to(torch.uint8).contiguous(), torch.arange(count) % 3


@pytest.mark.parametrize("defence", ["subtract-nokey", "subtract-key"])
def test_who_has_the_tool_subtracts_its_gratings_with_and_without_the_key(defence):
    pixels, labels = plain_photos()
    noisy = attackers.protected(pixels, labels, 7)
    assert not torch.equal(noisy, pixels)
    rest = attackers.attacked(noisy, labels, defence, 7)
    assert attackers.removed(pixels, noisy, rest) > 0.9


def test_the_wrong_key_subtracts_other_motifs():
    pixels, labels = plain_photos()
    noisy = attackers.protected(pixels, labels, 7)
    rest = attackers.attacked(noisy, labels, "subtract-key", 8)
    assert attackers.removed(pixels, noisy, rest) < 0.5
