"""Trials: small trainings, each under one policy and measured by images it does not train on."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from learned_augment.datasets.image_data import ImageData
from learned_augment.models import NetworkChoice
from learned_augment.policy import Policy
from learned_augment.runtime.rng import isolated
from learned_augment.search.screening.splits import training_part
from learned_augment.training import Recipe, Trainer

__all__ = ["Measured", "Trial", "TrialRunner", "expected_error"]

_MOST_VALIDATION = 2000

FEWEST_VALIDATED = 100
"""Fewest images that measure a trial, where its validation images change with the split."""


@dataclass(frozen=True)
class Trial:
    """A training to be done.

    Attributes:
        policies: Applied to every training image, in this order.
        fraction: Fraction of the images that train.
        split: Number of the split, from 0; trials with the same number train on the same images.
        seed: Seed of everything else that is random.
        recipe: Epochs, batches and rates of the training.
    """

    policies: tuple[Policy, ...]
    fraction: float
    split: int
    seed: int
    recipe: Recipe


@dataclass(frozen=True)
class Measured:
    """Measurements of a trial.

    Attributes:
        error: Expected error rate, see `expected_error`.
        accuracy: Fraction of the validation images that the network names rightly.
    """

    error: float
    accuracy: float

    @property
    def log_error(self) -> float:
        """The logarithm of the error: equal differences are equal ratios of errors."""
        return math.log(self.error)


@dataclass(frozen=True, eq=False)
class TrialRunner:
    """Runs trials; picklable, so that other processes can.

    Attributes:
        images: (N, C, H, W) uint8, to train on.
        labels: (N,).
        validation: Images and labels that validate all trials. If None, a trial is validated on
            the images that it does not train on.
        classes: Class names.
        network: Name, factory or module.
        device: Where to train.
        seed: Seed of the splits.
        places: (N,) places of the images in their source, if successive images shall train; None
            for random ones.
    """

    images: Tensor
    labels: Tensor
    validation: tuple[Tensor, Tensor] | None
    classes: tuple[str, ...]
    network: NetworkChoice
    device: torch.device
    seed: int
    places: Tensor | None = None

    def run(self, trial: Trial) -> Measured:
        """Train and measure.

        Few images make a noisy measure. So with few validation images a trial is cross-validated:
        it trains on several splits, one after another, and all of their validation images measure
        it together. A CPU trains with one thread, on which small networks lose nothing, so that
        all processes get the same numbers.
        """
        threads = 1 if self.device.type == "cpu" else None
        with isolated(trial.seed, precise=True, threads=threads):
            parts = [self._train(trial, split) for split in self._splits(trial)]
            logits, true = (torch.cat(part) for part in zip(*parts, strict=True))
            right = (logits.argmax(1) == true).double().mean().item()
            return Measured(expected_error(logits, true), right)

    def _splits(self, trial: Trial) -> range:
        """Return the numbers of the splits that a trial trains on.

        They are as many as it takes to validate on enough images, or on each image once. Where
        the validation images are given, one split is enough.
        """
        repeats = 1
        if self.validation is None:
            left = int((~training_part(self.labels, trial.fraction, 0, self.seed)).sum())
            repeats = min(math.ceil(FEWEST_VALIDATED / left), round(len(self.labels) / left))
        return range(trial.split * repeats, (trial.split + 1) * repeats)

    def _train(self, trial: Trial, split: int) -> tuple[Tensor, Tensor]:
        """Return logits and labels of the validation images, after a training on one split."""
        inside = training_part(self.labels, trial.fraction, split, self.seed, self.places)
        images, labels = self.validation or (self.images[~inside], self.labels[~inside])
        # Every n-th image of many: the images are in random order.
        every = slice(None, None, -(-len(labels) // _MOST_VALIDATION))
        train, validation = (
            (self.images[inside], self.labels[inside]),
            (images[every], labels[every]),
        )
        data = ImageData("screening", self.classes, *train, *validation)
        given = (data, trial.policies, self.network, trial.recipe, trial.seed, self.device)
        logits, true = Trainer(*given).finish()
        return logits.cpu(), true.cpu()


def expected_error(logits: Tensor, labels: Tensor) -> float:
    """Return a smooth error rate: the mean probability of a wrong answer, half an error added.

    The probabilities are those of the temperature at which the cross entropy is smallest, squared
    and scaled to a sum of 1. The temperature takes out how certain a network is, and leaves how
    right it is. The squares count an image that is nearly decided more like an error rate does: a
    cross entropy is largely made by images that no network names rightly. Half an error is spread
    over the images, so that the logarithm stays finite where all are named rightly.

    Args:
        logits: (N, classes).
        labels: (N,).

    Returns:
        The error, above 0. It is about 0.5 / N if the network is right and sure everywhere.

    Examples:
        >>> round(expected_error(torch.eye(4) * 9, torch.arange(4)), 3)
        0.125
    """
    temperatures = torch.logspace(-1, 1, 41)
    best = min(temperatures, key=lambda t: cross_entropy(logits / t, labels).item())
    right: float = (2 * logits / best).softmax(1).gather(1, labels[:, None]).double().mean().item()
    return 1 - right + 0.5 / len(labels)
