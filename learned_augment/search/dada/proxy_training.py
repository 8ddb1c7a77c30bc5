"""The network's part of a DADA step: train on augmented images and measure their alignment."""

import math
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from learned_augment.backends.dispatch import apply_batch
from learned_augment.models.norms import remembering_one_batch
from learned_augment.policy import Plan
from learned_augment.runtime.distributed import all_reduce_sum, shard
from learned_augment.search.alignment import (
    Tensors,
    directional_difference,
    directional_exact,
    inner_product,
    mixed_difference,
    mixed_exact,
    norm,
)
from learned_augment.search.batches import BaseAugmentation, Indices, NetworkInput
from learned_augment.search.dada.options import DADAOptions
from learned_augment.search.presets import MethodSettings
from learned_augment.search.proxy_network import ProxyNetwork, cosine_rate
from learned_augment.search.split import Split

__all__ = ["Alignment", "ProxyTraining"]

_FINAL_RATE = 1e-3
_MOMENTUM = 0.9
_CLIP = 5.0


class Alignment(NamedTuple):
    """Effect of a training step on validation.

    Attributes:
        derivatives: <gradient of an image's loss, validation gradient>, (b,); above 0 the image
            helps.
        by_pixel: Gradient of the sum of all derivatives by the images, (b, C, H, W); None if not
            asked for.
        metrics: Losses, cosine of both gradients, learning rate.
    """

    derivatives: Tensor
    by_pixel: Tensor | None
    metrics: dict[str, float]


class ProxyTraining:
    """A network that trains on augmented images and measures how these help validation.

    Shapes: B images of all processes, b images of this one.

    The alignment of an image is the directional derivative of its loss along the validation
    gradient. A step costs about ten forward passes. The training gradient and the validation
    gradient take three each. The directional derivatives take two, and their gradient by the pixels
    takes two more.

    Args:
        split: The data.
        network: Trained from its present weights.
        settings: How it is trained.
        options: Options of the search.
        generator: Source of batches and base augmentation; CPU.
    """

    def __init__(
        self,
        split: Split,
        network: nn.Module,
        settings: MethodSettings,
        options: DADAOptions,
        generator: torch.Generator,
    ) -> None:
        self.split, self.settings, self.options = split, settings, options
        self.released = options.mode == "released"
        self.network = ProxyNetwork(
            network,
            momentum=_MOMENTUM,
            weight_decay=settings.weight_decay,
            clip=_CLIP,
            device=split.train_images.device,
        )
        self.base = BaseAugmentation(settings.base, settings.cutout, generator)
        self.normalize = NetworkInput(split.train_images)
        self.batch = min(settings.batch_size, len(split.train_labels))
        self.val_batch = min(settings.batch_size, len(split.val_labels))
        self.training = Indices(len(split.train_labels), generator)
        self.validation = Indices(len(split.val_labels), generator)
        self.epoch = math.ceil(len(split.train_labels) / self.batch)
        # The release prints its policy at the start of an epoch, never after the last.
        self.steps = self.epoch * max(1, settings.epochs - self.released)
        self.tangent: Tensors = {}
        self.done = 0

    def augmented(self, plan: Plan) -> tuple[Tensor, Tensor]:
        """Return the next training images (b, C, H, W) under a plan of B rows, and labels (b,).

        The images are differentiable in the plan's values if these require a gradient.
        """
        rows, device = shard(self.batch), self.split.train_images.device
        index = self.training.take(self.batch).to(device)
        images = self.base.before(self.split.train_images[index], rows)
        if plan.value.requires_grad:
            images = images.float().div(255)
        images = self.normalize(apply_batch(images, plan.rows(rows)))
        return self.base.after(images, self.batch, rows), self.split.train_labels[index][rows]

    def train(self, images: Tensor, labels: Tensor, *, by_pixel: bool) -> Alignment:
        """Train with one batch, and measure for each image whether it helps validation.

        Args:
            images: From `augmented`, detached.
            labels: Their classes.
            by_pixel: Whether the gradient of the derivatives by the images is needed.
        """
        network, weights, rate = self.network, self.network.weights, self._rate()
        # Running statistics that are averages over past steps would be those of older weights.
        with remembering_one_batch(network.network):
            grads, train_loss = network.gradient(
                weights, images, labels, self.batch, update_buffers=True
            )
        where = network.ahead(grads, rate) if self.options.tangent == "ahead" else weights
        val_grads, val_loss = self._validation_gradient(where)
        self._average(val_grads)
        derivatives, pixels = self._derivatives(images, labels, by_pixel)
        network.update(grads, rate)
        self.done += 1
        size = (norm(grads) * norm(val_grads)).clamp_min(1e-30)
        metrics = {
            "train_loss": train_loss,
            "val_loss": val_loss,
            "alignment": float(inner_product(grads, val_grads) / size),
            "learning_rate": rate,
        }
        return Alignment(derivatives, pixels, metrics)

    def of_all(self, own: Tensor) -> Tensor:
        """Gather one number for each image: (b,) of this process -> (B,) float64 on the CPU."""
        everyone = own.new_zeros(self.batch)
        everyone[shard(self.batch)] = own
        return all_reduce_sum(everyone).cpu().double()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `augmented` and `train` change, except the generator."""
        return {
            "network": self.network.state_dict(),
            "training": self.training.state_dict(),
            "validation": self.validation.state_dict(),
            "tangent": self.tangent,
            "done": self.done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.network.load_state_dict(state["network"])
        self.training.load_state_dict(state["training"])
        self.validation.load_state_dict(state["validation"])
        like = self.network.weights
        self.tangent = {n: t.to(like[n].device) for n, t in state["tangent"].items()}
        self.done = state["done"]

    def _rate(self) -> float:
        progress = self.done / self.steps
        if self.released:
            # Its schedule moves on once before the first epoch: the first rate is never used.
            progress = (self.done // self.epoch + 1) / self.settings.epochs
        return cosine_rate(progress, self.settings.learning_rate, _FINAL_RATE)

    def _validation_gradient(self, weights: Tensors) -> tuple[Tensors, float]:
        if self.released:
            # The released code restarts its loader at every step: it always gets the first batch.
            index = torch.arange(self.val_batch)
        else:
            index = self.validation.take(self.val_batch)
        index = index[shard(self.val_batch)].to(self.split.val_images.device)
        images, labels = self.normalize(self.split.val_images[index]), self.split.val_labels[index]
        evaluate = self.options.validation == "eval"
        with self.network.evaluation_mode() if evaluate else nullcontext():
            return self.network.gradient(weights, images, labels, self.val_batch)

    def _average(self, grads: Tensors) -> None:
        """Average the validation gradient over the last steps, as that of one batch is noisy."""
        weight = self.options.memory
        past = self.tangent or grads
        self.tangent = {n: weight * past[n] + (1 - weight) * g for n, g in grads.items()}

    def _derivatives(
        self, images: Tensor, labels: Tensor, by_pixel: bool
    ) -> tuple[Tensor, Tensor | None]:
        network, exact = self.network, self.options.derivative == "exact"

        def losses(weights: Tensors, inputs: Tensor) -> Tensor:
            return network.losses(weights, inputs, labels)

        if by_pixel:
            mixed = mixed_exact if exact else mixed_difference
            return mixed(losses, network.weights, self.tangent, images)
        directional = directional_exact if exact else directional_difference
        return directional(lambda w: losses(w, images), network.weights, self.tangent), None
