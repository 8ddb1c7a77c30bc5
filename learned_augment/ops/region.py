"""Rows that choose a place: from a value and the plan's noise to a rectangle in whole pixels."""

import math

from learned_augment.ops.array import Array, Noise, xp
from learned_augment.ops.op import Erase, Op, Opcode, Resample

__all__ = ["REGION", "center_crop"]

# DeepAA confines the center of its 60-pixel cutout to the middle 256 pixels when it works for
# images of 224; at CIFAR's 32 the same ratio covers the whole image, as its 16-pixel cutout does.
CENTER_WINDOW = 256 / 224
ASPECT = 4 / 3


def _cutout(value: Array, noise: Noise, width: int, height: int, side: int) -> tuple[Array, ...]:
    """Place AutoAugment's square: moved inward at the left and top, cut at the right and bottom."""
    size = value * width
    x0 = _start(noise[0] * width, size)
    y0 = _start(noise[1] * height, size)
    # The papers draw with both ends included, hence + 1.
    x1 = xp.minimum(xp.floor(x0 + size) + 1, width)
    y1 = xp.minimum(xp.floor(y0 + size) + 1, height)
    return x0, y0, x1, y1


def _start(center: Array, size: Array) -> Array:
    return xp.floor(xp.maximum(center - size / 2, 0.0))


def _cutout_clipped(
    value: Array, noise: Noise, width: int, height: int, side: int
) -> tuple[Array, ...]:
    """Place DeepAA's square: around its center, cut at all four borders."""
    half = value * side / 2
    x, y = _center(noise[0], width, side), _center(noise[1], height, side)
    x0, y0 = xp.maximum(xp.floor(x - half), 0.0), xp.maximum(xp.floor(y - half), 0.0)
    x1 = xp.minimum(xp.floor(x + half) + 1, width)
    y1 = xp.minimum(xp.floor(y + half) + 1, height)
    return x0, y0, x1, y1


def _center(noise: Array, length: int, side: int) -> Array:
    window = min(length, side * CENTER_WINDOW)
    return (length - window) / 2 + noise * window


def _resized_crop(
    value: Array, noise: Noise, width: int, height: int, aspect: float
) -> tuple[Array, ...]:
    """Propose one rectangle; if it does not fit, take the largest central one of legal aspect.

    Legal is 3/4 to 4/3 of the output's aspect: resizing distorts no more than that.
    """
    area = (value + (1 - value) * noise[0]) * width * height
    aspects = aspect * xp.exp((2 * noise[1] - 1) * math.log(ASPECT))
    w = xp.maximum(xp.round(xp.sqrt(area * aspects)), 1)
    h = xp.maximum(xp.round(xp.sqrt(area / aspects)), 1)
    fits = (w <= width) & (h <= height)
    central_w = min(width, round(height * ASPECT * aspect))
    central_h = min(height, round(width * ASPECT / aspect))
    w, h = xp.where(fits, w, central_w), xp.where(fits, h, central_h)
    x0 = xp.where(fits, xp.floor(noise[2] * (width - w + 1)), (width - central_w) // 2)
    y0 = xp.where(fits, xp.floor(noise[3] * (height - h + 1)), (height - central_h) // 2)
    return x0, y0, x0 + w, y0 + h


REGION = [
    Op(
        name="Cutout",
        unit="fraction of the width",
        low=0.0,
        high=1.0,
        identity_value=0.0,
        kind=Erase(_cutout),
        random=True,
        opcode=Opcode.ERASE,
    ),
    Op(
        name="CutoutClipped",
        unit="fraction of the shorter side",
        low=0.0,
        high=1.0,
        identity_value=0.0,
        kind=Erase(_cutout_clipped),
        random=True,
        opcode=Opcode.ERASE,
    ),
    Op(
        name="ResizedCrop",
        unit="smallest fraction of the area",
        low=0.01,
        high=1.0,
        identity_value=None,
        kind=Resample(_resized_crop),
        random=True,
    ),
]


def center_crop(width: int, height: int, size: int) -> tuple[int, int, int, int]:
    """Return the central square (x0, y0, x1, y1) of a side; it reaches outside a smaller image."""
    x0 = (width - size) // 2
    y0 = (height - size) // 2
    return x0, y0, x0 + size, y0 + size
