"""Paired differences, their t intervals, and how many pairs show a difference."""

import math
import statistics
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

__all__ = [
    "Difference",
    "Outcome",
    "lucky_accuracy",
    "outcome",
    "paired_difference",
    "pairs_needed",
    "percent_fewer",
    "smallest_difference",
    "t_quantile",
]

LEVEL, POWER = 0.95, 0.8

Outcome: TypeAlias = Literal["helps", "hurts", "unclear"]


class Difference(NamedTuple):
    """A mean difference with its confidence interval, in the unit of the measurements.

    Attributes:
        mean: Mean over the pairs.
        low: Lower end of the interval.
        high: Upper end of the interval.
        pairs: Number of pairs.

    Examples:
        >>> found = paired_difference([91.0, 92.5, 93.0, 92.0], [90.0, 90.5, 92.0, 91.0])
        >>> found.mean, found.pairs
        (1.25, 4)
        >>> found.low > 0  # the whole interval is above 0: better
        True
    """

    mean: float
    low: float
    high: float
    pairs: int


def outcome(low: float, high: float) -> Outcome:
    """Return the side of 0 that holds an interval; "unclear" if the interval contains 0."""
    return "helps" if low > 0 else "hurts" if high < 0 else "unclear"


def paired_difference(
    values: Sequence[float],
    reference: Sequence[float],
    *,
    resolution: float = 0.0,
) -> Difference:
    """Return the mean of `values - reference` with its 95 % t interval.

    Args:
        values: Measurements, one per pair.
        reference: The measurements to compare with, in the same order.
        resolution: Smallest difference of two measurements. Rounded measurements can agree by luck
            and then look certain. So the deviation is at least that which the rounding causes.

    Raises:
        ValueError: If there are fewer than two pairs, or the lengths differ.

    Examples:
        >>> found = paired_difference([91.0, 92.5, 93.0], [90.0, 90.5, 92.0])
        >>> print(f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]")
        1.33 [-0.10, 2.77]

    Student, The probable error of a mean, Biometrika 1908.
    """
    if len(values) != len(reference) or len(values) < 2:
        raise ValueError(
            f"Expected two or more pairs, got {len(values)} values and {len(reference)} references."
        )
    differences = [value - other for value, other in zip(values, reference, strict=True)]
    mean = statistics.fmean(differences)
    # The variance of a rounded value is resolution^2 / 12, that of a difference twice as much.
    deviation = max(statistics.stdev(differences), resolution / math.sqrt(6))
    half = t_quantile(LEVEL, len(values) - 1) * deviation / math.sqrt(len(values))
    return Difference(mean, mean - half, mean + half, len(values))


def percent_fewer(logarithm: float) -> float:
    """Return by how many percent a quantity is smaller whose logarithm is smaller by so much.

    Examples:
        >>> round(percent_fewer(math.log(2)), 6)  # half as many
        50.0
        >>> round(percent_fewer(-math.log(2)), 6)  # twice as many
        -100.0
    """
    return 100 * (1 - math.exp(-logarithm))


def smallest_difference(deviation: float, pairs: int) -> float:
    """Return the true mean difference that a 95 % t interval tells from zero in 80 % of tries.

    It is (t_0.975 + t_0.8) deviation / sqrt(pairs). This takes the noncentral t distribution for a
    shifted t, and so is too small by 1 % for 5 pairs, 5 % for 3, 14 % for 2.

    Args:
        deviation: Standard deviation of the differences within pairs, in any unit.
        pairs: Number of pairs, 2 or more.

    Raises:
        ValueError: If `deviation` is negative or there are fewer than two pairs.
    """
    if pairs < 2 or not 0 <= deviation < math.inf:
        raise ValueError(
            f"Expected a deviation of 0 or more and 2 or more pairs, got {deviation}, {pairs}."
        )
    # t_0.8 is one-sided: the two-sided quantile of 60 %.
    quantiles = t_quantile(LEVEL, pairs - 1) + t_quantile(2 * POWER - 1, pairs - 1)
    return quantiles * deviation / math.sqrt(pairs)


def pairs_needed(difference: float, deviation: float) -> int:
    """Return the smallest number of pairs whose `smallest_difference` is `difference` or less.

    Args:
        difference: The true mean difference to show, above 0.
        deviation: Standard deviation of the differences within pairs, in the same unit.

    Raises:
        ValueError: If `difference` is not above 0 or `deviation` is negative.

    Examples:
        >>> pairs_needed(difference=1.0, deviation=0.9)
        9
    """
    if not 0 < difference < math.inf:
        raise ValueError(f"Expected a difference above 0, got {difference}.")
    low, high = 1, 2
    while smallest_difference(deviation, high) > difference:
        low, high = high, 2 * high
    while high - low > 1:  # `low` pairs are too few, `high` are enough
        middle = (low + high) // 2
        if smallest_difference(deviation, middle) > difference:
            low = middle
        else:
            high = middle
    return high


def t_quantile(level: float, freedom: int) -> float:
    """Return t such that Student's t lies in [-t, t] with probability `level`.

    The relative error is below 1e-9 for levels up to 0.999.

    Args:
        level: Probability, in (0, 1).
        freedom: Degrees of freedom, 1 or more.

    Raises:
        ValueError: If `level` or `freedom` is out of range.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 to 26.7.5.
    """
    if not 0 < level < 1 or freedom < 1:
        raise ValueError(
            f"Expected a level in (0, 1) and 1 or more degrees of freedom, got {level}, {freedom}."
        )
    if freedom > 200:
        return _normal_expansion(statistics.NormalDist().inv_cdf((1 + level) / 2), freedom)
    low, high = 0.0, math.pi / 2  # bisect on the angle atan(t / sqrt(freedom))
    for _ in range(60):
        middle = (low + high) / 2
        if _central_probability(middle, freedom) < level:
            low = middle
        else:
            high = middle
    return math.tan(low) * math.sqrt(freedom)


def _normal_expansion(z: float, freedom: int) -> float:
    """Return t by its expansion in 1 / `freedom` around the normal quantile z, A. and S. 26.7.5."""
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return math.fsum(term / freedom**power for power, term in enumerate(terms))


def _central_probability(angle: float, freedom: int) -> float:
    """Return P(|T| < tan(angle) sqrt(freedom)), exact, A. and S. 26.7.3 and 26.7.4."""
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


def lucky_accuracy(guess: float, images: float) -> float:
    """Return the accuracy that guesses reach with luck: two standard deviations above the mean.

    Args:
        guess: Accuracy of guessing on average, in [0, 1].
        images: Number of images.

    Examples:
        >>> round(lucky_accuracy(0.1, 900), 3)
        0.12
    """
    return guess + 2 * math.sqrt(guess * (1 - guess) / images)
