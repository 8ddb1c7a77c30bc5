"""Pairs of one training image and clean validation images of its class; and their gradients.

Shapes: P pairs of all processes. Everything is drawn on the CPU, for all processes alike.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from learned_augment._text import leading
from learned_augment.search.alignment import Tensors
from learned_augment.search.batches import Normalise
from learned_augment.search.deepaa.frozen import Frozen
from learned_augment.search.method import Halves

__all__ = ["ClassPairs", "Pair"]


class Pair(NamedTuple):
    """A training image, its class, and the validation images it is judged by.

    Attributes:
        label: Class.
        image: Which training image.
        judges: Which validation images, (n,); None is all of the class.
    """

    label: int
    image: int
    judges: Tensor | None


class ClassPairs:
    """Draws pairs: a class, one training image of it, validation images of it.

    Args:
        halves: The data.
        usable: (n,) which training images may be drawn.
        val_batch: Validation images a pair; 0 is all of the class.
        normalise: Grey levels to network input.
        memory: Bytes that validation gradients of whole classes may take when kept.
        generator: Of the draws; CPU.

    Raises:
        ValueError: If no class has both training and validation images.
    """

    def __init__(
        self,
        halves: Halves,
        usable: Tensor,
        val_batch: int,
        normalise: Normalise,
        memory: int,
        generator: torch.Generator,
    ) -> None:
        self.halves, self.val_batch, self.generator = halves, val_batch, generator
        self.normalise, self.memory = normalise, memory
        train_labels, val_labels = halves.train_labels.cpu(), halves.val_labels.cpu()
        every = range(len(halves.classes))
        self.images = [usable[train_labels[usable] == label] for label in every]
        self.judges = [(val_labels == label).nonzero()[:, 0] for label in every]
        self.classes = [c for c in every if len(self.images[c]) and len(self.judges[c])]
        if not self.classes:
            raise ValueError(
                "No class has an image to augment and one to judge it by; raise reduce, or lower "
                "pretrain_images."
            )
        self.kept: dict[int, Tensors] = {}
        _warn_of_left_out([name for c, name in enumerate(halves.classes) if c not in self.classes])
        _warn_of_small(halves.classes, self.judges, val_batch)

    def draw(self, count: int) -> list[Pair]:
        """Return ``count`` pairs; classes are equally likely, as are the images of each."""
        return [self._draw_one() for _ in range(count)]

    def _draw_one(self) -> Pair:
        label = self.classes[self._below(len(self.classes))]
        image = int(self.images[label][self._below(len(self.images[label]))])
        judges = self.judges[label]
        if self.val_batch == 0:
            return Pair(label, image, None)
        if len(judges) >= self.val_batch:
            order = torch.randperm(len(judges), generator=self.generator)[: self.val_batch]
        else:
            order = torch.randint(len(judges), (self.val_batch,), generator=self.generator)
        return Pair(label, image, judges[order])

    def _below(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self.generator))

    def pixels(self, pair: Pair) -> Tensor:
        """Return the pair's training image, (1, C, H, W) uint8."""
        return self.halves.train_images[pair.image : pair.image + 1]

    @property
    def in_whole_classes(self) -> int:
        """Validation images whose gradients are taken class by class, once for the whole search."""
        if self.val_batch:
            return 0
        return sum(len(self.judges[label]) for label in self.classes)

    def target(self, frozen: Frozen, pair: Pair) -> Tensors:
        """Return the validation gradient of a pair; that of a whole class is computed once."""
        if pair.judges is not None:
            return self._gradient(frozen, pair.label, pair.judges)
        if pair.label not in self.kept:
            found = self._gradient(frozen, pair.label, self.judges[pair.label])
            if (len(self.kept) + 1) * sum(t.nbytes for t in found.values()) > self.memory:
                return found
            self.kept[pair.label] = found
        return self.kept[pair.label]

    def _gradient(self, frozen: Frozen, label: int, judges: Tensor) -> Tensors:
        device = self.halves.val_images.device
        images = self.normalise(self.halves.val_images[judges.to(device)])
        return frozen.gradient(images, torch.full((len(judges),), label, device=device))


def _warn_of_left_out(names: Sequence[str]) -> None:
    if names:
        _warn(
            f"No image is left to augment, or to judge by, of {leading(names)}: the policy is "
            "learned from the other classes. Raise reduce, or lower pretrain_images."
        )


def _warn_of_small(classes: Sequence[str], judges: Sequence[Tensor], needed: int) -> None:
    small = [f"{n} ({len(j)})" for n, j in zip(classes, judges, strict=True) if len(j) < needed]
    if small:
        _warn(
            f"Fewer than val_batch = {needed} validation images of {leading(small)}: theirs are "
            "drawn with replacement. Raise reduce, or lower val_batch."
        )


def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=3)
