"""Batches from images in memory, augmented on the training device."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from learned_augment.backends.dispatch import apply_batch
from learned_augment.datasets.image_data import ImageData
from learned_augment.evaluation.named_policies import NamedPolicy
from learned_augment.policy import Policy
from learned_augment.runtime.distributed import rank, shard, world_size
from learned_augment.training.normalize import Levels, level_statistics

__all__ = ["Batch", "Feed", "MemoryFeed", "RandomSource", "augmented"]

Batch = tuple[Tensor, Tensor]
"""Images (B, C, H, W) uint8 and labels (B,), on the device."""

_TESTED_AT_ONCE = 512


@dataclass(frozen=True)
class RandomSource:
    """Source of the random numbers of an epoch's augmentation.

    Attributes:
        generator: for what is drawn when a batch is made.
        seed: with the number of the step, for what is drawn ahead, in other processes.
    """

    generator: torch.Generator
    seed: int


class Feed(Protocol):
    """Training and test images, wherever they are."""

    count: int
    """Training images."""
    classes: int
    levels: Levels

    def batches(
        self, rows: Tensor, copies: int, first: int, source: RandomSource
    ) -> Iterator[Batch]:
        """Yield `copies` augmented batches of each step's images.

        With several processes a batch has this process's share of them.

        Args:
            rows: (S, B), which training images each step learns from.
            copies: batches a step.
            first: number of the first of these steps, within the whole training.
            source: of the augmentation's random numbers.
        """

    def tests(self) -> Iterator[Batch]:
        """Yield this process's share of the test images."""


class MemoryFeed:
    """Images in memory; they stay uint8 on the device, and every batch is augmented there.

    Args:
        data: the images.
        named_policy: augments the training images.
        device: where to train.
    """

    def __init__(self, data: ImageData, named_policy: NamedPolicy, device: torch.device) -> None:
        self.count, self.classes = len(data.train_labels), len(data.classes)
        self.levels = level_statistics(data.train_images)
        self._policies, self._device, self._data = named_policy.policies, device, data
        self._images, self._labels = data.train_images.to(device), data.train_labels.to(device)

    def batches(
        self, rows: Tensor, copies: int, first: int, source: RandomSource
    ) -> Iterator[Batch]:
        """Yield augmented batches; see `Feed`."""
        own = shard(rows.shape[1])
        for chosen in rows.to(self._device):
            mine = chosen[own]
            for _ in range(copies):
                images = self._images[mine]
                yield (
                    augmented(images, self._policies, len(chosen), source.generator),
                    self._labels[mine],
                )

    def tests(self) -> Iterator[Batch]:
        """Yield this process's share of the test images."""
        images, labels = self._data.test_images, self._data.test_labels
        for start in range(0, len(labels), _TESTED_AT_ONCE):
            part = slice(start + rank(), min(start + _TESTED_AT_ONCE, len(labels)), world_size())
            yield images[part].to(self._device), labels[part].to(self._device)


def augmented(
    images: Tensor, policies: tuple[Policy, ...], count: int, generator: torch.Generator
) -> Tensor:
    """Return this process's images augmented, with an own draw for each.

    Args:
        images: uint8, this process's share of a batch.
        policies: applied in this order.
        count: images in the whole batch, for all of which every process draws.
        generator: to draw from.
    """
    own = shard(count)
    for policy in policies:
        images = apply_batch(images, policy.sample(count, generator).rows(own))
    return images
