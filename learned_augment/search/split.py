"""The data of a search: a stratified reduced set, halved class by class, as uint8 on the device."""

import torch
from torch import Tensor

from learned_augment._io import content_hash
from learned_augment._text import leading
from learned_augment.datasets.image_data import ImageData
from learned_augment.search.method import Halves

__all__ = ["fingerprint", "make_halves"]


def make_halves(
    data: ImageData, val: ImageData | None, reduce: int | None, seed: int, device: torch.device
) -> Halves:
    """Reduce the training images, every class in proportion, and split each class in halves.

    Test images are never used.

    Args:
        data: Its training images are the training half, and the validation half without ``val``.
        val: If given, all of its images may serve as the validation half.
        reduce: Number of images in both halves together; None, or more than there are, for all.
        seed: Chooses the images.
        device: Where the halves are put.

    Raises:
        ValueError: If a class has too few images for two halves, or ``val`` does not fit ``data``.
    """
    if val is not None:
        _check_fit(data, val)
        half = None if reduce is None else reduce // 2
        train = _reduced(data, half, seed)
        judge = _reduced(_all(val), half, seed)
        parts = train.train_images, train.train_labels, judge.train_images, judge.train_labels
    else:
        parts = _halved(_reduced(data, reduce, seed), seed)
    a, a_labels, b, b_labels = (part.to(device) for part in parts)
    return Halves(a, a_labels, b, b_labels, data.classes)


def _reduced(data: ImageData, count: int | None, seed: int) -> ImageData:
    if count is None or count >= len(data.train_labels):
        return data
    if count < len(data.classes):
        raise ValueError(
            f"{data.name}: {count} images cannot hold {len(data.classes)} classes; raise reduce."
        )
    return data.subset(count, seed)


def _halved(data: ImageData, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    _check_enough(data)
    train: list[Tensor] = []
    judge: list[Tensor] = []
    for label in range(len(data.classes)):
        rows = (data.train_labels == label).nonzero()[:, 0]
        rows = _shuffled(rows, generator)
        # The odd image goes to either half in turn, so that halves differ by one image at most.
        middle = (len(rows) + (_count(train) <= _count(judge))) // 2
        train.append(rows[:middle])
        judge.append(rows[middle:])
    # In random order: whoever takes the first images must not get one class alone.
    a, b = (_shuffled(torch.cat(rows), generator) for rows in (train, judge))
    images, labels = data.train_images, data.train_labels
    return images[a], labels[a], images[b], labels[b]


def _check_enough(data: ImageData) -> None:
    counts = torch.bincount(data.train_labels, minlength=len(data.classes)).tolist()
    few = [f"{name} ({n})" for name, n in zip(data.classes, counts, strict=True) if n < 2]
    if few:
        raise ValueError(
            f"{data.name}: each half needs an image of every class, and of {sum(counts)} training "
            f"images too few are of {leading(few)}; raise reduce (--reduce), add images, or "
            "give the validation half as val (--val)."
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


def fingerprint(halves: Halves) -> str:
    """Return a hash of the images and labels, to tell whether a checkpoint is of these data."""
    return content_hash(halves[:4])[:16]
