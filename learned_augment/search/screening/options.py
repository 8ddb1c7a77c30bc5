"""Options of a screening, and how many trials they make."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["ScreeningOptions", "read_options"]


@dataclass(frozen=True)
class ScreeningOptions:
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

    designs: int = 24
    refinements: int = 8
    fraction: float = 0.125
    inclusion: float = 0.3
    finals: int = 1
    workers: int = 1

    def __post_init__(self) -> None:
        lowest = {"designs": 4, "refinements": 0, "finals": 1, "workers": 1}
        for name, low in lowest.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be {low} or more, got {getattr(self, name)}.")
        for name in ("fraction", "inclusion"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in (0, 1], got {getattr(self, name)}.")


def read_options(given: Mapping[str, Any]) -> ScreeningOptions:
    """Return the options that ``given`` names; texts become numbers.

    Raises:
        ValueError: if there is no such option, or its value is wrong.
    """
    kinds: dict[str, type] = {f.name: type(f.default) for f in fields(ScreeningOptions)}
    unknown = sorted(set(given) - set(kinds))
    if unknown:
        raise ValueError(f"Screening has no option {unknown[0]!r}. Options: {', '.join(kinds)}.")
    values = {}
    for name, value in given.items():
        try:
            values[name] = kinds[name](value)
        except (TypeError, ValueError):
            raise ValueError(f"Expected {name} as {kinds[name].__name__}, got {value!r}.") from None
    return ScreeningOptions(**values)
