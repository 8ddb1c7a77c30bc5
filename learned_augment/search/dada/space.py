"""DADA's search space, pairs of distinct ops, and the parameters learned about every pair."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Protocol

import torch
from torch import Tensor

from learned_augment.ops import OPS, check_ops
from learned_augment.policy import Plan
from learned_augment.sampling import NOISE
from learned_augment.search_spaces import SPACES, Space, with_all_ops

__all__ = [
    "SLOTS",
    "Pairs",
    "Parameters",
    "RawParameters",
    "StrengthParameters",
    "choose_pairs",
    "new_parameters",
]

SLOTS = 2

_EDGE = 1e-6  # distance of a raw probability from 0 and 1, where its logit is infinite
_NEAR_END = 0.15


@dataclass(frozen=True)
class Pairs:
    """All unordered pairs of distinct ops, each in the order of the space.

    Shapes: S pairs, K = 2 slots, B images.

    Magnitudes m are in [0, 1] and become values through the range of the space. For a mirrored op
    m = 1/2 is the identity value, and |2 m - 1| is the strength.

    Attributes:
        space: The ops to search among, (O,), with the range of their values.
    """

    space: Space

    @property
    def ops(self) -> tuple[str, ...]:
        """Names of the ops, (O,)."""
        return tuple(self.space)

    @cached_property
    def index(self) -> Tensor:
        """Number of the op in each slot, (S, K) int64."""
        return torch.tensor(list(combinations(range(len(self.space)), SLOTS)))

    def __len__(self) -> int:
        return len(self.index)

    def _by_slot(self, numbers: Sequence[float]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float64)[self.index]

    @property
    def mirrored(self) -> Tensor:
        """Mask of the slots that take a random side of their identity value, (S, K) bool."""
        return self._by_slot([float(span.mirrored) for span in self.space.values()]) > 0

    def values(self, magnitude: Tensor) -> Tensor:
        """Return the values (S, K), in units, of magnitudes (S, K); differentiable."""
        low = self._by_slot([span.low for span in self.space.values()])
        high = self._by_slot([span.high for span in self.space.values()])
        return low + magnitude * (high - low)

    def plan(
        self,
        choice: Tensor,
        bits: Tensor,
        magnitude: Tensor,
        generator: torch.Generator | None,
    ) -> Plan:
        """Return the ops of each image as a plan; differentiable in ``magnitude``.

        Mirrored ops draw their side, and region ops their place, for each image.

        Args:
            choice: Which pair, (B,) int64.
            bits: Whether each of its ops is applied, (B, K) zeros and ones.
            magnitude: Magnitudes of all pairs, (S, K).
            generator: Source of sides and places; CPU.
        """
        shape = (len(choice), SLOTS)
        side = 1 - 2 * torch.randint(2, shape, generator=generator).double()
        side = torch.where(self.mirrored[choice], side, 1.0)
        noise = torch.rand(*shape, NOISE, generator=generator)
        applied = bits > 0
        value = torch.where(applied, side * self.values(magnitude)[choice], 0.0)
        op = torch.where(applied, self.index[choice] + 1, 0)
        return Plan(("Identity", *self.ops), op, value, noise)

    def sub_policies(
        self, chosen: Sequence[int], probability: Tensor, magnitude: Tensor
    ) -> list[list[tuple[str, float, float]]]:
        """Return the chosen pairs as (op, probability, value), for `from_sub_policies`."""
        values = self.values(magnitude.detach()).tolist()
        probabilities = probability.detach().tolist()
        index = self.index.tolist()
        return [
            [
                (name, probabilities[s][k], _in_domain(name, values[s][k]))
                for k, name in enumerate(self.ops[o] for o in index[s])
            ]
            for s in chosen
        ]

    def name(self, pair: int) -> str:
        """Return a pair as text: "Rotate + Color"."""
        return " + ".join(self.ops[o] for o in self.index[pair].tolist())


def choose_pairs(ops: Sequence[str] | None = None, exclude: Collection[str] = ()) -> Pairs:
    """Return the pairs of a search; those of DADA's fifteen ops by default.

    Args:
        ops: Names to search among, also of ops beyond the paper's fifteen.
        exclude: Names to leave out.

    Raises:
        ValueError: If a name is unknown, or fewer than two ops remain.
    """
    check_ops([*(ops or ()), *exclude])
    known = with_all_ops(SPACES["dada"])
    wanted = set(SPACES["dada"] if ops is None else ops)
    space = {name: span for name, span in known.items() if name in wanted - set(exclude)}
    if len(space) < SLOTS:
        raise ValueError(
            f"Expected at least two ops to pair, got {list(space)}; add to ops or exclude fewer."
        )
    return Pairs(space)


class Parameters(Protocol):
    """The parameters of a search, in the form that the optimizer changes or as they are used.

    Attributes:
        alpha: Logits of the choice among pairs, (S,).
    """

    alpha: Tensor

    def apply_logits(self) -> Tensor:
        """Return the logits of applying each op, (S, K)."""
        ...

    def magnitude(self) -> Tensor:
        """Return the magnitudes, (S, K) in [0, 1]."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Return the leaves that the optimizer changes, by name."""
        ...


