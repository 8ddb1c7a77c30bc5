"""Who takes part in the race: policies that need no search, and those that the regression finds."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from torchvision.transforms import AutoAugmentPolicy

from learned_augment.builders import from_layers, from_torchvision, rand_augment, trivial_augment
from learned_augment.policy import Policy
from learned_augment.search.screening.designs import (
    Design,
    best_design,
    design_policy,
    uniform_design,
)
from learned_augment.search.screening.effects import Regression
from learned_augment.search.screening.factors import MAGNITUDES, Factor

__all__ = [
    "FAMILIES",
    "Entrant",
    "base_entrants",
    "found_entrants",
    "known_entrants",
]

_CROP = [("PadCrop", 1.0, 0.125)]  # 4 pixels of 32, as everywhere on CIFAR
_FLIP = [("Flip", 1.0, 0.5)]

FAMILIES = ("RandAugment", "TrivialAugment", "others")
"""Of each, the best policy races; the others are base augmentations and published policies."""

PUBLISHED = ("dada-cifar10", "dada-svhn", "deepaa-cifar10")


@dataclass(frozen=True)
class Entrant:
    """A policy in the race.

    Attributes:
        name: what it is called; no two have the same name.
        policies: applied to every training image, in this order.
        family: what it is akin to, one of `FAMILIES`, or "" for what the search made.
        design: of a policy that the regression can predict.
    """

    name: str
    policies: tuple[Policy, ...] = field(compare=False)
    family: str = ""
    design: Design | None = None

    @property
    def found(self) -> bool:
        """Whether the search made it."""
        return not self.family

    def allowed(self, ops: Collection[str] | None, exclude: Collection[str]) -> bool:
        """Return whether it applies only ops that a search may use.

        Args:
            ops: those to use; None for any.
            exclude: those to leave out.
        """
        applied = {
            op
            for policy in self.policies
            for op, times in policy.op_shares().items()
            if times.sum() > 0 and op != "Identity"
        }
        return not applied & set(exclude) and (ops is None or applied <= set(ops))


def base_entrants(factors: Sequence[Factor]) -> list[Entrant]:
    """Return what people use by default: nothing, crop, and crop and flip, as far as allowed."""
    ops = {factor.op for factor in factors}
    entrants = [Entrant("none", (), "others", ())]
    if "PadCrop" in ops:
        entrants.append(Entrant("crop", (from_layers([_CROP]),), "others"))
        if "Flip" in ops:
            entrants.append(Entrant("crop and flip", (from_layers([_CROP, _FLIP]),), "others"))
    return entrants


def known_entrants(factors: Sequence[Factor], base: Entrant, image_size: int) -> list[Entrant]:
    """Return the policies that need no search.

    Args:
        factors: what the regression knows; it sees RandAugment as the design nearest to it.
        base: the base augmentation to put before some of them; or "none".
        image_size: side of the images in pixels.
    """
    weak, medium, _ = MAGNITUDES
    entrants = [
        Entrant(
            name, (rand_augment(2, m),), "RandAugment", uniform_design(factors, magnitude) or None
        )
        for name, m, magnitude in (
            ("RandAugment", 9, medium),
            ("weak RandAugment", 5, weak),
            ("strong RandAugment", 14, medium),
        )
    ]
    trivial = trivial_augment(image_size)
    entrants.append(Entrant("TrivialAugment", (trivial,), "TrivialAugment"))
    published = {
        "AutoAugment": from_torchvision(AutoAugmentPolicy.CIFAR10),
        **{name: Policy.load(name) for name in PUBLISHED},
    }
    entrants += [Entrant(name, (policy,), "others") for name, policy in published.items()]
    if base.policies:
        entrants += [
            Entrant(f"{base.name}, then {family}", (*base.policies, policy), family)
            for family, policy in (("RandAugment", rand_augment(2, 9)), ("TrivialAugment", trivial))
        ]
    return entrants


def found_entrants(
    factors: Sequence[Factor],
    regression: Regression,
    tried: Design,
    count: int,
    generator: torch.Generator,
) -> list[Entrant]:
    """Return different designs for the race: predicted best, best tried, and best of few ops.

    Args:
        factors: what there is.
        regression: of the trials so far.
        tried: the best design that was trained.
        count: how many designs, if there are so many.
        generator: to draw coefficients from where these are too few.
    """
    mean = regression.mean
    designs = [best_design(factors, mean), tried, best_design(factors, mean, most=3)]
    designs += [best_design(factors, regression.draw(generator)) for _ in range(10)]
    distinct = [design for design in dict.fromkeys(designs) if design][:count]
    return [
        Entrant(_title(factors, design, number), (design_policy(factors, design),), design=design)
        for number, design in enumerate(distinct, 1)
    ]


def _title(factors: Sequence[Factor], design: Design, number: int) -> str:
    return f"found {number} ({', '.join(factors[place].op for place, _ in design)})"
