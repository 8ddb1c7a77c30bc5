"""The policy that the trials suggest: a base augmentation, then an op that is probably good."""

import torch
from torch import Tensor

from learned_augment.builders import from_layers
from learned_augment.search.screening.designs import design_layers, other_ops
from learned_augment.search.screening.entrants import Entrant
from learned_augment.search.screening.record import ScreeningRecord

__all__ = ["factor_weights", "found_entrant"]

PROBABILITY = 0.5
"""The probability that the op changes an image. On most data that were tried, an op for every image
was worse."""

BEST = 3
"""An op at a strength is good where it is among so many best ones."""

DRAWS = 4000
"""How many times the effects are drawn."""

RARE = 0.01
"""Weight, as a part of all, below which a factor is left out."""


def factor_weights(record: ScreeningRecord, base: Entrant, generator: torch.Generator) -> Tensor:
    """Return how often the found policy draws each factor, (F,), with the sum 1.

    The effects are drawn from the posterior of the regression, many times. A factor is drawn as
    often as it is among the `BEST` and helps. So what is surely good has a large weight, and where
    little is known many factors share the weight: images then vary more, which is good in itself.

    Args:
        record: Trials so far.
        base: The base augmentation before it, whose ops have weight 0.
        generator: The source of random numbers.
    """
    drawn = record.regression().draws(record.alone(), DRAWS, generator)
    ops = other_ops(record.factors, base.design or ())
    others = torch.tensor([factor.op in ops for factor in record.factors])
    drawn[:, ~others] = torch.inf
    values, best = drawn.topk(min(BEST, int(others.sum())), largest=False)
    helpful = best[values < 0] if (values < 0).any() else best
    weights = torch.bincount(helpful.flatten(), minlength=len(others)) / helpful.numel()
    weights[weights < min(RARE, float(weights.max()) / 2)] = 0.0
    return weights / weights.sum()


def found_entrant(record: ScreeningRecord, base: Entrant, generator: torch.Generator) -> Entrant:
    """Return the found policy: the base augmentation, then one op for a part of the images.

    Args:
        record: Trials so far.
        base: The best base augmentation.
        generator: The source of random numbers.
    """
    weights = factor_weights(record, base, generator).tolist()
    layer = [("Identity", 1 - PROBABILITY, 0.0)]
    for factor, weight in zip(record.factors, weights, strict=True):
        layer += factor.candidates(PROBABILITY * weight) if weight else []
    before = f"{base.name}, then " if base.policies else ""
    first = design_layers(record.factors, base.design or ())
    return Entrant(f"found ({before}an op for half of the images)", (from_layers([*first, layer]),))
