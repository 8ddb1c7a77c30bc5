"""What a search would take: sizes, memory and time, from trial steps that nobody keeps."""

import time
from typing import NamedTuple

from torch import Tensor

from learned_augment.runtime.rng import isolated
from learned_augment.search.peak_memory import most_bytes
from learned_augment.search.phases import Phase, Phased
from learned_augment.search.task import Task

__all__ = ["Estimate", "estimate"]

TRIALS = 2


class Estimate(NamedTuple):
    """What a search would take.

    Attributes:
        train_images: Images in the training half.
        val_images: Images in the validation half.
        classes: Number of classes.
        image_shape: (C, H, W).
        steps: Steps of the whole search.
        data_bytes: Of both halves on the device.
        memory_bytes: The most that tensors take at once: the halves, all copies of the weights,
            and what a step keeps for its backward passes. What kernels take to work in comes on
            top: measured on CPUs, 0 to 28 % of the growth of the process.
        seconds: Of the whole search.
        beside: The default augmentation in words.
        phases: Of a method whose steps do not all cost the same.
    """

    train_images: int
    val_images: int
    classes: int
    image_shape: tuple[int, ...]
    steps: int
    data_bytes: int
    memory_bytes: int
    seconds: float
    beside: str
    phases: tuple[Phase, ...] = ()

    def __str__(self) -> str:
        shape = " x ".join(str(size) for size in self.image_shape)
        return (
            f"{self.train_images} training and {self.val_images} validation images of {shape}, "
            f"{self.classes} classes; default augmentation: {self.beside}; {self.steps} steps; "
            f"about {self.memory_bytes / 2**20:.0f} MiB, {self.data_bytes / 2**20:.0f} MiB of it "
            f"images; about {self.seconds:.0f} s" + "".join(f"\n{phase}" for phase in self.phases)
        )


def estimate(task: Task) -> Estimate:
    """Take a few steps of a prepared search, and tell what all of them would take.

    The task has moved on afterwards: prepare another one to run the search.

    Args:
        task: As from `task.prepare`.
    """
    if isinstance(task.searcher, Phased):
        with isolated(int(task.config["seed"]), precise=True):
            phases = tuple(task.searcher.phases())
        seconds = sum(phase.steps * phase.seconds for phase in phases)
        return _estimate(task, _data_bytes(task) + task.searcher.memory, seconds, phases)
    searcher = task.searcher
    with isolated(int(task.config["seed"]), precise=True):
        searcher.step()  # makes what lasts from step to step
        memory = most_bytes(searcher.step, task.halves, searcher)
        trials = max(1, min(TRIALS, searcher.steps - searcher.done))
        start = time.monotonic()
        for _ in range(trials):
            searcher.step()
        seconds = (time.monotonic() - start) / trials * searcher.steps
    return _estimate(task, memory, seconds)


def _estimate(task: Task, memory: int, seconds: float, phases: tuple[Phase, ...] = ()) -> Estimate:
    halves = task.halves
    cutout = f", cutout of {task.preset.cutout:g} of the side" if task.preset.cutout else ""
    return Estimate(
        len(halves.train_labels),
        len(halves.val_labels),
        len(halves.classes),
        tuple(halves.train_images.shape[1:]),
        task.searcher.steps,
        _data_bytes(task),
        memory,
        seconds,
        task.preset.beside + cutout,
        phases,
    )


def _data_bytes(task: Task) -> int:
    return sum(part.nbytes for part in task.halves if isinstance(part, Tensor))
