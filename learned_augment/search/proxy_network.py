"""The network that a search trains, with weights, velocity and buffers as plain dictionaries."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.func import functional_call

from learned_augment.runtime.distributed import all_reduce_sum, sync_batch_norms, world_size
from learned_augment.search.alignment import (
    Tensors,
    gradient,
    look_ahead,
    momentum_step,
    norm,
)
from learned_augment.training.recipe import cosine

__all__ = ["ProxyNetwork", "cosine_rate"]


class ProxyNetwork:
    """A network under SGD with momentum and gradient clipping.

    Every pass takes its weights as an argument; no weight is changed in place. Images are the rows
    of this process, normalized float batches (B, C, H, W) on the network's device.

    Args:
        network: Its parameters and buffers are copied; the module itself stays as it is, except
            that with several processes its batch normalizations are replaced.
        momentum: Momentum of SGD, without Nesterov.
        weight_decay: L2 penalty of SGD.
        clip: Largest Euclidean norm of a gradient.
        device: Where the network runs.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        momentum: float,
        weight_decay: float,
        clip: float,
        device: torch.device,
    ) -> None:
        network = sync_batch_norms(network) if world_size() > 1 else network
        self.network = network.to(device).train()
        self.momentum, self.weight_decay, self.clip = momentum, weight_decay, clip
        self.weights: Tensors = {
            n: p.detach().clone() for n, p in network.named_parameters() if p.requires_grad
        }
        self.velocity: Tensors = {n: torch.zeros_like(w) for n, w in self.weights.items()}
        self.buffers: Tensors = {n: b.detach().clone() for n, b in network.named_buffers()}

    def losses(
        self, weights: Tensors, images: Tensor, labels: Tensor, *, update_buffers: bool = False
    ) -> Tensor:
        """Return the cross entropy of every image, (B,), by default in training mode.

        Args:
            weights: The weights to use.
            images: Normalized images (B, C, H, W).
            labels: Classes (B,).
            update_buffers: Whether this pass updates the running statistics.
        """
        buffers = (
            self.buffers if update_buffers else {n: b.clone() for n, b in self.buffers.items()}
        )
        logits = functional_call(self.network, (weights, buffers), (images,))
        return F.cross_entropy(logits, labels, reduction="none")

    @contextmanager
    def evaluation_mode(self) -> Iterator[None]:
        """Switch dropout off and normalize by the running statistics."""
        self.network.eval()
        try:
            yield
        finally:
            self.network.train()

    def gradient(
        self,
        weights: Tensors,
        images: Tensor,
        labels: Tensor,
        count: int,
        *,
        update_buffers: bool = False,
    ) -> tuple[Tensors, float]:
        """Return gradient and mean of the loss over the ``count`` images of all processes."""
        grads, losses = gradient(
            lambda w: self.losses(w, images, labels, update_buffers=update_buffers), weights
        )
        mean = float(all_reduce_sum(losses.sum())) / count
        return {n: all_reduce_sum(g) / count for n, g in grads.items()}, mean

    def ahead(self, grads: Tensors, rate: float) -> Tensors:
        """Return the weights one (unclipped) training step ahead."""
        return look_ahead(self.weights, self._velocity(grads), rate)

    def update(self, grads: Tensors, rate: float) -> None:
        """Take one training step, with clipping."""
        self.velocity = self._velocity(self.clipped(grads))
        self.weights = look_ahead(self.weights, self.velocity, rate)

    def clipped(self, grads: Tensors) -> Tensors:
        """Return a gradient of the same direction that is no longer than allowed."""
        scale = (self.clip / norm(grads)).clamp(max=1.0)
        return {n: g * scale.to(g.dtype) for n, g in grads.items()}

    def _velocity(self, grads: Tensors) -> Tensors:
        return momentum_step(self.weights, grads, self.velocity, self.momentum, self.weight_decay)

    def state_dict(self) -> dict[str, Any]:
        """Return all tensors that change."""
        return {"weights": self.weights, "velocity": self.velocity, "buffers": self.buffers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over copies of the tensors of `state_dict`: buffers change in place."""
        for name in ("weights", "velocity", "buffers"):
            mine: Tensors = getattr(self, name)
            setattr(
                self, name, {n: state[name][n].to(t.device, copy=True) for n, t in mine.items()}
            )


def cosine_rate(progress: float, highest: float, last: float) -> float:
    """Return the learning rate at ``progress`` in [0, 1]: a cosine from ``highest`` to ``last``."""
    last = min(last, highest)
    return last + (highest - last) * cosine(progress)
