"""White balance takes a cast away; jitter moves colours and keeps places."""

import torch

from tests.support.making import make_data, make_images, make_rng
from unlearn.countermeasures import find
from unlearn.datasets.labelled import LabelledPictures


def balanced(pixels):
    data = make_data(len(pixels), size=pixels.shape[-1])
    data = LabelledPictures(pixels, data.labels, data.classes)
    return find("grey-world").once(data, 0).pixels


def test_grey_world_takes_a_cast_of_the_whole_picture_away():
    pixels = make_rng(4).integers(17, 3, 16, 16).to(torch.uint8) + 120
    cast = (pixels + torch.tensor([8, -8, 0]).view(3, 1, 1)).to(torch.uint8)
    means = balanced(cast).double().mean(dim=(2, 3))
    assert (means.amax(dim=1) - means.amin(dim=1) < 0.6).all()
    gone = (balanced(cast).double() - balanced(pixels).double()).abs().mean()
    assert gone < 1  # of 8 levels


def test_a_black_picture_stays_black():
    assert not balanced(torch.zeros(1, 3, 8, 8, dtype=torch.uint8)).any()


def test_jitter_changes_each_picture_in_its_own_way_and_moves_nothing():
    images = make_images(1, 16).expand(3, 3, 16, 16).clone()
    images[..., 4:8, 4:8] = 0
    jittered, _ = find("colour-jitter").each(images, torch.zeros(3, 2), make_rng(3))
    assert not torch.allclose(jittered[0], jittered[1], atol=0.02)
    outside = jittered.amax(dim=1)
    assert (outside[:, 4:8, 4:8].amax(dim=(1, 2)) <= outside.amax(dim=(1, 2))).all()
    assert (jittered[:, :, 4:8, 4:8].flatten(2).std(dim=2) < 1e-3).all()  # black stays even
