"""Policies that the trials so far suggest: changes and mixtures of good ones, pools of good ops."""

from collections.abc import Sequence

import torch

from learned_augment.search.screening.designs import USUAL_BASE, Design, best_design, variables
from learned_augment.search.screening.entrants import Entrant, found_entrants
from learned_augment.search.screening.factors import MAGNITUDES
from learned_augment.search.screening.record import EXPERIMENTS, ScreeningRecord
from learned_augment.search.screening.regression import Regression

__all__ = ["FOUND", "helpful_ops", "refined", "semifinalists"]

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

POOLS = ((4, 1), (8, 2))
"""The pools that race: (ops in the pool, ops of it that are applied to an image)."""

STRONG = MAGNITUDES[-1]
"""The strength that no op of a pool has: on few images strong ops look better than they are."""

FOUND = len(MIXTURES) + len(POOLS)
"""Found policies in the semifinals, at most."""


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


def semifinalists(record: ScreeningRecord, base: Design) -> list[Entrant]:
    """Return found policies for the race.

    Some are mixtures of the best designs. The others draw few ops from a pool of those that help,
    after the base augmentation. They add few because a small copy of a training prefers more
    augmentation than the training does.
    """
    regression = record.regression()
    tried = [design for design in _tried(record, regression) if design]
    mixtures = dict.fromkeys(tuple(tried[: max(2, -(-len(tried) // n))]) for n in MIXTURES)
    pool = helpful_ops(record, regression)
    pools = dict.fromkeys(
        (tuple(pool[:width]), times) for width, times in POOLS if len(pool) > times
    )
    return found_entrants(record.factors, list(filter(None, mixtures)), base, list(pools))


def helpful_ops(record: ScreeningRecord, regression: Regression) -> list[tuple[int, ...]]:
    """Return the ops that help, the best first; each as those of its factors that help.

    Strong factors are left out, and so are crop and flip: the best base augmentation has the ones
    that help.
    """
    effects = (-regression.predict(record.alone())).tolist()
    pool: dict[str, list[int]] = {}
    for place, factor in enumerate(record.factors):
        if factor.op in USUAL_BASE or factor.magnitude >= STRONG:
            continue
        if effects[place] > 0:
            pool.setdefault(factor.op, []).append(place)
    best = sorted(pool.values(), key=lambda op: -max(effects[place] for place in op))
    return [tuple(op) for op in best]


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
    order = (expected + measured).argsort(stable=True).tolist()
    return list(dict.fromkeys(designs[place] for place in order))
