"""LSP against the numbers of its authors' code, and the mistakes that these numbers catch."""

from dataclasses import replace

import pytest
import torch

from tests.support.making import (
    CPU,
    make_data,
    make_images,
    make_labels,
    make_rng,
    numbers_of,
    same_numbers,
)
from tests.support.oracles import Oracle, carried, oracle
from unlearn.device import Run
from unlearn.errors import UsageProblem
from unlearn.methods import Cost, Spec
from unlearn.methods.lsp import Lsp, cube_corners, pattern_noise, scattered
from unlearn.radius import Radius
from unlearn.rng import Rng
from unlearn.tensors import stretched, to_levels
from unlearn.training import SILENT

ORACLE = oracle("lsp")
SETS = pytest.mark.parametrize("part", ["A", "B"])
CLOSE = {"rtol": 0, "atol": 1e-8}  # the reference calculated in float32


def settings(part):
    """Cells a side, the strength, and pictures to draw on."""
    cells = 32 // int(ORACLE[f"{part}_patch"])
    strength = Radius.of_levels(int(ORACLE[f"{part}_eps"]))
    return cells, strength, torch.zeros(len(ORACLE[f"{part}_features"]), 3, 32, 32)


def drawn(part, features=None, strength=None):
    """Our noise from the reference's features."""
    cells, own, images = settings(part)
    features = ORACLE[f"{part}_features"] if features is None else features
    return pattern_noise(features, cells, strength or own, images)


def check_patterns(part, **changes):
    cells, _, _ = settings(part)
    expected = ORACLE[f"{part}_patterns"].permute(0, 3, 1, 2)
    patch = 32 // cells
    torch.testing.assert_close(drawn(part, **changes)[:, :, ::patch, ::patch], expected, **CLOSE)


@SETS
def test_patterns_are_those_of_the_reference(part):
    check_patterns(part)


@SETS
def test_every_value_of_a_cell_is_its_colour_and_the_norm_is_the_published_one(part):
    delta, (cells, strength, _) = drawn(part), settings(part)
    patch = 32 // cells
    corners = delta[:, :, ::patch, ::patch]
    expected = corners.repeat_interleave(patch, dim=2).repeat_interleave(patch, dim=3)
    assert torch.equal(delta, expected)
    norms = delta.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, ORACLE[f"{part}_norms"], rtol=0, atol=1e-6)
    torch.testing.assert_close(norms, torch.full_like(norms, float(strength) * 3072**0.5))


def test_pictures_with_the_reference_s_patterns_are_those_of_the_reference():
    images = ORACLE["A_images"].permute(0, 3, 1, 2)
    rows = ORACLE["A_assignment"][: len(images)]
    delta, expected = drawn("A")[rows], ORACLE["A_poisoned_uint8"].permute(0, 3, 1, 2)
    noisy = (images / 255 + delta) * 255
    assert torch.equal(noisy.clamp(0, 255).floor().to(torch.uint8), expected)
    # The tool rounds where the reference cuts, which darkens its pictures by half a level.
    rounded = (images + to_levels(delta, Radius.of_levels(254))).clamp(0, 255)
    assert set((rounded - expected.int()).unique().tolist()) == {0, 1}
    assert 0.45 < float((rounded != expected).double().mean()) < 0.55


def test_each_picture_of_a_class_has_the_next_pattern_of_the_class_in_the_reference():
    rows = ORACLE["A_assignment"]
    assert torch.equal(ORACLE["A_feature_labels"][rows], ORACLE["A_labels"])


# The mistakes


def columns_first(features):
    return features.view(-1, 4, 4, 3).transpose(1, 2).reshape(len(features), -1)


def colours_first(features):
    return features.view(-1, 3, 16).transpose(1, 2).reshape(len(features), -1)


