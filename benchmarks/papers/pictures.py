"""Images one at a time as PIL images, from memory or from files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from learned_augment._text import leading
from learned_augment.datasets.folders import class_files, find_parts, read_rgb
from learned_augment.datasets.image_data import ImageData, stratified_order

__all__ = ["FileImages", "ImageFolders", "MemoryImages", "Pictures", "in_memory", "read_folders"]


class Pictures(Protocol):
    """Labelled images."""

    labels: Tensor
    """int64, (N,)."""

    def image(self, row: int) -> Image.Image:
        """Return an RGB image.

        Raises:
            ValueError: if it cannot be read.
        """


@dataclass(frozen=True, eq=False)
class MemoryImages:
    """Images (N, 3, H, W) uint8 in memory with labels (N,)."""

    images: Tensor
    labels: Tensor

    def image(self, row: int) -> Image.Image:
        """Return an RGB image."""
        return Image.fromarray(self.images[row].permute(1, 2, 0).numpy())


@dataclass(frozen=True, eq=False)
class FileImages:
    """Image files with labels (N,)."""

    paths: Sequence[Path]
    labels: Tensor

    def image(self, row: int) -> Image.Image:
        """Decode a file.

        Raises:
            ValueError: if it cannot be read.
        """
        try:
            return read_rgb(self.paths[row])
        except ValueError as error:
            raise ValueError(
                f"{error}; put a whole image of 8 bits per channel in its place."
            ) from None


@dataclass(frozen=True, eq=False)
class ImageFolders:
    """Training and test files of a data set that is too large for memory.

    Attributes:
        name: where the images come from.
        classes: class names; a label is a position in this list.
        train: what to train on.
        test: what to test on.
    """

    name: str
    classes: tuple[str, ...]
    train: FileImages
    test: FileImages

    def subset(self, n: int, seed: int = 0) -> ImageFolders:
        """Return the same data with `n` of the training images, every class in proportion.

        Raises:
            ValueError: if `n` is out of range.
        """
        labels = self.train.labels
        if not len(self.classes) <= n <= len(labels):
            raise ValueError(
                f"{self.name}: a subset needs {len(self.classes)} (one per class) to "
                f"{len(labels)} (all) training images, got {n}."
            )
        rows = stratified_order(labels, seed)[:n]
        paths = [self.train.paths[row] for row in rows.tolist()]
        return replace(self, train=FileImages(paths, labels[rows]))


def read_folders(path: Path) -> ImageFolders:
    """List the images of PATH/train and PATH/test (or PATH/val), one sub-folder per class.

    A test/ without sub-folders, as ImageNet's images without labels come, counts as missing.

    Raises:
        FileNotFoundError: if a part is missing, or a class has no image.
        ValueError: if the parts hold different classes, or there is only one.
    """
    parts = find_parts(path)
    tests = [parts[part] for part in ("test", "val") if part in parts]
    if not tests or "train" not in parts:
        raise FileNotFoundError(
            f"folder:{path}: expected train/ and test/ (or val/) in it, each with one sub-folder "
            "of images per class."
        )
    train, test = class_files(parts["train"]), class_files(tests[0])
    if list(train) != list(test) or len(train) < 2:
        alone = sorted(set(train) ^ set(test))
        raise ValueError(
            f"folder:{path}: expected the same two or more classes in train/ ({len(train)}) and "
            f"{tests[0].name}/ ({len(test)}); only in one of them: {leading(alone)}."
        )
    return ImageFolders(f"folder:{path}", tuple(train), _listed(train), _listed(test))


def _listed(files: dict[str, list[Path]]) -> FileImages:
    labels = [label for label, found in enumerate(files.values()) for _ in found]
    return FileImages([path for found in files.values() for path in found], torch.tensor(labels))


def in_memory(data: ImageData) -> tuple[MemoryImages, MemoryImages]:
    """Return training and test images of data in memory."""
    return (
        MemoryImages(data.train_images, data.train_labels),
        MemoryImages(data.test_images, data.test_labels),
    )
