"""The network that a search trains: weights, velocity and running statistics as plain dictionaries.

Nothing is shifted in place and no second network exists: every pass names the weights it runs with.
Images are normalised float batches (B, C, H, W) on the learner's device, this process's own share.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.func import functional_call

from learned_augment.runtime.distributed import synchronise, total, world
from learned_augment.search.alignment import Tensors, gradient, look_ahead, momentum_step, norm

__all__ = ["Learner"]


class Learner:
    """A network under SGD with momentum and gradient clipping.

    Args:
        network: Its parameters and buffers are copied; the module itself stays as it is, except
            that with several processes its batch normalisations are replaced.
        momentum: Of SGD, without Nesterov.
        weight_decay: L2 penalty of SGD.
        clip: Largest Euclidean norm of a gradient.
        device: Where it runs.
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
        network = synchronise(network) if world() > 1 else network
        self.network = network.to(device).train()
        self.momentum, self.weight_decay, self.clip = momentum, weight_decay, clip
        self.weights: Tensors = {
            n: p.detach().clone() for n, p in network.named_parameters() if p.requires_grad
        }
        self.velocity: Tensors = {n: torch.zeros_like(w) for n, w in self.weights.items()}
        self.buffers: Tensors = {n: b.detach().clone() for n, b in network.named_buffers()}

    def losses(
        self, weights: Tensors, images: Tensor, labels: Tensor, *, keep: bool = False
    ) -> Tensor:
        """Return the cross entropy of every image, (B,), in training mode unless ``evaluating``.

        Args:
            weights: With which to run.
            images: Normalised images (B, C, H, W).
            labels: Classes (B,).
            keep: Whether this pass counts for the running statistics of batch normalisation.
        """
        buffers = self.buffers if keep else {n: b.clone() for n, b in self.buffers.items()}
        logits = functional_call(self.network, (weights, buffers), (images,))
        return F.cross_entropy(logits, labels, reduction="none")

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Run the network as it will be used: without dropout, normalised as it was in training."""
        self.network.eval()
        try:
            yield
        finally:
            self.network.train()

    def gradient(
        self, weights: Tensors, images: Tensor, labels: Tensor, count: int, *, keep: bool = False
    ) -> tuple[Tensors, float]:
        """Return gradient and mean of the loss over the ``count`` images of all processes."""
        slope, losses = gradient(lambda w: self.losses(w, images, labels, keep=keep), weights)
        mean = float(total(losses.sum())) / count
        return {n: total(s) / count for n, s in slope.items()}, mean

    def ahead(self, slope: Tensors, rate: float) -> Tensors:
        """Return the weights one (unclipped) training step ahead."""
        return look_ahead(self.weights, self._velocity(slope), rate)

    def update(self, slope: Tensors, rate: float) -> None:
        """Take one training step, with clipping."""
        scale = (self.clip / norm(slope)).clamp(max=1.0)
        self.velocity = self._velocity({n: s * scale.to(s.dtype) for n, s in slope.items()})
        self.weights = look_ahead(self.weights, self.velocity, rate)

    def _velocity(self, slope: Tensors) -> Tensors:
        return momentum_step(self.weights, slope, self.velocity, self.momentum, self.weight_decay)

    def state_dict(self) -> dict[str, Any]:
        """Return all tensors that change."""
        return {"weights": self.weights, "velocity": self.velocity, "buffers": self.buffers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the tensors of `state_dict`."""
        for name in ("weights", "velocity", "buffers"):
            mine: Tensors = getattr(self, name)
            setattr(self, name, {n: state[name][n].to(t.device) for n, t in mine.items()})
