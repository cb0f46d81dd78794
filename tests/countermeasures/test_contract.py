"""What every countermeasure promises, whatever it does."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.support.making import make_data, make_images, make_rng
from unlearn.countermeasures import COUNTERMEASURES, SUITES, expanded, find
from unlearn.errors import UsageProblem
from unlearn.rng import Rng

every = pytest.mark.parametrize("name", COUNTERMEASURES)
MIXING = {"mixup", "cutmix"}
OF_THE_SET = {"projection", "projection2", "notch"}  # what they take out depends on all pictures
NAMES = (
    "none grey grey-world colour-jitter jpeg75 jpeg10 bits2 resize256 blur median gaussian-noise "
    "crop8 whole cutout mixup cutmix randaugment ueraser projection projection2 notch label-noise "
    "early-stopping"
)


def make_picture(width=40, height=24, seed=0):
    pixels = make_rng(height, seed).integers(256, width, 3).to(torch.uint8)
    return Image.fromarray(pixels.numpy())


def targets_of(count, classes=4):
    return torch.nn.functional.one_hot(torch.arange(count) % classes, classes).float()


def applied(name, seed=0):
    """Everything a countermeasure makes of the same material, as tensors and bytes."""
    one = find(name)
    stored = one.stored(make_picture(), 3).tobytes()
    data = one.once(make_data(12, size=16), seed)
    images, targets = one.each(make_images(6, size=16), targets_of(6), make_rng(6, seed))
    return stored, data.pixels, data.labels, data.ids, images, targets


def same(one, other):
    return one[0] == other[0] and all(map(torch.equal, one[1:], other[1:]))


def test_the_names_are_the_documented_ones():
    assert list(COUNTERMEASURES) == NAMES.split()


@every
def test_a_countermeasure_says_in_one_sentence_what_it_does(name):
    one = COUNTERMEASURES[name]
    assert one.name == name
    assert one.summary.endswith(".")
    assert one.summary[0].isupper()
    assert ". " not in one.summary.replace("et al. ", "")
    assert "\n" not in one.summary


@every
def test_shapes_types_ranges_and_ids_stay(name):
    data = make_data(12, size=16)
    changed = find(name).once(data, 5)
    assert changed.pixels.dtype == torch.uint8
    assert changed.pixels.shape == data.pixels.shape
    assert torch.equal(changed.ids, data.ids)
    assert changed.classes == data.classes
    assert changed.labels.dtype == torch.int64
    if name != "label-noise":
        assert torch.equal(changed.labels, data.labels)


@every
def test_a_batch_stays_a_batch_of_pictures_with_targets_that_sum_to_one(name):
    images, targets = make_images(9, size=16), targets_of(9)
    shown, wanted = find(name).each(images, targets, make_rng(9))
    assert shown.shape == images.shape
    assert shown.dtype == wanted.dtype == torch.float32
    assert 0 <= shown.min() <= shown.max() <= 1
    assert wanted.shape == targets.shape
    assert torch.allclose(wanted.sum(1), torch.ones(9))
    assert wanted.min() >= 0


@every
def test_a_stored_picture_stays_an_rgb_picture(name):
    assert find(name).stored(make_picture(), 0).mode == "RGB"


@every
def test_equal_inputs_give_equal_results_whatever_the_global_random_numbers(name):
    torch.manual_seed(1)
    one = applied(name)
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    other = applied(name)
    assert same(one, other)
    assert torch.equal(before, torch.random.get_rng_state())


@every
def test_what_goes_in_is_not_changed(name):
    picture, data, images, targets = (
        make_picture(),
        make_data(12, size=16),
        make_images(6, size=16),
        targets_of(6),
    )
    labels, rng = data.labels.clone(), make_rng(6)
    keys = rng.keys.clone()
    find(name).stored(picture, 0)
    find(name).once(data, 0)
    find(name).each(images, targets, rng)
    assert picture.tobytes() == make_picture().tobytes()
    assert torch.equal(data.pixels, make_data(12, size=16).pixels)
    assert torch.equal(data.labels, labels)
    assert torch.equal(images, make_images(6, size=16))
    assert torch.equal(targets, targets_of(6))
    assert torch.equal(rng.keys, keys)


@pytest.mark.parametrize("name", sorted({*COUNTERMEASURES} - MIXING))
def test_a_picture_in_a_batch_is_changed_as_it_is_alone(name):
    images, targets, rng = make_images(6, size=16), targets_of(6), make_rng(6)
    together = find(name).each(images, targets, rng)
    alone = find(name).each(images[4:5], targets[4:5], Rng(rng.keys[4:5]))
    assert torch.equal(together[0][4:5], alone[0])
    assert torch.equal(together[1][4:5], alone[1])


@pytest.mark.parametrize("name", sorted(MIXING))
def test_mixing_does_not_depend_on_the_order_of_the_batch(name):
    images, targets, rng = make_images(6, size=16), targets_of(6), make_rng(6)
    together = find(name).each(images, targets, rng)
    turned = find(name).each(images.flip(0), targets.flip(0), Rng(rng.keys.flip(0)))
    assert torch.equal(together[0], turned[0].flip(0))
    assert torch.equal(together[1], turned[1].flip(0))


@pytest.mark.parametrize("name", sorted({*COUNTERMEASURES} - OF_THE_SET))
def test_a_picture_of_a_set_is_changed_as_it_is_in_another_set(name):
    data = make_data(12, size=16)
    part = torch.tensor([7, 2])
    whole, some = find(name).once(data, 3), find(name).once(data.subset(part), 3)
    assert torch.equal(whole.pixels[part], some.pixels)
    assert torch.equal(whole.labels[part], some.labels)


@every
def test_an_empty_set_stays_empty(name):
    assert len(find(name).once(make_data(4).subset(torch.tensor([], dtype=torch.int64)), 0)) == 0


@pytest.mark.parametrize("name", ["gaussian-noise", "projection", "projection2", "label-noise"])
def test_another_seed_gives_another_set(name):
    assert not same(applied(name, seed=1), applied(name, seed=2))


def test_none_hands_back_what_it_got():
    one, picture, data = find("none"), make_picture(), make_data(4)
    images, targets = make_images(4), targets_of(4)
    assert one.stored(picture, 0) is picture
    assert one.once(data, 0) is data
    given = one.each(images, targets, make_rng(4))
    assert given[0] is images
    assert given[1] is targets
    assert one.draws == 1
    assert one.clean == 0


def test_an_unknown_name_is_refused_with_a_suggestion():
    with pytest.raises(UsageProblem, match='unknown countermeasure "gray"; did you mean "grey"'):
        find("gray")
    with pytest.raises(UsageProblem, match="choose one of none, grey, grey-world"):
        find("xyzzy")


def test_diffusion_by_name_alone_points_to_its_page():
    with pytest.raises(UsageProblem, match=r"docs/purification\.md"):
        find("diffusion")


def test_suites_are_lists_of_known_names_and_those_of_photos_are_the_documented_ones():
    assert SUITES["all"] == tuple(COUNTERMEASURES)
    page = (Path(__file__).parents[2] / "docs" / "countermeasures.md").read_text()
    rows = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert rows == [*COUNTERMEASURES, "diffusion"]
    suite = next(line for line in page.splitlines() if line.startswith("`photos` is "))
    assert suite.split("`")[3::2] == list(SUITES["photos"])


def test_a_suite_is_replaced_by_its_members_once():
    assert expanded(["grey", "photos", "jpeg10"]) == (
        "grey",
        *(name for name in SUITES["photos"] if name != "grey"),
        "jpeg10",
    )
    assert expanded(["unknown"]) == ("unknown",)
