"""The training of DeepAA's network, before the search, and the file that keeps it."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from learned_augment._io import write_atomically
from learned_augment._text import leading
from learned_augment.models.norms import norm_parameters
from learned_augment.runtime.checkpoint import encode, read
from learned_augment.runtime.distributed import rank, shard
from learned_augment.search.alignment import Tensors
from learned_augment.search.batches import BaseAugmentation, Indices, NetworkInput
from learned_augment.search.presets import MethodSettings
from learned_augment.search.proxy_network import ProxyNetwork, cosine_rate

__all__ = ["Pretraining", "divide", "read_network", "write_network"]

_MOMENTUM, _CLIP, _FINAL_RATE = 0.9, 5.0, 1e-7
_FORMAT = 3


class Pretraining:
    """The training in progress, on images that no policy is learned from.

    It is SGD with Nesterov momentum, a cosine learning rate, and no weight decay on normalizations.

    Args:
        network: Trained from its present weights.
        images: (N, C, H, W) uint8.
        labels: (N,).
        normalize: Gray levels to network input.
        settings: Epochs, batch size, rate, weight decay and base augmentation.
        generator: Seeds a generator of batches and augmentation; CPU. Later draws from it are the
            same whether the network is trained or read from a file.
    """

    def __init__(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        normalize: NetworkInput,
        settings: MethodSettings,
        generator: torch.Generator,
    ) -> None:
        self.images, self.labels = images, labels
        self.normalize, self.settings = normalize, settings
        self.no_decay = norm_parameters(network)
        self.network = ProxyNetwork(
            network, momentum=_MOMENTUM, weight_decay=0.0, clip=_CLIP, device=images.device
        )
        seed = int(torch.randint(2**31, (), generator=generator))
        self.generator = torch.Generator().manual_seed(seed)
        self.base = BaseAugmentation(settings.base, settings.cutout, self.generator)
        self.batch = min(settings.batch_size, len(labels))
        self.indices = Indices(len(labels), self.generator)
        self.steps = settings.epochs * (len(labels) // self.batch)
        self.done = 0

    def step(self) -> dict[str, float]:
        """Train by one batch."""
        rows = shard(self.batch)
        index = self.indices.take(self.batch).to(self.images.device)
        images = self.normalize(self.base.before(self.images[index], rows))
        images = self.base.after(images, self.batch, rows)
        labels = self.labels[index][rows]
        grads, loss = self.network.gradient(
            self.network.weights, images, labels, self.batch, update_buffers=True
        )
        progress = self.done / self.steps
        rate = cosine_rate(progress, self.settings.learning_rate, _FINAL_RATE)
        self._update(grads, rate)
        self.done += 1
        return {"train_loss": loss, "learning_rate": rate}

    @property
    def recipe(self) -> dict[str, float | str]:
        """Settings that decide the trained network, besides its initial weights and images."""
        names = ("epochs", "batch_size", "learning_rate", "weight_decay", "base", "cutout")
        return {name: getattr(self.settings, name) for name in names}

    def _update(self, grads: Tensors, rate: float) -> None:
        # As published: the decay is part of the loss, so it is clipped too.
        network, decay = self.network, self.settings.weight_decay
        decayed = {
            n: g if n in self.no_decay else g + decay * network.weights[n] for n, g in grads.items()
        }
        for name, grad in network.clipped(decayed).items():
            velocity = _MOMENTUM * network.velocity[name] + grad
            network.velocity[name] = velocity
            network.weights[name] = network.weights[name] - rate * (grad + _MOMENTUM * velocity)

    def trained(self) -> nn.Module:
        """Return the network with its weights as they are now."""
        module = self.network.network
        module.load_state_dict({**self.network.weights, **self.network.buffers}, strict=False)
        return module

    def use(self, state: Tensors) -> None:
        """Use weights and buffers from a file instead of training."""
        for own in (self.network.weights, self.network.buffers):
            for name, tensor in own.items():
                own[name] = state[name].to(tensor.device)
        self.steps = self.done = 0

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `step` changes."""
        return {
            "generator": self.generator.get_state(),
            "network": self.network.state_dict(),
            "indices": self.indices.state_dict(),
            "steps": self.steps,
            "done": self.done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.generator.set_state(state["generator"])
        self.network.load_state_dict(state["network"])
        self.indices.load_state_dict(state["indices"])
        self.steps, self.done = state["steps"], state["done"]


def write_network(path: Path, pretraining: Pretraining, images: str) -> None:
    """Keep a trained network in a file; a failing disk gives a warning and does not end the search.

    Args:
        path: The file.
        pretraining: The finished training.
        images: Hash of the images that it was trained on.
    """
    if rank() != 0:
        return
    network = pretraining.network
    written = {
        "format": _FORMAT,
        "images": images,
        "recipe": pretraining.recipe,
        "state": {**network.weights, **network.buffers},
    }
    try:
        write_atomically(path, encode(written))
    except OSError as error:
        warnings.warn(
            f"The network could not be written to {path} ({error}); the search goes on.",
            RuntimeWarning,
            stacklevel=2,
        )


def read_network(path: Path, pretraining: Pretraining, images: str) -> None:
    """Use the network of a file instead of training one.

    Raises:
        ValueError: If the file does not hold this network, trained like this on these images.
    """
    try:
        version, trained_on, recipe, state = read(path, "format", "images", "recipe", "state")
        found = {n: tuple(t.shape) for n, t in state.items()}
        recipe = dict(recipe)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} does not hold a trained network ({error!s:.200}); delete it, or give "
            "another network_file."
        ) from error
    if type(version) is not int or version != _FORMAT:
        raise ValueError(
            f"{path}: expected format {_FORMAT} of a trained network, got {version!r:.100}; delete "
            "it, or give another network_file."
        )
    network = pretraining.network
    expected = {n: tuple(t.shape) for n, t in {**network.weights, **network.buffers}.items()}
    if expected != found:
        differs = sorted(str(n) for n in {*expected, *found} if expected.get(n) != found.get(n))
        raise ValueError(
            f"{path} holds another network: {leading(differs, 3)} differ; give "
            "its network, or another network_file."
        )
    if str(trained_on) != images:
        raise ValueError(
            f"{path} was trained on other images, which the policy would now be learned from; give "
            "the same data, reduce and seed, or another network_file."
        )
    other = [
        f"{name} {recipe.get(name)} instead of {value}"
        for name, value in pretraining.recipe.items()
        if str(recipe.get(name)) != str(value)
    ]
    if other:
        raise ValueError(
            f"{path} was trained with {', '.join(other)}; give the same, or another network_file."
        )
    pretraining.use(state)


def divide(labels: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the images that train the network, (n,), and those that train the policy, (m,).

    Both are indices. Every class of two or more images is in both parts.

    Args:
        labels: Labels of all training images, (N,).
        count: How many train the network, in proportion of each class; 0 is half.
        generator: CPU.

    Raises:
        ValueError: If no image is left for the policy.
    """
    labels = labels.cpu()
    if not 0 <= count < len(labels):
        raise ValueError(
            f"pretrain_images must leave some of the {len(labels)} training images for the policy, "
            f"got {count}."
        )
    portion = (count or len(labels) / 2) / len(labels)
    for_network, for_policy = [], []
    for label in labels.unique().tolist():
        rows = (labels == label).nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows), generator=generator)]
        middle = min(max(1, round(portion * len(rows))), max(1, len(rows) - 1))
        for_network.append(rows[:middle])
        for_policy.append(rows[middle:])
    return torch.cat(for_network), torch.cat(for_policy)
