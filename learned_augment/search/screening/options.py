"""Options of a screening, and how many trials they make."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from learned_augment.search.options import Options

__all__ = ["ScreeningOptions"]


@dataclass(frozen=True)
class ScreeningOptions(Options):
    """Options of a screening; the defaults cost 18 to 20 trainings of the user's data.

    Attributes:
        designs: short trainings under random policies.
        refinements: short trainings under policies that are probably good, eight at a time.
        fraction: steps of a short training, as a fraction of those of the training it serves.
        inclusion: fraction of the random policies that an op is in.
        finals: rounds in full of the two finalists of the race, after two rounds of more.
        workers: trials at once, each in a process with one thread; 1 trains in this process. They
            do not change the result.

    Raises:
        ValueError: if a number is out of range.
    """

    minimum: ClassVar[Mapping[str, float]] = {
        "designs": 4,
        "refinements": 0,
        "finals": 1,
        "workers": 1,
    }

    designs: int = 24
    refinements: int = 8
    fraction: float = 0.125
    inclusion: float = 0.3
    finals: int = 1
    workers: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("fraction", "inclusion"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in (0, 1], got {getattr(self, name)}.")
