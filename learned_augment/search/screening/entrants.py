"""Who takes part in the race: policies that need no search, and those that the regression finds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torchvision.transforms import AutoAugmentPolicy

from learned_augment.builders import from_layers, from_torchvision, rand_augment, trivial_augment
from learned_augment.policy import Policy
from learned_augment.search.screening.designs import Design, best_design, design_policy, variables
from learned_augment.search.screening.effects import Regression
from learned_augment.search.screening.factors import Factor

__all__ = [
    "Entrant",
    "base_designs",
    "found_entrant",
    "found_entrants",
    "known_families",
    "predicted_best",
]

_CROP = [("PadCrop", 1.0, 0.125)]  # 4 pixels of 32, as everywhere on CIFAR
_FLIP = [("Flip", 1.0, 0.5)]

PUBLISHED = ("dada-cifar10", "dada-svhn", "deepaa-cifar10", "deepaa-imagenet")


@dataclass(frozen=True)
class Entrant:
    """A policy in the race.

    Attributes:
        name: what it is called; no two have the same name.
        policies: applied to every training image, in this order.
        found: whether the search made it.
        design: of a policy that the regression can predict.
    """

    name: str
    policies: tuple[Policy, ...] = field(compare=False)
    found: bool = False
    design: Design | None = None


def base_designs(factors: Sequence[Factor]) -> list[Entrant]:
    """Return what people use by default: nothing, crop, and crop and flip, as far as there is."""
    place = {(factor.op, factor.magnitude): number for number, factor in enumerate(factors)}
    crop, flip = place.get(("PadCrop", 0.5)), place.get(("Flip", 0.5))
    entrants = [Entrant("none", (), design=())]
    if crop is not None:
        policies = (from_layers([_CROP]),)
        entrants.append(Entrant("crop", policies, design=((crop, 1.0),)))
        if flip is not None:
            policies = (from_layers([_CROP, _FLIP]),)
            design = tuple(sorted([(crop, 1.0), (flip, 0.5)]))
            entrants.append(Entrant("crop and flip", policies, design=design))
    return entrants


def known_families(image_size: int) -> list[list[Entrant]]:
    """Return the policies that need no search; of each family the best one goes to the race.

    Args:
        image_size: side of the images in pixels.
    """
    bases = {"": [], "crop, then ": [_CROP], "crop and flip, then ": [_CROP, _FLIP]}
    general = {"RandAugment": rand_augment(2, 9), "TrivialAugment": trivial_augment(image_size)}
    published = {
        "AutoAugment": from_torchvision(AutoAugmentPolicy.CIFAR10),
        **{name: Policy.load(name) for name in PUBLISHED},
    }
    return [
        *(
            [
                Entrant(before + name, (*([from_layers(base)] if base else []), policy))
                for before, base in bases.items()
            ]
            for name, policy in general.items()
        ),
        [Entrant(name, (policy,)) for name, policy in published.items()],
    ]


def found_entrants(factors: Sequence[Factor], regression: Regression) -> list[Entrant]:
    """Return up to three designs for the race: predicted best, of few ops, and of many.

    Short trainings bear less augmentation than those in full, so that the prediction errs on the
    side of little; the design of many ops is the best one if ops took nothing from each other.
    """
    mean = regression.mean
    free = mean.clone()
    free[[-1, -4]] = 0.0  # of the squares
    designs = [
        best_design(factors, mean),
        best_design(factors, mean, most=2),
        best_design(factors, free),
    ]
    distinct = [design for design in dict.fromkeys(designs) if design]
    return [_entrant(factors, design, number) for number, design in enumerate(distinct, 1)]


def found_entrant(
    factors: Sequence[Factor],
    regression: Regression,
    known: Sequence[Entrant],
    generator: torch.Generator,
) -> list[Entrant]:
    """Return the predicted best design that is not in the race yet; none if there is no other."""
    present = [entrant.design for entrant in known]
    coefficients = [regression.mean, *(regression.draw(generator) for _ in range(20))]
    for drawn in coefficients:
        design = best_design(factors, drawn)
        if design and design not in present:
            return [_entrant(factors, design, 1 + sum(entrant.found for entrant in known))]
    return []


def predicted_best(
    factors: Sequence[Factor], regression: Regression, entrants: Sequence[Entrant]
) -> Entrant:
    """Return the entrant with a design of the smallest predicted loss."""
    designs = [entrant.design or () for entrant in entrants]
    return entrants[int(regression.predict(variables(factors, designs)).argmin())]


def _entrant(factors: Sequence[Factor], design: Design, number: int) -> Entrant:
    return Entrant(f"found {number}", (design_policy(factors, design),), True, design)
