"""Paired differences of measurements, with the t interval over the pairs."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Difference", "paired_difference", "t_quantile"]


class Difference(NamedTuple):
    """A mean difference with its confidence interval, in the unit of the measurements.

    Attributes:
        mean: mean over the pairs.
        low: lower end of the interval.
        high: upper end of the interval.
        pairs: number of pairs.
    """

    mean: float
    low: float
    high: float
    pairs: int


def paired_difference(
    values: Sequence[float], reference: Sequence[float], *, level: float = 0.95, step: float = 0.0
) -> Difference:
    """Return the mean of `values - reference` with its t interval.

    Args:
        values: measurements, one per pair.
        reference: what each is compared with, in the same order.
        level: confidence level, in (0, 1).
        step: resolution of the measurements. Differences that agree by chance look certain; the
            deviation is taken to be no less than rounding to this step would cause.

    Raises:
        ValueError: if there are fewer than two pairs, or the lengths differ.

    Student, The probable error of a mean, Biometrika 1908.
    """
    if len(values) != len(reference) or len(values) < 2:
        raise ValueError(
            f"Expected two or more pairs, got {len(values)} values and {len(reference)} references."
        )
    differences = [value - other for value, other in zip(values, reference, strict=True)]
    mean = statistics.fmean(differences)
    # A rounded value varies by step^2 / 12, the difference of two by twice that.
    deviation = max(statistics.stdev(differences), step / math.sqrt(6))
    half = t_quantile(level, len(values) - 1) * deviation / math.sqrt(len(values))
    return Difference(mean, mean - half, mean + half, len(values))


def t_quantile(level: float, freedom: int) -> float:
    """Return t such that Student's t lies in [-t, t] with probability `level`.

    Args:
        level: probability, in (0, 1).
        freedom: degrees of freedom, 1 or more.

    Raises:
        ValueError: if `level` or `freedom` is out of range.
    """
    if not 0 < level < 1 or freedom < 1:
        raise ValueError(
            f"Expected a level in (0, 1) and 1 or more degrees of freedom, got {level}, {freedom}."
        )
    low, high = 0.0, math.pi / 2  # bisect on the angle atan(t / sqrt(freedom))
    for _ in range(60):
        middle = (low + high) / 2
        if _central_probability(middle, freedom) < level:
            low = middle
        else:
            high = middle
    return math.tan(low) * math.sqrt(freedom)


def _central_probability(angle: float, freedom: int) -> float:
    """Return P(|T| < tan(angle) sqrt(freedom)), exact for whole degrees of freedom.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    power = freedom % 2
    term = math.cos(angle) ** power
    total = 0.0
    while power <= freedom - 2:
        total += term
        term *= (power + 1) / (power + 2) * math.cos(angle) ** 2
        power += 2
    if freedom % 2:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total
