"""The training and validation images of a search: reduced and split class by class."""

from typing import NamedTuple

import torch
from torch import Tensor

from learned_augment._io import content_hash
from learned_augment._text import leading
from learned_augment.datasets.image_data import ImageData, LabeledImages, stratified_order

__all__ = ["Split", "split_hash", "train_val_split"]


class Split(NamedTuple):
    """The images of a search, on its device.

    Attributes:
        train_images: (N, C, H, W) uint8; the network trains on them.
        train_labels: (N,) int64.
        val_images: (M, C, H, W) uint8; the policy is evaluated on them. They are never augmented.
        val_labels: (M,) int64.
        classes: Class names, indexed by label.
        given: Whether the validation images were given separately. If not, a method may split all
            images anew.
    """

    train_images: Tensor
    train_labels: Tensor
    val_images: Tensor
    val_labels: Tensor
    classes: tuple[str, ...]
    given: bool = False

    @property
    def nbytes(self) -> int:
        """Memory of all images and labels."""
        return sum(part.nbytes for part in self if isinstance(part, Tensor))


def train_val_split(
    data: ImageData, val: LabeledImages | None, reduce: int | None, seed: int, device: torch.device
) -> Split:
    """Reduce the training images, every class in proportion, and split each class in two.

    Test images are never used.

    Args:
        data: Its training images are split; with ``val``, all of them are for training.
        val: If given, all of its images may serve for validation.
        reduce: Number of images for training and validation together; None, or more than there
            are, for all.
        seed: Chooses the images.
        device: Where the images are put.

    Raises:
        ValueError: If a class has too few images to split, or ``val`` does not fit ``data``.
    """
    train = LabeledImages(data.name, data.classes, data.train_images, data.train_labels)
    if val is not None:
        _check_fit(train, val)
        half = None if reduce is None else reduce // 2
        train, val = _reduced(train, half, seed), _reduced(val, half, seed)
        parts = train.images, train.labels, val.images, val.labels
    else:
        parts = _divided(_reduced(train, reduce, seed), seed)
    x, y, val_x, val_y = (part.to(device) for part in parts)
    return Split(x, y, val_x, val_y, data.classes, given=val is not None)


def _reduced(data: LabeledImages, count: int | None, seed: int) -> LabeledImages:
    if count is None or count >= len(data.labels):
        return data
    if count < len(data.classes):
        raise ValueError(
            f"{data.name}: {count} images cannot hold {len(data.classes)} classes; raise reduce."
        )
    rows = stratified_order(data.labels, seed)[:count]
    return data._replace(images=data.images[rows], labels=data.labels[rows])


def _divided(data: LabeledImages, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    _check_enough(data)
    train: list[Tensor] = []
    val: list[Tensor] = []
    for label in range(len(data.classes)):
        rows = (data.labels == label).nonzero()[:, 0]
        rows = _shuffled(rows, generator)
        # The odd image goes to the smaller part, so that the parts differ by one image at most.
        middle = (len(rows) + (_count(train) <= _count(val))) // 2
        train.append(rows[:middle])
        val.append(rows[middle:])
    # In random order: the first images of a part must not be of one class.
    a, b = (_shuffled(torch.cat(rows), generator) for rows in (train, val))
    images, labels = data.images, data.labels
    return images[a], labels[a], images[b], labels[b]


def _check_enough(data: LabeledImages) -> None:
    counts = torch.bincount(data.labels, minlength=len(data.classes)).tolist()
    few = [f"{name} ({n})" for name, n in zip(data.classes, counts, strict=True) if n < 2]
    if few:
        raise ValueError(
            f"{data.name}: training and validation each need an image of every class, but "
            f"{sum(counts)} images without those for tests hold too few of {leading(few)}; raise "
            "reduce (--reduce), add images, or give validation images as val (--val)."
        )


def _shuffled(rows: Tensor, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator)]


def _count(parts: list[Tensor]) -> int:
    return sum(len(part) for part in parts)


def _check_fit(data: LabeledImages, val: LabeledImages) -> None:
    for what, expected, found in (
        ("classes", data.classes, val.classes),
        ("images (C, H, W)", data.images.shape[1:], val.images.shape[1:]),
    ):
        if tuple(expected) != tuple(found):
            raise ValueError(
                f"Expected val= to have the {what} of the data, {tuple(expected)!r:.200}, got "
                f"{tuple(found)!r:.200}."
            )
    counts = torch.bincount(val.labels, minlength=len(val.classes)).tolist()
    absent = [name for name, count in zip(val.classes, counts, strict=True) if count == 0]
    if absent:
        raise ValueError(
            f"Expected val= to have images of every class, got none of {leading(absent)}."
        )


def split_hash(split: Split) -> str:
    """Return a hash of the images and labels, by which a checkpoint knows its data."""
    return content_hash(split[:4])[:16]
