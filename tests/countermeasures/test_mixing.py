import torch

from tests.support.making import make_images, make_rng
from unlearn.countermeasures import find

MANY = 400


def levels(count, size=8):
    """Flat pictures of different levels, with targets that name each."""
    values = torch.linspace(0, 1, count)
    return values, values.view(-1, 1, 1, 1).expand(count, 3, size, size), torch.eye(count)


def test_cutout_hides_one_grey_square_of_half_the_side():
    images = torch.ones(MANY, 3, 32, 32)
    shown, _ = find("cutout").each(images, torch.eye(MANY), make_rng(MANY))
    hidden = shown == 0.5
    assert ((shown == 1) | hidden).all()
    assert torch.equal(hidden[:, 0], hidden[:, 2])
    heights, widths = hidden[:, 0].any(2).sum(1), hidden[:, 0].any(1).sum(1)
    assert torch.equal(hidden[:, 0].flatten(1).sum(1), heights * widths)
    assert {int(heights.max()), int(widths.max())} == {16}
    assert min(heights.min(), widths.min()) >= 8
    whole = sum(16 - max(0, 8 - c) - max(0, c - 24) for c in range(32)) / 32
    assert abs(heights.float().mean() - whole) < 0.4


def test_cutout_scales_with_the_picture_and_keeps_what_it_does_not_hide():
    images = make_images(50, size=10)
    shown, targets = find("cutout").each(images, torch.eye(50), make_rng(50))
    changed = (shown != images).flatten(1).sum(1)
    assert changed.max() <= 3 * 25
    assert torch.equal(targets, torch.eye(50))
    assert torch.equal(shown[shown != 0.5], images[shown != 0.5])


def test_mixup_mixes_pictures_and_labels_in_the_same_share():
    values, images, targets = levels(MANY)
    shown, wanted = find("mixup").each(images, targets, make_rng(MANY))
    assert torch.allclose(shown.mean(dim=(1, 2, 3)), wanted @ values, atol=1e-5)
    assert ((wanted > 0).sum(1) <= 2).all()


def test_the_shares_of_mixup_are_uniform():
    _, images, targets = levels(MANY)
    _, wanted = find("mixup").each(images, targets, make_rng(MANY))
    kept = wanted.diagonal().sort().values
    assert (kept - torch.linspace(0, 1, MANY)).abs().max() < 1.63 / MANY**0.5  # Kolmogorov, 1 %


def test_every_picture_is_someones_partner_and_nobodys_own():
    _, images, targets = levels(20)
    _, wanted = find("mixup").each(images, targets, make_rng(20))
    others = wanted - wanted.diagonal().diag()
    assert ((others > 0).sum(0) == 1).all()


def test_cutmix_gives_labels_the_shares_of_the_area():
    values, images, targets = levels(MANY)
    shown, wanted = find("cutmix").each(images, targets, make_rng(MANY))
    assert torch.allclose(shown.mean(dim=(1, 2, 3)), wanted @ values, atol=1e-5)
    kept = wanted.diagonal()
    assert 0.5 <= (kept == 1).float().mean() < 0.62  # and areas below one pixel
    assert kept.min() < 0.3


def test_cutmix_pastes_one_square_from_another_picture():
    values, images, targets = levels(MANY, size=16)
    shown, wanted = find("cutmix").each(images, targets, make_rng(MANY))
    pasted = (shown != images)[:, 0]
    heights, widths = pasted.any(2).sum(1), pasted.any(1).sum(1)
    assert torch.equal(pasted.flatten(1).sum(1), heights * widths)
    for number in pasted.flatten(1).any(1).nonzero()[:10, 0]:
        inside = shown[number, 0][pasted[number]]
        partner = wanted[number].index_fill(0, number, 0).argmax()
        assert inside.unique() == values[partner]


def test_a_picture_alone_in_its_batch_stays_as_it_is():
    images, targets = make_images(1), torch.ones(1, 1)
    for name in ("mixup", "cutmix"):
        shown, wanted = find(name).each(images, targets, make_rng(1))
        assert torch.allclose(shown, images, atol=1e-6)
        assert torch.equal(wanted, targets)
