"""Torch functions on pixel coordinates that the plain backends and the targets share."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from learned_augment.backends.lowering import Floats
from learned_augment.ops.region import center_crop
from learned_augment.sampling import HOST, Integers

__all__ = [
    "crop_to",
    "gather",
    "inside_box",
    "nearest_sources",
    "on_device_of",
    "resize",
    "resize_weights",
    "sources",
    "to_device",
]


def to_device(array: np.ndarray[Any, Any], device: torch.device) -> Tensor:
    """Return an array as a tensor on ``device``, without waiting for the device.

    It goes through pinned memory to a GPU: for other memory the driver may wait.
    """
    host = torch.from_numpy(array)
    return (host.pin_memory() if device.type == "cuda" else host).to(device, non_blocking=True)


def on_device_of(images: Tensor) -> AbstractContextManager[object]:
    """Make new tensors on the images' device, whatever the user's default device is."""
    return nullcontext() if torch.get_default_device() == HOST else images.device


def nearest_sources(matrix: Floats, width: int, height: int, device: torch.device) -> Tensor:
    """Return the input pixel of every output pixel, (n, H * W) int64, as PIL finds it; -1 outside.

    PIL adds up positions along rows in 16.16 fixed point. Where the matrix does not mix the axes,
    it adds them up along each axis in floating point. Both sums are exact here, ties included.

    Args:
        matrix: (n, 6), from output to input in pixels.
        width: Of the images.
        height: Of the images.
        device: Where the result lies.
    """
    a, b, c, d, e, f = matrix.T
    increments = np.stack([a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5])
    fixed = to_device(np.floor(increments * 65536.0 + 0.5).astype(np.int64), device)
    across, down, first = fixed.view(2, 3, -1, 1, 1).unbind(1)  # each for x and for y
    columns = torch.arange(width, device=device)
    rows = torch.arange(height, device=device)[:, None]
    x, y = (first + across * columns + down * rows) >> 16
    separate = (b == 0) & (d == 0)
    if separate.any():
        mask = to_device(separate, device)[:, None, None]
        x = torch.where(mask, _summed(matrix[:, [0, 2]], width, device)[:, None, :], x)
        y = torch.where(mask, _summed(matrix[:, [4, 5]], height, device)[:, :, None], y)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return torch.where(inside, y * width + x, -1).flatten(1)


def sources(matrix: Tensor, width: int, height: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return where the output pixels lie in the input: x and y (n, H, W), and which are inside.

    Args:
        matrix: (n, 6), from output to input in pixels whose centers are at +0.5.
        width: Of the images.
        height: Of the images.

    Returns:
        x and y in the dtype of the matrix, and a mask (n, 1, H, W).
    """
    a, b, c, d, e, f = matrix[:, :, None, None].unbind(1)
    column = torch.arange(width, device=matrix.device, dtype=matrix.dtype) + 0.5
    row = (torch.arange(height, device=matrix.device, dtype=matrix.dtype) + 0.5)[:, None]
    x, y = a * column + b * row + c, d * column + e * row + f
    return x, y, ((x >= 0) & (x < width) & (y >= 0) & (y < height))[:, None]


def _summed(axis: Floats, length: int, device: torch.device) -> Tensor:
    """Return the source of each position on one axis: a running sum, truncated, -1 outside."""
    increment, offset = axis.T
    first = offset + increment * 0.5
    sums = np.repeat(increment[:, None], length, axis=1)
    sums[:, 0] = first
    positions = np.cumsum(sums, axis=1)
    return to_device(np.where(positions < 0, -1, np.trunc(positions)).astype(np.int64), device)


def gather(images: Tensor, pixels: Tensor, outside: Tensor) -> Tensor:
    """Read images (n, C, H, W) at pixels (n, H * W); ``outside`` (n, C, 1, 1) where they are -1."""
    inside = (pixels >= 0).view(-1, 1, *images.shape[-2:])
    index = pixels.clamp(min=0)[:, None].expand(-1, images.shape[1], -1)
    return torch.where(inside, images.flatten(2).gather(2, index).view_as(images), outside)


def inside_box(box: Tensor, width: int, height: int) -> Tensor:
    """Return which pixels lie in each rectangle (n, 4): (n, 1, H, W) bool."""
    x0, y0, x1, y1 = (edge[:, None, None, None] for edge in box.unbind(1))
    column = torch.arange(width, device=box.device)
    row = torch.arange(height, device=box.device)[:, None]
    return (column >= x0) & (column < x1) & (row >= y0) & (row < y1)


def crop_to(images: Tensor, size: int) -> Tensor:
    """Return the central square of a side; zeros where a smaller image ends."""
    height, width = images.shape[-2:]
    x0, y0, x1, y1 = center_crop(width, height, size)
    return pad(images, (-x0, x1 - width, -y0, y1 - height))


def resize_weights(
    spans: Sequence[tuple[int, int]], length: int, out: int
) -> tuple[Integers, Floats]:
    """Return which pixels, (n, out, K), make each pixel of a resized axis, and their weights.

    The weights are PIL's antialiased bicubic: Catmull-Rom's cubic (a = -1/2), widened when an axis
    shrinks. They sum to 1 over the K pixels.

    Args:
        spans: First pixel of each image's rectangle on the axis, and last + 1; n of them.
        length: Pixels of the axis.
        out: Pixels of the resized axis.
    """
    start, stop = np.array(spans).T[:, :, None]
    scale = (stop - start) / out
    stretch = np.maximum(scale, 1.0)
    center = (np.arange(out) + 0.5) * scale  # (n, out)
    first = np.maximum(np.trunc(center - 2 * stretch + 0.5), 0)
    last = np.minimum(np.trunc(center + 2 * stretch + 0.5), stop - start)
    pixel = first[..., None] + np.arange(int((last - first).max()))
    weights = _catmull_rom((pixel - center[..., None] + 0.5) * (1.0 / stretch)[..., None])
    weights = np.where(pixel < last[..., None], weights, 0.0)
    # Running sums add in PIL's order.
    weights = weights / np.cumsum(weights, axis=2)[..., -1:]
    return np.minimum(start[..., None] + pixel, length - 1).astype(np.int64), weights


def _catmull_rom(x: Floats) -> Floats:
    a, x = -0.5, np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def resize(images: Tensor, pixels: Integers, weights: Floats, axis: int) -> Tensor:
    """Resize an axis, 2 or 3, of images (n, C, H, W) of floats by ``resize_weights``."""
    out = pixels.shape[1]
    line = (-1, 1, 1, out) if axis == 3 else (-1, 1, out, 1)
    shape = [*images.shape]
    shape[axis] = out
    total: Tensor | None = None
    # One pixel of all sums at a time keeps the memory at that of the result.
    for k in range(pixels.shape[2]):
        index = to_device(np.ascontiguousarray(pixels[..., k]), images.device).view(line)
        weight = to_device(np.ascontiguousarray(weights[..., k]), images.device).to(images)
        part = weight.view(line) * images.gather(axis, index.expand(shape))
        total = part if total is None else total + part
    assert total is not None
    return total
