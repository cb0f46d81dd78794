"""Casts: whose pictures get which colours, on which of their parts, within the bound."""

import pytest
import torch

from tests.support.making import make_images, noise_of
from unlearn.errors import UsageProblem
from unlearn.methods.casts import Casts, dealt, every_code, map_of, parts
from unlearn.radius import Radius
from unlearn.rng import Rng

METHOD = Casts()


def noise(images, labels, key=7):
    rng = Rng.for_images(key, torch.arange(len(images)))
    return noise_of(METHOD, METHOD.build(None), images, torch.as_tensor(labels), rng)


def codes_of(key=7):
    """The codes of the classes under a key."""
    return dealt(int(Rng.for_images(key, torch.arange(1)).common().keys[0]), 3)


def half_busy(count=1, side=224):
    """Pictures whose left half is plain and whose right half is a fine chessboard."""
    images = torch.full((count, 3, side, side), 0.5)
    board = (torch.arange(side)[:, None] // 2 + torch.arange(side)) % 2 * 0.4
    images[..., side // 2 :] += board[:, side // 2 :]
    return images


def test_the_first_four_classes_have_the_four_strongest_codes_in_an_order_of_the_key():
    strongest = set(every_code(3)[:4])
    orders = {dealt(key, 3)[:4] for key in range(30)}
    assert all(set(order) == strongest for order in orders)
    assert len(orders) > 10


@pytest.mark.parametrize(("channels", "count"), [(1, 16), (3, 4080)])
def test_every_class_has_a_code_of_its_own_until_there_are_no_more(channels, count):
    codes = dealt(3, channels)
    assert len(codes) == len(set(codes)) == count
    delta = noise(make_images(2, 40, channels=channels), [5, 5 + count])
    one = noise(make_images(2, 40, channels=channels), [5, 5])
    assert torch.equal(delta, one)


def test_a_cast_of_the_whole_picture_is_the_radius_in_one_colour():
    code = next(n for n, code in enumerate(codes_of()) if all(k == 0 for k, _ in code))
    signs = torch.tensor([sign for _, sign in codes_of()[code]])
    delta = noise(make_images(2, 40), [code, code])
    expected = signs.view(1, 3, 1, 1) * float(METHOD.radius)
    assert torch.allclose(delta, expected.expand_as(delta))


def test_a_cast_of_busy_parts_turns_where_the_picture_is_plain():
    code = next(n for n, code in enumerate(codes_of()) if all(k == 1 for k, _ in code))
    delta = noise(half_busy(), [code])[0]
    plain, busy = delta[:, :, :90], delta[:, :, 134:]
    assert torch.equal(plain, -busy)
    assert (busy.abs() * 255).round().eq(8).all()


@pytest.mark.parametrize("number", [1, 2, 4])
def test_parts_are_told_by_what_they_are_called(number):
    side = 112
    images = torch.full((1, 3, side, side), 0.2)
    images[..., side // 2 :] = 0.8  # bright on the right
    if number == 1:
        images = half_busy(side=side)
    if number == 4:
        images[:] = 0.2
        images[..., ::28] = 0.8  # lines brighter than their surroundings
    found = map_of(parts(images, METHOD.window)[0], number)
    if number == 4:
        assert found[:, 28].mean() == 1
        assert found[:, 25].mean() < 0
    else:
        assert found[:, -20:].mean() == 1
        assert found[:, :20].mean() == -1


def test_maps_of_several_parts_are_products():
    told = parts(make_images(1, 40), METHOD.window)[0]
    maps = torch.stack([map_of(told, number) for number in range(8)])
    assert (maps[0] == 1).all()
    assert torch.allclose(maps[3], maps[1] * maps[2])
    assert torch.allclose(maps[7], maps[1] * maps[2] * maps[4])
    assert maps.abs().max() <= 1


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_picture_without_any_parts_gets_its_whole_radius(value):
    count = len(every_code(3))
    labels = torch.arange(0, count, 97)
    delta = noise(torch.full((len(labels), 3, 16, 16), value), labels)
    assert torch.equal(delta.abs(), torch.full_like(delta, float(METHOD.radius)))


def test_half_of_a_picture_gets_either_side_of_a_cast_on_busy_parts():
    for told in parts(make_images(4, 64), METHOD.window)[:, :2].transpose(0, 1):
        share = (told > 0).float().mean(dim=(1, 2))
        assert ((share > 0.3) & (share < 0.7)).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 500)])
def test_pictures_of_any_shape_get_noise_within_the_radius(size):
    method = METHOD.at(Radius.of_levels(3))
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    rng = Rng.for_images(1, torch.arange(2))
    delta = noise_of(method, method.build(None), images, torch.tensor([0, 4000]), rng)
    assert delta.abs().max() <= float(method.radius)
    assert (delta.flatten(1).abs().amax(dim=1) * 255 >= 1).all()


def test_a_window_of_no_pixels_is_refused():
    with pytest.raises(UsageProblem, match="at least 1"):
        Casts(window=0)
