"""The training and validation images of a search: reduced and split class by class."""

from typing import NamedTuple

import torch
from torch import Tensor

from learned_augment._io import content_hash
from learned_augment._text import leading
from learned_augment.datasets.image_data import ImageData

__all__ = ["Split", "split_hash", "split_images"]


class Split(NamedTuple):
    """The images of a search, on its device.

    Attributes:
        train_images: (N, C, H, W) uint8; the network trains on them.
        train_labels: (N,) int64.
        val_images: (M, C, H, W) uint8; the policy is evaluated on them. They are never augmented.
        val_labels: (M,) int64.
        classes: Class names, indexed by label.
    """

    train_images: Tensor
    train_labels: Tensor
    val_images: Tensor
    val_labels: Tensor
    classes: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Memory of all images and labels."""
        return sum(part.nbytes for part in self if isinstance(part, Tensor))


def split_images(
    data: ImageData, val: ImageData | None, reduce: int | None, seed: int, device: torch.device
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
    if val is not None:
        _check_fit(data, val)
        half = None if reduce is None else reduce // 2
        train = _reduced(data, half, seed)
        validation = _reduced(_all(val), half, seed)
        parts = (
            *(train.train_images, train.train_labels),
            *(validation.train_images, validation.train_labels),
        )
    else:
        parts = _divided(_reduced(data, reduce, seed), seed)
    x, y, val_x, val_y = (part.to(device) for part in parts)
    return Split(x, y, val_x, val_y, data.classes)


def _reduced(data: ImageData, count: int | None, seed: int) -> ImageData:
    if count is None or count >= len(data.train_labels):
        return data
    if count < len(data.classes):
        raise ValueError(
            f"{data.name}: {count} images cannot hold {len(data.classes)} classes; raise reduce."
        )
    return data.subset(count, seed)


def _divided(data: ImageData, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    _check_enough(data)
    train: list[Tensor] = []
    val: list[Tensor] = []
    for label in range(len(data.classes)):
        rows = (data.train_labels == label).nonzero()[:, 0]
        rows = _shuffled(rows, generator)
        # The odd image goes to the smaller part, so that the parts differ by one image at most.
        middle = (len(rows) + (_count(train) <= _count(val))) // 2
        train.append(rows[:middle])
        val.append(rows[middle:])
    # In random order: the first images of a part must not be of one class.
    a, b = (_shuffled(torch.cat(rows), generator) for rows in (train, val))
    images, labels = data.train_images, data.train_labels
    return images[a], labels[a], images[b], labels[b]


def _check_enough(data: ImageData) -> None:
    counts = torch.bincount(data.train_labels, minlength=len(data.classes)).tolist()
    few = [f"{name} ({n})" for name, n in zip(data.classes, counts, strict=True) if n < 2]
    if few:
        raise ValueError(
            f"{data.name}: training and validation each need an image of every class, and of "
            f"{sum(counts)} images too few are of {leading(few)}; raise reduce (--reduce), add "
            "images, or give validation images as val (--val)."
        )


def _shuffled(rows: Tensor, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator)]


def _count(parts: list[Tensor]) -> int:
    return sum(len(part) for part in parts)


def _all(data: ImageData) -> ImageData:
    """Count the images of both parts as training images."""
    return ImageData(
        data.name,
        data.classes,
        torch.cat([data.train_images, data.test_images]),
        torch.cat([data.train_labels, data.test_labels]),
        data.test_images,
        data.test_labels,
        data.mirrors,
    )


def _check_fit(data: ImageData, val: ImageData) -> None:
    for what, expected, found in (
        ("classes", data.classes, val.classes),
        ("images (C, H, W)", data.train_images.shape[1:], val.train_images.shape[1:]),
    ):
        if tuple(expected) != tuple(found):
            raise ValueError(
                f"Expected val= to have the {what} of the data, {tuple(expected)!r:.200}, got "
                f"{tuple(found)!r:.200}."
            )


def split_hash(split: Split) -> str:
    """Return a hash of the images and labels, by which a checkpoint knows its data."""
    return content_hash(split[:4])[:16]
