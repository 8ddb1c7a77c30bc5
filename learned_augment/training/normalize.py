"""Normalization of gray levels 0 to 255 to network input of mean 0 and standard deviation 1."""

import torch
from torch import Tensor, nn

__all__ = ["Levels", "Normalize", "level_statistics"]

Levels = tuple[Tensor, Tensor]
"""Mean and standard deviation of the levels of each channel, (C,)."""


def level_statistics(images: Tensor) -> Levels:
    """Return mean and standard deviation, at least 1, over uint8 images (N, C, H, W)."""
    levels = torch.arange(256, dtype=torch.float64)
    # Counting each level is exact, and needs no float copy of all images.
    counts = torch.stack(
        [channel.flatten().bincount(minlength=256) for channel in images.unbind(1)]
    )
    share = counts.double() / counts.sum(1, keepdim=True)  # (C, 256)
    mean = share @ levels
    deviation = (share @ levels.square() - mean.square()).clamp_min(1).sqrt()
    return mean.float(), deviation.float()


class Normalize(nn.Module):
    """Subtracts the mean of each channel and divides by its standard deviation.

    Args:
        levels: Mean and standard deviation.
        layout: Memory layout of the result.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, levels: Levels, layout: torch.memory_format) -> None:
        super().__init__()
        self._layout = layout
        mean, deviation = levels
        self.register_buffer("mean", mean[:, None, None])
        self.register_buffer("deviation", deviation[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Return uint8 images (B, C, H, W) as normalized floats."""
        # Changing the layout last is several times as fast as arithmetic on channels last.
        floats = (images.float() - self.mean) / self.deviation
        return floats.contiguous(memory_format=self._layout)
