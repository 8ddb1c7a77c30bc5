"""Apply a plan in compiled code: uint8 batches, PIL images and float batches, on a CPU.

A plan runs in one pass an image, all layers while the image sits in the cache, several images at a
time. Pixels are those of ``torch_uint8`` and ``kornia_float``. Ops without compiled arithmetic are
left out.
"""

from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from learned_augment.backends import kornia_float
from learned_augment.backends.lowering import Colors, Floats, colors
from learned_augment.backends.numba import floats, uint8
from learned_augment.backends.numba.lowering import PlanArrays, compiled_ops
from learned_augment.backends.numba.parallel import run_on_threads
from learned_augment.policy import Plan

__all__ = ["apply_floats", "apply_to_pil", "apply_uint8", "maps_arrays"]

Fill = tuple[float, ...] | None


def apply_uint8(images: Tensor, plan: Plan, fill: Fill = None) -> Tensor:
    """Apply a plan to uint8 CPU images (..., C, H, W), nearest neighbor; a new tensor.

    Args:
        images: Never written to; any strides.
        plan: One row an image.
        fill: 1 or C levels outside the image; None is 0, and gray for crop padding.
    """
    source, pixel = images.numpy(), 1
    shape, out = source.shape[-3:], np.empty(source.shape, np.uint8)
    if not source.flags.c_contiguous:
        # torchvision decodes an image to channels that lie side by side.
        pixels = source.transpose(*range(source.ndim - 3), -2, -1, -3)
        pixel = 3 if pixels.flags.c_contiguous else 1
        source = pixels if pixel == 3 else np.ascontiguousarray(source)
    source = source.reshape(len(plan), -1)
    batches, outside = (source, out.reshape(len(plan), -1)), _colors(shape[0], fill, "u1")
    run_on_threads(uint8.run, batches, _plan_arrays(plan), shape, pixel, outside)
    return torch.from_numpy(out)


def apply_to_pil(image: Image.Image, plan: Plan, fill: Fill = None) -> Image.Image:
    """Apply a plan of one row to an image of mode RGB or L, nearest neighbor; a new image."""
    image.load()
    (width, height), channels = image.size, len(image.mode)
    pixel = 4 if channels == 3 else 1
    flat = (1, pixel * height * width)
    pixels, out = np.empty(flat, np.uint8), np.empty(flat, np.uint8)
    copied = _mapped(pixels, image)
    copied.paste(image.im, (0, 0, width, height))
    shape, outside = (channels, height, width), _colors(channels, fill, "u1")
    in_out = run_on_threads(uint8.run, (pixels, out), _plan_arrays(plan), shape, pixel, outside)
    return image._new(_mapped(out, image) if in_out else copied)


def _mapped(pixels: Colors, image: Image.Image) -> Any:
    """Return the core of an image of the mode and size of another whose memory is an array.

    ``Image.frombuffer`` does so too, but not for RGB, which PIL keeps in four bytes a pixel.
    """
    return Image.core.map_buffer(pixels, image.size, "raw", 0, (image.mode, 0, 1))  # type: ignore[attr-defined]


@cache
def maps_arrays() -> bool:
    """Return whether this Pillow keeps RGB in an array: what is used of it is not public."""
    pixels, image = np.empty((1, 4), np.uint8), Image.new("RGB", (1, 1), (1, 2, 3))
    try:
        _mapped(pixels, image).paste(image.im, (0, 0, 1, 1))
    except (AttributeError, TypeError, ValueError):
        return False
    return pixels.tolist() == [[1, 2, 3, 255]]


def apply_floats(images: Tensor, plan: Plan, fill: Fill = None) -> Tensor:
    """Apply a plan to a float32 or float64 CPU batch (B, C, H, W); a new, differentiable tensor.

    Args:
        images: In [0, 1], never written to; any strides.
        plan: B rows; ``plan.value`` requires no gradient.
        fill: 1 or C numbers in [0, 1] outside the image; None is 0, and gray for crop padding.
    """

    def plain(images: Tensor) -> Tensor:
        return kornia_float.apply(images, plan, fill=fill)

    outside = _colors(images.shape[1], fill, "f4" if images.dtype == torch.float32 else "f8")
    return floats.run(images, _plan_arrays(plan), outside, plain)


def _plan_arrays(plan: Plan) -> PlanArrays:
    rows = compiled_ops(plan.op_rows)
    if plan.draw is not None:
        numbers, (mixture, weights, op, value, _) = plan.draw
        return PlanArrays(numbers, mixture, weights, op, value, rows)
    noise = plan.noise.numpy().reshape(len(plan), -1)
    numbers = np.empty((len(plan), 1 + plan.op.shape[1] + noise.shape[1]), np.float32)
    numbers[:, 1 + plan.op.shape[1] :] = noise
    op, value = plan.op.numpy().reshape(-1), plan.value.detach().numpy().reshape(-1)
    return PlanArrays(numbers, _NONE, _NONE, op, value, rows)


_NONE: Floats = np.empty(0)


@lru_cache(maxsize=64)
def _colors(channels: int, fill: Fill, dtype: str) -> Colors:
    return colors(channels, fill, np.dtype(dtype))
