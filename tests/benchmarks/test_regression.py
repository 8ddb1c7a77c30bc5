"""The regressions of the benchmark: policies as designs, and ranks of those not fitted."""

import pytest
import torch

from benchmarks.regression import as_design, rank_of_trainings
from benchmarks.truth.designs import baseline, design_policy
from benchmarks.truth.run import policies_and_seed
from learned_augment.search.screening.factors import choose_factors

IMAGES = torch.randint(256, (20, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()


@pytest.fixture
def factors():
    return choose_factors(None, (), IMAGES)


def by_name(factors, design):
    return {factors[place].op: probability for place, probability in design}


def test_a_policy_is_a_design_if_each_layer_has_one_op(factors):
    policies = design_policy((("PadCrop", 1), ("Rotate", 2)))
    assert by_name(factors, as_design(factors, policies)) == {"PadCrop": 0.5, "Rotate": 0.5}
    flipped = by_name(factors, as_design(factors, baseline("crop-flip", 16)))
    assert flipped == {"PadCrop": 1.0, "Flip": 0.5}
    assert as_design(factors, ()) == ()
    assert as_design(factors, baseline("trivialaugment", 16)) is None


def test_policies_that_were_not_fitted_are_ranked_by_what_their_ops_do(factors):
    numbers = [f"random-{number}" for number in range(48)]
    designs = {name: as_design(factors, policies_and_seed(name, 0, 16)[0]) for name in numbers}
    helps = {"PadCrop": -0.3, "Rotate": -0.2, "Invert": 0.8}
    true = {
        name: sum(helps.get(op, 0.0) for op in by_name(factors, design))
        for name, design in designs.items()
    }
    few, many = (rank_of_trainings(factors, designs, true, fitted) for fitted in (8, 36))
    assert many > 0.8
    assert many > few
