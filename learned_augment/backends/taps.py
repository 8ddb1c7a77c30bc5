"""Bilinear and bicubic sampling of uint8 images through a matrix, in PIL's double precision."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode

__all__ = ["interpolate"]

Mix = Callable[[list[Tensor], Tensor], Tensor]


def interpolate(
    images: Tensor,
    matrix: np.ndarray[Any, np.dtype[np.float64]],
    outside: Tensor,
    interpolation: InterpolationMode,
) -> Tensor:
    """Sample images (n, C, H, W) through coefficients (n, 6); ``outside`` where input ends."""
    first, mix = _KERNELS[interpolation]
    height, width = images.shape[-2:]
    a, b, c, d, e, f = (
        torch.from_numpy(matrix).to(images.device, non_blocking=True)[:, :, None, None].unbind(1)
    )
    column = torch.arange(width, device=images.device, dtype=torch.float64) + 0.5
    row = (torch.arange(height, device=images.device, dtype=torch.float64) + 0.5)[:, None]
    x, y = a * column + b * row + c, d * column + e * row + f
    inside = ((x >= 0) & (x < width) & (y >= 0) & (y < height))[:, None]
    x, y = x - 0.5, y - 0.5
    left, top = x.floor(), y.floor()
    dx, dy = (x - left)[:, None], (y - top)[:, None]
    taps = range(first, 2 - first)

    def at(i: int, j: int) -> Tensor:
        flat = (top + j).clamp(0, height - 1) * width + (left + i).clamp(0, width - 1)
        index = flat.long().flatten(1)[:, None].expand(-1, images.shape[1], -1)
        return images.flatten(2).gather(2, index).view_as(images).double()

    lines = [mix([at(i, j) for i in taps], dx) for j in taps]
    levels = mix(lines, dy).clamp(0, 255).to(torch.uint8)
    return torch.where(inside, levels, outside)


def _linear(taps: list[Tensor], d: Tensor) -> Tensor:
    return taps[0] + (taps[1] - taps[0]) * d


def _cubic(taps: list[Tensor], d: Tensor) -> Tensor:
    """Interpolate with a = -1, the cubic of PIL's transforms (its resizing has a = -1/2)."""
    v1, v2, v3, v4 = taps
    p2, p3, p4 = v3 - v1, 2 * (v1 - v2) + v3 - v4, v2 * 1 - v1 - v3 + v4
    return v2 + d * (p2 + d * (p3 + d * p4))


_KERNELS: dict[InterpolationMode, tuple[int, Mix]] = {
    InterpolationMode.BILINEAR: (0, _linear),
    InterpolationMode.BICUBIC: (-1, _cubic),
}
"""Offset of the first tap, and how taps mix at a fraction of a pixel."""
