"""One training from start to end in memory, and what is checked before."""

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor

from learned_augment._text import first_line
from learned_augment.datasets.image_data import ImageData
from learned_augment.evaluation.named_policies import NamedPolicy
from learned_augment.models import NetworkChoice, build_network
from learned_augment.runtime.rng import isolated
from learned_augment.training.feeds import MemoryFeed
from learned_augment.training.recipe import Recipe
from learned_augment.training.trainer import Trained, Trainer

__all__ = ["check_network", "find_device", "train_network"]


def train_network(
    data: ImageData,
    named_policy: NamedPolicy,
    network: NetworkChoice,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> Trained:
    """Train a fresh network, and test it after the last epoch and where the recipe asks for it.

    Args:
        data: what to train and test on.
        named_policy: augments the training images.
        network: name, factory or module; a module is copied, and starts from its own weights.
        recipe: how to train.
        seed: fixes everything random.
        device: where to train.
        on_epoch: called with the number of each finished epoch, from 1.
    """
    with isolated(seed):
        feed = MemoryFeed(data, named_policy, device)
        trainer = Trainer(feed, network, recipe, seed, device)
        for epoch in range(1, recipe.epochs + 1):
            for _ in range(trainer.epoch_steps):
                trainer.step()
            on_epoch(epoch)
        return trainer.result()


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
            f"Device {str(device)!r} cannot be used: {first_line(error)} Use 'cpu'."
        ) from None
    return found


def check_network(network: NetworkChoice, data: ImageData, device: torch.device) -> None:
    """Push two images through a network, to fail before hours of training rather than after.

    Raises:
        ValueError: if the network does not turn them into one logit per class.
    """
    images = data.train_images[:2]
    with isolated(0), torch.no_grad():
        model = deepcopy(build_network(network, len(data.classes))).to(device).eval()
        try:
            logits = model(images.to(device) / 255)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise ValueError(
                f"Expected a network that takes images {tuple(images.shape)} of {data.name}, but "
                f"it failed on them: {first_line(error)}"
            ) from error
    expected = (len(images), len(data.classes))
    found = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
    if found != expected:
        raise ValueError(
            f"Expected logits {expected}, one per class of {data.name}, but the network returned "
            f"{found}."
        )
