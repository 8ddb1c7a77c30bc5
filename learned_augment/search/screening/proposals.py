"""The policies that the trials suggest: a base augmentation, then ops that are probably good."""

from collections.abc import Sequence

import torch
from torch import Tensor

from learned_augment.builders import from_layers
from learned_augment.search.screening.designs import (
    design_layers,
    one_op_layer,
    other_ops,
    variables,
)
from learned_augment.search.screening.entrants import Entrant
from learned_augment.search.screening.record import ScreeningRecord

__all__ = ["FORMS", "base_of_found", "factor_weights", "found_entrants"]

FORMS = {
    "an op for half of the images": (1, 0.5),
    "two ops for every image": (2, 1.0),
}
"""Layers of each form, and the probability that a layer draws an op. Which form is the best depends
on the data; the race decides. The second one needs two ops: some undo themselves."""

RARE = 0.01
"""Weight below which a factor is left out, unless it is at least half of the largest one."""


def base_of_found(record: ScreeningRecord, start: Entrant, bases: Sequence[Entrant]) -> Entrant:
    """Return the base augmentation of found policies: that of the designs, or one with more ops.

    Two trials of each base augmentation cannot tell close ones apart. The designs tell what flips
    do on top of a crop. Crop and flip is taken if the regression predicts fewer errors with it.
    None of its ops is taken away: it pays off more in the training in full than in trials. Where
    designs stand on nothing, ops do better without a base augmentation, and none is added.

    Args:
        record: Trials so far.
        start: The base augmentation of the designs.
        bases: All base augmentations.
    """
    own = set(start.design or ())
    larger = [
        one
        for one in bases
        if own < set(one.design or ()) and other_ops(record.factors, one.design or ())
    ]
    if not own:
        return start
    tried = [start, *larger]
    designs = variables(record.factors, [one.design or () for one in tried])
    return tried[int(record.regression().predict(designs).argmin())]


def factor_weights(record: ScreeningRecord, base: Entrant) -> Tensor:
    """Return the probability of each factor where a layer draws an op, (F,).

    It is in proportion to the probability that the factor helps, by the regression. So ops that
    surely hurt are left out, and many ops share the images: these vary more, which is good in
    itself. If all ops surely hurt, the least harmful ones remain.

    Args:
        record: Trials so far.
        base: The base augmentation before it, whose ops have weight 0.
    """
    regression, alone = record.regression(), record.alone()
    log_probability = torch.special.log_ndtr(-regression.predict(alone) / regression.spread(alone))
    ops = other_ops(record.factors, base.design or ())
    others = torch.tensor([factor.op in ops for factor in record.factors])
    weights: Tensor = log_probability.masked_fill(~others, -torch.inf).softmax(0)
    weights[weights < min(RARE, float(weights.max()) / 2)] = 0.0
    return weights / weights.sum()


def found_entrants(record: ScreeningRecord, base: Entrant) -> list[Entrant]:
    """Return the found policies: the base augmentation, then ops in each of the `FORMS`.

    Args:
        record: Trials so far.
        base: The base augmentation.
    """
    weights = factor_weights(record, base).tolist()
    before = f"{base.name}, then " if base.policies else ""
    first = design_layers(record.factors, base.design or ())
    entrants = []
    ops = {factor.op for factor, weight in zip(record.factors, weights, strict=True) if weight}
    for form, (layers, probability) in FORMS.items():
        if len(ops) < layers:
            continue
        layer = one_op_layer(record.factors, weights, probability)
        policy = from_layers([*first, *[layer] * layers])
        entrants.append(Entrant(f"found ({before}{form})", (policy,), found=True))
    return entrants
