"""Serve images through data loaders of every setting: are draws repeated, does memory grow?"""

import itertools
import multiprocessing
import os
import random
import statistics
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from learned_augment import LearnedAugment

__all__ = ["LoaderSettings", "Served", "load_rows", "loader_settings", "serve", "slope"]

MODES = (*3 * ("RGB", "L", "RGBA", "LA", "CMYK"), "P")  # a palette takes PIL ten times as long
BATCH = 64
EPOCHS = 2
CHECKED = 512
"""Images of the runs that say whether a seed repeats its pixels."""


class MixedImages(Dataset[tuple[int, int]]):
    """Images of mixed sizes and modes, augmented; an item is a checksum and the worker's memory.

    Every batch holds the same images, so that two batches are equal only if their draws are.

    Args:
        count: number of items.
        policy: what augments them.
    """

    def __init__(self, count: int, policy: str = "dada-imagenet") -> None:
        self._count, self._augment = count, LearnedAugment(policy)
        generator = random.Random(0)
        levels = np.random.default_rng(0)
        self._images = []
        for number in range(BATCH):
            size = generator.randint(16, 96), generator.randint(16, 96)
            rgb = Image.fromarray(levels.integers(0, 256, (*size, 3), dtype=np.uint8))
            self._images.append(rgb.convert(MODES[number % len(MODES)]))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[int, int]:
        out = self._augment(self._images[index % BATCH])
        return zlib.crc32(out.tobytes()), resident_kib() if index % BATCH == 0 else 0


class LoaderSettings(NamedTuple):
    """Settings of a data loader."""

    workers: int
    start: str
    persistent: bool
    threads: int


def loader_settings() -> Iterator[LoaderSettings]:
    """Yield every way to load that this machine has."""
    for threads in (1, 2):
        yield LoaderSettings(0, "none", False, threads)
    for start, workers, persistent in itertools.product(
        multiprocessing.get_all_start_methods(), (1, 2, 4), (False, True)
    ):
        yield LoaderSettings(workers, start, persistent, 2)


class Served(NamedTuple):
    """The pixels of each batch of each epoch, as checksums, and memory in the last epoch, in KiB.

    Memory is that of the worker that made the batch.
    """

    epochs: tuple[tuple[int, ...], ...]
    memory: tuple[int, ...]

    @property
    def repeated(self) -> int:
        """Number of batches whose pixels are those of an earlier one."""
        batches = list(itertools.chain(*self.epochs))
        return len(batches) - len(set(batches))


def serve(images: int, settings: LoaderSettings, seed: int, epochs: int = EPOCHS) -> Served:
    """Serve images in epochs of whole batches, as many in each.

    Threads of the calling process augment a batch before the workers start.
    """
    torch.set_num_threads(settings.threads)
    torch.manual_seed(seed)
    augment = LearnedAugment("dada-imagenet")
    augment(torch.zeros(32, 3, 64, 64, dtype=torch.uint8))
    augment(torch.zeros(32, 3, 64, 64))
    more: dict[str, Any] = {}
    if settings.workers:
        context = multiprocessing.get_context(settings.start)
        if settings.start == "forkserver":
            context.set_forkserver_preload([__name__])  # once, not in every worker
        more = {
            "multiprocessing_context": context,
            "persistent_workers": settings.persistent,
            "timeout": 300,  # a deadlock ends with an error
        }
    data = MixedImages(max(1, images // (epochs * BATCH)) * BATCH)
    loader = DataLoader(data, BATCH, num_workers=settings.workers, **more)
    batches, memory = [], list[int]()
    for _ in range(epochs):
        checksums, memory = [], []
        for pixels, kib in loader:
            checksums.append(zlib.crc32(pixels.numpy().tobytes()))
            memory.append(int(kib.max()))
        batches.append(tuple(checksums))
    return Served(tuple(batches), tuple(memory))


def resident_kib() -> int:
    """Return the memory of this process, 0 on a system that does not tell."""
    if not Path("/proc/self/statm").exists():
        return 0
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def slope(values: Sequence[float]) -> tuple[float, float]:
    """Return the least-squares slope over the last half, and its standard error."""
    half = values[len(values) // 2 :]
    places = range(len(half))
    line = statistics.linear_regression(places, half)
    left = [y - line.slope * x - line.intercept for x, y in zip(places, half, strict=True)]
    spread = sum((x - statistics.fmean(places)) ** 2 for x in places)
    variance = sum(rest * rest for rest in left) / max(1, len(half) - 2)
    return line.slope, (variance / spread) ** 0.5


def load_rows(images: int, settings: Iterable[LoaderSettings]) -> Iterator[dict[str, Any]]:
    """Yield a row for each way to load: are pixels repeated, do draws differ, does memory grow.

    Workers that start by another method give the same pixels, so that a seed is tried again, and
    another one, with the first method.

    Args:
        images: that each setting serves.
        settings: ways to load.
    """
    pixels: dict[tuple[int, bool], tuple[Served, bool, bool]] = {}
    for chosen in settings:
        start = time.monotonic()
        served = serve(images, chosen, 0)
        place = chosen.workers, chosen.persistent
        if place not in pixels:
            few = min(images // EPOCHS, CHECKED)
            again, other = (serve(few, chosen, seed, epochs=1) for seed in (0, 1))
            same = again.epochs[0] == served.epochs[0][: len(again.epochs[0])]
            pixels[place] = served, same, not {*other.epochs[0]} & {*served.epochs[0]}
        known, same, differ = pixels[place]
        per_batch, error = slope(served.memory)
        yield {
            "part": "load",
            **chosen._asdict(),
            "images": BATCH * sum(map(len, served.epochs)),
            "same_seed_same_pixels": same and served.epochs == known.epochs,
            "batches": sum(map(len, served.epochs)),
            "repeated_batches": served.repeated,
            "seeds_differ": differ,
            "memory_kib_per_1000_images": round(per_batch * 1000 / BATCH, 3),
            "memory_standard_error": round(error * 1000 / BATCH, 3),
            "memory_mib": round(max(served.memory) / 1024, 1),
            "seconds": round(time.monotonic() - start, 1),
        }
