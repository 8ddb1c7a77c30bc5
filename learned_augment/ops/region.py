"""Rows that choose a place: from a value and the plan's noise to a rectangle in whole pixels."""

import math

from learned_augment.ops.op import Array, Erase, Noise, Op, Resample, floor, namespace

__all__ = ["REGION"]

# DeepAA confines the centre of its 60-pixel cutout to the middle 256 pixels when it works for
# images of 224; at CIFAR's 32 the same ratio covers the whole image, as its 16-pixel cutout does.
CENTRE_WINDOW = 256 / 224
ASPECT = 4 / 3


def _cutout(value: Array, noise: Noise, width: int, height: int, side: int) -> tuple[Array, ...]:
    """Place AutoAugment's square: moved inward at the left and top, cut at the right and bottom."""
    size = value * width
    x0, x1 = _from_start(noise[0] * width, size, width)
    y0, y1 = _from_start(noise[1] * height, size, height)
    return x0, y0, x1, y1


def _from_start(centre: Array, size: Array, length: int) -> tuple[Array, Array]:
    xp = namespace(centre)
    start = floor(xp.clip(centre - size / 2, 0, None))
    # The papers draw with both ends included, hence + 1.
    return start, xp.clip(floor(start + size) + 1, None, length)


def _cutout_clipped(
    value: Array, noise: Noise, width: int, height: int, side: int
) -> tuple[Array, ...]:
    """Place DeepAA's square: around its centre, cut at all four borders."""
    x0, x1 = _around(noise[0], value * side / 2, width, side)
    y0, y1 = _around(noise[1], value * side / 2, height, side)
    return x0, y0, x1, y1


def _around(noise: Array, half: Array, length: int, side: int) -> tuple[Array, Array]:
    xp = namespace(noise)
    window = min(length, side * CENTRE_WINDOW)
    centre = (length - window) / 2 + noise * window
    start = xp.clip(floor(centre - half), 0, None)
    return start, xp.clip(floor(centre + half) + 1, None, length)


def _resized_crop(
    value: Array, noise: Noise, width: int, height: int, aspect: float
) -> tuple[Array, ...]:
    """Propose one rectangle; if it does not fit, take the largest central one of legal aspect.

    Legal is 3/4 to 4/3 of the output's aspect: resizing distorts no more than that.
    """
    xp = namespace(noise[0])
    area = (value + (1 - value) * noise[0]) * width * height
    aspects = aspect * xp.exp((2 * noise[1] - 1) * math.log(ASPECT))
    w = xp.clip(xp.round(xp.sqrt(area * aspects)), 1, None)
    h = xp.clip(xp.round(xp.sqrt(area / aspects)), 1, None)
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
    ),
    Op(
        name="CutoutClipped",
        unit="fraction of the shorter side",
        low=0.0,
        high=1.0,
        identity_value=0.0,
        kind=Erase(_cutout_clipped),
        random=True,
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


def centre_crop(width: int, height: int, size: int) -> tuple[int, int, int, int]:
    """Return the central square (x0, y0, x1, y1) of a side; it reaches outside a smaller image."""
    x0 = (width - size) // 2
    y0 = (height - size) // 2
    return x0, y0, x0 + size, y0 + size
