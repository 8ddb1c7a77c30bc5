"""Cutout and random lighting of normalized images, as the papers' recipes apply them."""

import torch
from torch import Tensor

from learned_augment.training.normalize import Levels

__all__ = ["IMAGENET", "cut_out", "light"]

IMAGENET: Levels = (
    torch.tensor([123.675, 116.28, 103.53]),
    torch.tensor([58.395, 57.12, 57.375]),
)
"""Of ImageNet's training images, as everyone uses them."""

# Principal directions of ImageNet's colors and their deviations, of images in [0, 1]: Krizhevsky
# et al., ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012.
_DIRECTIONS = torch.tensor(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
_DEVIATIONS = torch.tensor([0.2175, 0.0188, 0.0045])


def cut_out(images: Tensor, side: int, places: Tensor) -> Tensor:
    """Set a square of each normalized image to 0, the mean color.

    Args:
        images: (B, C, H, W).
        side: of the square, in pixels.
        places: (B, 2) in [0, 1), where in the image its center lies; the square may reach outside.

    DeVries and Taylor, Improved Regularization of CNNs with Cutout, arXiv:1708.04552.
    """
    hidden = torch.ones((), dtype=torch.bool, device=images.device)
    for axis, place in zip((2, 3), places.to(images.device).unbind(1), strict=True):
        length = images.shape[axis]
        center = (place * length).long()[:, None]
        distance = torch.arange(length, device=images.device) - center + side // 2
        within = (distance >= 0) & (distance < side)
        hidden = hidden & within.unflatten(1, (1, -1, 1) if axis == 2 else (1, 1, -1))
    return images.masked_fill(hidden, 0)


def light(images: Tensor, amounts: Tensor, deviation: Tensor) -> Tensor:
    """Add to each normalized RGB image one color, along the principal directions of ImageNet's.

    Args:
        images: (B, 3, H, W).
        amounts: (B, 3), how much of each direction.
        deviation: (3, 1, 1), by which the levels were divided.
    """
    colors = (amounts * _DEVIATIONS) @ _DIRECTIONS.T * 255  # (B, 3), in levels
    return images + colors.to(images.device)[:, :, None, None] / deviation
