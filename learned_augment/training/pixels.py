"""From grey levels to what a network reads: normalised, then partly cut out or lit differently.

Images come as uint8 (B, C, H, W), levels 0 to 255, and leave as floats of mean 0 and deviation 1
over the training images.
"""

import torch
from torch import Tensor, nn

__all__ = ["IMAGENET", "Levels", "Normalise", "cut_out", "level_statistics", "light"]

Levels = tuple[Tensor, Tensor]
"""Mean and deviation of the levels of each channel, (C,)."""

IMAGENET: Levels = (
    torch.tensor([123.675, 116.28, 103.53]),
    torch.tensor([58.395, 57.12, 57.375]),
)
"""Of ImageNet's training images, as everyone uses them."""

# Principal directions of ImageNet's colours and their deviations, of images in [0, 1]: Krizhevsky
# et al., ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012.
_DIRECTIONS = torch.tensor(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
_DEVIATIONS = torch.tensor([0.2175, 0.0188, 0.0045])


def level_statistics(images: Tensor) -> Levels:
    """Return mean and deviation over images (N, C, H, W), at least a level."""
    levels = torch.arange(256, dtype=torch.float64)
    # Counted by level: exact, and without a float copy of the whole data.
    counts = torch.stack(
        [channel.flatten().bincount(minlength=256) for channel in images.unbind(1)]
    )
    share = counts.double() / counts.sum(1, keepdim=True)  # (C, 256)
    mean = share @ levels
    deviation = (share @ levels.square() - mean.square()).clamp_min(1).sqrt()
    return mean.float(), deviation.float()


class Normalise(nn.Module):
    """Turns uint8 images into floats of mean 0 and deviation 1, laid out in memory as asked."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, levels: Levels, layout: torch.memory_format) -> None:
        super().__init__()
        self._layout = layout
        mean, deviation = levels
        self.register_buffer("mean", mean[:, None, None])
        self.register_buffer("deviation", deviation[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Return images (B, C, H, W) normalised."""
        floats = images.contiguous(memory_format=self._layout).float()
        return (floats - self.mean) / self.deviation


def cut_out(images: Tensor, side: int, places: Tensor) -> Tensor:
    """Set a square of each normalised image to 0, the mean colour.

    Args:
        images: (B, C, H, W).
        side: of the square, in pixels.
        places: (B, 2) in [0, 1), where in the image its centre lies; the square may reach outside.

    DeVries and Taylor, Improved Regularization of CNNs with Cutout, arXiv:1708.04552.
    """
    hidden = torch.ones((), dtype=torch.bool, device=images.device)
    for axis, place in zip((2, 3), places.to(images.device).unbind(1), strict=True):
        length = images.shape[axis]
        centre = (place * length).long()[:, None]
        distance = torch.arange(length, device=images.device) - centre + side // 2
        within = (distance >= 0) & (distance < side)
        hidden = hidden & within.unflatten(1, (1, -1, 1) if axis == 2 else (1, 1, -1))
    return images.masked_fill(hidden, 0)


def light(images: Tensor, amounts: Tensor, deviation: Tensor) -> Tensor:
    """Add to each normalised RGB image one colour, along the principal directions of ImageNet's.

    Args:
        images: (B, 3, H, W).
        amounts: (B, 3), how much of each direction.
        deviation: (3, 1, 1), by which the levels were divided.
    """
    colours = (amounts * _DEVIATIONS) @ _DIRECTIONS.T * 255  # (B, 3), in levels
    return images + colours.to(images.device)[:, :, None, None] / deviation
