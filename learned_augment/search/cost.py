"""The cost of a search: its phases, their passes through the network, memory and time."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from learned_augment._text import duration
from learned_augment.search.peak_memory import peak_bytes

__all__ = ["CostEstimate", "Phase", "measured_phase"]

# Forward passes that a gradient costs (a forward and a backward pass), or a forward-mode derivative
# (three products a layer).
_FORWARDS = 3
_TRIALS = 2


class Phase(NamedTuple):
    """Steps of a search that all cost the same.

    Attributes:
        name: What the steps do.
        steps: Number of steps.
        seconds: Time of one step.
        memory: The most bytes that tensors take at once beyond the images of the split; in several
            processes, of all of them.
        passes: Images that a step sends through the network, by purpose; empty if not counted.

    Examples:
        >>> phase = Phase("policy", 100, 0.5, 2**20, {"training": 64, "validation": 32})
        >>> phase.images, phase.steps * phase.seconds
        (96, 50.0)
    """

    name: str
    steps: int
    seconds: float
    memory: int
    passes: Mapping[str, int]

    @property
    def images(self) -> int:
        """Images that a step sends through the network for all purposes."""
        return sum(self.passes.values())

    def __str__(self) -> str:
        text = f"{self.name}: {self.steps:,} steps"
        if self.passes:
            purposes = ", ".join(
                f"{count:,} {purpose}" for purpose, count in self.passes.items() if count
            )
            text += (
                f" of {self.images:,} images through the network ({purposes}), "
                f"{_FORWARDS * self.images:,} forward passes' worth"
            )
        return f"{text}, about {self.seconds:.2g} s a step"


class CostEstimate(NamedTuple):
    """The cost of a whole search.

    Attributes:
        train_images: Number of training images.
        val_images: Number of validation images.
        classes: Number of classes.
        image_shape: (C, H, W).
        steps: Steps of the whole search.
        data_bytes: Memory of the images on the device.
        memory_bytes: The most that tensors take at once: the images, all copies of the weights,
            and what a step keeps for its backward passes. Kernels need working memory in addition:
            measured on CPUs, 0 to 28 % of the growth of the process.
        seconds: Time of the whole search.
        base: Name of the base augmentation, with its cutout.
        phases: Steps that cost the same, in order.
        skipped: Files left out because they could not be read.

    Examples:
        >>> from learned_augment.search import estimate
        >>> cost = estimate("digits", method="dada", reduce=60, epochs=2)
        >>> cost.train_images, cost.val_images, cost.image_shape, cost.steps
        (30, 30, (3, 32, 32), 2)
    """

    train_images: int
    val_images: int
    classes: int
    image_shape: tuple[int, ...]
    steps: int
    data_bytes: int
    memory_bytes: int
    seconds: float
    base: str
    phases: tuple[Phase, ...]
    skipped: tuple[str, ...]

    def __str__(self) -> str:
        shape = " x ".join(str(size) for size in self.image_shape)
        return (
            f"{self.train_images} training and {self.val_images} validation images of {shape}, "
            f"{self.classes} classes; base augmentation: {self.base}; "
            f"{self.steps} steps; about {self.memory_bytes / 2**20:.0f} MiB, "
            f"{self.data_bytes / 2**20:.0f} MiB of it images; about {duration(self.seconds)}"
            + "".join(f"\n{phase}" for phase in self.phases)
        )


def measured_phase(
    name: str, steps: int, step: Callable[[], Any], owner: object, data_bytes: int
) -> Phase:
    """Return the cost of steps that are all alike, from three or four trial steps.

    Args:
        name: What the steps do.
        steps: How many the search takes.
        step: Takes one of them.
        owner: Holds all tensors that exist between steps, the images included.
        data_bytes: Memory of the images.
    """
    step()  # creates what lasts from step to step
    memory = peak_bytes(step, owner)
    start = time.monotonic()
    trials = max(1, min(_TRIALS, steps - 2))
    for _ in range(trials):
        step()
    return Phase(name, steps, (time.monotonic() - start) / trials, memory - data_bytes, {})
