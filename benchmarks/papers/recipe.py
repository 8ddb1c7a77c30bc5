"""Training settings of the papers' evaluation sections."""

from collections.abc import Callable
from dataclasses import dataclass

from learned_augment._settings import check_at_least
from learned_augment.training import Recipe
from learned_augment.training.recipe import cosine

__all__ = ["SCHEDULES", "PaperRecipe"]


@dataclass(frozen=True)
class PaperRecipe(Recipe):
    """A training as the package does it, by default, and what the papers do otherwise.

    Lengths within a training are shares of it, in [0, 1], so that a recipe keeps its shape when its
    epochs are fewer.

    Attributes:
        schedule: a name of `SCHEDULES`.
        start: learning rate at the start of the warm-up.
        warm_up: share of the training in which the learning rate rises.
        milestones: shares of the training after which "steps" divides the learning rate by 10.
        clip: largest norm of a step's gradient; 0 for no limit.
        decay_norms: whether scales and shifts of normalizations decay too.
        copies: how often each image of a batch is augmented and learned from, with own draws (batch
            augmentation); each copy of the batch is normalized by itself.
        cutout: side in pixels of the square set to the mean color, after the policy; 0 for none.
        lighting: deviation of the random light, in ImageNet's three color directions; 0 for none.
        compile: whether `torch.compile` compiles the network.

    Raises:
        ValueError: if a setting is out of range.
    """

    schedule: str = "cosine"
    start: float = 0.0
    warm_up: float = 0.1
    milestones: tuple[float, ...] = ()
    clip: float = 5.0
    decay_norms: bool = True
    copies: int = 1
    cutout: int = 0
    lighting: float = 0.0
    compile: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {tuple(SCHEDULES)}, got {self.schedule!r}.")
        check_at_least(self, clip=0, copies=1, cutout=0, lighting=0)
        if not 0 <= self.start <= self.learning_rate:
            raise ValueError(
                f"start must be from 0 to the learning rate, {self.learning_rate}, got "
                f"{self.start}."
            )
        if not 0 <= self.warm_up < 1:
            raise ValueError(f"warm_up is a share of the training in [0, 1), got {self.warm_up}.")
        shares = (self.warm_up, *self.milestones, 1.0)
        if bool(self.milestones) != (self.schedule == "steps") or list(shares) != sorted(shares):
            raise ValueError(
                'milestones belong to the schedule "steps": shares of the training that rise from '
                f"the warm-up's end to 1, got {self.milestones} with {self.schedule!r}."
            )

    def rate(self, progress: float) -> float:
        """Return the learning rate at `progress` in [0, 1] through the training."""
        return SCHEDULES[self.schedule](self, progress)


def _cosine(recipe: PaperRecipe, progress: float) -> float:
    return _warm(recipe, progress) * cosine(progress)


def _cosine_after(recipe: PaperRecipe, progress: float) -> float:
    if progress < recipe.warm_up:
        return _warm(recipe, progress)
    left = (progress - recipe.warm_up) / (1 - recipe.warm_up)
    return recipe.learning_rate * cosine(left)


def _steps(recipe: PaperRecipe, progress: float) -> float:
    passed = sum(progress >= milestone for milestone in recipe.milestones)
    return float(_warm(recipe, progress) / 10**passed)


def _warm(recipe: PaperRecipe, progress: float) -> float:
    if recipe.warm_up == 0:
        return recipe.learning_rate
    share = min(1.0, progress / recipe.warm_up)
    return recipe.start * (1 - share) + recipe.learning_rate * share


SCHEDULES: dict[str, Callable[[PaperRecipe, float], float]] = {
    "cosine": _cosine,
    "cosine after warm-up": _cosine_after,
    "steps": _steps,
}
"""Schedules of the learning rate by name: it falls over the whole training while it warms up, after
the warm-up, or in steps."""
