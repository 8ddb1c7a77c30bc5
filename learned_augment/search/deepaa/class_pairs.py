"""Pairs of a training image and validation images of its class, and their validation gradients."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from learned_augment._text import leading
from learned_augment.search.alignment import Tensors
from learned_augment.search.batches import NetworkInput
from learned_augment.search.deepaa.frozen_network import FrozenNetwork
from learned_augment.search.split import Split

__all__ = ["ClassPairs", "Pair"]


class Pair(NamedTuple):
    """A training image, its class, and validation images of the class.

    Attributes:
        label: Class.
        train_index: Index of the training image.
        val_indices: Indices of the validation images, (n,); None is all of the class.
    """

    label: int
    train_index: int
    val_indices: Tensor | None


class ClassPairs:
    """Draws pairs: a class, one training image of it, validation images of it.

    All pairs are drawn on the CPU, the same in all processes.

    Args:
        split: The data.
        usable: (n,) indices of the training images that may be drawn.
        val_batch: Validation images a pair; 0 is all of the class.
        normalize: Gray levels to network input.
        memory: Bytes that cached validation gradients of whole classes may take.
        generator: Source of the draws; CPU.

    Raises:
        ValueError: If no class has both training and validation images.
    """

    def __init__(
        self,
        split: Split,
        usable: Tensor,
        val_batch: int,
        normalize: NetworkInput,
        memory: int,
        generator: torch.Generator,
    ) -> None:
        self.split, self.val_batch, self.generator = split, val_batch, generator
        self.normalize, self.memory = normalize, memory
        train_labels, val_labels = split.train_labels.cpu(), split.val_labels.cpu()
        every = range(len(split.classes))
        self.train_by_class = [usable[train_labels[usable] == label] for label in every]
        self.val_by_class = [(val_labels == label).nonzero()[:, 0] for label in every]
        self.classes = [
            c for c in every if len(self.train_by_class[c]) and len(self.val_by_class[c])
        ]
        if not self.classes:
            raise ValueError(
                "No class has both an image to augment and a validation image; raise reduce, or "
                "lower pretrain_images."
            )
        self.cached: dict[int, Tensors] = {}
        _warn_of_left_out([name for c, name in enumerate(split.classes) if c not in self.classes])
        _warn_of_small(split.classes, self.val_by_class, val_batch)

    def draw(self, count: int) -> list[Pair]:
        """Return ``count`` pairs; classes are equally likely, as are the images of each."""
        return [self._draw_one() for _ in range(count)]

    def _draw_one(self) -> Pair:
        label = self.classes[self._below(len(self.classes))]
        train, val = self.train_by_class[label], self.val_by_class[label]
        index = int(train[self._below(len(train))])
        if self.val_batch == 0:
            return Pair(label, index, None)
        if len(val) >= self.val_batch:
            order = torch.randperm(len(val), generator=self.generator)[: self.val_batch]
        else:
            order = torch.randint(len(val), (self.val_batch,), generator=self.generator)
        return Pair(label, index, val[order])

    def _below(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self.generator))

    def pixels(self, pair: Pair) -> Tensor:
        """Return the pair's training image, (1, C, H, W) uint8."""
        return self.split.train_images[pair.train_index : pair.train_index + 1]

    @property
    def in_whole_classes(self) -> int:
        """Validation images whose gradients are taken class by class, once for the whole search."""
        if self.val_batch:
            return 0
        return sum(len(self.val_by_class[label]) for label in self.classes)

    def target(self, network: FrozenNetwork, pair: Pair) -> Tensors:
        """Return the validation gradient of a pair; for a whole class it is computed only once."""
        if pair.val_indices is not None:
            return self._gradient(network, pair.label, pair.val_indices)
        if pair.label not in self.cached:
            found = self._gradient(network, pair.label, self.val_by_class[pair.label])
            if (len(self.cached) + 1) * sum(t.nbytes for t in found.values()) > self.memory:
                return found
            self.cached[pair.label] = found
        return self.cached[pair.label]

    def _gradient(self, network: FrozenNetwork, label: int, indices: Tensor) -> Tensors:
        device = self.split.val_images.device
        images = self.normalize(self.split.val_images[indices.to(device)])
        return network.gradient(images, torch.full((len(indices),), label, device=device))


def _warn_of_left_out(names: Sequence[str]) -> None:
    if names:
        _warn(
            f"No image is left to augment, or none to validate with, of {leading(names)}: the "
            "other classes alone decide the policy. Raise reduce, or lower pretrain_images."
        )


def _warn_of_small(classes: Sequence[str], val: Sequence[Tensor], needed: int) -> None:
    small = [f"{n} ({len(v)})" for n, v in zip(classes, val, strict=True) if len(v) < needed]
    if small:
        _warn(
            f"Fewer than val_batch = {needed} validation images of {leading(small)}: they are "
            "drawn with replacement. Raise reduce, or lower val_batch."
        )


def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=3)
