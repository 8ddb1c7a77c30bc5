"""Entrants: policies that a screening trains, above all those that need no search."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from learned_augment.builders import from_layers, rand_augment, trivial_augment
from learned_augment.evaluation.named_policies import BASE_AUGMENTATIONS
from learned_augment.policy import Policy
from learned_augment.search.screening.designs import Design, uniform_design
from learned_augment.search.screening.factors import MEDIUM, Factor

__all__ = [
    "Entrant",
    "base_entrants",
    "known_entrants",
    "with_randaugment",
]

USUAL_CROP = ("PadCrop", MEDIUM)
"""The crop of `named_policies.BASE_AUGMENTATIONS` as an op of a design."""

PUBLISHED = "dada-cifar10"
"""Of the published policies, the one that races: the best of them on nearly all of our data."""


@dataclass(frozen=True)
class Entrant:
    """A policy that a screening trains: one of the race, or of a design.

    Attributes:
        name: What it is called; no two have the same name.
        policies: Applied to every training image, in this order.
        found: Whether the search made the policy for the race.
        design: The policy as a design; None if the regression cannot predict it.
    """

    name: str
    policies: tuple[Policy, ...] = field(compare=False)
    found: bool
    design: Design | None = None

    def allowed(self, ops: Collection[str] | None, exclude: Collection[str]) -> bool:
        """Return whether it applies only ops that a search may use.

        Args:
            ops: Names of the ops that may be used; None for any.
            exclude: Names of the ops to leave out.
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
    crop = [place for place, one in enumerate(factors) if (one.op, one.magnitude) == USUAL_CROP]
    flip = [place for place, one in enumerate(factors) if one.op == "Flip"]
    entrants = [Entrant("none", (), False, ())]
    if crop:
        policies, design = (from_layers(BASE_AUGMENTATIONS["crop"]),), [(crop[0], 1.0)]
        entrants.append(Entrant("crop", policies, False, tuple(design)))
        if flip:
            both = (from_layers(BASE_AUGMENTATIONS["crop-flip"]),)
            pairs = tuple(sorted([*design, (flip[0], 0.5)]))
            entrants.append(Entrant("crop and flip", both, False, pairs))
    return entrants


def known_entrants(factors: Sequence[Factor], base: Entrant, image_size: int) -> list[Entrant]:
    """Return the policies that need no search.

    Args:
        factors: What the regression knows; it sees RandAugment as the design nearest to it.
        base: The base augmentation to put before some of them; or "none".
        image_size: Shorter side of the images in pixels.
    """
    uniform = uniform_design(factors)
    entrants = [
        Entrant(with_randaugment("none"), (rand_augment(2, 9),), False, uniform or None),
        Entrant("TrivialAugment", (trivial_augment(image_size),), False),
        Entrant(PUBLISHED, (Policy.load(PUBLISHED),), False),
    ]
    if base.policies:
        both = (*base.policies, rand_augment(2, 9))
        design = tuple(sorted([*(base.design or ()), *uniform]))
        entrants.append(Entrant(with_randaugment(base.name), both, False, design))
    return entrants


def with_randaugment(base: str) -> str:
    """Return the name of the entrant that applies RandAugment after a base augmentation."""
    return "RandAugment" if base == "none" else f"{base}, then RandAugment"
