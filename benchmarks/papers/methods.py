"""The policy of each method in the papers' tables, or the reason why there is none."""

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["METHODS", "Method"]


class Method(NamedTuple):
    """The names that a column's policies have here.

    Attributes:
        policies: Data set -> policy, as ``train.py`` takes it.
        reason: Why there is no command for the other data sets.
    """

    policies: Mapping[str, str] = {}
    reason: str = "the policy is not shipped here"


_EVERYWHERE = ("cifar10", "cifar100", "svhn", "imagenet")
_AUTOAUGMENT = {
    "cifar10": "autoaugment",
    "cifar100": "autoaugment",
    "svhn": "autoaugment-svhn.safetensors",
    "imagenet": "autoaugment-imagenet.safetensors",
}
_FAST = {
    "cifar10": "fastaa-cifar10",
    "cifar100": "fastaa-cifar10",
    "svhn": "fastaa-svhn",
    "imagenet": "fastaa-imagenet",
}
_SCHEDULE = "a schedule of policies over the epochs, which a policy here cannot be"
_WHOLE = {"deepaa-cifar10-2": 6, "deepaa-imagenet": 5}
"""Layers of DeepAA's published policies."""


def _everywhere(policy: str) -> Method:
    return Method(dict.fromkeys(_EVERYWHERE, policy))


def _first_layers(count: int) -> Method:
    cifar, imagenet = (
        name if count == depth else f"{name}-first-{count}.safetensors"
        for name, depth in _WHOLE.items()
    )
    policies = {"cifar10": cifar, "cifar100": cifar}
    if count <= _WHOLE["deepaa-imagenet"]:
        policies["imagenet"] = imagenet
    return Method(policies, "the published policy has 5 layers")


METHODS: dict[str, Method] = {
    "baseline": _everywhere("default"),
    "Cutout": _everywhere("cutout"),
    "AA": Method(_AUTOAUGMENT),
    "PBA": Method(reason=_SCHEDULE),
    "Fast AA": Method(_FAST),
    "Faster AA": Method(),
    "OHL-AA": Method(),
    "DADA": Method({name: f"dada-{name}" for name in _EVERYWHERE}),
    "DADA, full set": Method(
        reason="its policy is not published, and the paper does not state that search's settings"
    ),
    "RA": _everywhere("randaugment"),
    "UA": _everywhere("uniformaugment.safetensors"),
    "TA (RA)": _everywhere("trivialaugment-ra.safetensors"),
    "TA (Wide)": _everywhere("trivialaugment"),
    "TA (Wide), re-tuned": Method(reason="its settings are not among the recipes here"),
    "AdvAA": Method(reason="not published: the policy changes as the network learns"),
    # The papers' main tables are of five layers; the published policy for CIFAR has six.
    "DeepAA": _first_layers(5),
    "DeepAA-simple": Method({"imagenet": "deepaa-imagenet-simple.safetensors"}),
    "DeepAA, workshop": Method(reason="its policies of four layers are not published"),
    **{f"DeepAA, depth {count}": _first_layers(count) for count in range(1, 8)},
    **{
        f"DeepTA, depth {count}": Method({"cifar10": f"deepta-{count}.safetensors"})
        for count in range(1, 9)
    },
}
"""Every column by its name."""
