import math
import statistics

import pytest
import torch

from learned_augment.evaluation.power import pairs_needed, smallest_difference
from learned_augment.evaluation.statistics import paired_difference


@pytest.mark.parametrize(("pairs", "expected"), [(5, 1.6622), (10, 0.9945), (20, 0.6606)])
def test_by_hand_from_printed_quantiles(pairs, expected):
    # t_0.975 and t_0.8 of 4, 9 and 19 degrees: 2.776 + 0.941, 2.262 + 0.883, 2.093 + 0.861.
    assert smallest_difference(1.0, pairs) == pytest.approx(expected, rel=1e-3)
    assert smallest_difference(3.0, pairs) == pytest.approx(3 * expected, rel=1e-3)


@pytest.mark.parametrize("pairs", [5, 6, 10])
def test_such_a_difference_is_shown_in_four_of_five_comparisons(pairs):
    true = smallest_difference(2.0, pairs)
    draws = torch.randn(4000, pairs, generator=torch.Generator().manual_seed(1)).double()
    shown = [paired_difference((true + 2 * row).tolist(), [0.0] * pairs).low > 0 for row in draws]
    assert statistics.fmean(shown) == pytest.approx(0.8, abs=0.025)


@pytest.mark.parametrize(("difference", "deviation"), [(1.0, 1.0), (0.3, 1.0), (0.1, 0.9), (5, 1)])
def test_the_pairs_needed_are_enough_and_one_less_is_not(difference, deviation):
    pairs = pairs_needed(difference, deviation)
    assert smallest_difference(deviation, pairs) <= difference
    assert pairs == 2 or smallest_difference(deviation, pairs - 1) > difference


def test_what_never_varies_needs_no_more_than_two():
    assert pairs_needed(1.0, 0.0) == 2


@pytest.mark.parametrize("given", [(1.0, 1), (-1.0, 5), (math.nan, 5), (math.inf, 5)])
def test_nonsense_is_refused(given):
    with pytest.raises(ValueError, match="2 or more pairs"):
        smallest_difference(*given)
    with pytest.raises(ValueError, match="difference above 0, got 0"):
        pairs_needed(0, 1)
