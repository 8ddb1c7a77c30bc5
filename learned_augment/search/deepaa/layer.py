"""The distribution of one layer over the candidates, learned with Adam from their rewards."""

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["LayerDistribution", "penalized"]

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-7


def penalized(rewards: Tensor, penalty: float, probability: float = 1.0) -> Tensor:
    """Return mean - penalty * deviation over P pairs for M candidates, (P, M) -> (M,).

    The deviation is that of these pairs, not an estimate for all pairs (ddof 0). No gradient is
    taken through it.

    Args:
        rewards: Rewards of every pair; NaN where a pair was not evaluated.
        penalty: How many deviations are subtracted from a reward.
        probability: Probability that a pair was evaluated: each counts 1 / probability times,
            which keeps the mean unbiased.
    """
    mean = rewards.nansum(0) / (len(rewards) * probability)
    deviation = (rewards - rewards.nanmean(0)).square().nanmean(0).sqrt()
    return mean - penalty * deviation.nan_to_num(nan=0.0)


class LayerDistribution:
    """The distribution of the layer under search, on the CPU in float64.

    Adam has Keras's form: epsilon is added to the uncorrected deviation, and so decides how fast
    small probabilities vanish.

    Args:
        count: Number of candidates N.
        identity: By how much the logit of candidate 0, Identity, exceeds the others at the start.
        rate: Learning rate of Adam.
    """

    def __init__(self, count: int, identity: float, rate: float) -> None:
        start = torch.zeros(count, dtype=torch.float64)
        start[0] = identity
        self.theta = start - start.mean()
        self.rate, self.updates = rate, 0
        self.mean, self.square = torch.zeros_like(start), torch.zeros_like(start)

    def probabilities(self) -> Tensor:
        """Return the distribution, (N,)."""
        return torch.softmax(self.theta, 0)

    def effective_candidates(self) -> float:
        """Return the perplexity of the distribution: N if uniform, 1 if all is on one candidate."""
        p = self.probabilities()
        return float(torch.exp(-torch.special.xlogy(p, p).sum()))

    def improve(self, rewards: Tensor, scale: float = 1.0) -> None:
        """Update the distribution once by Adam, up the expected reward for fixed rewards (N,).

        Args:
            rewards: Rewards of the candidates.
            scale: Factor of the gradient; matters only where that is near Adam's epsilon.
        """
        p = self.probabilities()
        grad = -scale * p * (rewards - (p * rewards).sum())
        self.updates += 1
        self.mean = _BETA1 * self.mean + (1 - _BETA1) * grad
        self.square = _BETA2 * self.square + (1 - _BETA2) * grad.square()
        t = self.updates
        rate = self.rate * math.sqrt(1 - _BETA2**t) / (1 - _BETA1**t)
        self.theta = self.theta - rate * self.mean / (self.square.sqrt() + _EPSILON)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `improve` changes."""
        names = ("theta", "mean", "square", "updates")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        for name, value in state.items():
            setattr(self, name, value)
