"""Labeled images in memory, with stratified splits and subsets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from learned_augment._text import encodable, leading

__all__ = ["ImageData", "LabeledImages", "stratified_order", "train_test_split"]


class LabeledImages(NamedTuple):
    """Images with their labels, not split.

    Attributes:
        name: Where the images come from.
        classes: Class names; a label is a position in this list.
        images: uint8, (N, C, H, W).
        labels: int64, (N,).
        flip_keeps_class: Whether a mirrored image keeps its class.
        skipped: Files left out because they could not be read.
    """

    name: str
    classes: tuple[str, ...]
    images: Tensor
    labels: Tensor
    flip_keeps_class: bool = True
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ImageData:
    """Training and test images with their labels, an immutable value.

    Attributes:
        name: Where the images come from.
        classes: Class names; a label is a position in this list.
        train_images: uint8, (N, C, H, W).
        train_labels: int64, (N,).
        test_images: uint8, (M, C, H, W), of the same size.
        test_labels: int64, (M,).
        flip_keeps_class: Whether a mirrored image keeps its class: true of photographs, false of
            digits.
        skipped: Files left out because they could not be read.
        order: int64, (N,): places of the training images in their source, where images that show
            the same person or place are often near each other. It is no argument: images are in
            order, unless `subset` or `train_test_split` mixed them.

    Raises:
        ValueError: If shapes, types or labels do not fit, there are fewer than two classes, or a
            class has no training image.

    Examples:
        >>> images = torch.randint(256, (40, 3, 32, 32), dtype=torch.uint8)
        >>> labels = torch.arange(40) % 2
        >>> ImageData("pets", ("cat", "dog"), images[:30], labels[:30], images[30:], labels[30:])
        ImageData('pets', 2 classes, 30 training and 10 test images of 3 x 32 x 32)
    """

    name: str
    classes: tuple[str, ...]
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    flip_keeps_class: bool = True
    skipped: tuple[str, ...] = ()
    order: Tensor = field(init=False)

    def __post_init__(self) -> None:
        # Names of files may be no text, which a policy's file or a page could not hold.
        object.__setattr__(self, "name", encodable(self.name))
        object.__setattr__(self, "classes", tuple(map(encodable, self.classes)))
        object.__setattr__(self, "skipped", tuple(map(encodable, self.skipped)))
        if len(self.classes) < 2:
            raise ValueError(
                f"{self.name}: expected at least 2 classes, got {len(self.classes)}: "
                f"{', '.join(self.classes)}."
            )
        _check_part(self.name, "training", self.train_images, self.train_labels, self.classes)
        _check_part(self.name, "test", self.test_images, self.test_labels, self.classes)
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise ValueError(
                f"{self.name}: training images are {tuple(self.train_images.shape[1:])}, test "
                f"images {tuple(self.test_images.shape[1:])} (C, H, W). Give image_size= to resize."
            )
        _check_all_present(self.name, "training", self.train_labels, self.classes)
        self._in_order(torch.arange(len(self.train_labels), device="cpu"))

    def __repr__(self) -> str:
        channels, height, width = self.train_images.shape[1:]
        return (
            f"ImageData({self.name!r}, {len(self.classes)} classes, {len(self.train_labels)} "
            f"training and {len(self.test_labels)} test images of {channels} x {height} x {width})"
        )

    @classmethod
    def from_parts(cls, train: LabeledImages, test: LabeledImages) -> ImageData:
        """Return the data that a training part and a test part with the same classes make."""
        return cls(
            train.name,
            train.classes,
            train.images,
            train.labels,
            test.images,
            test.labels,
            train.flip_keeps_class,
            train.skipped + test.skipped,
        )

    def joined(self) -> LabeledImages:
        """Return training and test images together."""
        images = torch.cat([self.train_images, self.test_images])
        labels = torch.cat([self.train_labels, self.test_labels])
        return LabeledImages(
            self.name, self.classes, images, labels, self.flip_keeps_class, self.skipped
        )

    def subset(self, n: int, seed: int = 0) -> ImageData:
        """Return the same data with `n` of the training images, every class in proportion.

        Args:
            n: Number of training images, from one per class up to all.
            seed: Chooses the images.

        Raises:
            ValueError: If `n` is out of range.

        Examples:
            >>> from learned_augment.datasets.load import load_images
            >>> load_images("digits").subset(100)
            ImageData('digits', 10 classes, 100 training and 898 test images of 3 x 32 x 32)
        """
        if not len(self.classes) <= n <= len(self.train_labels):
            raise ValueError(
                f"{self.name}: a subset needs {len(self.classes)} (one per class) to "
                f"{len(self.train_labels)} (all) training images, got {n}."
            )
        chosen = stratified_order(self.train_labels, seed)[:n]
        images, labels = self.train_images[chosen], self.train_labels[chosen]
        mixed = replace(self, train_images=images, train_labels=labels)
        return mixed._in_order(self.order[chosen])

    def _in_order(self, order: Tensor) -> ImageData:
        """Set the places of the training images in their source."""
        object.__setattr__(self, "order", order)
        return self


def train_test_split(whole: LabeledImages, test_fraction: float, seed: int) -> ImageData:
    """Split images into a training part and a stratified test part.

    Args:
        whole: What to split.
        test_fraction: Fraction of the images to test on, in (0, 0.5]; every class gets at least
            one image.
        seed: Chooses the split.

    Raises:
        ValueError: If a class has fewer than two images.
    """
    name, classes, labels = whole.name, whole.classes, whole.labels
    _check_part(name, "", whole.images, labels, classes)
    _check_all_present(name, "", labels, classes)
    counts = torch.bincount(labels, minlength=len(classes)).tolist()
    few = [f"{c} ({n})" for c, n in zip(classes, counts, strict=True) if n < 2]
    if few:
        raise ValueError(
            f"{name}: a split into training and test images needs 2 or more images of every class, "
            f"got fewer of {leading(few)}. Add images, leave the class out, or give both parts: "
            "folders train/ and test/, or a pair (train, test) of data sets."
        )
    order = stratified_order(labels, seed)
    count = max(len(classes), round(test_fraction * len(labels)))
    test, train = (
        whole._replace(images=whole.images[rows], labels=labels[rows])
        for rows in (order[:count], order[count:])
    )
    return ImageData.from_parts(train, test._replace(skipped=()))._in_order(order[count:])


def stratified_order(labels: Tensor, seed: int) -> Tensor:
    """Return a random order (N,) of `labels` (N,) whose first n places are stratified, for every n.

    The first n places hold each class in proportion to its size, to within one image. No class has
    a second image there before every class has one.
    """
    generator = torch.Generator().manual_seed(seed)
    place = torch.empty(len(labels), dtype=torch.float64)  # (N,) in [0, 1): rank inside the class
    for label in set(labels.tolist()):
        members = (labels == label).nonzero()[:, 0]
        ranks = torch.randperm(len(members), generator=generator)
        place[members] = ranks.double() / len(members)
    shuffle = torch.randperm(len(labels), generator=generator)  # so that ties favor no class
    return shuffle[place[shuffle].argsort(stable=True)]


def _check_part(
    name: str, part: str, images: Tensor, labels: Tensor, classes: tuple[str, ...]
) -> None:
    part = f"{part} " if part else ""
    if images.dtype != torch.uint8 or images.ndim != 4 or 0 in images.shape[1:]:
        raise ValueError(
            f"{name}: expected {part}images as uint8 (N, C, H, W), got {images.dtype} "
            f"{tuple(images.shape)}."
        )
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{name}: expected {part}labels as int64 ({len(images)},), got {labels.dtype} "
            f"{tuple(labels.shape)}."
        )
    if len(labels) == 0:
        raise ValueError(f"{name}: there are no {part}images.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= len(classes):
        raise ValueError(
            f"{name}: expected {part}labels from 0 to {len(classes) - 1}, got {low} to {high}."
        )


def _check_all_present(name: str, part: str, labels: Tensor, classes: tuple[str, ...]) -> None:
    part = f"{part} " if part else ""
    present = set(labels.tolist())
    absent = [named for label, named in enumerate(classes) if label not in present]
    if absent:
        raise ValueError(
            f"{name}: no {part}image of {leading(absent)}. Give each class an image, and number "
            "classes from 0 without gaps."
        )
