"""DeepAA's own options, read from plain names and values."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from learned_augment._io import check_output_path

__all__ = ["DeepAAOptions", "read_deepaa_options"]

CHOICES: dict[str, tuple[str, ...]] = {
    "rewards": ("gram", "forward"),
    "variant": ("deep", "simple"),
    "space": ("auto", "deepaa", "deepaa-imagenet"),
}
LOWEST: dict[str, float] = {
    "steps": 1,
    "pairs": 2,
    "val_batch": 0,
    "prefixes": 1,
    "copies": 1,
    "subset": 0,
    "updates": 1,
    "penalty": 0,
    "levels": 2,
    "pretrain_images": 0,
    "memory": 1,
    "tolerance": 0,
}


@dataclass(frozen=True)
class DeepAAOptions:
    """Options of DeepAA; the defaults are the fast mode, sized for two CPU cores.

    Attributes:
        rewards: "gram" keeps, of every pair of training image and validation gradient, all inner
            products among the candidates' gradients, and learns from all pairs of the layer so far;
            "forward" is the published way: forward-mode rewards of the step's own pairs.
        depth: Layers to search, or "auto": until a layer's Identity holds 0.9 or more, and no less
            than it started with; 8 at most.
        variant: "deep", or "simple": one layer, to be used beside the default augmentation.
        steps: Steps a layer.
        pairs: Pairs a step.
        val_batch: Validation images of a pair's class behind its gradient; 0 is all of the class.
        prefixes: Draws from the layers before, to each of which all candidates are applied. Two or
            more with "gram", which tells noise from length by different draws.
        copies: Augmented copies a candidate for the training gradient, from layer 2 on; "forward".
        subset: Candidates a pair for the rewards, drawn with equal chances; 0 is all; "forward".
        policy_rate: Adam's rate for the logits.
        updates: Adam's steps per step; "gram".
        penalty: How many standard deviations over the pairs a reward loses, from layer 2 on. The
            paper has 1, at which layers learned on few images and a small network stay Identity.
        identity: Logit at which Identity starts above all others.
        tolerance: A layer ends early once eight steps have raised the mean cosine of all pairs by
            less than this; 0 is never; "gram".
        distinct: Whether candidates that are the same change are evaluated once.
        space: A name of `spaces.SPACES`; "auto" is "deepaa" up to 64 pixels, else its ImageNet one.
        levels: Evenly spaced values an op, the one that changes nothing left out.
        pretrain: Whether to train the network first; without, it is used as it comes, and pairs are
            made of all of the training half.
        pretrain_images: How many of the training half it is trained on; 0 is half. Pairs are made
            of the others.
        network_file: Where the trained network is kept; read instead of training if it exists.
        memory: MiB that the network's intermediate results may take.

    Raises:
        ValueError: If a value is out of range, options contradict each other, or there is no folder
            for the network.
    """

    rewards: str = "gram"
    depth: int | Literal["auto"] = 3
    variant: str = "deep"
    steps: int = 24
    pairs: int = 4
    val_batch: int = 0
    prefixes: int = 8
    copies: int = 4
    subset: int = 0
    policy_rate: float = 0.025
    updates: int = 16
    penalty: float = 0.25
    identity: float = 8.0
    tolerance: float = 0.0
    distinct: bool = True
    space: str = "auto"
    levels: int = 13
    pretrain: bool = True
    pretrain_images: int = 0
    network_file: str = ""
    memory: int = 2048

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"Expected {name} to be one of {', '.join(known)}, got {getattr(self, name)!r}."
                )
        for name, low in LOWEST.items():
            if not low <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be {low:g} or more, got {getattr(self, name)}.")
        if self.depth != "auto" and self.depth < 1:
            raise ValueError(f'depth must be 1 or more, or "auto", got {self.depth}.')
        if not 0 < self.policy_rate < float("inf"):
            raise ValueError(f"policy_rate must be above 0, got {self.policy_rate}.")
        if not isfinite(self.identity):
            raise ValueError(f"Expected identity as a finite number, got {self.identity}.")
        if self.network_file:
            check_output_path(Path(self.network_file))
        self._check_together()

    def _check_together(self) -> None:
        if self.variant == "simple" and self.depth not in (1, type(self).depth):
            raise ValueError(
                f'Variant "simple" has one layer, but depth {self.depth} was given; leave depth '
                'out, or use variant "deep".'
            )
        if self.rewards == "gram" and (self.subset or self.prefixes < 2):
            raise ValueError(
                'Rewards "gram" need every candidate after two or more prefixes: expected subset 0 '
                f"and prefixes of at least 2, got {self.subset} and {self.prefixes}; change them, "
                'or use rewards "forward".'
            )
        if self.rewards == "forward" and self.tolerance:
            raise ValueError(
                'Rewards "forward" see too few pairs to tell when a layer stands still: expected '
                f'tolerance 0, got {self.tolerance}; leave it out, or use rewards "gram".'
            )

    @property
    def most_layers(self) -> int:
        """Layers at most."""
        if self.variant == "simple":
            return 1
        return 8 if self.depth == "auto" else self.depth


def read_deepaa_options(given: Mapping[str, Any]) -> DeepAAOptions:
    """Return the options that ``given`` names; texts become numbers where numbers are expected.

    Raises:
        ValueError: If there is no such option, or its value is wrong.
    """
    kinds = {f.name: type(f.default) for f in fields(DeepAAOptions)}
    unknown = sorted(set(given) - set(kinds))
    if unknown:
        raise ValueError(f"DeepAA has no option {unknown[0]!r}. Options: {', '.join(kinds)}.")
    return DeepAAOptions(**{name: _read(name, given[name], kinds[name]) for name in given})


def _read(name: str, value: Any, kind: type) -> Any:
    if name == "depth" and value == "auto":
        return value
    if kind is bool and isinstance(value, str):
        if value.lower() not in ("true", "false"):
            raise ValueError(f"Expected {name} as true or false, got {value!r}.")
        return value.lower() == "true"
    try:
        read = kind(value)
    except (TypeError, ValueError, OverflowError):
        read = None
    cut = kind is int and isinstance(value, float) and read != value
    if read is None or value is None or cut:
        raise ValueError(f"Expected {name} as {kind.__name__}, got {value!r}.")
    return read
