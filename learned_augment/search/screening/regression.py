"""Bayesian regression of log error on what policies do: effects with errors, and predictions."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Regression", "fit_regression"]

_NOISES = torch.logspace(-2.5, 0, 26, dtype=torch.float64)
_RATIOS = torch.logspace(-0.3, 2, 24, dtype=torch.float64)
"""Scales of the prior, relative to the noise: at least half of it. With few trials the evidence is
often largest where no op does anything; typical effects on images are of the size of the noise."""


@dataclass(frozen=True, eq=False)
class Regression:
    """The posterior of the coefficients, in float64.

    Shapes: N trials, V variables, G groups of trials with the same images.

    Attributes:
        mean: (V,), change of the log error by one unit of each variable.
        covariance: (V, V).
        noise: Standard deviation of a trial's log error about its prediction.
        evidence: Logarithm of the probability of the trials, up to a constant: the higher, the
            better does the prior suit them.
    """

    mean: Tensor
    covariance: Tensor
    noise: float
    evidence: float

    def predict(self, variables: Tensor) -> Tensor:
        """Return the predicted log error relative to the empty policy's, (N,)."""
        return variables @ self.mean

    def spread(self, variables: Tensor) -> Tensor:
        """Return the standard deviation of the predictions, (N,)."""
        return ((variables @ self.covariance) * variables).sum(1).clamp_min(0).sqrt()


def fit_regression(variables: Tensor, groups: Tensor, target: Tensor, widths: Tensor) -> Regression:
    """Fit the log errors of trials; the prior's scale and the noise maximize the evidence.

    Args:
        variables: (N, V).
        groups: (N,), a number for each trial; trials with the same images have the same number.
        target: (N,), log errors.
        widths: (V,), prior widths of the coefficients relative to each other.
    """
    whole = _centered(torch.cat([variables, target[:, None]], 1), groups)
    x, y = whole[:, :-1], whole[:, -1]
    values, vectors = torch.linalg.eigh((x * widths.square()) @ x.T)
    # Variances of the target along the eigenvectors, relative to the noise's, (ratios, 1, N).
    relative = 1 + _RATIOS[:, None, None].square() * values.clamp_min(0)
    variances = relative * _NOISES[:, None].square()
    evidence = -0.5 * ((vectors.T @ y).square() / variances + variances.log()).sum(-1)
    # The levels of the groups are free: as many directions tell nothing.
    evidence = evidence + groups.unique().numel() * _NOISES.log()
    best = int(evidence.argmax())
    noise = _NOISES[best % len(_NOISES)]
    scale = _RATIOS[best // len(_NOISES)] * noise
    precision = x.T @ x / noise**2 + torch.diag(1 / (scale * widths).square())
    covariance = torch.linalg.inv(precision)
    mean = covariance @ (x.T @ y) / noise**2
    return Regression(mean, covariance, float(noise), float(evidence.max()))


def _centered(rows: Tensor, groups: Tensor) -> Tensor:
    """Return rows without the mean of their group."""
    same = (groups[:, None] == groups).double()
    return rows - same @ rows / same.sum(1, keepdim=True)
