"""Training of one network on images in memory, on CPU or GPU, one step at a time."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from learned_augment.backends.dispatch import apply_batch
from learned_augment.datasets.image_data import ImageData
from learned_augment.models import NetworkChoice, build_network
from learned_augment.policy import Policy
from learned_augment.runtime.rng import isolated
from learned_augment.training.normalize import Normalize, level_statistics
from learned_augment.training.recipe import Recipe

__all__ = ["Trained", "Trainer", "augment_batch", "sgd", "train_network"]

_TEST_BATCH = 512
_MAX_GRADIENT_NORM = 5.0


class Trained(NamedTuple):
    """Measurements of a training.

    Attributes:
        accuracy: Test accuracy after the last epoch, in percent.
        best: The highest test accuracy of any tested epoch; it was chosen by the test images.
        loss: Mean training loss of the last epoch, on augmented images.
        losses: Mean training loss of every epoch.
        accuracies: (epoch, test accuracy) of every tested epoch; epochs count from 1.

    Examples:
        >>> curve = ((1, 90.5), (2, 92.0), (3, 91.5))
        >>> trained = Trained(91.5, 92.0, 0.3, losses=(0.9, 0.5, 0.3), accuracies=curve)
        >>> trained.accuracy, trained.best  # the best epoch was chosen by the test images
        (91.5, 92.0)
    """

    accuracy: float
    best: float
    loss: float
    losses: tuple[float, ...]
    accuracies: tuple[tuple[int, float], ...]


def train_network(
    data: ImageData,
    policies: Sequence[Policy],
    network: NetworkChoice,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> Trained:
    """Train a network, and test it after the last epoch and where the recipe asks for it.

    The seed fixes initial weights, batch order and augmentation, each by its own generator. So at
    one seed two trainings differ in nothing but their policies.

    Args:
        data: What to train and test on.
        policies: Applied to every training image, in this order.
        network: Name, factory or module; a module is copied, and starts from its own weights.
        recipe: How to train.
        seed: Fixes everything random.
        device: Where to train.
        on_epoch: Called with the number of each finished epoch, from 1.

    Examples:
        >>> from learned_augment.datasets.load import load_images
        >>> data, policy = load_images("digits").subset(60), Policy.load("dada-cifar10")
        >>> recipe, cpu = Recipe(epochs=2, batch_size=20), torch.device("cpu")
        >>> trained = train_network(data, [policy], "small-cnn", recipe, 0, cpu)
        >>> len(trained.losses), len(trained.accuracies)  # tested after the last epoch only
        (2, 1)
    """
    with isolated(seed):
        trainer = Trainer(data, policies, network, recipe, seed, device)
        for epoch in range(1, recipe.epochs + 1):
            for _ in range(trainer.epoch_steps):
                trainer.step()
            on_epoch(epoch)
        return trainer.result()


class Trainer:
    """A network in training.

    Initial weights, and random layers of the network, draw from torch's global generators: seed
    them before building a trainer, as `train_network` does. The images stay uint8 on the device.

    Args:
        data: What to train and test on.
        policies: Applied to every training image, in this order.
        network: Name, factory or module; a module is copied, and starts from its own weights.
        recipe: How to train.
        seed: Seed of batch order and augmentation.
        device: Where to train.

    Attributes:
        network: The network.
        steps: Number of steps of the whole training.
        done: Number of steps taken.
        epoch_steps: Number of steps of an epoch.
        losses: Mean training loss of each finished epoch.
        accuracies: (epoch, test accuracy in percent) of each test.

    Examples:
        >>> from learned_augment.datasets.load import load_images
        >>> data, recipe = load_images("digits").subset(60), Recipe(epochs=1, batch_size=20)
        >>> trainer = Trainer(data, [], "small-cnn", recipe, seed=0, device=torch.device("cpu"))
        >>> trainer.step()
        >>> trainer.done, trainer.steps
        (1, 3)
        >>> logits, labels = trainer.finish()
        >>> logits.shape
        torch.Size([898, 10])
    """

    def __init__(
        self,
        data: ImageData,
        policies: Sequence[Policy],
        network: NetworkChoice,
        recipe: Recipe,
        seed: int,
        device: torch.device,
    ) -> None:
        self._data, self._policies, self._recipe, self._device = data, policies, recipe, device
        self._images, self._labels = data.train_images.to(device), data.train_labels.to(device)
        self._batch_size = min(recipe.batch_size, len(data.train_labels))
        self.epoch_steps = len(data.train_labels) // self._batch_size
        self.steps, self.done = recipe.epochs * self.epoch_steps, 0
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self._normalize = Normalize(level_statistics(data.train_images), layout).to(device)
        network = deepcopy(build_network(network, len(data.classes)))
        self.network: nn.Module = network.to(device).to(memory_format=layout)  # type: ignore[call-overload]
        self._optimizer = sgd(self.network, recipe.weight_decay)
        self._order = torch.Generator().manual_seed(2 * seed)
        self._draws = torch.Generator().manual_seed(2 * seed + 1)
        self._epoch_rows = torch.empty(0)
        self._epoch_losses: list[Tensor] = []
        self.losses: list[float] = []
        self.accuracies: list[tuple[int, float]] = []

    def step(self) -> None:
        """Learn from one batch; after the last one of an epoch, test if the recipe says so."""
        place = self.done % self.epoch_steps
        if place == 0:
            order = torch.randperm(len(self._labels), generator=self._order)
            whole = order[: self.epoch_steps * self._batch_size]
            self._epoch_rows = whole.view(self.epoch_steps, self._batch_size).to(self._device)
        rows = self._epoch_rows[place]
        images = augment_batch(self._images[rows], self._policies, self._draws)
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.rate((self.done + 0.5) / self.steps)
        self.network.train()
        self._optimizer.zero_grad()
        with self._autocast():
            loss = cross_entropy(self.network(self._normalize(images)), self._labels[rows])
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), _MAX_GRADIENT_NORM)
        self._optimizer.step()
        self._epoch_losses.append(loss.detach())
        self.done += 1
        if place + 1 == self.epoch_steps:
            self._end_epoch()

    @torch.no_grad()
    def test_logits(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield logits (B, classes) and labels (B,) of the test images, batch by batch."""
        self.network.eval()
        images, labels = self._data.test_images, self._data.test_labels
        for batch in zip(images.split(_TEST_BATCH), labels.split(_TEST_BATCH), strict=True):
            x, y = (part.to(self._device) for part in batch)
            with self._autocast():
                logits = self.network(self._normalize(x))
            yield logits.float(), y

    def finish(self) -> tuple[Tensor, Tensor]:
        """Take all steps that are left; return logits (N, classes) and labels of the test images.

        N is the number of test images. The result is on the device.
        """
        while self.done < self.steps:
            self.step()
        logits, labels = zip(*self.test_logits(), strict=True)
        return torch.cat(logits), torch.cat(labels)

    def result(self) -> Trained:
        """Return the measurements of the finished epochs.

        Raises:
            ValueError: If no epoch has been tested.
        """
        if not self.accuracies:
            raise ValueError(f"No epoch has been tested after {self.done} of {self.steps} steps.")
        best = max(accuracy for _, accuracy in self.accuracies)
        last = self.accuracies[-1][1]
        return Trained(last, best, self.losses[-1], tuple(self.losses), tuple(self.accuracies))

    def _end_epoch(self) -> None:
        self.losses.append(torch.stack(self._epoch_losses).mean().item())
        self._epoch_losses = []
        epoch = self.done // self.epoch_steps
        if self._recipe.tests(epoch):
            right = sum(int((x.argmax(1) == y).sum()) for x, y in self.test_logits())
            self.accuracies.append((epoch, 100 * right / len(self._data.test_labels)))

    def _autocast(self) -> torch.autocast:
        low = self._recipe.precision == "bfloat16"
        return torch.autocast(self._device.type, torch.bfloat16, enabled=low)


def augment_batch(images: Tensor, policies: Sequence[Policy], generator: torch.Generator) -> Tensor:
    """Return uint8 images (B, C, H, W) with policies applied, one draw for each image.

    Args:
        images: uint8.
        policies: Applied in this order.
        generator: Source of the draws.
    """
    for policy in policies:
        images = apply_batch(images, policy.sample(len(images), generator))
    return images


def sgd(
    network: nn.Module, weight_decay: float, undecayed: frozenset[str] = frozenset()
) -> torch.optim.SGD:
    """Return SGD with Nesterov momentum 0.9; its learning rate is 0 until it is set.

    Args:
        network: What to train.
        weight_decay: L2 penalty.
        undecayed: Names of parameters without the penalty.
    """
    named = list(network.named_parameters())
    groups: list[dict[str, Any]] = [
        {"params": [weight for name, weight in named if name not in undecayed]},
        {"params": [weight for name, weight in named if name in undecayed], "weight_decay": 0.0},
    ]
    given = groups if undecayed else groups[:1]
    return torch.optim.SGD(given, lr=0, momentum=0.9, nesterov=True, weight_decay=weight_decay)
