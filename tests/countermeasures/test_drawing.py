import torch

from tests.support.making import make_images, make_rng
from unlearn.countermeasures.drawing import image_by_image, normal, partners


def test_normal_draws_are_standard_normal_and_independent():
    draws = normal(make_rng(8), 100, 100)
    assert draws.shape == (8, 100, 100)
    assert abs(draws.mean()) < 0.015
    assert abs(draws.std() - 1) < 0.01
    assert abs((draws.abs() < 1).float().mean() - 0.6827) < 0.005
    assert abs((draws.abs() > 2).float().mean() - 0.0455) < 0.003
    assert draws.isfinite().all()
    assert abs(torch.corrcoef(draws.flatten(1)).triu(1)).max() < 0.05


def test_partners_form_one_ring():
    others = partners(make_rng(7))
    seen, at = [], 0
    for _ in range(7):
        seen.append(at)
        at = int(others[at])
    assert sorted(seen) == list(range(7))
    assert at == 0


def test_a_single_image_is_its_own_partner():
    assert partners(make_rng(1)).tolist() == [0]


def test_two_calls_on_one_rng_draw_different_numbers():
    rng, images = make_rng(3), make_images(3)

    def noise(image):
        return torch.rand(image.shape)

    assert not torch.equal(image_by_image(noise, images, rng), image_by_image(noise, images, rng))
