"""Designs: which ops a policy applies, how strongly and how often; random ones, and the best one.

Shapes: F factors, O ops, N designs, V = F + O + 4 variables of the regression.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from learned_augment.builders import Layer, from_layers, identity
from learned_augment.ops import OPS
from learned_augment.policy import Policy
from learned_augment.search.screening.factors import MEDIUM, Factor
from learned_augment.search_spaces import SPACES

__all__ = [
    "USUAL_BASE",
    "Design",
    "Pool",
    "best_design",
    "design_policy",
    "pool_layer",
    "random_designs",
    "uniform_design",
    "variables",
]

Design = tuple[tuple[int, float], ...]
"""Pairs (factor, probability), by factor; an op occurs once at most."""

Pool = tuple[tuple[int, ...], ...]
"""Ops to draw one from, each as its factors to draw one from."""

UNIFORM = 0.125
"""The probability of each op in RandAugment, two of fourteen, to the nearest that is tried."""

USUAL_BASE = ("PadCrop", "Flip")
"""Ops of the usual base augmentation, crop and flip."""

WIDE = 5.0
"""How many times larger the effects of the usual base augmentation's ops may be."""

USUAL = 0.5
"""The probability at which a factor's variable is 1."""


def design_policy(factors: Sequence[Factor], design: Design) -> Policy:
    """Return the policy that applies each of a design's ops in turn."""
    if not design:
        return identity()
    layers = []
    for place, probability in sorted(design):
        rest = [("Identity", 1 - probability, 0.0)] if probability < 1 else []
        layers.append([*factors[place].candidates(probability), *rest])
    return from_layers(layers)


def pool_layer(factors: Sequence[Factor], pool: Pool) -> Layer:
    """Return the layer that applies one op of a pool, all with the same probability."""
    return [
        candidate
        for op in pool
        for place in op
        for candidate in factors[place].candidates(1 / len(pool) / len(op))
    ]


def random_designs(
    factors: Sequence[Factor],
    count: int,
    inclusion: float,
    generator: torch.Generator,
    base: Design = (),
) -> list[Design]:
    """Return balanced random designs: each op in as many of them, each strength nearly so.

    Half of them apply a fraction of the ops to half of the images; the others twice as many ops to
    a quarter.

    Args:
        factors: what there is.
        count: number of designs.
        inclusion: fraction of the ops in a design of the first half.
        generator: to draw from.
        base: in every design, but for the ops that are drawn.
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
    """Return what the regression sees of designs, (N, V) float64.

    A factor's variable is 1 where it is applied to half of the images, and grows as the root of
    the probability. Then comes the sum of each op over its strengths, which have much in common.
    Last come sums over all ops but those of the usual base augmentation, whose effects are large
    and their own: over the geometric ops, over all, over all weighted by magnitude, and a tenth of
    the square of the sum: many ops together help less than their effects add up to.
    """
    ops = _ops(factors)
    found = torch.zeros(len(designs), len(factors) + len(ops) + 4, dtype=torch.float64)
    for row, design in zip(found, designs, strict=True):
        for place, probability in design:
            factor, amount = factors[place], (probability / USUAL) ** 0.5
            if factor.op in USUAL_BASE:
                row[place] = row[len(factors) + ops.index(factor.op)] = WIDE * amount
                continue
            row[place] = row[len(factors) + ops.index(factor.op)] = amount
            row[-4] += amount * _is_geometric(factor)
            row[-3] += amount
            row[-2] += amount * factor.magnitude
        row[-1] = row[-3].square() / 10
    return found


def _is_geometric(factor: Factor) -> bool:
    return OPS[factor.op].family == "geometric"


def uniform_design(factors: Sequence[Factor]) -> Design:
    """Return the design nearest to RandAugment: every op of its space, of medium strength."""
    return tuple(
        (place, UNIFORM)
        for place, factor in enumerate(factors)
        if factor.op in SPACES["randaugment"] and factor.magnitude == MEDIUM
    )


def best_design(
    factors: Sequence[Factor],
    coefficients: Tensor,
    starts: Sequence[Design] = ((),),
    steps: int | None = None,
) -> Design:
    """Return the design of the smallest predicted error, found by changing one op at a time.

    Args:
        factors: what there is.
        coefficients: (V,) of the variables.
        starts: designs to change.
        steps: changes of each at most; None for as many as lead to less.
    """
    given = coefficients.tolist()
    found = [_improved(factors, given, start, steps) for start in starts]
    return min(found, key=lambda pair: pair[0])[1]


def _improved(
    factors: Sequence[Factor],
    coefficients: Sequence[float],
    best: Design,
    steps: int | None,
) -> tuple[float, Design]:
    """Return the log error of a changed design, and the design."""
    least = _predicted(factors, coefficients, best)
    for _ in itertools.count() if steps is None else range(steps):
        errors = {
            design: _predicted(factors, coefficients, design)
            for design in _neighbors(factors, best)
        }
        design = min(errors, key=lambda one: errors[one])
        if not errors[design] < least - 1e-9:
            break
        best, least = design, errors[design]
    return least, best


def _predicted(factors: Sequence[Factor], coefficients: Sequence[float], design: Design) -> float:
    """Return ``variables(factors, [design]) @ coefficients``, fast enough to try thousands."""
    ops = _ops(factors)
    geometric, linear, by_magnitude, square = coefficients[-4:]
    error = total = 0.0
    for place, probability in design:
        factor, amount = factors[place], (probability / USUAL) ** 0.5
        own = coefficients[place] + coefficients[len(factors) + ops.index(factor.op)]
        if factor.op in USUAL_BASE:
            error += WIDE * amount * own
            continue
        error += amount * (own + linear + by_magnitude * factor.magnitude)
        error += amount * geometric * _is_geometric(factor)
        total += amount
    return error + square * total**2 / 10


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
