"""The network's side of a DADA step: train on augmented images, judge each by validation images.

Costs in network passes, F a forward: training gradient 3F, validation gradient 3F, slopes 2F or,
with what each pixel does to them, 4F. The training gradient serves the look-ahead and the training
step alike. Shapes: B images of all processes, b of this one.
"""

import math
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from learned_augment.backends import apply_batch
from learned_augment.models.norms import remembering_one_batch
from learned_augment.plan import Plan
from learned_augment.runtime.distributed import share, total
from learned_augment.search.alignment import (
    Tensors,
    mixed_difference,
    mixed_exact,
    norm,
    slopes_by_difference,
    slopes_exact,
)
from learned_augment.search.batches import Beside, Normalise, Stream
from learned_augment.search.dada.options import DADAOptions
from learned_augment.search.learner import Learner
from learned_augment.search.method import Halves
from learned_augment.search.presets import Preset

__all__ = ["Judgement", "Proxy"]

FINAL_RATE = 1e-3
MOMENTUM = 0.9
CLIP = 5.0


class Judgement(NamedTuple):
    """What a training step did for validation.

    Attributes:
        slopes: <gradient of an image's loss, validation gradient>, (b,); above 0 is help.
        by_pixel: What each pixel does to the sum of all slopes, (b, C, H, W); None if not asked.
        metrics: Losses, cosine of both gradients, learning rate.
    """

    slopes: Tensor
    by_pixel: Tensor | None
    metrics: dict[str, float]


class Proxy:
    """A network in training on one half, judged by the other.

    Args:
        halves: The data.
        network: Trained from its present weights.
        preset: How it is trained.
        options: Of the search.
        generator: Of batches and default augmentation; CPU.
    """

    def __init__(
        self,
        halves: Halves,
        network: nn.Module,
        preset: Preset,
        options: DADAOptions,
        generator: torch.Generator,
    ) -> None:
        self.halves, self.preset, self.options = halves, preset, options
        self.released = options.mode == "released"
        self.learner = Learner(
            network,
            momentum=MOMENTUM,
            weight_decay=preset.weight_decay,
            clip=CLIP,
            device=halves.train_images.device,
        )
        self.beside = Beside(preset.beside, preset.cutout, generator)
        self.normalise = Normalise(halves.train_images)
        self.batch = min(preset.batch_size, len(halves.train_labels))
        self.val_batch = min(preset.batch_size, len(halves.val_labels))
        self.training = Stream(len(halves.train_labels), generator)
        self.validation = Stream(len(halves.val_labels), None if self.released else generator)
        self.epoch = math.ceil(len(halves.train_labels) / self.batch)
        # The release prints its policy at the start of an epoch, never after the last.
        self.steps = self.epoch * max(1, preset.epochs - self.released)
        self.tangent: Tensors = {}
        self.done = 0

    def augmented(self, plan: Plan) -> tuple[Tensor, Tensor]:
        """Return the next training images (b, C, H, W) under a plan of B rows, and labels (b,).

        The images are differentiable in the plan's values if these require a gradient.
        """
        rows, device = share(self.batch), self.halves.train_images.device
        index = self.training.take(self.batch).to(device)
        images = self.beside.before(self.halves.train_images[index], rows)
        if plan.value.requires_grad:
            images = images.float().div(255)
        images = self.normalise(apply_batch(images, plan.rows(rows)))
        return self.beside.after(images, self.batch, rows), self.halves.train_labels[index][rows]

    def judge(self, images: Tensor, labels: Tensor, *, by_pixel: bool) -> Judgement:
        """Train by one batch, and tell for each image whether that helped validation.

        Args:
            images: As from `augmented`; without a graph.
            labels: Likewise, (b,).
            by_pixel: Whether to differentiate the slopes by the images, too.
        """
        learner, rate, weights = self.learner, self._rate(), self.learner.weights
        # Averaged over past steps, statistics would lag behind the weights.
        with remembering_one_batch(learner.network):
            slope, train_loss = learner.gradient(weights, images, labels, self.batch, keep=True)
        ahead = self.options.tangent == "ahead"
        where = learner.ahead(slope, rate) if ahead else weights
        fresh, val_loss = self._validation_gradient(where)
        self._remember(fresh)
        slopes, pixels = self._slopes(images, labels, self.tangent, by_pixel)
        learner.update(slope, rate)
        self.done += 1
        metrics = {
            "train_loss": train_loss,
            "val_loss": val_loss,
            "alignment": _cosine(slope, fresh),
            "learning_rate": rate,
        }
        return Judgement(slopes, pixels, metrics)

    def of_all(self, mine: Tensor) -> Tensor:
        """Return the numbers of all processes' images, (B,) float64 on the CPU, from own (b,)."""
        everyone = mine.new_zeros(self.batch)
        everyone[share(self.batch)] = mine
        return total(everyone).cpu().double()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `augmented` and `judge` change, but for the generator."""
        return {
            "learner": self.learner.state_dict(),
            "training": self.training.state_dict(),
            "validation": self.validation.state_dict(),
            "tangent": self.tangent,
            "done": self.done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.learner.load_state_dict(state["learner"])
        self.training.load_state_dict(state["training"])
        self.validation.load_state_dict(state["validation"])
        like = self.learner.weights
        self.tangent = {n: t.to(like[n].device) for n, t in state["tangent"].items()}
        self.done = state["done"]

    def _rate(self) -> float:
        part = self.done / self.steps
        if self.released:
            # Its schedule steps once before the first epoch: the start rate is never used.
            part = (self.done // self.epoch + 1) / self.preset.epochs
        high = self.preset.learning_rate
        low = min(FINAL_RATE, high)
        return low + (high - low) * (1 + math.cos(math.pi * part)) / 2

    def _validation_gradient(self, weights: Tensors) -> tuple[Tensors, float]:
        # The release restarts its loader every step in a fixed order: always the same first batch.
        order = torch.arange(self.val_batch) if self.released else None
        index = self.validation.take(self.val_batch) if order is None else order
        index = index[share(self.val_batch)].to(self.halves.val_images.device)
        images, labels = self.halves.val_images[index], self.halves.val_labels[index]
        used = self.options.validation == "eval"
        with self.learner.evaluating() if used else nullcontext():
            return self.learner.gradient(weights, self.normalise(images), labels, self.val_batch)

    def _remember(self, fresh: Tensors) -> None:
        """Average the validation gradient over the last steps: most of it is batch noise."""
        keep = self.options.memory
        past = self.tangent or fresh
        self.tangent = {n: keep * past[n] + (1 - keep) * t for n, t in fresh.items()}

    def _slopes(
        self, images: Tensor, labels: Tensor, tangent: Tensors, by_pixel: bool
    ) -> tuple[Tensor, Tensor | None]:
        learner, exact = self.learner, self.options.derivative == "exact"

        def losses(weights: Tensors, inputs: Tensor) -> Tensor:
            return learner.losses(weights, inputs, labels)

        if by_pixel:
            mixed = mixed_exact if exact else mixed_difference
            return mixed(losses, learner.weights, tangent, images)
        slopes = slopes_exact if exact else slopes_by_difference
        return slopes(lambda w: losses(w, images), learner.weights, tangent), None


def _cosine(slope: Tensors, tangent: Tensors) -> float:
    inner = torch.stack([(slope[n].double() * t.double()).sum() for n, t in tangent.items()]).sum()
    return float(inner / (norm(slope) * norm(tangent)).clamp_min(1e-30))
