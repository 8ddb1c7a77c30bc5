"""Bayesian regression of log error on what policies do: effects with errors, and predictions."""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Regression", "fit_regression"]

_SPREADS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
_NOISES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
_GROUP_SPREAD = 10.0


@dataclass(frozen=True, eq=False)
class Regression:
    """The posterior of the coefficients, in float64.

    Shapes: N trials, V variables, G groups of trials with the same images.

    Attributes:
        mean: (V,), change of the log error by one unit of each variable.
        covariance: (V, V).
        noise: Standard deviation of a trial's log error about its prediction.
    """

    mean: Tensor
    covariance: Tensor
    noise: float

    def predict(self, variables: Tensor) -> Tensor:
        """Return the predicted log error relative to the empty policy's, (N,)."""
        return variables @ self.mean

    def spread(self, variables: Tensor) -> Tensor:
        """Return the standard deviation of the predictions, (N,)."""
        return ((variables @ self.covariance) * variables).sum(1).clamp_min(0).sqrt()

    def draw(self, generator: torch.Generator, boldness: float = 1.0) -> Tensor:
        """Return coefficients drawn from the posterior, (V,).

        Args:
            generator: The source of random numbers.
            boldness: Factor of the deviations from the mean.
        """
        values, vectors = torch.linalg.eigh(self.covariance)
        normal = torch.randn(len(values), generator=generator, dtype=torch.float64)
        drawn: Tensor = vectors @ (values.clamp_min(0).sqrt() * normal)
        return self.mean + boldness * drawn


def fit_regression(variables: Tensor, groups: Tensor, target: Tensor) -> Regression:
    """Fit the log errors of trials; the prior's width and the noise maximize the evidence.

    Args:
        variables: (N, V).
        groups: (N,), a number for each trial; trials with the same images have the same number.
        target: (N,), log errors.
    """
    count = int(groups.max()) + 1
    levels = torch.nn.functional.one_hot(groups, count).double()
    whole = torch.cat([variables, levels], 1)  # (N, V + G)
    center = target.mean()

    def evidence(pair: tuple[float, float]) -> float:
        spread, noise = pair
        kernel = (whole * _prior(variables, count, spread)) @ whole.T
        kernel = kernel + noise**2 * torch.eye(len(target), dtype=torch.float64)
        root = torch.linalg.cholesky(kernel)
        white = torch.linalg.solve_triangular(root, (target - center)[:, None], upper=False)
        return float(-0.5 * white.square().sum() - root.diagonal().log().sum())

    spread, noise = max(itertools.product(_SPREADS, _NOISES), key=evidence)
    precision = whole.T @ whole / noise**2 + torch.diag(1 / _prior(variables, count, spread))
    covariance = torch.linalg.inv(precision)
    mean = covariance @ (whole.T @ (target - center)) / noise**2
    wide = variables.shape[1]
    return Regression(mean[:wide], covariance[:wide, :wide], noise)


def _prior(variables: Tensor, groups: int, spread: float) -> Tensor:
    """Return the prior variances, (V + G,)."""
    widths = torch.full((variables.shape[1],), spread, dtype=torch.float64)
    return torch.cat([widths, torch.full((groups,), _GROUP_SPREAD, dtype=torch.float64)]).square()
