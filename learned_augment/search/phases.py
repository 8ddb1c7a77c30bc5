"""What each phase of a search sends through the network: counted, not run."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

__all__ = ["Phase", "Phased"]

# A gradient is a forward and a backward pass, a forward-mode pass has three products a layer: both
# cost about three times a plain forward.
FORWARDS = 3


class Phase(NamedTuple):
    """Some steps of a search that all cost the same.

    Attributes:
        name: What they do.
        steps: How many.
        passes: Images a step sends through the network, by purpose.
        seconds: Of one step.
    """

    name: str
    steps: int
    passes: Mapping[str, int]
    seconds: float

    @property
    def images(self) -> int:
        """Images a step sends through the network, all purposes together."""
        return sum(self.passes.values())

    def __str__(self) -> str:
        purposes = ", ".join(f"{count:,} {what}" for what, count in self.passes.items() if count)
        return (
            f"{self.name}: {self.steps:,} steps of {self.images:,} images through the network "
            f"({purposes}), {FORWARDS * self.images:,} forward passes' worth, about "
            f"{self.seconds:.2g} s a step"
        )


@runtime_checkable
class Phased(Protocol):
    """A searcher whose steps do not all cost the same, so that trial steps would not tell."""

    def phases(self) -> list[Phase]:
        """Return all phases; those of a trained network may need a short measurement."""
        ...

    @property
    def memory(self) -> int:
        """Bytes that a step may take beside the data."""
        ...
