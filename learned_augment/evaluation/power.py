"""What a paired comparison can see: the smallest difference that so many pairs likely show."""

import math

from learned_augment.evaluation.statistics import t_quantile

__all__ = ["pairs_needed", "smallest_difference"]

POWER, LEVEL = 0.8, 0.95


def smallest_difference(deviation: float, pairs: int) -> float:
    """Return the true mean difference that a 95 % t interval tells from zero in 80 % of tries.

    (t_0.975 + t_0.8) deviation / sqrt(pairs), which takes the noncentral t distribution for a
    shifted t: too small by 1 % for 5 pairs, 5 % for 3, 14 % for 2.

    Args:
        deviation: standard deviation of the differences within pairs, in any unit.
        pairs: number of pairs, 2 or more.

    Raises:
        ValueError: if `deviation` is negative or there are fewer than two pairs.
    """
    if pairs < 2 or not 0 <= deviation < math.inf:
        raise ValueError(
            f"Expected a deviation of 0 or more and 2 or more pairs, got {deviation}, {pairs}."
        )
    # One-sided at 80 %: as central as 60 %.
    quantiles = t_quantile(LEVEL, pairs - 1) + t_quantile(2 * POWER - 1, pairs - 1)
    return quantiles * deviation / math.sqrt(pairs)


def pairs_needed(difference: float, deviation: float) -> int:
    """Return the smallest number of pairs whose `smallest_difference` is `difference` or less.

    Args:
        difference: the true mean difference to show, above 0.
        deviation: standard deviation of the differences within pairs, in the same unit.

    Raises:
        ValueError: if `difference` is not above 0 or `deviation` is negative.
    """
    if not 0 < difference < math.inf:
        raise ValueError(f"Expected a difference above 0, got {difference}.")
    # The normal distribution's number is a lower bound; t needs a few more.
    pairs = max(2, math.floor((2.8 * deviation / difference) ** 2))
    while smallest_difference(deviation, pairs) > difference:
        pairs += 1
    return pairs
