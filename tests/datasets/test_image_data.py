import pytest
import torch

from learned_augment.datasets.image_data import (
    ImageData,
    LabeledImages,
    stratified_order,
    train_test_split,
)


def data(counts=(30, 20, 10), test=6, **changes):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    fields = {
        "name": "made",
        "classes": tuple("abcdefgh"[: len(counts)]),
        "train_images": torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None]
        .expand(-1, 3, 8, 8)
        .clone(),
        "train_labels": labels,
        "test_images": torch.zeros(test, 3, 8, 8, dtype=torch.uint8),
        "test_labels": torch.arange(test) % len(counts),
    }
    return ImageData(**(fields | changes))


def as_one(data):
    """Return the training images as images that are not split."""
    return LabeledImages("s", data.classes, data.train_images, data.train_labels, False, ("x",))


def test_a_subset_holds_classes_in_proportion_and_keeps_images_with_their_labels():
    whole = data()
    part = whole.subset(12, seed=3)
    assert part.train_labels.bincount().tolist() == [6, 4, 2]
    places = part.train_images[:, 0, 0, 0].long()
    assert len(places.unique()) == 12
    assert torch.equal(whole.train_labels[places], part.train_labels)
    assert torch.equal(part.test_images, whole.test_images)


def test_a_subset_depends_on_its_seed_alone():
    whole = data()
    first, again, other = (whole.subset(12, s).train_images[:, 0, 0, 0] for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_smallest_subset_has_one_image_per_class():
    assert data((90, 5, 1)).subset(3).train_labels.bincount().tolist() == [1, 1, 1]


@pytest.mark.parametrize("n", [2, 61, -1])
def test_a_subset_out_of_range_says_the_range(n):
    with pytest.raises(ValueError, match=rf"3 \(one per class\) to 60 \(all\).* got {n}"):
        data().subset(n)


def test_every_beginning_of_a_stratified_order_is_in_proportion():
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor([50, 30, 20]))
    order = stratified_order(labels, 0)
    assert torch.equal(order.sort().values, torch.arange(100))
    for n in (10, 25, 60, 99):
        counts = labels[order[:n]].bincount(minlength=3)
        assert ((counts - n * torch.tensor([0.5, 0.3, 0.2])).abs() <= 1).all()


def test_a_split_shares_out_every_class_and_no_image_twice():
    whole = data((40, 10, 2))
    parts = train_test_split(as_one(whole), 0.2, seed=1)
    assert parts.test_labels.bincount().tolist() == [7, 2, 1]
    assert parts.train_labels.bincount().tolist() == [33, 8, 1]
    both = torch.cat([parts.train_images, parts.test_images])[:, 0, 0, 0]
    assert len(both.unique()) == 52
    assert (parts.name, parts.flip_keeps_class, parts.skipped) == ("s", False, ("x",))


def test_both_parts_can_be_joined_again():
    whole = data((4, 3), test=2, flip_keeps_class=False, skipped=("x",))
    joined = whole.joined()
    assert joined.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 0, 1]
    assert joined.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 0]
    assert joined[:2] == ("made", ("a", "b"))
    assert joined[4:] == (False, ("x",))


def test_a_split_needs_two_images_of_each_class():
    whole = data((5, 1))
    message = r"2 or more images of every class, got fewer of b \(1\).*Add images.*give both parts"
    with pytest.raises(ValueError, match=message):
        train_test_split(as_one(whole), 0.2, seed=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("only",)}, "at least 2 classes, got 1"),
        ({"classes": tuple("abcd")}, "no training image of d"),
        ({"train_images": torch.zeros(60, 3, 8, 8)}, "training images as uint8"),
        ({"train_labels": torch.zeros(60)}, "training labels as int64"),
        ({"test_labels": torch.tensor([0, 1, 2, 0, 1, 3])}, "test labels from 0 to 2, got 0 to 3"),
        ({"test_images": torch.zeros(6, 3, 9, 8, dtype=torch.uint8)}, "Give image_size="),
        (
            {
                "test_images": torch.zeros(0, 3, 8, 8, dtype=torch.uint8),
                "test_labels": torch.zeros(0, dtype=torch.int64),
            },
            "no test images",
        ),
    ],
)
def test_what_is_no_data_set_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        data(**changes)
