"""Settings of the papers' searches and of smaller ones, by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from learned_augment._settings import check_at_least, check_rates, convert_fields, whole_number
from learned_augment.evaluation.named_policies import check_base
from learned_augment.models import NetworkChoice
from learned_augment.training import Recipe

__all__ = ["PRESETS", "MethodSettings", "find_preset"]


@dataclass(frozen=True)
class MethodSettings:
    """Settings of the network, its training and the ops of a search method.

    Attributes:
        network: The network: a name of `models.NETWORKS`, a factory or a module.
        reduce: Number of images to search on, training and validation together; None for all.
        epochs: Passes over the training images.
        batch_size: Images per step, of all processes together.
        learning_rate: The learning rate of the network at the start of its cosine.
        weight_decay: Weight decay of the network.
        base: A name of `named_policies.BASE_AUGMENTATIONS`.
        cutout: Side of the base augmentation's cutout as a fraction of the shorter side; 0 for
            none.
        options: The method's own options, where they are not its defaults.
        method: The only method that these settings are for; "" for any.
        ops: Names of the ops to search among; None for the method's own.
        exclude: Names of ops to leave out.

    Raises:
        TypeError: If a number should be whole and is not.
        ValueError: If a number is out of range, or there is no such base augmentation.

    Examples:
        >>> from dataclasses import replace
        >>> settings = replace(PRESETS["quick"], epochs=10)
        >>> settings.network, settings.epochs, settings.batch_size, settings.base
        ('small-cnn', 10, 128, 'crop-flip')
    """

    network: NetworkChoice
    reduce: int | None
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    base: str
    cutout: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)
    method: str = ""
    ops: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        convert_fields(self, whole_number, ("epochs", "batch_size"))
        if self.reduce is not None:
            convert_fields(self, whole_number, ["reduce"])
            check_at_least(self, reduce=4)
        check_at_least(self, epochs=1, batch_size=2)
        check_rates(self.learning_rate, self.weight_decay)
        if not 0 <= self.cutout < 1:
            raise ValueError(
                f"Expected cutout as a fraction of the side in [0, 1), got {self.cutout}."
            )
        check_base(self.base)


# DeepAA's published numbers. Its split differs from ours: half of all 50,000 images are our
# validation images, and the policy is learned from the training images that the network does not
# see (21,000 for 35,000).
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


def _deepaa(options: Mapping[str, Any]) -> MethodSettings:
    return MethodSettings(
        network="wrn-40-2",
        reduce=None,
        epochs=45,
        batch_size=128,
        learning_rate=0.1,
        weight_decay=5e-4,
        base="crop-flip",
        cutout=0.5,
        options=options,
        method="deepaa",
    )


# The rows of DADA's table 7, by the names of its published policies. Its ImageNet search also uses
# color jitter and lighting noise; they are left out here.
PRESETS = MappingProxyType(
    {
        "cifar10": MethodSettings(
            network="wrn-40-2",
            reduce=4000,
            epochs=20,
            batch_size=128,
            learning_rate=0.1,
            weight_decay=2e-4,
            base="crop-flip",
            cutout=0.5,
        ),
        "cifar100": MethodSettings(
            network="wrn-40-2",
            reduce=4000,
            epochs=20,
            batch_size=32,
            learning_rate=0.025,
            weight_decay=5e-4,
            base="crop-flip",
            cutout=0.5,
        ),
        "svhn": MethodSettings(
            network="wrn-28-10",
            reduce=1000,
            epochs=20,
            batch_size=32,
            learning_rate=0.00125,
            weight_decay=1e-3,
            base="crop-flip",
            cutout=0.625,
        ),
        "imagenet": MethodSettings(
            network="resnet50",
            reduce=6000,
            epochs=20,
            batch_size=32,
            learning_rate=0.00125,
            weight_decay=1e-4,
            base="resized-crop-flip",
        ),
        "digits": MethodSettings(
            network="small-cnn",
            reduce=None,
            epochs=60,
            batch_size=128,
            learning_rate=0.05,
            weight_decay=5e-4,
            base="none",
        ),
        "quick": MethodSettings(
            network="small-cnn",
            reduce=2000,
            epochs=40,
            batch_size=128,
            learning_rate=0.05,
            weight_decay=5e-4,
            base="crop-flip",
        ),
        # The training that a found policy serves: that of `compare`.
        "screening": MethodSettings(
            network="small-cnn",
            reduce=None,
            epochs=Recipe.epochs,
            batch_size=Recipe.batch_size,
            learning_rate=Recipe.learning_rate,
            weight_decay=Recipe.weight_decay,
            base="none",
            method="screening",
        ),
        "paper": _deepaa(_DEEPAA_PAPER),
        "released": _deepaa(_DEEPAA_RELEASED),
    }
)
"""Settings by name. "quick" fits a laptop and photographs of any kind."""


def find_preset(name: str | None, data: str, method: str) -> tuple[str, MethodSettings]:
    """Return the name of a preset, and the preset; None chooses the one named like the method.

    If there is none, it is "digits" for digits and "quick" for other data.

    Raises:
        ValueError: If there is no such preset, or it is for another method.
    """
    name = name or (method if method in PRESETS else "digits" if data == "digits" else "quick")
    if name not in PRESETS:
        raise ValueError(f"No preset named {name!r}. Available: {', '.join(PRESETS)}.")
    preset = PRESETS[name]
    if preset.method not in ("", method):
        raise ValueError(
            f"Preset {name!r} is for method {preset.method!r}, not for {method!r}; give that "
            "method, or another preset."
        )
    return name, preset
