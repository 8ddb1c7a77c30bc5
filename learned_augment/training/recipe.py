"""Settings of a training."""

import math
from dataclasses import dataclass

from learned_augment._settings import check_at_least, check_rates, convert_fields, whole_number

__all__ = ["PRECISIONS", "Recipe", "cosine"]

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Recipe:
    """SGD with Nesterov momentum 0.9 on the cross entropy.

    The learning rate falls to zero as a cosine. During the first tenth of the steps it is also
    multiplied by a factor that rises from 0 to 1. Gradients are clipped at norm 5. An epoch leaves
    out the last, incomplete batch.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images per step.
        learning_rate: The learning rate at the start of the cosine. The highest one is 98 % of it,
            after the first tenth of the steps.
        weight_decay: L2 penalty on every parameter.
        precision: "float32", or "bfloat16" for torch's autocast to it.
        channels_last: Whether images and weights are stored channels last.
        test_every: Epochs between tests; 0 tests only after the last epoch, which is always tested.

    Raises:
        TypeError: If a setting should be a whole number and is not.
        ValueError: If a setting is out of range.

    Examples:
        >>> recipe = Recipe(epochs=10, learning_rate=0.2, test_every=5)
        >>> [round(recipe.rate(progress), 3) for progress in (0.05, 0.1, 0.5, 1.0)]
        [0.099, 0.195, 0.1, 0.0]
        >>> [epoch for epoch in range(1, 11) if recipe.tests(epoch)]
        [5, 10]
    """

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    precision: str = "float32"
    channels_last: bool = False
    test_every: int = 0

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}, got {self.precision!r}.")
        convert_fields(self, whole_number, ("epochs", "batch_size", "test_every"))
        check_at_least(self, epochs=1, batch_size=2, test_every=0)
        check_rates(self.learning_rate, self.weight_decay)

    def rate(self, progress: float) -> float:
        """Return the learning rate at ``progress`` in [0, 1] through the training."""
        return self.learning_rate * min(1.0, progress / 0.1) * cosine(progress)

    def tests(self, epoch: int) -> bool:
        """Return whether the network is tested after ``epoch``, from 1."""
        return epoch == self.epochs or (self.test_every > 0 and epoch % self.test_every == 0)


def cosine(progress: float) -> float:
    """Return the cosine schedule, which falls from 1 to 0 as ``progress`` goes from 0 to 1.

    Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, arXiv:1608.03983.
    """
    return (1 + math.cos(math.pi * progress)) / 2
