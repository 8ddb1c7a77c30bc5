"""Labelled images held in memory: a training part and a test part.

Images are (N, C, H, W) uint8 with levels 0 to 255, labels (N,) int64. Splits and subsets are
stratified and depend on nothing but their seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from learned_augment._text import leading

__all__ = ["ImageData", "split_images", "stratified_order"]


@dataclass(frozen=True, eq=False)
class ImageData:
    """Training and test images with their labels, an immutable value.

    Attributes:
        name: where the images come from.
        classes: class names; a label is a position in this list.
        train_images: uint8, (N, C, H, W).
        train_labels: int64, (N,).
        test_images: uint8, (M, C, H, W), of the same size.
        test_labels: int64, (M,).
        mirrors: whether a mirrored image keeps its class: true of photographs, false of digits.
        skipped: files left out because they could not be read.

    Raises:
        ValueError: if shapes, types or labels do not fit, or a class has no training image.
    """

    name: str
    classes: tuple[str, ...]
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    mirrors: bool = True
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
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
        present = set(self.train_labels.tolist())
        absent = [name for label, name in enumerate(self.classes) if label not in present]
        if absent:
            raise ValueError(f"{self.name}: no training image of {leading(absent)}.")

    def __repr__(self) -> str:
        channels, height, width = self.train_images.shape[1:]
        return (
            f"ImageData({self.name!r}, {len(self.classes)} classes, {len(self.train_labels)} "
            f"training and {len(self.test_labels)} test images of {channels} x {height} x {width})"
        )

    def subset(self, n: int, seed: int = 0) -> ImageData:
        """Return the same data with `n` of the training images, every class in proportion.

        Args:
            n: number of training images, from one per class up to all.
            seed: chooses the images.

        Raises:
            ValueError: if `n` is out of range.
        """
        if not len(self.classes) <= n <= len(self.train_labels):
            raise ValueError(
                f"{self.name}: a subset needs {len(self.classes)} (one per class) to "
                f"{len(self.train_labels)} (all) training images, got {n}."
            )
        chosen = stratified_order(self.train_labels, seed)[:n]
        return replace(
            self, train_images=self.train_images[chosen], train_labels=self.train_labels[chosen]
        )


def split_images(
    name: str,
    classes: tuple[str, ...],
    images: Tensor,
    labels: Tensor,
    test_share: float,
    seed: int,
    *,
    mirrors: bool = True,
    skipped: tuple[str, ...] = (),
) -> ImageData:
    """Split images (N, C, H, W) with labels (N,) into data with a stratified test part.

    Args:
        name: name of the data.
        classes: class names.
        images: uint8, (N, C, H, W).
        labels: int64, (N,).
        test_share: share of the images to test on, in (0, 0.5]; every class gets at least one.
        seed: chooses the split.
        mirrors: as in `ImageData`.
        skipped: as in `ImageData`.

    Raises:
        ValueError: if a class has fewer than two images.
    """
    counts = torch.bincount(labels, minlength=len(classes))
    small = [f"{classes[c]} ({counts[c]})" for c in range(len(classes)) if counts[c] < 2]
    if small:
        raise ValueError(
            f"{name}: a split needs 2 or more images of every class, got fewer of {leading(small)}."
        )
    order = stratified_order(labels, seed)
    count = max(len(classes), round(test_share * len(labels)))
    test, train = order[:count], order[count:]
    return ImageData(
        name, classes, images[train], labels[train], images[test], labels[test], mirrors, skipped
    )


def stratified_order(labels: Tensor, seed: int) -> Tensor:
    """Return a seeded order (N,) of `labels` (N,) whose every beginning is stratified.

    The first n places hold each class in proportion to its size, up to one image, and one image
    of each class before a second of any.
    """
    generator = torch.Generator().manual_seed(seed)
    place = torch.empty(len(labels), dtype=torch.float64)  # (N,) in [0, 1): rank inside the class
    for label in set(labels.tolist()):
        members = (labels == label).nonzero()[:, 0]
        ranks = torch.randperm(len(members), generator=generator)
        place[members] = ranks.double() / len(members)
    shuffle = torch.randperm(len(labels), generator=generator)  # so that ties favour no class
    return shuffle[place[shuffle].argsort(stable=True)]


def _check_part(
    name: str, part: str, images: Tensor, labels: Tensor, classes: tuple[str, ...]
) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(
            f"{name}: expected {part} images as uint8 (N, C, H, W), got {images.dtype} "
            f"{tuple(images.shape)}."
        )
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{name}: expected {part} labels as int64 ({len(images)},), got {labels.dtype} "
            f"{tuple(labels.shape)}."
        )
    if len(labels) == 0:
        raise ValueError(f"{name}: there are no {part} images.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= len(classes):
        raise ValueError(
            f"{name}: expected {part} labels from 0 to {len(classes) - 1}, got {low} to {high}."
        )
