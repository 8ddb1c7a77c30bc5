"""Options of a screening: how many trials it makes."""

from dataclasses import dataclass
from typing import ClassVar

from learned_augment.search.options import Options

__all__ = ["MOST", "ScreeningOptions"]

MOST = 0.5
"""Largest fraction of the images that a trial trains on; the others validate it."""


@dataclass(frozen=True)
class ScreeningOptions(Options):
    """Options of a screening; the defaults cost about 20 trainings of the user's data.

    With fewer than about 160 images a trial trains twice, and the cost is up to about 60 trainings.

    Attributes:
        designs: Trials under random policies.
        fraction: Fraction of the images that a trial trains on, at most 0.5. With few images it is
            larger: at least 64 images train, but at most half.
        inclusion: Fraction of the random policies that an op is in. Each applies it to half of the
            images. With fewer than 3 / inclusion ops it is larger, up to a half.
        finals: Rounds after the first. The second one has the found policies, the best three that
            need no search, and the two best base augmentations. Later ones have three policies: the
            best of each kind, and the best of the others.
        split: "random", or "ordered": each trial trains on images of each class that follow one
            another in the data, and validates on the others. Images of one person or place, or
            frames of one video, are then kept together if they are in a row.
        workers: Trials at once, each in a process with one thread; 1 trains in this process. 0 is
            one a core on a CPU, 1 on a GPU and for a network that the script itself defines. They
            do not change the result.

    Raises:
        ValueError: If a number is out of range.

    Examples:
        >>> given = {"designs": 40, "fraction": 0.5}  # search(..., options=given)
        >>> options = ScreeningOptions.read(given)
        >>> options.designs, options.fraction, options.finals
        (40, 0.5, 3)
    """

    choices: ClassVar = {"split": ("random", "ordered")}
    minimum: ClassVar = {"designs": 4, "finals": 1, "workers": 0}
    without_effect: ClassVar = ("workers",)

    designs: int = 24
    fraction: float = 0.25
    inclusion: float = 0.25
    finals: int = 3
    split: str = "random"
    workers: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, most in {"fraction": MOST, "inclusion": 1}.items():
            if not 0 < getattr(self, name) <= most:
                raise ValueError(f"{name} must be in (0, {most}], got {getattr(self, name)}.")
