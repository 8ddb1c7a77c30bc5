"""The options of DeepAA."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar, Literal

from learned_augment._io import check_output_path
from learned_augment.search.options import Options

__all__ = ["DeepAAOptions"]

_MOST_LAYERS = 8  # with depth "auto"


@dataclass(frozen=True)
class DeepAAOptions(Options):
    """Options of DeepAA; the defaults are the fast mode, sized for two CPU cores.

    Attributes:
        rewards: "gram" keeps all inner products among the candidates' gradients for every pair of a
            training image and a validation gradient, and learns from all pairs of the layer so
            far. "forward" is the published way: forward-mode rewards of the step's own pairs.
            Some options below belong to one of these; their text ends with its name.
        depth: Layers to search, or "auto": layers are added, 8 at most, until one ends with a
            probability of Identity that is 0.9 or more, and not below the one it began with.
        variant: "deep", or "simple": one layer, to be used after the base augmentation.
        steps: Steps a layer.
        pairs: Pairs a step.
        val_batch: Validation images of a pair's class for its gradient; 0 is all of the class.
        prefixes: Number of draws from the layers before; all candidates are applied to each. "gram"
            needs two or more, to separate noise from length.
        copies: Augmented copies a candidate for the training gradient, from layer 2 on; "forward".
        subset: Candidates a pair for the rewards, drawn with equal probabilities; 0 is all;
            "forward".
        policy_rate: Adam's rate for the logits.
        updates: Updates of the layer by Adam in each step; "gram".
        penalty: How many standard deviations over the pairs are subtracted from a reward, from
            layer 2 on. The paper has 1; with few images and a small network, layers then stay
            Identity.
        identity: How far the logit of Identity is above all others at the start.
        tolerance: A layer ends early once eight steps have raised the mean cosine of all pairs by
            less than this; 0 is never; "gram".
        distinct: Whether candidates that change images in the same way are evaluated once.
        space: "deepaa" or "deepaa-imagenet", the search spaces of the paper; "auto" is "deepaa" for
            images of up to 64 pixels, else "deepaa-imagenet".
        levels: Number of evenly spaced values for each op, of which the identity value is left out.
        pretrain: Whether to train the network first. If not, it is used with the weights that it
            has, and pairs are made of all training images.
        pretrain_images: How many of the training images it is trained on; 0 is half. Pairs are made
            of the others.
        network_file: File that keeps the trained network. If it exists, it is read, and nothing is
            trained.
        memory: MiB that the network's intermediate results may take.

    Raises:
        ValueError: If a value is out of range, options contradict each other, or the network's file
            cannot be written.

    Examples:
        >>> given = {"depth": "auto", "pairs": 8}  # search(..., method="deepaa", options=given)
        >>> options = DeepAAOptions.read(given)
        >>> options.most_layers, options.pairs, options.rewards
        (8, 8, 'gram')
    """

    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "rewards": ("gram", "forward"),
        "variant": ("deep", "simple"),
        "space": ("auto", "deepaa", "deepaa-imagenet"),
    }
    minimum: ClassVar[Mapping[str, float]] = {
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
        super().__post_init__()
        if self.depth != "auto" and self.depth < 1:
            raise ValueError(f'depth must be 1 or more, or "auto", got {self.depth}.')
        if not 0 < self.policy_rate < float("inf"):
            raise ValueError(f"policy_rate must be above 0, got {self.policy_rate}.")
        if not isfinite(self.identity):
            raise ValueError(f"Expected identity as a finite number, got {self.identity}.")
        if self.network_file:
            check_output_path(Path(self.network_file))
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
                'Rewards "forward" have too few pairs to tell when the cosine stops rising: '
                f'expected tolerance 0, got {self.tolerance}; leave it out, or use rewards "gram".'
            )

    @classmethod
    def _converted(cls, name: str, value: Any, kind: type) -> Any:
        return (
            value if name == "depth" and value == "auto" else super()._converted(name, value, kind)
        )

    def outputs(self) -> dict[str, Path]:
        """Return the file of the trained network, if there is one."""
        return {"network_file": Path(self.network_file)} if self.network_file else {}

    @property
    def most_layers(self) -> int:
        """Largest number of layers."""
        if self.variant == "simple":
            return 1
        return _MOST_LAYERS if self.depth == "auto" else self.depth
