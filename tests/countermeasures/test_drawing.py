import torch

from tests.support.making import make_images, make_rng
from unlearn.countermeasures.drawing import image_by_image, partners


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