class StrengthParameters:
    """The corrected form: no gradient vanishes at a bound, and none is zero at the start.

    Probabilities are logits. A mirrored op learns its strength a in (0, 1) and has
    m = (1 + a) / 2, because by symmetry m = 1/2 has no gradient; a starts at 1/2. Any other
    magnitude starts near the low end of its range in half of the op's pairs, and near the high end
    in the others. In the middle a blend does nothing. With both ends the choice among pairs is also
    a choice of direction.
    """

    def __init__(self, pairs: Pairs, generator: torch.Generator) -> None:
        self.mirrored = pairs.mirrored
        self.alpha = torch.zeros(len(pairs), dtype=torch.float64, requires_grad=True)
        self.logit = torch.zeros(pairs.index.shape, dtype=torch.float64, requires_grad=True)
        start = torch.where(self.mirrored, 0.5, _near_either_end(pairs, generator))
        self.strength = torch.logit(start).requires_grad_()

    def apply_logits(self) -> Tensor:
        """Return the logits of applying each op, (S, K)."""
        return self.logit

    def magnitude(self) -> Tensor:
        """Return the magnitudes, (S, K) in (0, 1)."""
        strength = torch.sigmoid(self.strength)
        return torch.where(self.mirrored, (1 + strength) / 2, strength)

    def tensors(self) -> dict[str, Tensor]:
        """Return the leaves by name."""
        return {"alpha": self.alpha, "logit": self.logit, "strength": self.strength}


class RawParameters:
    """The released form: probabilities and magnitudes are learned as such, and clamped when read.

    Outside [0, 1] the clamp stops the gradient, so a probability can stay at 0 or 1. All start at
    one half, where every mirrored op and every blend does nothing.
    """

    def __init__(self, pairs: Pairs) -> None:
        self.alpha = torch.full((len(pairs),), 1e-3, dtype=torch.float64, requires_grad=True)
        half = torch.full(pairs.index.shape, 0.5, dtype=torch.float64)
        self.beta = half.clone().requires_grad_()
        self.m = half.clone().requires_grad_()

    def apply_logits(self) -> Tensor:
        """Return the logits of applying each op, (S, K)."""
        return torch.logit(self.beta.clamp(_EDGE, 1 - _EDGE))

    def magnitude(self) -> Tensor:
        """Return the magnitudes, (S, K) in [0, 1]."""
        return self.m.clamp(0, 1)

    def tensors(self) -> dict[str, Tensor]:
        """Return the leaves by name."""
        return {"alpha": self.alpha, "beta": self.beta, "m": self.m}


def new_parameters(pairs: Pairs, mode: str, generator: torch.Generator) -> Parameters:
    """Return the parameters of ``mode``, "corrected" or "released", at their start."""
    return RawParameters(pairs) if mode == "released" else StrengthParameters(pairs, generator)


def _near_either_end(pairs: Pairs, generator: torch.Generator) -> Tensor:
    """Return magnitudes (S, K): a random half of each op's pairs near 0, the others near 1."""
    start = torch.empty(pairs.index.shape, dtype=torch.float64)
    for op in range(len(pairs.ops)):
        slots = pairs.index == op
        order = torch.randperm(int(slots.sum()), generator=generator)
        start[slots] = _NEAR_END + (1 - 2 * _NEAR_END) * (order % 2).double()
    return start


def _in_domain(name: str, value: float) -> float:
    """Return a value clamped to the range of its op, which rounding may have left."""
    return min(max(value, OPS[name].low), OPS[name].high)
