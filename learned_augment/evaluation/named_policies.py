"""The names of policies, as the command line, files and tables use them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from torchvision.transforms import AutoAugmentPolicy

from learned_augment import builders, serialization
from learned_augment.evaluation.random_baseline import RANDOM, random_baseline
from learned_augment.policy import Policy

__all__ = [
    "BASE_AUGMENTATIONS",
    "NamedPolicy",
    "PolicyChoice",
    "baseline_name",
    "check_base",
    "named_policy",
    "names_base",
    "policy_names",
]

PolicyChoice: TypeAlias = str | Path | Policy | AutoAugmentPolicy

_CROP = [("PadCrop", 1.0, 0.125)]  # 4 pixels of 32, as everywhere on CIFAR
_FLIP = [("Flip", 1.0, 0.5)]
_RESIZED_CROP = [("ResizedCrop", 1.0, 0.08)]  # at least 8 % of the area, as on ImageNet

BASE_AUGMENTATIONS: dict[str, tuple[list[tuple[str, float, float]], ...]] = {
    "none": (),
    "crop": (_CROP,),
    "flip": (_FLIP,),
    "crop-flip": (_CROP, _FLIP),
    "resized-crop": (_RESIZED_CROP,),
    "resized-crop-flip": (_RESIZED_CROP, _FLIP),
}
"""Base augmentations by name: layers of (op, weight, value)."""

_BUILT: dict[str, Callable[[int], Policy]] = {
    "identity": lambda image_size: builders.identity(),
    "cutout": lambda image_size: _cutout(),
    "trivialaugment": builders.trivial_augment,
    "deeptrivialaugment": lambda image_size: builders.deep_trivial_augment(_DEPTH),
    "randaugment": lambda image_size: builders.rand_augment(),
    "autoaugment": lambda image_size: builders.from_torchvision(AutoAugmentPolicy.CIFAR10),
}
"""Policies that are built, not loaded: functions of the images' side in pixels, by name."""

_RAND_AUGMENT = re.compile(r"randaugment-(\d+)-(\d+(?:\.\d+)?)")
_DEPTH = 6  # as many layers as DeepAA's published policy for CIFAR


@dataclass(frozen=True)
class NamedPolicy:
    """A policy with its base augmentation, as a training uses it.

    Attributes:
        name: Its name in tables and files.
        placement: "nothing", "alone", "crop-flip only" or "after crop-flip".
        policies: Applied to every training image, in this order.
    """

    name: str
    placement: str
    policies: tuple[Policy, ...]

    @property
    def may_follow_base(self) -> bool:
        """True for a single policy that does not replace the base augmentation."""
        return self.placement == "alone" and self.policies[0].about.get("placement") != "replaces"


def named_policy(
    choice: PolicyChoice,
    base: str = "none",
    *,
    name: str | None = None,
    image_size: int = 32,
    seed: int = 0,
) -> NamedPolicy:
    """Return the policies that a name, a path or a policy means, base augmentation included.

    "crop-flip+trivialaugment" means "crop-flip", then "trivialaugment". "trivialaugment" means that
    policy alone.

    Args:
        choice: One of

            * "none";
            * a name of `BASE_AUGMENTATIONS`;
            * "identity", "cutout" (a square of half the side, wholly or partly inside the image),
              "trivialaugment", "deeptrivialaugment" (DeepTA of six layers), "randaugment" (n = 2,
              m = 9) or "randaugment-N-M";
            * "autoaugment" (that of CIFAR-10), the name of a shipped policy, or a path;
            * "random:" before "autoaugment", a shipped name or a path, for its
              `random_baseline.random_baseline`;
            * a base augmentation, "+", and one of these policies;
            * a policy, or one of torchvision's.
        base: A base augmentation that comes before the policy, as "BASE+" in `choice` does.
        name: The name to use; None is that of `choice`.
        image_size: Side of the images in pixels, by which TrivialAugment measures translations.
        seed: Chooses a random baseline, and nothing else.

    Raises:
        ValueError: If there is no such policy or base augmentation; the message lists them.
        TypeError: If `choice` is of another type.

    Examples:
        >>> named = named_policy("crop-flip+randaugment-1-5")
        >>> named.placement, [policy.name for policy in named.policies]
        ('after crop-flip', ['crop-flip', 'randaugment'])
    """
    check_base(base)
    wanted: PolicyChoice | None = choice
    if isinstance(choice, str):
        named, wanted = _split(choice)
        if named and base != "none":
            raise ValueError(f"{choice!r} names its base augmentation; {base!r} is another one.")
        base = named or base
    if wanted is None:
        placement = "nothing" if base == "none" else f"{base} only"
        return NamedPolicy(name or base, placement, _base_policies(base))
    policy = _find_policy(wanted, image_size, seed)
    called = policy.name if isinstance(wanted, Policy | AutoAugmentPolicy) else str(wanted)
    if base == "none":
        return NamedPolicy(name or called, "alone", (policy,))
    return NamedPolicy(name or f"{base}+{called}", f"after {base}", (*_base_policies(base), policy))


