"""Training batches: shuffled indices, base augmentation and normalization around the policy."""

from typing import Any

import torch
from torch import Tensor

from learned_augment.backends.dispatch import apply_batch
from learned_augment.builders import from_layers
from learned_augment.evaluation.named_policies import BASE_AUGMENTATIONS
from learned_augment.training.normalize import level_statistics

__all__ = ["BaseAugmentation", "Indices", "NetworkInput"]


class Indices:
    """Endless indices 0 .. count - 1: every index once, in a new order, then all again.

    Args:
        count: Number of images.
        generator: Source of the orders; CPU.
    """

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count, self.generator = count, generator
        self.left = torch.empty(0, dtype=torch.int64)

    def take(self, number: int) -> Tensor:
        """Return the next ``number`` indices."""
        while len(self.left) < number:
            order = torch.randperm(self.count, generator=self.generator)
            self.left = torch.cat([self.left, order])
        taken, self.left = self.left[:number], self.left[number:]
        return taken

    def state_dict(self) -> dict[str, Any]:
        """Return what is left of the current order."""
        return {"left": self.left.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.left = state["left"].clone()


class BaseAugmentation:
    """The base augmentation: crop and flip before the policy, cutout after it.

    Random numbers are drawn for the whole batch of all processes; each process then keeps its own
    rows.

    Args:
        name: A name of `named_policies.BASE_AUGMENTATIONS`; acts on uint8 images.
        cutout: Side of a square of the network's input that is set to 0, the mean color, as a
            fraction of the shorter side; 0 for none.
        generator: Source of randomness; CPU.
    """

    def __init__(self, name: str, cutout: float, generator: torch.Generator) -> None:
        layers = BASE_AUGMENTATIONS[name]
        self.policy = from_layers(layers) if layers else None
        self.cutout, self.generator = cutout, generator

    def before(self, images: Tensor, rows: slice) -> Tensor:
        """Return ``rows`` of the whole batch (B, C, H, W), cropped and flipped."""
        if self.policy is None:
            return images[rows]
        plan = self.policy.sample(len(images), self.generator)
        return apply_batch(images[rows], plan.rows(rows))

    def after(self, images: Tensor, count: int, rows: slice) -> Tensor:
        """Return normalized images (b, C, H, W) after cutout.

        Args:
            images: The rows of this process.
            count: Number of images of the whole batch.
            rows: Which rows of the whole batch ``images`` are.
        """
        height, width = images.shape[-2:]
        side = round(self.cutout * min(height, width))
        if side == 0:
            return images
        centers = torch.rand(2, count, generator=self.generator)[:, rows].to(images.device)
        in_rows = _in_square(centers[0], side, height)[:, None, :, None]
        in_columns = _in_square(centers[1], side, width)[:, None, None, :]
        return images * ~(in_rows & in_columns)


def _in_square(center: Tensor, side: int, length: int) -> Tensor:
    """Return which of ``length`` pixels are in the square, (B, length), cut at both borders."""
    start = torch.floor(center * length) - side // 2
    pixel = torch.arange(length, device=center.device)
    return (pixel >= start[:, None]) & (pixel < start[:, None] + side)


class NetworkInput:
    """Turns images into network input: mean 0 and deviation 1 per channel over the given images.

    It takes gray levels, and also the floats in [0, 1] that differentiable augmentation returns.
    """

    def __init__(self, images: Tensor) -> None:
        mean, deviation = level_statistics(images.cpu())
        self.mean = mean.div(255)[:, None, None].to(images.device)
        self.deviation = deviation.div(255)[:, None, None].to(images.device)

    def __call__(self, images: Tensor) -> Tensor:
        """Return (B, C, H, W) float32; uint8 images are divided by 255 first."""
        levels = images.float().div(255) if images.dtype == torch.uint8 else images
        return (levels - self.mean) / self.deviation
