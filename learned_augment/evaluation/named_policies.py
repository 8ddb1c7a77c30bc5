"""What a named policy does to a training image, default crop and flip included.

A policy says itself whether it *replaces* the default augmentation (DeepAA) or stands *beside* it
(DADA, AutoAugment, TrivialAugment); beside means after it, as the papers place theirs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from torchvision.transforms import AutoAugmentPolicy

from learned_augment import builders
from learned_augment import serialization as files
from learned_augment.evaluation.random_baseline import RANDOM, random_control
from learned_augment.policy import Policy

__all__ = ["DEFAULTS", "NamedPolicy", "PolicyChoice", "place_policy"]

PolicyChoice: TypeAlias = str | Path | Policy | AutoAugmentPolicy

_CROP = [("PadCrop", 1.0, 0.125)]  # 4 pixels of 32, as everywhere on CIFAR
_FLIP = [("Flip", 1.0, 0.5)]
_RESIZED_CROP = [("ResizedCrop", 1.0, 0.08)]  # at least 8 % of the area, as on ImageNet

DEFAULTS: dict[str, tuple[list[tuple[str, float, float]], ...]] = {
    "nothing": (),
    "crop": (_CROP,),
    "crop-flip": (_CROP, _FLIP),
    "resized-crop-flip": (_RESIZED_CROP, _FLIP),
}
"""Default augmentations by name: layers of (op, weight, value)."""

_BUILT: dict[str, Callable[[int], Policy]] = {
    "identity": lambda image_size: builders.identity(),
    "cutout": lambda image_size: _cutout(),
    "trivialaugment": builders.trivial_augment,
    "deeptrivialaugment": lambda image_size: builders.deep_trivial_augment(_DEPTH),
    "randaugment": lambda image_size: builders.rand_augment(),
    "autoaugment": lambda image_size: builders.from_torchvision(AutoAugmentPolicy.CIFAR10),
}

_DEPTH = 6  # as many layers as DeepAA's published policy for CIFAR


@dataclass(frozen=True)
class NamedPolicy:
    """A policy as it is trained with.

    Attributes:
        name: what the policy is called.
        placement: "nothing", "alone", "crop-flip only" or "after crop-flip".
        policies: applied to every training image, in this order.
    """

    name: str
    placement: str
    policies: tuple[Policy, ...]


def place_policy(
    choice: PolicyChoice,
    default: str,
    *,
    image_size: int = 32,
    name: str | None = None,
    seed: int = 0,
) -> NamedPolicy:
    """Return what training under a policy applies.

    Args:
        choice: "none", "default" (the default augmentation alone), "identity", "cutout" (a square
            of half the side, wholly or partly inside), "trivialaugment", "deeptrivialaugment" (six
            layers of it), "randaugment", "autoaugment" (CIFAR-10's), a shipped policy's name, a
            path, "random:" before any of those three (its `controls.random_control`), a policy, or
            one of torchvision's.
        default: a name of `DEFAULTS`: what the policies that stand beside it come after.
        image_size: side of the images in pixels, by which TrivialAugment measures translations.
        name: its name, if not the one that the policy has.
        seed: chooses a random control; decides nothing else.

    Raises:
        ValueError: if there is no such policy or default augmentation, listing those there are.
        TypeError: if `choice` is of another kind.
    """
    if default not in DEFAULTS:
        raise ValueError(
            f"No default augmentation named {default!r}. Available: {', '.join(DEFAULTS)}."
        )
    layers = DEFAULTS[default]
    first = (builders.from_layers(layers, {"name": default}),) if layers else ()
    if choice == "none":
        return NamedPolicy(name or "none", "nothing", ())
    if choice == "default":
        return NamedPolicy(name or "default", f"{default} only" if layers else "nothing", first)
    policy = _find_policy(choice, image_size, seed)
    called = name or (
        policy.name if isinstance(choice, Policy | AutoAugmentPolicy) else str(choice)
    )
    if policy.about.get("placement") == "replaces" or not layers:
        return NamedPolicy(called, "alone", (policy,))
    return NamedPolicy(called, f"after {default}", (*first, policy))


def _find_policy(choice: PolicyChoice, image_size: int, seed: int) -> Policy:
    if isinstance(choice, Policy):
        return choice
    if isinstance(choice, AutoAugmentPolicy):
        return builders.from_torchvision(choice)
    if not isinstance(choice, str | Path):
        raise TypeError(
            "Expected a policy as a name, a path, a Policy or an AutoAugmentPolicy, got "
            f"{type(choice).__name__}."
        )
    if isinstance(choice, str) and choice.startswith(RANDOM):
        return random_control(_find_policy(choice.removeprefix(RANDOM), image_size, seed), seed)
    if choice in _BUILT:
        return _BUILT[str(choice)](image_size)
    known = ["none", "default", *_BUILT, *files.list_policies()]
    if isinstance(choice, str) and choice not in known and not choice.endswith(".safetensors"):
        raise ValueError(
            f"No policy named {choice!r}. Available: {', '.join(known)}; or a path ending in "
            f".safetensors; or {RANDOM} before autoaugment, a shipped policy's name or a path."
        )
    return files.load(choice)


def _cutout() -> Policy:
    """Return cutout as on CIFAR: a square of 16 in 32 pixels, its centre anywhere in the image.

    DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout,
    arXiv:1708.04552; grey like the papers' cutout, which is CIFAR-10's mean.
    """
    about = {"name": "cutout", "paper": "arXiv:1708.04552", "placement": "after"}
    return builders.from_layers([[("CutoutClipped", 1.0, 0.5)]], about)
