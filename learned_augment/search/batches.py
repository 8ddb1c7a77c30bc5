"""Batches on the device: which images come next, and the default augmentation around the policy.

Images are uint8 (B, C, H, W) until they are normalised. Random numbers are drawn for the whole
batch of all processes; each process then keeps its own rows.
"""

from typing import Any

import torch
from torch import Tensor

from learned_augment.backends import apply_batch
from learned_augment.builders import from_layers
from learned_augment.evaluation.named_policies import BASE_AUGMENTATIONS

__all__ = ["Beside", "Normalise", "Stream"]


class Stream:
    """Endless indices 0 .. count - 1: every index once, in a new order, then all again.

    Args:
        count: Number of images.
        generator: Of the orders; CPU. None keeps the order 0, 1, 2, ...
    """

    def __init__(self, count: int, generator: torch.Generator | None) -> None:
        self.count, self.generator = count, generator
        self.left = torch.empty(0, dtype=torch.int64)

    def take(self, number: int) -> Tensor:
        """Return the next ``number`` indices."""
        while len(self.left) < number:
            order = torch.arange(self.count)
            if self.generator is not None:
                order = torch.randperm(self.count, generator=self.generator)
            self.left = torch.cat([self.left, order])
        taken, self.left = self.left[:number], self.left[number:]
        return taken

    def state_dict(self) -> dict[str, Any]:
        """Return what is left of the current order."""
        return {"left": self.left.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.left = state["left"].clone()


class Beside:
    """The default augmentation, which is on beside the policy in the search as in the training.

    Args:
        name: Of `placement.BASE_AUGMENTATIONS`; acts on uint8 images, before the policy.
        cutout: Side of a square of the network's input that is set to 0, the mean colour, as a
            fraction of the shorter side; 0 for none. Acts last.
        generator: CPU.
    """

    def __init__(self, name: str, cutout: float, generator: torch.Generator) -> None:
        if name not in BASE_AUGMENTATIONS:
            raise ValueError(
                f"No base augmentation named {name!r}. Available: {', '.join(BASE_AUGMENTATIONS)}."
            )
        if not 0 <= cutout < 1:
            raise ValueError(f"Expected cutout as a fraction of the side in [0, 1), got {cutout}.")
        layers = BASE_AUGMENTATIONS[name]
        self.policy = from_layers(layers) if layers else None
        self.cutout, self.generator = cutout, generator

    def before(self, images: Tensor, rows: slice) -> Tensor:
        """Return ``rows`` of the whole batch (B, C, H, W), cropped and mirrored."""
        if self.policy is None:
            return images[rows]
        plan = self.policy.sample(len(images), self.generator)
        return apply_batch(images[rows], plan.rows(rows))

    def after(self, images: Tensor, count: int, rows: slice) -> Tensor:
        """Return normalised images (b, C, H, W), rows ``rows`` of a batch of ``count``, cut out."""
        height, width = images.shape[-2:]
        side = round(self.cutout * min(height, width))
        if side == 0:
            return images
        centre = torch.rand(2, count, generator=self.generator)[:, rows].to(images.device)
        hidden_y = _hidden(centre[0], side, height)[:, None, :, None]
        hidden_x = _hidden(centre[1], side, width)[:, None, None, :]
        return images * ~(hidden_y & hidden_x)


def _hidden(centre: Tensor, side: int, length: int) -> Tensor:
    """Return which of ``length`` pixels lie in the square; cut at both borders, as in Cutout."""
    start = torch.floor(centre * length) - side // 2
    pixel = torch.arange(length, device=centre.device)
    return (pixel >= start[:, None]) & (pixel < start[:, None] + side)


class Normalise:
    """Grey levels to network input: mean 0 and deviation 1 per channel over the training half."""

    def __init__(self, images: Tensor) -> None:
        levels = images.float().div(255)
        self.mean = levels.mean((0, 2, 3))[:, None, None]
        self.deviation = levels.std((0, 2, 3)).clamp_min(1 / 255)[:, None, None]

    def __call__(self, images: Tensor) -> Tensor:
        """Return (B, C, H, W) float32; uint8 images are divided by 255 first."""
        levels = images.float().div(255) if images.dtype == torch.uint8 else images
        return (levels - self.mean) / self.deviation
