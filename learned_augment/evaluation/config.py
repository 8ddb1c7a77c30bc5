"""The settings of a comparison, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import torch

from learned_augment._settings import convert_fields, flag, real_number, whole_number
from learned_augment.evaluation.named_policies import PolicyChoice, check_base
from learned_augment.evaluation.result import LEAST_INTEREST, ComparisonResult
from learned_augment.models import NetworkChoice
from learned_augment.training import Recipe

__all__ = ["CompareConfig", "Policies"]

Policies: TypeAlias = Sequence[PolicyChoice] | Mapping[str, PolicyChoice]

_WHOLE = ("seeds", "epochs", "batch_size", "test_every", "train_size", "image_size", "workers")
_REAL = ("learning_rate", "interest")
_FLAGS = ("channels_last", "skip_unreadable", "progress")


@dataclass(frozen=True)
class CompareConfig:
    """Settings of a comparison; `compare` accepts the fields as keywords.

    Numbers may be NumPy's.

    Attributes:
        policies: Two or more names, paths or policies, or a mapping from names to them; see
            `named_policies.named_policy`.
        seeds: How many trainings each policy gets, 2 or more.
        epochs: Passes over the training images.
        network: A name of `models.NETWORKS`, a callable from number of classes to module, or a
            module, which starts every training from its own weights.
        batch_size: Images per step.
        learning_rate: The learning rate at the start of its cosine, see `training.Recipe`.
        precision: "float32", or "bfloat16" for torch's autocast to it.
        channels_last: Whether the channels of a pixel are neighbors in memory.
        test_every: Epochs between tests, for the learning curves; 0 tests after the last one only.
        train_size: Train on this many images only, drawn anew for each seed.
        image_size: Side in pixels to bring the images of a folder or data set to.
        skip_unreadable: Leave out files that cannot be read.
        base: A name of `BASE_AUGMENTATIONS`. It is trained by itself, and every policy that does
            not replace it is trained both alone and after it. "none" trains the policies as they
            are listed. None is "none" if a listed policy names a base augmentation, "crop" for
            data whose mirror images mean something else, and "crop-flip" for all other data.
        reference: Name of the policy to compare with; None is "none" if that is listed, else the
            first one.
        interest: The smallest difference in points that matters to you. The result says whether the
            seeds are enough to show it, and which differences they are likely to miss.
        device: "cpu", "cuda", ...; None is a GPU if there is one.
        cache: Folder that keeps every finished training; a training that is in it is not repeated.
            Its file is named by a hash of all that decides its numbers. None keeps nothing.
        extends: An earlier result to extend with more seeds or policies. Its trainings are repeated
            unless the cache has them; they stand in for those that an interrupt leaves out. It is
            refused if it has another configuration, or trainings that this comparison leaves out.
        workers: Number of trainings that run at once, each in a process of its own; 1 trains in
            this process. None is one for each core on a CPU, and 1 on a GPU or for a network that
            the script itself defines. On a CPU every training has one thread, so the number does
            not change the result. A script that sends a network of its own to several processes
            needs `if __name__ == "__main__":`.
        progress: Whether to show a line on standard error; None shows it on a terminal.

    Raises:
        TypeError: If a field is of another type.
        ValueError: If it is out of range.

    Examples:
        >>> config = CompareConfig(policies=["none", "trivialaugment"], epochs=10)
        >>> config.seeds, config.recipe.epochs, config.recipe.batch_size
        (5, 10, 64)
        >>> CompareConfig(policies=["none"])
        Traceback (most recent call last):
            ...
        ValueError: Expected two or more policies to compare, got ['none'].
    """

    policies: Policies = ("none", "trivialaugment", "randaugment")
    seeds: int = 5
    epochs: int = Recipe.epochs
    network: NetworkChoice = "small-cnn"
    batch_size: int = Recipe.batch_size
    learning_rate: float = Recipe.learning_rate
    precision: str = Recipe.precision
    channels_last: bool = Recipe.channels_last
    test_every: int = Recipe.test_every
    train_size: int | None = None
    image_size: int | None = None
    skip_unreadable: bool = False
    base: str | None = None
    reference: str | None = None
    interest: float = ComparisonResult.interest
    device: str | torch.device | None = None
    cache: str | Path | None = None
    extends: ComparisonResult | None = None
    workers: int | None = None
    progress: bool | None = None

    @classmethod
    def of(cls, **given: Any) -> "CompareConfig":
        """Return the config with these fields.

        Raises:
            TypeError: If there is no such field; the message lists the fields.
        """
        known = [field.name for field in fields(cls)]
        if unknown := [name for name in given if name not in known]:
            raise TypeError(
                f"compare has no argument {unknown[0]!r}. It takes: {', '.join(known)}."
            )
        return cls(**given)

    def __post_init__(self) -> None:
        convert_fields(self, whole_number, _WHOLE)
        convert_fields(self, real_number, _REAL)
        convert_fields(self, flag, _FLAGS)
        if not isinstance(self.extends, ComparisonResult | None):
            raise TypeError(
                f"Expected extends as a ComparisonResult, got {self.extends!r:.80}; read a file "
                "with ComparisonResult.load(path)."
            )
        if not isinstance(self.cache, str | Path | None):
            raise TypeError(f"Expected cache as the path of a folder, got {self.cache!r:.80}.")
        self._check_policies()
        if self.seeds < 2:
            raise ValueError(
                f"seeds must be 2 or more, got {self.seeds}: one training shows no spread."
            )
        if not LEAST_INTEREST <= self.interest < 100:
            raise ValueError(
                f"interest is a difference in points, {LEAST_INTEREST:g} or more, got "
                f"{self.interest}."
            )
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be 1 or more, or None, got {self.workers}.")
        if self.base is not None:
            check_base(self.base)
        _ = self.recipe  # its own checks

    def _check_policies(self) -> None:
        policies = self.policies
        if isinstance(policies, str | Path) or not isinstance(policies, Sequence | Mapping):
            raise TypeError(f"Expected a sequence of two or more policies, got {policies!r:.80}.")
        names = policies if isinstance(policies, Mapping) else ()
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"Expected texts as the names of policies, got {name!r:.80}.")
        if len(policies) < 2:
            raise ValueError(f"Expected two or more policies to compare, got {list(policies)}.")

    @property
    def recipe(self) -> Recipe:
        """The training that every policy gets."""
        return Recipe(
            self.epochs,
            self.batch_size,
            self.learning_rate,
            precision=self.precision,
            channels_last=self.channels_last,
            test_every=self.test_every,
        )

    @property
    def choices(self) -> list[tuple[str | None, PolicyChoice]]:
        """The policies, each with the name that the caller gave it."""
        if isinstance(self.policies, Mapping):
            return list(self.policies.items())
        return [(None, choice) for choice in self.policies]
