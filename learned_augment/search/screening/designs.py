"""Designs: which ops a policy applies, how strongly and how often; random ones, and the best one.

Shapes: F factors, O ops, N designs, V = F + O + 6 variables of the regression.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from learned_augment.builders import from_layers, identity
from learned_augment.policy import Policy
from learned_augment.search.screening.factors import Factor

__all__ = ["Design", "best_design", "design_policy", "random_designs", "variables"]

Design = tuple[tuple[int, float], ...]
"""Pairs (factor, probability), by factor; an op occurs once at most."""

USUAL = 0.5
"""The probability in random designs, at which a factor's variable is 1."""

_TOTALS = 3


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
    factors: Sequence[Factor], count: int, inclusion: float, generator: torch.Generator
) -> list[Design]:
    """Return balanced random designs: each op in as many of them, each strength nearly so.

    Args:
        factors: what there is.
        count: number of designs; the first is empty.
        inclusion: fraction of the others that an op is in.
        generator: to draw from.
    """
    chosen: list[list[tuple[int, float]]] = [[] for _ in range(count)]
    for op in _ops(factors):
        places = [place for place, factor in enumerate(factors) if factor.op == op]
        rows = torch.randperm(count - 1, generator=generator) + 1
        inside = rows[: max(round(inclusion * (count - 1)), 1)].tolist()
        for number, row in enumerate(inside):
            chosen[row].append((places[number % len(places)], USUAL))
    return [tuple(design) for design in chosen]


def variables(
    factors: Sequence[Factor], designs: Sequence[Design], full: Sequence[bool] | bool = True
) -> Tensor:
    """Return what the regression sees of designs, (N, V) float64.

    A factor's variable is 1 where it is applied to half of the images, and grows as the root of
    the probability. Then comes the sum of each op over its strengths, which have much in common.
    Then the sum over all ops, the same weighted by magnitude, and a tenth of the square of the
    sum: many ops together help less than their effects add up to. Last come these three again in
    a training in full, which bears more augmentation than a short one.

    Args:
        factors: what there is.
        designs: what was trained.
        full: whether in full, of each or of all.
    """
    ops = _ops(factors)
    count = len(factors) + len(ops)
    found = torch.zeros(len(designs), count + 2 * _TOTALS, dtype=torch.float64)
    for row, design in zip(found, designs, strict=True):
        for place, probability in design:
            factor, amount = factors[place], (probability / USUAL) ** 0.5
            row[place] = row[len(factors) + ops.index(factor.op)] = amount
            row[count] += amount
            row[count + 1] += amount * factor.magnitude
        row[count + 2] = row[count].square() / 10
    inside = torch.tensor([full] * len(designs) if isinstance(full, bool) else list(full))
    found[inside, count + _TOTALS :] = found[inside, count : count + _TOTALS]
    return found


def best_design(factors: Sequence[Factor], coefficients: Tensor, most: int | None = None) -> Design:
    """Return the design of the smallest predicted loss in full, found by changing one op at a time.

    Args:
        factors: what there is.
        coefficients: (V,) of the variables.
        most: ops it may have; None for any number.
    """
    best: Design = ()
    while True:
        changed = [best, *_neighbors(factors, best, most)]
        predicted = variables(factors, changed) @ coefficients
        low, place = predicted.min(0)
        if not low < predicted[0] - 1e-9:
            return best
        best = changed[int(place)]


def _neighbors(factors: Sequence[Factor], design: Design, most: int | None) -> list[Design]:
    """Return the designs that differ in one op: left out, put in, or otherwise applied."""
    found = []
    for op in _ops(factors):
        others = tuple(pair for pair in design if factors[pair[0]].op != op)
        found.append(others)
        if most is not None and len(others) >= most:
            continue
        found += [
            tuple(sorted([*others, (place, probability)]))
            for place, factor in enumerate(factors)
            if factor.op == op
            for probability in factor.probabilities
        ]
    return found


def _ops(factors: Sequence[Factor]) -> list[str]:
    return list(dict.fromkeys(factor.op for factor in factors))
