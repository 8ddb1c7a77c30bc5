"""Designs: which ops a policy applies, how strongly and how often."""

import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from learned_augment.builders import from_layers, identity
from learned_augment.ops import OPS
from learned_augment.policy import Policy
from learned_augment.search.screening.factors import MEDIUM, Factor
from learned_augment.search_spaces import SPACES

__all__ = [
    "USUAL",
    "USUAL_BASE",
    "Design",
    "design_layers",
    "design_policy",
    "one_op_layer",
    "other_ops",
    "prior_widths",
    "random_designs",
    "uniform_design",
    "variables",
]

Design = tuple[tuple[int, float], ...]
"""Pairs (factor, probability), sorted by factor; a factor is a position in the list of factors, and
an op occurs at most once."""

UNIFORM = 0.125
"""About the probability of an op in RandAugment, 2 in 14."""

USUAL_BASE = ("PadCrop", "Flip")
"""Ops of the usual base augmentation, crop and flip, whose effects are often large."""

FEW = 3
"""Ops in a design, if it can have so many."""

WIDE = 20.0
"""How many times larger the effect of an op with a wide prior may be than those of others."""

USUAL = 0.5
"""The probability at which the variable of a factor is 1."""


def design_policy(factors: Sequence[Factor], design: Design) -> Policy:
    """Return the policy that applies each of a design's ops in turn."""
    return from_layers(design_layers(factors, design)) if design else identity()


def design_layers(
    factors: Sequence[Factor], design: Design
) -> list[list[tuple[str, float, float]]]:
    """Return a layer for each of a design's ops, in the form that `builders.from_layers` takes."""
    layers = []
    for place, probability in sorted(design):
        rest = [("Identity", 1 - probability, 0.0)] if probability < 1 else []
        layers.append([*factors[place].candidates(probability), *rest])
    return layers


def one_op_layer(
    factors: Sequence[Factor], probabilities: Sequence[float], probability: float
) -> list[tuple[str, float, float]]:
    """Return the layer that applies one of the factors, in the form of `builders.from_layers`.

    Args:
        factors: Among which it draws.
        probabilities: Of each factor, for an image that gets an op; their sum is 1.
        probability: That an image gets an op.
    """
    layer = [("Identity", 1 - probability, 0.0)] if probability < 1 else []
    for factor, share in zip(factors, probabilities, strict=True):
        layer += factor.candidates(probability * share) if share else []
    return layer


def random_designs(
    factors: Sequence[Factor],
    count: int,
    inclusion: float,
    generator: torch.Generator,
    base: Design = (),
) -> list[Design]:
    """Return balanced random designs, which apply each of their ops to half of the images.

    Each op is in equally many designs, at medium strength twice as often as at high strength. The
    designs have nearly equally many ops.

    Args:
        factors: All ops and strengths.
        count: Number of designs.
        inclusion: The fraction of the designs that an op is in. With fewer than `FEW / inclusion`
            ops it is larger, up to a half, so that a design has `FEW` ops.
        generator: The source of random numbers.
        base: A design that each contains; its ops are not drawn.
    """
    chosen: list[list[tuple[int, float]]] = [[] for _ in range(count)]
    ops = other_ops(factors, base)
    inclusion = max(inclusion, min(0.5, FEW / max(len(ops), 1)))
    for op in ops:
        places = [place for place, factor in enumerate(factors) if factor.op == op]
        places += [place for place in places if factors[place].magnitude == MEDIUM]
        first = int(torch.randint(len(places), (), generator=generator))
        rows: list[int] = torch.randperm(count, generator=generator).tolist()
        rows.sort(key=lambda row: len(chosen[row]))
        for number, row in enumerate(rows[: max(round(inclusion * count), 1)], first):
            chosen[row].append((places[number % len(places)], USUAL))
    return [tuple(sorted([*base, *design])) for design in chosen]


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
        units[place, len(factors) + ops.index(factor.op)] = 1.0
        if factor.op not in USUAL_BASE:
            units[place, -3] = OPS[factor.op].kind_name == "geometric"
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


def prior_widths(factors: Sequence[Factor], wide: Collection[str]) -> Tensor:
    """Return how large the coefficients of the variables may be, relative to each other, (V,).

    Args:
        factors: All ops and strengths.
        wide: Ops whose effects may be larger than those of others.
    """
    ops = [WIDE if op in wide else 1.0 for op in _ops(factors)]
    return torch.tensor([1.0] * len(factors) + ops + [1.0] * 4, dtype=torch.float64)


def other_ops(factors: Sequence[Factor], design: Design) -> list[str]:
    """Return the ops that a design does not have."""
    applied = {factors[place].op for place, _ in design}
    return [op for op in _ops(factors) if op not in applied]


def _ops(factors: Sequence[Factor]) -> list[str]:
    return list(dict.fromkeys(factor.op for factor in factors))
