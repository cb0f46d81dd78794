"""RandAugment and UEraser: what they draw and what it does."""

import torch
from torch import nn
from torchvision.transforms import v2

from tests.support.making import make_images, make_rng
from unlearn.countermeasures import find, ueraser
from unlearn.countermeasures.ueraser import plasma

MANY = 200


def smooth(count, size=16):
    """The same soft picture many times, all channels different."""
    ramp = torch.linspace(0.2, 0.8, size)
    picture = torch.stack(
        [ramp.expand(size, size), ramp[:, None].expand(size, size), ramp.expand(size, size) / 2]
    )
    return picture.expand(count, 3, size, size).contiguous()


def test_randaugment_draws_differently_for_each_picture():
    images = smooth(MANY)
    shown, _ = find("randaugment").each(images, torch.eye(MANY), make_rng(MANY))
    assert len(torch.unique(shown.flatten(1), dim=0)) > 60
    unchanged = (shown == images).flatten(1).all(1).float().mean()
    assert unchanged < 0.2


def test_randaugment_makes_what_two_operations_of_torchvision_make():
    images = smooth(30)
    shown, _ = find("randaugment").each(images, torch.eye(30), make_rng(30))
    possible = []
    with torch.random.fork_rng(devices=[]):
        for seed in range(700):
            torch.manual_seed(seed)
            possible.append(v2.RandAugment(num_ops=2, magnitude=9)(images[0]).clamp(0, 1))
    possible = torch.stack(possible).flatten(1)
    nearest = [float((possible - one).abs().amax(dim=1).min()) for one in shown.flatten(1)]
    assert sum(distance < 1e-6 for distance in nearest) >= 15  # some pairs are rare


def test_clouds_of_no_roughness_are_means_of_their_corners():
    (clouds,) = plasma(torch.zeros(1), 3, make_rng(1))
    corners = make_rng(1).uniform(3, 2, 2)[0]
    assert torch.allclose(clouds[:, ::2, ::2], corners)
    centre = corners.mean(dim=(1, 2))
    assert torch.allclose(clouds[:, 1, 1], centre)
    assert torch.allclose(clouds[:, 0, 1], (corners[:, 0].sum(1) + centre) / 3)
    assert torch.allclose(clouds[:, 1, 2], (corners[:, :, 1].sum(1) + centre) / 3)


def test_clouds_of_full_roughness_are_uniform_noise():
    clouds = plasma(torch.ones(4), 65, make_rng(4))
    assert abs(clouds.mean() - 0.5) < 0.01
    assert abs(clouds.var() - 1 / 12) < 0.002
    pairs = torch.stack([clouds[..., 1:].flatten(), clouds[..., :-1].flatten()])
    assert abs(torch.corrcoef(pairs)[0, 1]) < 0.02


def test_rougher_clouds_have_steeper_slopes():
    slopes = [
        float(plasma(torch.full((20,), rough), 32, make_rng(20)).diff(dim=-1).abs().mean())
        for rough in (0.1, 0.3, 0.5, 0.7)
    ]
    assert slopes == sorted(slopes)


def test_clouds_fit_any_size_and_stay_between_nought_and_one():
    for size in (1, 2, 5, 32, 33):
        clouds = plasma(torch.full((3,), 0.5), size, make_rng(3))
        assert clouds.shape == (3, 3, size, size)
        assert 0 <= clouds.min() <= clouds.max() <= 1


def test_ueraser_takes_the_worst_of_five():
    assert find("ueraser").draws == 5


def test_plasma_brightness_meets_half_of_the_flat_grey_pictures(monkeypatch):
    monkeypatch.setattr(ueraser, "_TRIVIAL", nn.Identity())
    images = torch.full((MANY, 3, 8, 8), 0.5)  # contrast and channel order do nothing to these
    shown, _ = find("ueraser").each(images, torch.eye(MANY), make_rng(MANY))
    changed = (shown != images).flatten(1).any(1)
    assert abs(changed.float().mean() - 0.5) < 0.12
    assert (shown[changed] - 0.5).abs().mean() > 0.1


def test_channels_change_places_in_some_pictures(monkeypatch):
    monkeypatch.setattr(ueraser, "_TRIVIAL", nn.Identity())
    images = torch.tensor([0.1, 0.5, 0.9]).view(1, 3, 1, 1).expand(MANY, 3, 4, 4)
    shown, _ = find("ueraser").each(images, torch.eye(MANY), make_rng(MANY))
    flat = shown[(shown == shown[..., :1, :1]).flatten(1).all(1)][..., 0, 0]
    flat = flat[flat.min(dim=1).values > 0]  # where even contrast saturates, pictures are flat too
    assert 0.15 < len(flat) / MANY < 0.35  # neither kind of plasma
    assert torch.equal(flat.sort(dim=1).values, images[: len(flat), :, 0, 0])
    orders = torch.unique(flat, dim=0)
    assert len(orders) == 6
    moved = (flat != images[: len(flat), :, 0, 0]).any(1).float().mean()
    assert abs(moved - 0.5 * 5 / 6) < 0.2


def test_draws_of_ueraser_differ():
    images, rng = make_images(4, size=16), make_rng(4)
    one, _ = find("ueraser").each(images, torch.eye(4), rng.fork(1))
    other, _ = find("ueraser").each(images, torch.eye(4), rng.fork(2))
    assert not torch.equal(one, other)