MISTAKES = {
    "the wrong sign": {"features": lambda: -ORACLE["A_features"]},
    "columns before rows": {"features": lambda: columns_first(ORACLE["A_features"])},
    "colours before places": {"features": lambda: colours_first(ORACLE["A_features"])},
    "another strength": {"strength": lambda: Radius.of_levels(8)},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_numbers_of_the_reference_catch(mistake):
    with pytest.raises(AssertionError, match="not close"):
        check_patterns("A", **{name: make() for name, make in MISTAKES[mistake].items()})


def test_the_numbers_of_the_reference_catch_one_norm_for_all_pictures(monkeypatch):
    each = pattern_noise

    def together(features, cells, strength, images):
        delta = each(features, cells, strength, images)
        lengths = features.square().mean(dim=1).sqrt()
        return delta * (lengths / lengths.mean())[:, None, None, None]

    monkeypatch.setattr(f"{__name__}.pattern_noise", together)
    with pytest.raises(AssertionError, match="not close"):
        check_patterns("A")


# The distribution


def one_stream(seed=0):
    return Rng.for_images(seed, torch.zeros(1, dtype=torch.int64))


@pytest.mark.parametrize(("count", "sides"), [(8, 3), (5, 3), (4096, 12), (1000, 48), (1, 3)])
def test_corners_are_different_and_the_stream_s_own(count, sides):
    corners = cube_corners(count, sides, one_stream())
    assert corners.shape == (count, sides)
    assert set(corners.unique().tolist()) <= {-1.0, 1.0}
    assert len(corners.unique(dim=0)) == count
    assert torch.equal(corners, cube_corners(count, sides, one_stream()))
    assert count == 1 or not torch.equal(corners, cube_corners(count, sides, one_stream(1)))


def test_corners_are_not_in_order():
    firsts = [cube_corners(8, 3, one_stream(seed))[0].tolist() for seed in range(60)]
    assert len({tuple(first) for first in firsts}) == 8


def test_features_are_mixed_normal_numbers_around_their_corner():
    normal, corners = make_rng(3).normal(4), torch.ones(3, 4)
    mixes = make_rng(3, 1).uniform(4, 4, low=-1, high=1)
    expected = torch.stack([corners[k] + normal[k] @ mixes[k] for k in range(3)])
    torch.testing.assert_close(scattered(normal, corners, mixes), expected)


def made(method, classes=4, run=CPU):
    module = method.build(Spec("none", classes, 8))
    method.fit(module, make_data(4), run, SILENT)
    return module, method.ready(module, run)


def test_drawn_features_spread_as_those_of_the_reference():
    module, _ = made(Lsp())
    normal = make_rng(4000).normal(48)
    labels = make_labels(4000)
    features = scattered(normal, module.corners[labels], module.mixes[labels])
    means = torch.stack([features[labels == k].mean(dim=0) for k in range(4)])
    assert float((means.abs() - 10).abs().max()) < 1  # deviation 4, over 1000 pictures
    spread = (features - module.corners[labels]).std()
    ours, theirs = float(spread**2), 16.0  # 48 numbers of variance 1/3 each
    assert abs(ours - theirs) < 1.5
    reference = ORACLE["A_features"].square().mean()
    assert abs(float(features.square().mean()) - float(reference)) < 0.05 * float(reference)


def test_unseen_noise_is_told_apart_by_a_linear_rule():
    _, maker = made(Lsp(), classes=10)
    images, labels = torch.full((600, 3, 16, 16), 0.5), make_labels(600, 10)
    delta = maker(images, labels, make_rng(600)).flatten(1)
    inputs = torch.cat([delta, torch.ones(600, 1)], dim=1)
    answers = torch.nn.functional.one_hot(labels, 10).float()
    rule = torch.linalg.lstsq(inputs[:400], answers[:400], driver="gelsd").solution
    assert torch.equal((inputs[400:] @ rule).argmax(dim=1), labels[400:])


# The method


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (30, 47), (224, 160)])
@pytest.mark.parametrize("cells", [1, 4, 5])
def test_any_picture_gets_noise_of_the_published_strength(channels, shape, cells):
    _, maker = made(Lsp(cells=cells))
    images = torch.full((3, channels, *shape), 0.5)
    delta = maker(images, make_labels(3), make_rng(3))
    assert delta.shape == images.shape
    sizes = delta.square().mean(dim=(1, 2, 3)).sqrt()
    torch.testing.assert_close(sizes, torch.full((3,), 6 / 255))


@pytest.mark.parametrize(("height", "width"), [(12, 12), (7, 5), (4, 9), (3, 2)])
def test_a_cell_covers_its_share_of_a_picture(height, width):
    pattern = torch.arange(16).view(1, 1, 4, 4)
    large = stretched(pattern, height, width)
    for row in range(height):
        for column in range(width):
            assert int(large[0, 0, row, column]) == 4 * (row * 4 // height) + column * 4 // width


def test_the_published_settings_are_the_defaults_and_keep_no_ball():
    method = Lsp()
    assert (method.strength, method.cells, method.separation) == (Radius.of_levels(6), 4, 10.0)
    assert method.bound is None
    assert method.facts() == {"strength": "6/255 (root mean square)"}
    assert method.cost(50_000) == Cost()
    _, maker = made(method)
    delta = maker(make_images(40, 32), make_labels(40), make_rng(40))
    assert 8 / 255 < float(delta.abs().max()) < 20 / 255


def test_in_a_ball_the_noise_is_cut_to_it():
    method = Lsp()
    _, free = made(method)
    _, bound = made(method.at(Radius.of_levels(4)))
    images, labels = make_images(4, 32), make_labels(4)
    delta = free(images, labels, make_rng(4))
    cut = bound(images, labels, make_rng(4))
    assert torch.equal(cut, delta.clamp(-4 / 255, 4 / 255))
    assert method.at(Radius.of_levels(4)).bound == Radius.of_levels(4)


def test_each_picture_draws_its_own_pattern_and_keeps_it_in_any_company():
    _, maker = made(Lsp())
    images, labels = make_images(6), torch.zeros(6, dtype=torch.int64)
    together = maker(images, labels, make_rng(6))
    assert len(together.flatten(1).unique(dim=0)) == 6
    alone = maker(images[3:4], labels[3:4], Rng.for_images(0, torch.tensor([3])))
    torch.testing.assert_close(alone, together[3:4])


def test_the_seed_of_the_run_decides_the_patterns():
    one, same, other = (
        numbers_of(made(Lsp.example(), run=Run(CPU.device, seed=seed))[0]) for seed in (0, 0, 1)
    )
    assert same_numbers(one, same)
    assert not same_numbers(one, other)


@pytest.mark.parametrize(("cells", "classes"), [(1, 9), (2, 4097)])
def test_more_classes_than_a_pattern_can_tell_apart_are_refused(cells, classes):
    with pytest.raises(UsageProblem, match=f"{classes}; use more cells"):
        replace(Lsp(), cells=cells).build(Spec("none", classes))


def test_no_cells_are_refused():
    with pytest.raises(UsageProblem, match="at least 1"):
        Lsp(cells=0)


def test_what_the_checkout_carries_is_enough_for_the_patterns(monkeypatch):
    monkeypatch.setattr(f"{__name__}.ORACLE", Oracle(carried("lsp")))
    check_patterns("A")
    check_patterns("B")
