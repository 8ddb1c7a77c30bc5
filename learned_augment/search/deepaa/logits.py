"""The logits of one layer under Adam: a distribution over N candidates that starts at Identity.

Keras's form of Adam, whose epsilon stands beside the uncorrected deviation: it decides how fast the
tail dies. Everything is on the CPU in float64.
"""

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["Logits", "penalised"]

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-7


def penalised(rewards: Tensor, penalty: float, chance: float = 1.0) -> Tensor:
    """Return mean - penalty * deviation over pairs, (P, M) -> (M,).

    The deviation is that of the pairs at hand, not an estimate for all (ddof 0). Nothing is
    differentiated through it.

    Args:
        rewards: Of every pair; NaN where a pair was not evaluated.
        penalty: How many deviations a reward loses.
        chance: With which a pair was evaluated: each stands for 1 / chance, which keeps the mean
            unbiased.
    """
    mean = rewards.nansum(0) / (len(rewards) * chance)
    deviation = (rewards - rewards.nanmean(0)).square().nanmean(0).sqrt()
    return mean - penalty * deviation.nan_to_num(nan=0.0)


class Logits:
    """A layer under search.

    Args:
        count: Number of candidates N.
        identity: By how much the logit of candidate 0 exceeds the others at the start.
        rate: Adam's.
    """

    def __init__(self, count: int, identity: float, rate: float) -> None:
        start = torch.zeros(count, dtype=torch.float64)
        start[0] = identity
        self.theta = start - start.mean()
        self.rate, self.updates = rate, 0
        self.mean, self.square = torch.zeros_like(start), torch.zeros_like(start)

    def chances(self) -> Tensor:
        """Return the distribution, (N,)."""
        return torch.softmax(self.theta, 0)

    def in_play(self) -> float:
        """Return the perplexity of the distribution: how many candidates it spreads over."""
        chances = self.chances()
        return float(torch.exp(-torch.special.xlogy(chances, chances).sum()))

    def improve(self, rewards: Tensor, scale: float = 1.0) -> None:
        """Take one step of Adam up the expected reward, the rewards (N,) held fixed.

        Args:
            rewards: Of the candidates.
            scale: On the gradient; matters where that is near Adam's epsilon only.
        """
        p = self.chances()
        slope = -scale * p * (rewards - (p * rewards).sum())
        self.updates += 1
        self.mean = BETA1 * self.mean + (1 - BETA1) * slope
        self.square = BETA2 * self.square + (1 - BETA2) * slope.square()
        t = self.updates
        rate = self.rate * math.sqrt(1 - BETA2**t) / (1 - BETA1**t)
        self.theta = self.theta - rate * self.mean / (self.square.sqrt() + EPSILON)

    def state_dict(self) -> dict[str, Any]:
        """Return all that `improve` changes."""
        names = ("theta", "mean", "square", "updates")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        for name, value in state.items():
            setattr(self, name, value)
