"""DeepAA's network is trained once, on images that no policy is learned from, and then frozen.

SGD with Nesterov momentum, the rate falling as a cosine; weight decay spares the normalisations.
"""

import io
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from learned_augment._io import write_atomically
from learned_augment._text import leading
from learned_augment.models.norms import norm_parameters
from learned_augment.runtime.distributed import rank, share
from learned_augment.search.alignment import Tensors, norm
from learned_augment.search.batches import Beside, Normalise, Stream
from learned_augment.search.learner import Learner
from learned_augment.search.method import Halves
from learned_augment.search.presets import Preset

__all__ = ["Pretraining", "part", "read_network", "split", "write_network"]

MOMENTUM, CLIP, FINAL_RATE = 0.9, 5.0, 1e-7
FORMAT = 2


class Pretraining:
    """The training under way.

    Args:
        network: Trained from its present weights.
        images: (N, C, H, W) uint8.
        labels: (N,).
        normalise: Grey levels to network input.
        preset: Epochs, batch, rate, weight decay and the default augmentation.
        generator: Seeds batches and augmentation; CPU. What comes after draws the same numbers
            whether the network is trained or read from a file.
    """

    def __init__(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        normalise: Normalise,
        preset: Preset,
        generator: torch.Generator,
    ) -> None:
        self.images, self.labels, self.normalise, self.preset = images, labels, normalise, preset
        self.spared = norm_parameters(network)
        self.learner = Learner(
            network, momentum=MOMENTUM, weight_decay=0.0, clip=CLIP, device=images.device
        )
        seed = int(torch.randint(2**31, (), generator=generator))
        self.generator = torch.Generator().manual_seed(seed)
        self.beside = Beside(preset.beside, preset.cutout, self.generator)
        self.batch = min(preset.batch_size, len(labels))
        self.stream = Stream(len(labels), self.generator)
        self.steps = preset.epochs * (len(labels) // self.batch)
        self.done = 0

    def step(self) -> dict[str, float]:
        """Train by one batch."""
        rows = share(self.batch)
        index = self.stream.take(self.batch).to(self.images.device)
        images = self.normalise(self.beside.before(self.images[index], rows))
        images = self.beside.after(images, self.batch, rows)
        labels = self.labels[index][rows]
        learner = self.learner
        slope, loss = learner.gradient(learner.weights, images, labels, self.batch, keep=True)
        rate = self._rate()
        self._update(slope, rate)
        self.done += 1
        return {"train_loss": loss, "learning_rate": rate}

    @property
    def recipe(self) -> dict[str, float | str]:
        """What the trained network depends on beside its start and its images."""
        names = ("epochs", "batch_size", "learning_rate", "weight_decay", "beside", "cutout")
        return {name: getattr(self.preset, name) for name in names}

    def _rate(self) -> float:
        high = self.preset.learning_rate
        low = min(FINAL_RATE, high)
        return low + (high - low) * (1 + math.cos(math.pi * self.done / self.steps)) / 2

    def _update(self, slope: Tensors, rate: float) -> None:
        learner, decay = self.learner, self.preset.weight_decay
        pulled = {
            n: s if n in self.spared else s + decay * learner.weights[n] for n, s in slope.items()
        }
        scale = (CLIP / norm(pulled)).clamp(max=1.0)
        for name, pull in pulled.items():
            pull = pull * scale.to(pull.dtype)
            velocity = MOMENTUM * learner.velocity[name] + pull
            learner.velocity[name] = velocity
            learner.weights[name] = learner.weights[name] - rate * (pull + MOMENTUM * velocity)

    def trained(self) -> nn.Module:
        """Return the network with its weights as they are now."""
        network = self.learner.network
        network.load_state_dict({**self.learner.weights, **self.learner.buffers}, strict=False)
        return network

    def take_over(self, state: Tensors) -> None:
        """Use weights and buffers from a file instead of training."""
        for mine in (self.learner.weights, self.learner.buffers):
            for name, tensor in mine.items():
                mine[name] = state[name].to(tensor.device)
        self.steps = self.done = 0

    def state_dict(self) -> dict[str, Any]:
        """Return all that `step` changes."""
        return {
            "generator": self.generator.get_state(),
            "learner": self.learner.state_dict(),
            "stream": self.stream.state_dict(),
            "steps": self.steps,
            "done": self.done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.generator.set_state(state["generator"])
        self.learner.load_state_dict(state["learner"])
        self.stream.load_state_dict(state["stream"])
        self.steps, self.done = state["steps"], state["done"]


def write_network(path: Path, pretraining: Pretraining, images: str) -> None:
    """Keep a trained network in a file.

    Args:
        path: Where.
        pretraining: Finished.
        images: Fingerprint of what it was trained on.
    """
    if rank() == 0:
        learner, buffer = pretraining.learner, io.BytesIO()
        state = {**learner.weights, **learner.buffers}
        written = {"format": FORMAT, "images": images, "recipe": pretraining.recipe, "state": state}
        torch.save(written, buffer)
        write_atomically(path, buffer.getvalue())


def read_network(path: Path, pretraining: Pretraining, images: str) -> None:
    """Use the network of a file instead of training one.

    Raises:
        ValueError: If the file does not hold this network, trained like this on these images.
    """
    try:
        # Weights only: a file from elsewhere must not execute anything.
        read = torch.load(path, map_location="cpu", weights_only=True)
        version, trained_on, state = read["format"], read["images"], read["state"]
        recipe = read["recipe"]
    except Exception as error:  # torch.load raises whatever the broken bytes lead to
        raise ValueError(
            f"{path} does not hold a trained network ({type(error).__name__}); delete it, or give "
            "another network_file."
        ) from error
    learner = pretraining.learner
    expected = {n: tuple(t.shape) for n, t in {**learner.weights, **learner.buffers}.items()}
    found = {n: tuple(t.shape) for n, t in state.items()}
    if version != FORMAT or expected != found:
        differs = sorted(n for n in {*expected, *found} if expected.get(n) != found.get(n))
        raise ValueError(
            f"{path} holds another network: {leading(differs, 3) or version} differ; give "
            "its model, or another network_file."
        )
    if trained_on != images:
        raise ValueError(
            f"{path} was trained on other images, which the policy would now be learned from; give "
            "the same data, reduce and seed, or another network_file."
        )
    other = [
        f"{name} {recipe.get(name)} instead of {value}"
        for name, value in pretraining.recipe.items()
        if recipe.get(name) != value
    ]
    if other:
        raise ValueError(
            f"{path} was trained with {', '.join(other)}; give the same, or another network_file."
        )
    pretraining.take_over(state)


def split(labels: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return which images train the network and which meet the policy: every class in both.

    Args:
        labels: Of the training half, (N,).
        count: How many train the network, in proportion of each class; 0 is half.
        generator: CPU.
    """
    labels = labels.cpu()
    if not 0 <= count < len(labels):
        raise ValueError(
            f"pretrain_images must leave some of the training half's {len(labels)} images for the "
            f"policy, got {count}."
        )
    portion = (count or len(labels) / 2) / len(labels)
    fitted, free = [], []
    for label in labels.unique().tolist():
        rows = (labels == label).nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows), generator=generator)]
        middle = min(max(1, round(portion * len(rows))), max(1, len(rows) - 1))
        fitted.append(rows[:middle])
        free.append(rows[middle:])
    return torch.cat(fitted), torch.cat(free)


def part(halves: Halves, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return images and labels of some of the training half."""
    rows = rows.to(halves.train_images.device)
    return halves.train_images[rows], halves.train_labels[rows]
