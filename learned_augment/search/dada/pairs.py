"""DADA's search space: pairs of distinct ops in table order, each slot at its own magnitude.

Shapes: S pairs, K = 2 slots, B images. Magnitudes m are in [0, 1] and become values through the
space's range; for a mirrored op m = 1/2 is the neutral value and |2 m - 1| the strength.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from learned_augment.ops import OPS
from learned_augment.plan import NOISE, Plan
from learned_augment.search_spaces import SPACES, Range

__all__ = ["Pairs", "choose_ops"]

SLOTS = 2

# Beyond the paper's fifteen, for whoever asks: ops that draw their own strength or side.
BEYOND = {
    "Flip": Range(1.0, 1.0),
    "PadCrop": Range(0.0, 0.25),
    "CutoutClipped": Range(0.0, 0.5),
    "ResizedCrop": Range(1.0, 0.08),
}
SPACE: Mapping[str, Range] = {**SPACES["dada"], **BEYOND}


def choose_ops(ops: Sequence[str] | None = None, exclude: Collection[str] = ()) -> tuple[str, ...]:
    """Return the ops of a search in the order of the space; DADA's fifteen by default.

    Args:
        ops: Names to search among, also beyond the paper's fifteen.
        exclude: Names to leave out.

    Raises:
        ValueError: If a name is unknown, or fewer than two ops remain.
    """
    wanted = set(SPACES["dada"] if ops is None else ops)
    unknown = sorted((wanted | set(exclude)) - set(SPACE))
    if unknown:
        raise ValueError(f"Unknown op {unknown[0]!r} for a search. Known: {', '.join(SPACE)}.")
    names = tuple(name for name in SPACE if name in wanted - set(exclude))
    if len(names) < SLOTS:
        raise ValueError(
            f"Expected at least two ops to pair, got {list(names)}; add to ops or exclude fewer."
        )
    return names


@dataclass(frozen=True)
class Pairs:
    """The candidates of a search and what their magnitudes mean.

    Attributes:
        ops: (O,) names.
        index: (S, K) int64, which op stands in each slot.
    """

    ops: tuple[str, ...]
    index: Tensor

    @classmethod
    def of(cls, ops: Sequence[str]) -> "Pairs":
        """Return all unordered pairs of distinct ops, each in the order of ``ops``."""
        return cls(tuple(ops), torch.tensor(list(combinations(range(len(ops)), SLOTS))))

    def __len__(self) -> int:
        return len(self.index)

    def _of_ops(self, figures: Sequence[float]) -> Tensor:
        return torch.tensor(figures, dtype=torch.float64)[self.index]

    @property
    def mirrored(self) -> Tensor:
        """Which slots take either side of their neutral value, (S, K) bool."""
        return self._of_ops([float(SPACE[name].mirrored) for name in self.ops]) > 0

    @property
    def has_magnitude(self) -> Tensor:
        """Which slots have something to learn about their magnitude, (S, K) bool."""
        return self._of_ops([SPACE[name].high - SPACE[name].low for name in self.ops]) != 0

    def values(self, magnitude: Tensor) -> Tensor:
        """Return the values (S, K), in units, of magnitudes (S, K); differentiable."""
        low = self._of_ops([SPACE[name].low for name in self.ops])
        high = self._of_ops([SPACE[name].high for name in self.ops])
        return low + magnitude * (high - low)

    def plan(
        self,
        choice: Tensor,
        bits: Tensor,
        magnitude: Tensor,
        generator: torch.Generator | None,
    ) -> Plan:
        """Return what happens to each image; differentiable in ``magnitude``.

        Mirrored ops draw their side, and region ops their place, for each image.

        Args:
            choice: Which pair, (B,) int64.
            bits: Whether each of its ops is applied, (B, K) zeros and ones.
            magnitude: Of all pairs, (S, K).
            generator: Of the sides and places; CPU.
        """
        shape = (len(choice), SLOTS)
        side = 1 - 2 * torch.randint(2, shape, generator=generator).double()
        side = torch.where(self.mirrored[choice], side, 1.0)
        noise = torch.rand(*shape, NOISE, generator=generator)
        applied = bits > 0
        value = torch.where(applied, side * self.values(magnitude)[choice], 0.0)
        op = torch.where(applied, self.index[choice] + 1, 0)
        return Plan(("Identity", *self.ops), op, value, noise)

    def triples(
        self, chosen: Sequence[int], probability: Tensor, magnitude: Tensor
    ) -> list[list[tuple[str, float, float]]]:
        """Return the chosen pairs as (op, probability, value), for `from_sub_policies`."""
        values = self.values(magnitude.detach()).tolist()
        chances = probability.detach().tolist()
        index = self.index.tolist()
        return [
            [
                (name, chances[s][k], _legal(name, values[s][k]))
                for k, name in enumerate(self.ops[o] for o in index[s])
            ]
            for s in chosen
        ]

    def names(self, chosen: int) -> str:
        """Return a pair as people read it."""
        return " + ".join(self.ops[o] for o in self.index[chosen].tolist())


def _legal(name: str, value: float) -> float:
    """Keep rounding from carrying a value over the end of its op's domain."""
    return min(max(value, OPS[name].low), OPS[name].high)
