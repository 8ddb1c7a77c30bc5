"""Batches from DataLoader workers, which decode and augment PIL images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2.functional import pil_to_tensor

from benchmarks.papers.feeds import Batch, RandomSource, augmented
from benchmarks.papers.pictures import Pictures
from learned_augment.backends.dispatch import apply_image
from learned_augment.policy import Policy
from learned_augment.runtime.distributed import rank, shard, world_size
from learned_augment.runtime.signals import ignore_interrupts
from learned_augment.training.normalize import Levels

__all__ = ["Augment", "Center", "Prepare", "Whole", "WorkerFeed", "WorkerSettings"]

_TESTED_AT_ONCE = 256


class Prepare(Protocol):
    """Turns an image as it is stored into one as the network, or the device, takes it."""

    def __call__(self, image: Image.Image, generator: torch.Generator) -> Image.Image:
        """Return a new image; all that is random comes from the generator."""


@dataclass(frozen=True)
class Augment:
    """Applies policies in this order.

    Attributes:
        policies: what to apply.
        size: side in pixels that comes out; None keeps it.
        first: how many policies see the image as it is stored, before it is brought to `size`.
    """

    policies: tuple[Policy, ...]
    size: int | None = None
    first: int = 0

    def __call__(self, image: Image.Image, generator: torch.Generator) -> Image.Image:
        """Return the image under an own draw."""
        for place, policy in enumerate(self.policies):
            size = self.size if place >= self.first else None
            image = apply_image(image, policy.sample(1, generator), size=size)
        return image


@dataclass(frozen=True)
class Center:
    """Brings the shorter side to 8/7 of `size`, bicubically, and cuts out the center: 256, 224."""

    size: int

    def __call__(self, image: Image.Image, generator: torch.Generator) -> Image.Image:
        """Return the center; nothing is random."""
        scale = round(self.size * 8 / 7) / min(image.size)
        width, height = (max(self.size, round(side * scale)) for side in image.size)
        left, top = (width - self.size) // 2, (height - self.size) // 2
        resized = image.resize((width, height), Image.Resampling.BICUBIC)
        return resized.crop((left, top, left + self.size, top + self.size))


@dataclass(frozen=True)
class Whole:
    """Leaves the image as it is."""

    def __call__(self, image: Image.Image, generator: torch.Generator) -> Image.Image:
        """Return the image."""
        return image


class WorkerSettings(NamedTuple):
    """Settings of the workers that bring images to the network.

    Attributes:
        train: what a worker does to a training image.
        test: what a worker does to a test image.
        after: policies for what the workers return, applied on the device.
        levels: mean and deviation to normalize by.
        workers: processes that decode and augment; 0 for the training process itself.
    """

    train: Prepare
    test: Prepare
    after: tuple[Policy, ...]
    levels: Levels
    workers: int


class WorkerFeed:
    """Images through DataLoader workers.

    The seed of an image's augmentation depends on the training's seed, the step and the image's
    place in the step alone. Neither the number of workers nor a resumed training changes it.

    Args:
        train: training images.
        test: test images.
        classes: number of classes.
        settings: how they reach the network.
        device: where to train.
    """

    def __init__(
        self,
        train: Pictures,
        test: Pictures,
        classes: int,
        settings: WorkerSettings,
        device: torch.device,
    ) -> None:
        self.count, self.classes, self.levels = len(train.labels), classes, settings.levels
        self._train, self._test = train, test
        self._settings, self._device = settings, device

    def batches(
        self, rows: Tensor, copies: int, first: int, source: RandomSource
    ) -> Iterator[Batch]:
        """Yield augmented batches; see `Feed`."""
        keys = _Keys(rows, copies, first, source.seed)
        for images, labels in self._load(_Prepared(self._train, self._settings.train), keys):
            after = self._settings.after
            yield augmented(images, after, rows.shape[1], source.generator), labels

    def tests(self) -> Iterator[Batch]:
        """Yield this process's share of the test images."""
        rows = torch.arange(rank(), len(self._test.labels), world_size())
        keys = [[(row, 0) for row in part.tolist()] for part in rows.split(_TESTED_AT_ONCE)]
        yield from self._load(_Prepared(self._test, self._settings.test), keys)

    def _load(self, images: "_Prepared", keys: Any) -> Iterator[Batch]:
        pinned = self._device.type == "cuda"
        loader = DataLoader(
            images,
            batch_sampler=keys,
            num_workers=self._settings.workers,
            collate_fn=_collate,
            pin_memory=pinned,
            worker_init_fn=ignore_interrupts,
            # Of its own: a loader otherwise draws from the generator that networks draw from.
            generator=torch.Generator(),
        )
        for loaded in loader:
            if isinstance(loaded, str):
                raise ValueError(loaded)
            pixels, labels = (part.to(self._device, non_blocking=pinned) for part in loaded)
            yield pixels, labels


class _Keys:
    """For every batch, this process's (row, seed of its draw)."""

    def __init__(self, rows: Tensor, copies: int, first: int, seed: int) -> None:
        self._rows, self._copies, self._first, self._seed = rows, copies, first, seed

    def __len__(self) -> int:
        return len(self._rows) * self._copies

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        own = shard(self._rows.shape[1])
        for step, rows in enumerate(self._rows, self._first):
            generator = torch.Generator().manual_seed((self._seed << 32) + step)
            for _ in range(self._copies):
                seeds = torch.randint(2**62, (len(rows),), generator=generator)
                yield list(zip(rows[own].tolist(), seeds[own].tolist(), strict=True))


class _Prepared(Dataset[Any]):
    """Pictures as tensors; one that cannot be read is what is wrong with it, in words."""

    def __init__(self, pictures: Pictures, prepare: Prepare) -> None:
        self._pictures, self._prepare = pictures, prepare

    def __len__(self) -> int:
        return len(self._pictures.labels)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor] | str:
        row, seed = key
        try:
            image = self._pictures.image(row)
        except ValueError as error:
            return str(error)
        prepared = self._prepare(image, torch.Generator().manual_seed(seed))
        return pil_to_tensor(prepared), self._pictures.labels[row]


def _collate(items: list[tuple[Tensor, Tensor] | str]) -> Batch | str:
    broken = [item for item in items if isinstance(item, str)]
    if broken:
        return broken[0]
    images, labels = zip(*items, strict=True)
    return torch.stack(images), torch.stack(labels)