def check_base(name: str) -> None:
    """Raise ValueError, which lists the base augmentations, if none of them has this name."""
    if name not in [*BASE_AUGMENTATIONS]:  # a list, as a name of another type may have no hash
        raise ValueError(
            f"No base augmentation named {name!r}. Available: {', '.join(BASE_AUGMENTATIONS)}."
        )


def policy_names() -> list[str]:
    """Return the names of all base augmentations and policies, without their combinations."""
    return [*BASE_AUGMENTATIONS, *_BUILT, *serialization.list_policies()]


def names_base(choice: PolicyChoice) -> bool:
    """Return whether a choice names a base augmentation; "none" alone does not."""
    return isinstance(choice, str) and choice != "none" and _split(choice)[0] != ""


def baseline_name(name: str) -> str:
    """Return the name of the random baseline of the policy with this name."""
    base, policy = _split(name)
    return f"{base}+{RANDOM}{policy}" if base else f"{RANDOM}{policy}"


def _split(name: str) -> tuple[str, str | None]:
    """Split a name into its base augmentation, "" without one, and its policy, None without one."""
    base, plus, policy = name.partition("+")
    if base not in BASE_AUGMENTATIONS:
        return "", name
    return base, policy if plus else None


def _base_policies(base: str) -> tuple[Policy, ...]:
    layers = BASE_AUGMENTATIONS[base]
    return (builders.from_layers(layers, {"name": base}),) if layers else ()


def _find_policy(choice: PolicyChoice, image_size: int, seed: int) -> Policy:
    if isinstance(choice, Policy | AutoAugmentPolicy):
        return builders.as_policy(choice)
    if not isinstance(choice, str | Path):
        raise TypeError(
            "Expected a policy as a name, a path, a Policy or an AutoAugmentPolicy, got "
            f"{type(choice).__name__}."
        )
    if isinstance(choice, str) and choice.startswith(RANDOM):
        return random_baseline(_find_policy(choice.removeprefix(RANDOM), image_size, seed), seed)
    if choice in _BUILT:
        return _BUILT[str(choice)](image_size)
    if numbers := _RAND_AUGMENT.fullmatch(str(choice)):
        n, m = numbers.groups()
        return builders.rand_augment(int(n), float(m) if "." in m else int(m))
    if choice in BASE_AUGMENTATIONS:
        raise ValueError(
            f"{choice!r} is a base augmentation: expected it alone, or before + and a policy, as "
            "in crop+randaugment. Crop and flip together are crop-flip."
        )
    shipped = serialization.list_policies()
    if isinstance(choice, str) and choice not in shipped and not choice.endswith(".safetensors"):
        raise ValueError(
            f"No policy named {choice!r}. Available: {', '.join(policy_names())}; "
            "randaugment-N-M; a path ending in .safetensors; "
            f"{RANDOM} before autoaugment, a shipped policy's name or a path; or a base "
            "augmentation, + and a policy, such as crop-flip+trivialaugment."
        )
    return Policy.load(choice)


def _cutout() -> Policy:
    """Return cutout as on CIFAR: a square of 16 in 32 pixels, its center anywhere in the image.

    DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout,
    arXiv:1708.04552. The square is gray, CIFAR-10's mean, as in the papers.
    """
    about = {"name": "cutout", "paper": "arXiv:1708.04552", "placement": "after"}
    return builders.from_layers([[("CutoutClipped", 1.0, 0.5)]], about)
