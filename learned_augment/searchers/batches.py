"""Batches on the device: which images come next, and the default augmentation around the policy.

Images are uint8 (B, C, H, W) until they are normalised. Random numbers come from the generator that
is passed, for the whole batch of all processes; each process then keeps its own share.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["DefaultAugmentation", "Normalise", "Stream"]


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


@dataclass(frozen=True)
class DefaultAugmentation:
    """The augmentation that is on beside the policy, in the search as in the training after it.

    Attributes:
        pad: Crop after padding with black by this fraction of the side; 0 for none.
        flip: Whether half of the images are mirrored.
        cutout: Side of a square of the network input set to 0 (the mean colour), as a fraction of
            the shorter side; 0 for none.
    """

    pad: float = 0.0
    flip: bool = False
    cutout: float = 0.0

    def before(self, images: Tensor, rows: slice, generator: torch.Generator) -> Tensor:
        """Crop and mirror, before the policy.

        Args:
            images: The whole batch, (B, C, H, W) uint8.
            rows: Which of them to return.
            generator: CPU.
        """
        batch, _, height, width = images.shape
        top = _offsets(batch, round(self.pad * height), generator)
        left = _offsets(batch, round(self.pad * width), generator)
        mirrored = torch.rand(batch, generator=generator) < (0.5 if self.flip else 0.0)
        if not self.pad and not self.flip:
            return images[rows]
        y = torch.arange(height) + top[rows, None]
        x = torch.arange(width)
        x = torch.where(mirrored[rows, None], width - 1 - x, x) + left[rows, None]
        return _read(images[rows], y.to(images.device), x.to(images.device))

    def after(self, images: Tensor, count: int, rows: slice, generator: torch.Generator) -> Tensor:
        """Cut out, after normalising.

        Args:
            images: This process's images, (b, C, H, W) float.
            count: Number of images of all processes, B.
            rows: Which of them ``images`` are.
            generator: CPU.
        """
        height, width = images.shape[-2:]
        centre = torch.rand(2, count, generator=generator)[:, rows].to(images.device)
        side = int(self.cutout * min(height, width))
        if side == 0:
            return images
        hidden_y = _hidden(centre[0], side, height)[:, None, :, None]
        hidden_x = _hidden(centre[1], side, width)[:, None, None, :]
        return images * ~(hidden_y & hidden_x)


def _offsets(batch: int, pixels: int, generator: torch.Generator) -> Tensor:
    return torch.randint(-pixels, pixels + 1, (batch,), generator=generator)


def _read(images: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Return image pixels at rows y (B, H) and columns x (B, W), black outside."""
    height, width = images.shape[-2:]
    inside = ((y >= 0) & (y < height))[:, None, :, None] & ((x >= 0) & (x < width))[:, None, None]
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    # Indexing around the slice puts the channels last.
    pixels = images[batch, :, y.clamp(0, height - 1)[..., None], x.clamp(0, width - 1)[:, None]]
    return pixels.permute(0, 3, 1, 2) * inside


def _hidden(centre: Tensor, side: int, length: int) -> Tensor:
    start = torch.floor(centre * length) - side // 2
    pixel = torch.arange(length, device=centre.device)
    return (pixel >= start[:, None]) & (pixel < start[:, None] + side)


class Normalise:
    """Grey levels to network input: mean 0 and deviation 1 per channel over the training half."""

    def __init__(self, images: Tensor) -> None:
        levels = images.float().div(255)
        self.mean = levels.mean((0, 2, 3))[:, None, None]
        self.deviation = levels.std((0, 2, 3)).clamp_min(1e-3)[:, None, None]

    def __call__(self, images: Tensor) -> Tensor:
        """Return (B, C, H, W) float32; uint8 images are divided by 255 first."""
        levels = images.float().div(255) if images.dtype == torch.uint8 else images
        return (levels - self.mean) / self.deviation
