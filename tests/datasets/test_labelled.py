import pytest
import torch

from tests.support.making import CLASSES, make_data, make_labels, make_pixels
from unlearn.datasets.labelled import LabelledPictures
from unlearn.errors import UsageProblem
from unlearn.rng import content_ids


def test_data_knows_its_length_its_size_and_the_ids_of_its_contents():
    data = make_data(5, size=9)
    assert (len(data), data.size) == (5, 9)
    assert torch.equal(data.ids, content_ids(data.pixels))


@pytest.mark.parametrize(
    ("pixels", "labels"),
    [
        (make_pixels(3), make_labels(2)),
        (make_pixels(3), make_labels(4)),
        (make_pixels(3, channels=1), make_labels(3)),
        (make_pixels(3, channels=4), make_labels(3)),
        (make_pixels(3)[0], make_labels(3)),
        (make_pixels(3).flatten(1), make_labels(3)),
    ],
)
def test_pixels_and_labels_that_do_not_fit_are_refused(pixels, labels):
    with pytest.raises(UsageProblem, match="are no data set") as caught:
        LabelledPictures(pixels, labels, CLASSES)
    assert str(tuple(pixels.shape)) in str(caught.value)


@pytest.mark.parametrize("label", [4, 100, -1, -100])
def test_labels_without_a_class_are_refused(label):
    with pytest.raises(UsageProblem, match=f"label {label} of 4 classes"):
        LabelledPictures(make_pixels(3), torch.tensor([0, label, 1]), CLASSES)


def test_given_ids_are_kept():
    ids = torch.tensor([7, 8, 9])
    data = LabelledPictures(make_pixels(3), make_labels(3), CLASSES, ids)
    assert torch.equal(data.ids, ids)
    assert torch.equal(data.to(torch.device("cpu")).ids, ids)
    assert data.subset(torch.tensor([2, 0])).ids.tolist() == [9, 7]


def test_a_subset_keeps_the_given_order_its_labels_and_its_classes():
    data, index = make_data(6), torch.tensor([4, 1, 1])
    part = data.subset(index)
    assert torch.equal(part.pixels, data.pixels[index])
    assert torch.equal(part.labels, data.labels[index])
    assert torch.equal(part.ids, data.ids[index])
    assert part.classes == data.classes


def test_an_empty_subset_is_an_empty_set():
    part = make_data(4).subset(torch.tensor([], dtype=torch.int64))
    assert len(part) == 0
    assert part.ids.dtype == torch.int64


def test_equal_data_have_equal_fingerprints_wherever_they_lie():
    one, other = make_data(6), make_data(6)
    assert one.fingerprint == other.fingerprint
    laid_out = LabelledPictures(
        one.pixels.to(memory_format=torch.channels_last), one.labels, one.classes
    )
    assert laid_out.fingerprint == one.fingerprint
    assert len(one.fingerprint) == 64


def test_every_change_changes_the_fingerprint():
    data = make_data(6)
    pixels, labels = data.pixels.clone(), data.labels.clone()
    pixels[3, 1, 2, 2] ^= 1
    labels[5] = 3
    others = [
        LabelledPictures(pixels, data.labels, CLASSES),
        LabelledPictures(data.pixels, labels, CLASSES),
        LabelledPictures(data.pixels, data.labels, (*CLASSES[:3], "other")),
        LabelledPictures(data.pixels, data.labels, (*CLASSES, "more")),
        data.subset(torch.arange(5)),
        data.subset(torch.arange(6).flip(0)),
    ]
    assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 7


def test_class_names_that_are_not_unicode_have_a_fingerprint():
    classes = ("a", "b", "c", "\udcff")
    assert len(LabelledPictures(make_pixels(4), make_labels(4), classes).fingerprint) == 64
