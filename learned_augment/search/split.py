"""The training and validation images of a search: reduced and split class by class."""

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from learned_augment._io import content_hash
from learned_augment._text import leading
from learned_augment.datasets.image_data import ImageData, LabeledImages, stratified_order
from learned_augment.runtime.distributed import rank

__all__ = ["Split", "split_hash", "train_val_split"]


FEW_SHARED = 0.01
"""Fraction of the validation images that may be among the others: a few are often there twice."""


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
        order: (N + M,) int64 on the CPU: places of the training images, then of the validation
            images, in their source. Given validation images have places of their own. None if all
            are in order.
    """

    train_images: Tensor
    train_labels: Tensor
    val_images: Tensor
    val_labels: Tensor
    classes: tuple[str, ...]
    given: bool = False
    order: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Memory of all images and labels."""
        return sum(part.nbytes for part in self[:4])


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
    labels, images = data.train_labels, data.train_images
    if val is not None:
        _check_fit(data, val)
        half = None if reduce is None else reduce // 2
        a, b = _reduced(data.name, labels, half, seed), _reduced(val.name, val.labels, half, seed)
        parts = images[a], labels[a], val.images[b], val.labels[b]
        order = torch.cat([data.order[a], b])
    else:
        kept = _reduced(data.name, labels, reduce, seed)
        a, b = (kept[rows] for rows in _divided(data, labels[kept], seed))
        parts = images[a], labels[a], images[b], labels[b]
        order = data.order[torch.cat([a, b])]
    x, y, val_x, val_y = (part.to(device) for part in parts)
    return Split(x, y, val_x, val_y, data.classes, val is not None, order)


def _reduced(name: str, labels: Tensor, count: int | None, seed: int) -> Tensor:
    """Return the rows of so many images, or of all."""
    if count is None or count >= len(labels):
        return torch.arange(len(labels))
    classes = int(labels.max()) + 1
    if count < classes:
        raise ValueError(f"{name}: {count} images cannot hold {classes} classes; raise reduce.")
    return stratified_order(labels, seed)[:count]


def _divided(data: ImageData, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return the rows of the training and of the validation images."""
    generator = torch.Generator().manual_seed(seed)
    _check_enough(data, labels)
    train: list[Tensor] = []
    val: list[Tensor] = []
    for label in range(len(data.classes)):
        rows = _shuffled((labels == label).nonzero()[:, 0], generator)
        # The odd image goes to the smaller part, so that the parts differ by one image at most.
        middle = (len(rows) + (_count(train) <= _count(val))) // 2
        train.append(rows[:middle])
        val.append(rows[middle:])
    # In random order: the first images of a part must not be of one class.
    a, b = (_shuffled(torch.cat(rows), generator) for rows in (train, val))
    return a, b


def _check_enough(data: ImageData, labels: Tensor) -> None:
    counts = torch.bincount(labels, minlength=len(data.classes)).tolist()
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


def _check_fit(data: ImageData, val: LabeledImages) -> None:
    for what, expected, found in (
        ("classes", data.classes, val.classes),
        ("images (C, H, W)", data.train_images.shape[1:], val.images.shape[1:]),
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
    known = {content_hash([image]) for image in data.train_images}
    shared = sum(content_hash([image]) in known for image in val.images)
    if shared > FEW_SHARED * len(val.images) and rank() == 0:
        warnings.warn(
            f"{shared} of {len(val.images)} validation images are images of the data too. A "
            "network that learns them by heart looks right on them, so the search favors weak "
            "augmentation; give other images as val (--val).",
            RuntimeWarning,
            stacklevel=2,
        )


def split_hash(split: Split) -> str:
    """Return a hash of the images and labels, by which a checkpoint knows its data."""
    return content_hash(split[:4])[:16]
