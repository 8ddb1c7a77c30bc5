import math

import pytest

from learned_augment.evaluation.statistics import paired_difference, t_quantile

# Two-sided 95 % and 99 % points of Student's t, as printed in tables.
TABLE = [
    (0.95, 1, 12.706), (0.95, 2, 4.303), (0.95, 3, 3.182), (0.95, 4, 2.776), (0.95, 9, 2.262),
    (0.95, 30, 2.042), (0.99, 4, 4.604), (0.99, 5, 4.032), (0.5, 1, 1.0), (0.95, 1000, 1.962),
]  # fmt: skip


@pytest.mark.parametrize(("level", "freedom", "expected"), TABLE)
def test_t_quantile_is_the_one_in_tables(level, freedom, expected):
    assert t_quantile(level, freedom) == pytest.approx(expected, abs=6e-4)


def test_t_quantile_of_two_degrees_of_freedom_has_a_closed_form():
    level = 0.9
    assert t_quantile(level, 2) == pytest.approx(level * math.sqrt(2 / (1 - level**2)), rel=1e-9)


@pytest.mark.parametrize(("level", "freedom"), [(0.0, 3), (1.0, 3), (0.95, 0)])
def test_t_quantile_refuses_what_has_none(level, freedom):
    with pytest.raises(ValueError, match="level in"):
        t_quantile(level, freedom)


def test_paired_difference_by_hand():
    # Differences 1, 2, 3: mean 2, deviation 1, half width 4.303 / sqrt(3).
    found = paired_difference([11, 22, 33], [10, 20, 30])
    assert found.mean == 2
    assert found.pairs == 3
    assert found.high - 2 == pytest.approx(2.484, abs=1e-3) == 2 - found.low


def test_pairing_removes_what_the_pairs_share():
    found = paired_difference([51.0, 91.1, 11.2], [50.0, 90.0, 10.0])
    assert found.low > 0.8
    assert found.high < 1.4


def test_differences_that_agree_by_rounding_still_have_an_interval():
    found = paired_difference([90.0, 91.0], [90.0, 91.0], step=0.1)
    assert found.low < 0 < found.high
    assert found.high == pytest.approx(12.706 * 0.1 / math.sqrt(6) / math.sqrt(2), rel=1e-4)


@pytest.mark.parametrize(("values", "reference"), [([1.0], [2.0]), ([1.0, 2.0], [1.0])])
def test_too_few_or_unequal_pairs_are_refused(values, reference):
    with pytest.raises(ValueError, match="two or more pairs"):
        paired_difference(values, reference)
