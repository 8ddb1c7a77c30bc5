"""Policies that the trials so far suggest: changes of good ones, and mixtures of them."""

import statistics
from collections.abc import Sequence

import torch

from learned_augment.search.screening.designs import Design, best_design, variables
from learned_augment.search.screening.entrants import Entrant, found_entrants
from learned_augment.search.screening.record import EXPERIMENTS, ScreeningRecord
from learned_augment.search.screening.regression import Regression

__all__ = ["MIXTURES", "refined", "semifinalists"]

STARTS = 3
"""How many policies are changed, in turn: the base augmentation and the best designs."""

CHANGES = 2
"""Ops in which a changed design differs at most from the one that it starts from. Ops interact, so
what is known of a design holds only near it."""

BOLDNESS = 0.5
"""Factor of the deviations when effects are drawn for a refinement. With full deviations the best
of many uncertain ops is always one that was overestimated."""

MIXTURES = (3, 6)
"""The mixtures that race: of the best third of the designs, and of the best sixth; refinements are
designs, too. Which design is best is not known well. A mixture of good ones is often better than
each of them, since images vary more."""


def refined(
    record: ScreeningRecord, base: Design, count: int, generator: torch.Generator
) -> list[Design]:
    """Return changes of the best designs, each the best for effects drawn from the posterior.

    Args:
        record: Trials so far.
        base: The best base augmentation.
        count: Number of designs.
        generator: The source of random numbers.
    """
    regression = record.regression()
    starts = list(dict.fromkeys([base, *_tried(record, regression)]))[:STARTS]
    return [
        best_design(
            record.factors,
            regression.draw(generator, BOLDNESS),
            starts[number % len(starts)],
            CHANGES,
        )
        for number in range(count)
    ]


def semifinalists(record: ScreeningRecord) -> list[Entrant]:
    """Return found policies for the race: mixtures of the best designs.

    A design that does nothing is left out: no augmentation races as a known policy.
    """
    tried = [design for design in _tried(record, record.regression()) if design]
    mixtures = dict.fromkeys(tuple(tried[: max(2, -(-len(tried) // n))]) for n in MIXTURES)
    return found_entrants(record.factors, [designs for designs in mixtures if designs])


def _tried(record: ScreeningRecord, regression: Regression) -> Sequence[Design]:
    """Return the designs of the experiments, the best first.

    Their order is by errors halfway between measured and predicted ones.
    """
    tried = [
        (one.entrant.design, one.trial.split, measured.log_error)
        for one, measured in record.ended
        if one.phase in EXPERIMENTS and one.entrant.design is not None
    ]
    if not tried:
        return []
    designs, splits, errors = zip(*tried, strict=True)
    expected = regression.predict(variables(record.factors, designs))
    measured = torch.tensor(errors, dtype=torch.float64)
    for split in set(splits):
        inside = torch.tensor(splits) == split
        measured[inside] -= (measured - expected)[inside].mean()
    scores: dict[Design, list[float]] = {}
    for design, score in zip(designs, (expected + measured).tolist(), strict=True):
        scores.setdefault(design, []).append(score)
    return sorted(scores, key=lambda design: statistics.fmean(scores[design]))
