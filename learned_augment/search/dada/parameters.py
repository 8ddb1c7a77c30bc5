"""What DADA learns, written as free numbers: logits and strengths, or raw as released.

Both classes show the same four things: ``alpha`` (S,), ``chance()`` (S, K) logits of applying,
``magnitude()`` (S, K) in [0, 1], and ``tensors()``, the leaves that the optimiser moves.
"""

import torch
from torch import Tensor

from learned_augment.search.dada.pairs import Pairs

__all__ = ["Parameters", "RawParameters", "StrengthParameters", "new_parameters"]

EDGE = 1e-6
NEAR_END = 0.15


class StrengthParameters:
    """The corrected form: nothing dies at a bound, and no magnitude starts where it has no slope.

    Probabilities are logits. A mirrored op learns its strength a in (0, 1) and has
    m = (1 + a) / 2, because by symmetry m = 1/2 has no gradient; a starts at 1/2. Any other
    magnitude starts near either end of its range, at each in half of the op's pairs: a blend does
    nothing at m = 1/2, and the choice among pairs is then a choice of direction, too.
    """

    def __init__(self, pairs: Pairs, generator: torch.Generator) -> None:
        self.mirrored = pairs.mirrored
        self.alpha = torch.zeros(len(pairs), dtype=torch.float64, requires_grad=True)
        self.logit = torch.zeros(pairs.index.shape, dtype=torch.float64, requires_grad=True)
        start = torch.where(self.mirrored, 0.5, _either_end(pairs, generator))
        self.strength = torch.logit(start).requires_grad_()

    def chance(self) -> Tensor:
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
    """As released: probability and magnitude are the learned numbers, clamped where they are read.

    Outside [0, 1] the clamp stops the gradient, so a probability can stay at 0 or 1. All start at
    one half, where every mirrored op and every blend does nothing.
    """

    def __init__(self, pairs: Pairs) -> None:
        self.alpha = torch.full((len(pairs),), 1e-3, dtype=torch.float64, requires_grad=True)
        half = torch.full(pairs.index.shape, 0.5, dtype=torch.float64)
        self.beta = half.clone().requires_grad_()
        self.m = half.clone().requires_grad_()

    def chance(self) -> Tensor:
        """Return the logits of applying each op, (S, K)."""
        return torch.logit(self.beta.clamp(EDGE, 1 - EDGE))

    def magnitude(self) -> Tensor:
        """Return the magnitudes, (S, K) in [0, 1]."""
        return self.m.clamp(0, 1)

    def tensors(self) -> dict[str, Tensor]:
        """Return the leaves by name."""
        return {"alpha": self.alpha, "beta": self.beta, "m": self.m}


Parameters = StrengthParameters | RawParameters


def new_parameters(pairs: Pairs, mode: str, generator: torch.Generator) -> Parameters:
    """Return the parameters of ``mode``, "corrected" or "released", at their start."""
    return RawParameters(pairs) if mode == "released" else StrengthParameters(pairs, generator)


def _either_end(pairs: Pairs, generator: torch.Generator) -> Tensor:
    """Return magnitudes (S, K): for each op half of its pairs near either end, at random."""
    start = torch.empty(pairs.index.shape, dtype=torch.float64)
    for op in range(len(pairs.ops)):
        slots = pairs.index == op
        order = torch.randperm(int(slots.sum()), generator=generator)
        start[slots] = NEAR_END + (1 - 2 * NEAR_END) * (order % 2).double()
    return start
