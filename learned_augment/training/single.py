"""Training one network on one data set under one policy, on CPU or GPU.

Images stay uint8 on the device; each batch is augmented there, with an own draw per image, and then
normalised by the channels' mean and deviation. A seed fixes initial weights, batch order and
augmentation, each from its own generator, so that two policies at one seed differ in nothing else.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from learned_augment.image_data import ImageData
from learned_augment.networks import NetworkChoice, build_network
from learned_augment.placement import Contender
from learned_augment.training.recipe import Recipe

__all__ = ["Trained", "check_network", "find_device", "train_network"]


class Trained(NamedTuple):
    """What a finished training measured.

    Attributes:
        accuracy: of the test images after the last epoch, in percent.
        best: the highest of the tested epochs; it was chosen by looking at the test images.
        loss: mean training loss of the last epoch, on augmented images.
        losses: the same of every epoch.
        accuracies: (epoch, accuracy) of every tested epoch; epochs count from 1.
    """

    accuracy: float
    best: float
    loss: float
    losses: tuple[float, ...]
    accuracies: tuple[tuple[int, float], ...]


def train_network(
    data: ImageData,
    contender: Contender,
    network: NetworkChoice,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> Trained:
    """Train a fresh network, and test it after the last epoch and where the recipe asks for it.

    Args:
        data: what to train and test on.
        contender: augments the training images.
        network: name, factory or module; a module is copied, and starts from its own weights.
        recipe: how to train.
        seed: fixes everything random.
        device: where to train.
        on_epoch: called with the number of each finished epoch, from 1.
    """
    with _isolated(seed):
        net = deepcopy(build_network(network, len(data.classes)))
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        model = nn.Sequential(_Normalise(data.train_images, layout), net)
        model = model.to(device).to(memory_format=layout)
        images, labels = data.train_images.to(device), data.train_labels.to(device)
        batch = min(recipe.batch_size, len(labels))
        order = torch.Generator().manual_seed(2 * seed)
        draws = torch.Generator().manual_seed(2 * seed + 1)
        learner = _Learner(model, recipe, recipe.epochs * (len(labels) // batch), device)
        means: list[float] = []
        tests: list[tuple[int, float]] = []
        for epoch in range(1, recipe.epochs + 1):
            shuffled = torch.randperm(len(labels), generator=order).to(device)
            rows = shuffled[: len(labels) // batch * batch].view(-1, batch)
            losses = [learner.step(contender.augment(images[r], draws), labels[r]) for r in rows]
            means.append(torch.stack(losses).mean().item())
            if recipe.tests(epoch):
                tests.append((epoch, learner.accuracy(data)))
            on_epoch(epoch)
        best = max(accuracy for _, accuracy in tests)
        return Trained(tests[-1][1], best, means[-1], tuple(means), tuple(tests))


def find_device(device: str | torch.device | None) -> torch.device:
    """Return the device to train on; None is the first GPU, or the CPU where there is none.

    Raises:
        ValueError: if there is no such device here.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        # torch asserts when it was built without CUDA.
        raise ValueError(
            f"Device {str(device)!r} cannot be used: {str(error).splitlines()[0]} Use 'cpu'."
        ) from None
    return found


def check_network(network: NetworkChoice, data: ImageData, device: torch.device) -> None:
    """Push two images through a network, to fail before hours of training rather than after.

    Raises:
        ValueError: if the network does not turn them into one logit per class.
    """
    with _isolated(0), torch.no_grad():
        model = deepcopy(build_network(network, len(data.classes))).to(device).eval()
        logits = model(data.train_images[:2].to(device) / 255)
    expected = (len(data.train_images[:2]), len(data.classes))
    if tuple(logits.shape) != expected:
        raise ValueError(
            f"Expected logits {expected}, one per class of {data.name}, but the network returned "
            f"{tuple(logits.shape)}."
        )


class _Learner:
    """A model with its optimiser, learning rate schedule and precision."""

    def __init__(self, model: nn.Module, recipe: Recipe, steps: int, device: torch.device) -> None:
        self._model, self._recipe, self._device = model, recipe, device
        self._steps, self._done = steps, 0
        self._optimiser = torch.optim.SGD(
            model.parameters(), lr=0, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay
        )

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Take one step on images (B, C, H, W) with labels (B,); return the mean loss, ()."""
        for group in self._optimiser.param_groups:
            group["lr"] = self._recipe.rate((self._done + 0.5) / self._steps)
        self._model.train()
        with self._autocast():
            loss = cross_entropy(self._model(images), labels)
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._model.parameters(), 5.0)
        self._optimiser.step()
        self._done += 1
        return loss.detach()

    @torch.no_grad()
    def accuracy(self, data: ImageData) -> float:
        """Return the share of the test images that are named rightly, in percent."""
        self._model.eval()
        right = 0
        for start in range(0, len(data.test_labels), 512):
            with self._autocast():
                logits = self._model(data.test_images[start : start + 512].to(self._device))
            right += int((logits.argmax(1).cpu() == data.test_labels[start : start + 512]).sum())
        return 100 * right / len(data.test_labels)

    def _autocast(self) -> torch.autocast:
        low = self._recipe.precision == "bfloat16"
        return torch.autocast(self._device.type, torch.bfloat16, enabled=low)


class _Normalise(nn.Module):
    """Turns uint8 images into floats of mean 0 and deviation 1 over the training images."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, images: Tensor, layout: torch.memory_format) -> None:
        super().__init__()
        self._layout = layout
        levels = torch.arange(256, dtype=torch.float64)
        # Counted by level: exact, and without a float copy of the whole data.
        counts = torch.stack(
            [channel.flatten().bincount(minlength=256) for channel in images.unbind(1)]
        )
        share = counts.double() / counts.sum(1, keepdim=True)  # (C, 256)
        mean = share @ levels
        deviation = (share @ levels.square() - mean.square()).clamp_min(1).sqrt()
        self.register_buffer("mean", mean.float()[:, None, None])
        self.register_buffer("deviation", deviation.float()[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        floats = images.contiguous(memory_format=self._layout).float()
        return (floats - self.mean) / self.deviation


@contextmanager
def _isolated(seed: int) -> Iterator[None]:
    """Seed torch's global generators, for initial weights and dropout, and restore them after."""
    gpus = range(torch.cuda.device_count())
    with (
        torch.random.fork_rng(devices=gpus),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        torch.manual_seed(seed)
        yield
