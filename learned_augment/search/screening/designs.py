"""Designs: which ops a policy applies, how strongly and how often."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from learned_augment.builders import from_layers, identity
from learned_augment.ops import OPS
from learned_augment.policy import Policy
from learned_augment.search.screening.factors import MEDIUM, Factor
from learned_augment.search_spaces import SPACES

__all__ = [
    "USUAL",
    "Design",
    "best_design",
    "design_policy",
    "random_designs",
    "uniform_design",
    "variables",
]

Design = tuple[tuple[int, float], ...]
"""Pairs (factor, probability), sorted by factor; a factor is a position in the list of factors, and
an op occurs at most once."""

UNIFORM = 0.125
"""Of the probabilities that are tried, the nearest to that of an op in RandAugment, 2 in 14."""

USUAL_BASE = ("PadCrop", "Flip")
"""Ops of the usual base augmentation, crop and flip."""

WIDE = 5.0
"""How many times larger the effects of crop and flip may be than those of other ops."""

USUAL = 0.5
"""The probability at which the variable of a factor is 1."""


def design_policy(factors: Sequence[Factor], design: Design) -> Policy:
    """Return the policy that applies each of a design's ops in turn."""
    if not design:
        return identity()
    layers = []
    for place, probability in sorted(design):
        rest = [("Identity", 1 - probability, 0.0)] if probability < 1 else []
        layers.append([*factors[place].candidates(probability), *rest])
    return from_layers(layers)


def random_designs(
    factors: Sequence[Factor],
    count: int,
    inclusion: float,
    generator: torch.Generator,
    base: Design = (),
) -> list[Design]:
    """Return balanced random designs.

    Each op is in equally many of them, and each strength of an op in nearly equally many. Every
    other design applies a fraction of the ops, each to half of the images. The designs between them
    apply twice as many ops, each to a quarter of the images.

    Args:
        factors: All ops and strengths.
        count: Number of designs.
        inclusion: The fraction of the ops that every other design applies.
        generator: The source of random numbers.
        base: A design that every other contains, except for ops that are drawn at another strength.
    """
    chosen: list[list[tuple[int, float]]] = [[] for _ in range(count)]
    kinds = ((inclusion, USUAL), (min(2 * inclusion, 1.0), USUAL / 2))
    for op in _ops(factors):
        places = [place for place, factor in enumerate(factors) if factor.op == op]
        number = int(torch.randint(len(places), (), generator=generator))
        for kind, (fraction, probability) in enumerate(kinds):
            rows = torch.arange(kind, count, len(kinds))
            order = torch.randperm(len(rows), generator=generator)
            for row in rows[order[: max(round(fraction * len(rows)), 1)]].tolist():
                chosen[row].append((places[number % len(places)], probability))
                number += 1
    for design in chosen:
        drawn = {factors[place].op for place, _ in design}
        design += [pair for pair in base if factors[pair[0]].op not in drawn]
    return [tuple(sorted(design)) for design in chosen]


def variables(factors: Sequence[Factor], designs: Sequence[Design]) -> Tensor:
    """Return the variables of the regression, (N, V) float64.

    Shapes: N designs, F factors, O ops, V = F + O + 4 variables.

    The first F variables are the amounts of the factors. An amount is 1 where a factor is applied
    to half of the images, and grows as the root of the probability. The next O are sums of these
    over the strengths of an op, which have much in common. The last four are sums over more ops,
    without crop and flip, whose effects are large and unlike those of others:

    * the sum over geometric ops;
    * the sum over all ops;
    * the sum over all ops, weighted by magnitude;
    * a tenth of the square of the sum over all ops, as many ops together help less than the sum of
      their effects.
    """
    amounts = torch.zeros(len(designs), len(factors), dtype=torch.float64)
    for row, design in zip(amounts, designs, strict=True):
        for place, probability in design:
            row[place] = _amount(probability)
    sums = amounts @ _units(factors)
    return torch.cat([sums, sums[:, -2:-1].square() / 10], 1)


def _amount(probability: float) -> float:
    return math.sqrt(probability / USUAL)


def _units(factors: Sequence[Factor]) -> Tensor:
    """Return the variables of each factor, but for the square, for an amount of 1, (F, V - 1)."""
    ops = _ops(factors)
    units = torch.zeros(len(factors), len(factors) + len(ops) + 3, dtype=torch.float64)
    for place, factor in enumerate(factors):
        units[place, place] = 1.0
        if factor.op in USUAL_BASE:
            units[place, len(factors) + ops.index(factor.op)] = WIDE
        else:
            units[place, len(factors) + ops.index(factor.op)] = 1.0
            units[place, -3] = OPS[factor.op].family == "geometric"
            units[place, -2] = 1.0
            units[place, -1] = factor.magnitude
    return units


def uniform_design(factors: Sequence[Factor]) -> Design:
    """Return the design nearest to RandAugment: every op of its space, of medium strength."""
    return tuple(
        (place, UNIFORM)
        for place, factor in enumerate(factors)
        if factor.op in SPACES["randaugment"] and factor.magnitude == MEDIUM
    )


def best_design(
    factors: Sequence[Factor], coefficients: Tensor, start: Design, changes: int
) -> Design:
    """Return the design of the smallest predicted error, found by changing one op at a time.

    Args:
        factors: All ops and strengths.
        coefficients: (V,) of the variables.
        start: The design that is changed.
        changes: Most changes of it; fewer are made if no other reduces the predicted error.
    """
    units, square = _units(factors), float(coefficients[-1])
    own: list[float] = (units @ coefficients[:-1]).tolist()
    counted: list[float] = units[:, -2].tolist()

    def predicted(design: Design) -> float:
        """Return ``variables(factors, [design]) @ coefficients``, fast enough to try thousands."""
        amounts = [(place, _amount(probability)) for place, probability in design]
        total = sum(amount * counted[place] for place, amount in amounts)
        return sum(amount * own[place] for place, amount in amounts) + square * total**2 / 10

    best, least = start, predicted(start)
    for _ in range(changes):
        errors = {design: predicted(design) for design in _neighbors(factors, best)}
        design = min(errors, key=lambda one: errors[one])
        if not errors[design] < least - 1e-9:
            break
        best, least = design, errors[design]
    return best


def _neighbors(factors: Sequence[Factor], design: Design) -> list[Design]:
    """Return the designs that differ in one op: left out, put in, or otherwise applied."""
    found = []
    for op in _ops(factors):
        others = tuple(pair for pair in design if factors[pair[0]].op != op)
        found.append(others)
        found += [
            tuple(sorted([*others, (place, probability)]))
            for place, factor in enumerate(factors)
            if factor.op == op
            for probability in factor.probabilities
        ]
    return found


def _ops(factors: Sequence[Factor]) -> list[str]:
    return list(dict.fromkeys(factor.op for factor in factors))
