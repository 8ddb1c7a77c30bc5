"""Who takes part in the race: policies that need no search, and those that the regression finds."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from torchvision.transforms import AutoAugmentPolicy

from learned_augment.builders import from_layers, from_torchvision, rand_augment, trivial_augment
from learned_augment.evaluation.named_policies import BASE_AUGMENTATIONS
from learned_augment.policy import Policy
from learned_augment.search.screening.designs import (
    Design,
    design_policy,
    uniform_design,
)
from learned_augment.search.screening.factors import MAGNITUDES, Factor

__all__ = [
    "FAMILIES",
    "Entrant",
    "base_entrants",
    "found_entrants",
    "known_entrants",
]

USUAL_CROP = ("PadCrop", MAGNITUDES[1])
"""The crop of `named_policies.BASE_AUGMENTATIONS` as an op of a design."""

FAMILIES = ("base augmentation", "RandAugment", "TrivialAugment", "published")
"""Of each, the best policy races."""

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
        """True if the search made the policy."""
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
    crop = [place for place, one in enumerate(factors) if (one.op, one.magnitude) == USUAL_CROP]
    flip = [place for place, one in enumerate(factors) if one.op == "Flip"]
    entrants = [Entrant("none", (), FAMILIES[0], ())]
    if crop:
        policies, design = (from_layers(BASE_AUGMENTATIONS["crop"]),), [(crop[0], 1.0)]
        entrants.append(Entrant("crop", policies, FAMILIES[0], tuple(design)))
        if flip:
            both = (from_layers(BASE_AUGMENTATIONS["crop-flip"]),)
            pairs = tuple(sorted([*design, (flip[0], 0.5)]))
            entrants.append(Entrant("crop and flip", both, FAMILIES[0], pairs))
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
    entrants.append(Entrant("RandAugment of one op", (rand_augment(1, 9),), "RandAugment"))
    trivial = trivial_augment(image_size)
    entrants.append(Entrant("TrivialAugment", (trivial,), "TrivialAugment"))
    published = {
        "AutoAugment": from_torchvision(AutoAugmentPolicy.CIFAR10),
        **{name: Policy.load(name) for name in PUBLISHED},
    }
    entrants += [Entrant(name, (policy,), FAMILIES[-1]) for name, policy in published.items()]
    if base.policies:
        both = tuple(sorted([*(base.design or ()), *uniform_design(factors, medium)]))
        entrants += [
            Entrant(f"{base.name}, then {family}", (*base.policies, policy), family, design)
            for family, policy, design in (
                ("RandAugment", rand_augment(2, 9), both),
                ("TrivialAugment", trivial, None),
            )
        ]
    return entrants


def found_entrants(factors: Sequence[Factor], designs: Iterable[Design]) -> list[Entrant]:
    """Return designs that the search found as entrants."""
    return [
        Entrant(_title(factors, design, number), (design_policy(factors, design),), design=design)
        for number, design in enumerate(designs, 1)
    ]


def _title(factors: Sequence[Factor], design: Design, number: int) -> str:
    return f"found {number} ({', '.join(factors[place].op for place, _ in design)})"
