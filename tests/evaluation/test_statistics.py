import math
import statistics

import pytest
import torch

from learned_augment.evaluation.statistics import (
    paired_difference,
    pairs_needed,
    smallest_difference,
    t_quantile,
)

# Two-sided 95 % and 99 % points of Student's t, as printed in tables.
TABLE = [
    (0.95, 1, 12.706), (0.95, 2, 4.303), (0.95, 3, 3.182), (0.95, 4, 2.776), (0.95, 9, 2.262),
    (0.95, 30, 2.042), (0.99, 4, 4.604), (0.99, 5, 4.032), (0.5, 1, 1.0), (0.95, 1000, 1.962),
    (0.95, 120, 1.980), (0.99, 120, 2.617), (0.999, 500, 3.310), (0.8, 1000, 1.282),
]  # fmt: skip


@pytest.mark.parametrize(("level", "freedom", "expected"), TABLE)
def test_t_quantile_is_the_one_in_tables(level, freedom, expected):
    assert t_quantile(level, freedom) == pytest.approx(expected, abs=6e-4)


def test_t_quantile_of_two_degrees_of_freedom_has_a_closed_form():
    level = 0.9
    assert t_quantile(level, 2) == pytest.approx(level * math.sqrt(2 / (1 - level**2)), rel=1e-9)


@pytest.mark.parametrize("level", [0.05, 0.6, 0.95, 0.999])
def test_the_expansion_for_many_degrees_of_freedom_meets_the_exact_quantile(level):
    from learned_augment.evaluation import statistics as ours

    normal = statistics.NormalDist().inv_cdf((1 + level) / 2)
    assert ours._normal_expansion(normal, 200) == pytest.approx(t_quantile(level, 200), rel=1e-9)
    assert t_quantile(level, 10**12) == pytest.approx(normal, rel=1e-9)


@pytest.mark.parametrize(("level", "freedom"), [(0.0, 3), (1.0, 3), (0.95, 0)])
def test_t_quantile_refuses_levels_and_degrees_out_of_range(level, freedom):
    with pytest.raises(ValueError, match="level in"):
        t_quantile(level, freedom)


def test_paired_difference_by_hand():
    # Differences 1, 2, 3: mean 2, deviation 1, half width 4.303 / sqrt(3).
    found = paired_difference([11, 22, 33], [10, 20, 30])
    assert found.mean == 2
    assert found.pairs == 3
    assert found.high - 2 == pytest.approx(2.484, abs=1e-3) == 2 - found.low


def test_pairing_removes_the_shared_part():
    found = paired_difference([51.0, 91.1, 11.2], [50.0, 90.0, 10.0])
    assert found.low > 0.8
    assert found.high < 1.4


def test_differences_that_agree_by_rounding_still_have_an_interval():
    found = paired_difference([90.0, 91.0], [90.0, 91.0], resolution=0.1)
    assert found.low < 0 < found.high
    assert found.high == pytest.approx(12.706 * 0.1 / math.sqrt(6) / math.sqrt(2), rel=1e-4)


@pytest.mark.parametrize(("values", "reference"), [([1.0], [2.0]), ([1.0, 2.0], [1.0])])
def test_too_few_or_unequal_pairs_are_refused(values, reference):
    with pytest.raises(ValueError, match="two or more pairs"):
        paired_difference(values, reference)


@pytest.mark.parametrize(("pairs", "expected"), [(5, 1.6622), (10, 0.9945), (20, 0.6606)])
def test_smallest_difference_by_hand_from_printed_quantiles(pairs, expected):
    # t_0.975 and t_0.8 of 4, 9 and 19 degrees: 2.776 + 0.941, 2.262 + 0.883, 2.093 + 0.861.
    assert smallest_difference(1.0, pairs) == pytest.approx(expected, rel=1e-3)
    assert smallest_difference(3.0, pairs) == pytest.approx(3 * expected, rel=1e-3)


@pytest.mark.parametrize("pairs", [5, 6, 10])
def test_such_a_difference_is_shown_in_four_of_five_comparisons(pairs):
    true = smallest_difference(2.0, pairs)
    draws = torch.randn(4000, pairs, generator=torch.Generator().manual_seed(1)).double()
    shown = [paired_difference((true + 2 * row).tolist(), [0.0] * pairs).low > 0 for row in draws]
    assert statistics.fmean(shown) == pytest.approx(0.8, abs=0.025)


@pytest.mark.parametrize(
    ("difference", "deviation"),
    [(1.0, 1.0), (0.3, 1.0), (0.1, 0.9), (5, 1), (0.02, 1.0), (1e-9, 50.0)],
)
def test_the_pairs_needed_are_enough_and_one_less_is_not(difference, deviation):
    pairs = pairs_needed(difference, deviation)
    assert smallest_difference(deviation, pairs) <= difference
    assert pairs == 2 or smallest_difference(deviation, pairs - 1) > difference


def test_measurements_that_never_vary_need_no_more_than_two():
    assert pairs_needed(1.0, 0.0) == 2


@pytest.mark.parametrize("given", [(1.0, 1), (-1.0, 5), (math.nan, 5), (math.inf, 5)])
def test_nonsense_is_refused(given):
    with pytest.raises(ValueError, match="2 or more pairs"):
        smallest_difference(*given)
    with pytest.raises(ValueError, match="difference above 0, got 0"):
        pairs_needed(0, 1)


def test_a_very_large_number_of_pairs_is_found_without_counting_up_to_it():
    calls = []

    class Counted(float):
        def __rmul__(self, other):
            calls.append(other)
            return float(other) * float(self)

    assert pairs_needed(0.02, Counted(1.0)) == 19625
    assert len(calls) < 60
