"""What a search trains, and on how much data: the papers' settings, and two small ones."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from learned_augment.models import NetworkChoice

__all__ = ["PRESETS", "Preset", "find_preset"]


@dataclass(frozen=True)
class Preset:
    """Settings that every search method shares.

    Attributes:
        model: The network, a name of `networks.NETWORKS`, a factory or a module.
        reduce: Number of images to search on, both halves together; None for all.
        epochs: Passes over the training half.
        batch_size: Images per step, of all processes together.
        learning_rate: The network's highest.
        weight_decay: The network's.
        beside: Default augmentation, a name of `placement.DEFAULTS`.
        cutout: Side of the default cutout as a fraction of the shorter side; 0 for none.
        only: The one method that these settings are for; "" for any.
        options: That method's own options, where they are not its defaults.

    Raises:
        ValueError: If a number is out of range.
    """

    model: NetworkChoice
    reduce: int | None
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    beside: str
    cutout: float = 0.0
    only: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lowest = {"reduce": 4, "epochs": 1, "batch_size": 2}
        for name, low in lowest.items():
            number = getattr(self, name)
            if number is not None and number < low:
                raise ValueError(f"{name} must be {low} or more, got {number}.")
        if not 0 < self.learning_rate < math.inf or not 0 <= self.weight_decay < math.inf:
            raise ValueError(
                "Expected learning_rate > 0 and weight_decay >= 0, got "
                f"{self.learning_rate} and {self.weight_decay}."
            )


# DeepAA's published figures. Its training splits do not fit ours: with all 50,000 images, half are
# the validation half, and what the network is not trained on is searched on (21,000 for 35,000).
_DEEPAA_PAPER: Mapping[str, Any] = {
    "rewards": "forward",
    "depth": 5,
    "steps": 512,
    "pairs": 16,
    "val_batch": 64,
    "prefixes": 16,
    "copies": 4,
    "policy_rate": 0.025,
    "penalty": 1.0,
    "pretrain_images": 4000,
    "distinct": False,
}
_DEEPAA_RELEASED: Mapping[str, Any] = {
    **_DEEPAA_PAPER,
    "depth": 6,
    "steps": 1024,
    "pretrain_images": 5000,
}


def _deepaa(options: Mapping[str, Any]) -> Preset:
    return Preset(
        model="wrn-40-2",
        reduce=None,
        epochs=45,
        batch_size=128,
        learning_rate=0.1,
        weight_decay=5e-4,
        beside="crop-flip",
        cutout=0.5,
        only="deepaa",
        options=options,
    )


# The rows of DADA's table 7 and of its published policies' names. Its ImageNet search also has
# colour jitter and lighting noise beside the policy; they are left out here.
PRESETS = MappingProxyType(
    {
        "cifar10": Preset(
            model="wrn-40-2",
            reduce=4000,
            epochs=20,
            batch_size=128,
            learning_rate=0.1,
            weight_decay=2e-4,
            beside="crop-flip",
            cutout=0.5,
        ),
        "cifar100": Preset(
            model="wrn-40-2",
            reduce=4000,
            epochs=20,
            batch_size=32,
            learning_rate=0.025,
            weight_decay=5e-4,
            beside="crop-flip",
            cutout=0.5,
        ),
        "svhn": Preset(
            model="wrn-28-10",
            reduce=1000,
            epochs=20,
            batch_size=32,
            learning_rate=0.00125,
            weight_decay=1e-3,
            beside="crop-flip",
            cutout=0.625,
        ),
        "imagenet": Preset(
            model="resnet50",
            reduce=6000,
            epochs=20,
            batch_size=32,
            learning_rate=0.00125,
            weight_decay=1e-4,
            beside="resized-crop-flip",
        ),
        "digits": Preset(
            model="small-cnn",
            reduce=None,
            epochs=60,
            batch_size=128,
            learning_rate=0.05,
            weight_decay=5e-4,
            beside="none",
        ),
        "quick": Preset(
            model="small-cnn",
            reduce=2000,
            epochs=40,
            batch_size=128,
            learning_rate=0.05,
            weight_decay=5e-4,
            beside="crop-flip",
        ),
        "paper": _deepaa(_DEEPAA_PAPER),
        "released": _deepaa(_DEEPAA_RELEASED),
    }
)
"""Settings by name. "quick" fits a laptop and photographs of any kind."""


def find_preset(name: str | None, data: str, method: str) -> tuple[str, Preset]:
    """Return a preset and its name; None chooses "digits" for digits and "quick" for all else.

    Raises:
        ValueError: If there is no such preset, or it is for another method.
    """
    name = name or ("digits" if data == "digits" else "quick")
    if name not in PRESETS:
        raise ValueError(f"No preset named {name!r}. Available: {', '.join(PRESETS)}.")
    if PRESETS[name].only not in ("", method):
        raise ValueError(
            f"Preset {name!r} is for method {PRESETS[name].only!r}, not for {method!r}; give that "
            "method, or another preset."
        )
    return name, PRESETS[name]
