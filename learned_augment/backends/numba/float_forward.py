"""Compiled: one step on one float image, with the values of ``smooth``.

Images are flat, (C * H * W,) in [0, 1], in float32 or float64, and all arithmetic is theirs.
"""

from typing import Any

import numpy as np

from learned_augment.backends.lowering import (
    AUTO_CONTRAST,
    BRIGHTEN,
    COLOUR,
    CONTRAST,
    EQUALIZE,
    ERASE,
    INVERT,
    MOVE,
    POSTERIZE,
    SOLARIZE,
)
from learned_augment.backends.numba.jit import compiled, summing
from learned_augment.backends.numba.lut import Floats, copy, measure
from learned_augment.backends.numba.uint8 import Shape, erase
from learned_augment.backends.numba.warp import Pixels, move

__all__ = [
    "extremes",
    "grey_plane",
    "mean_grey",
    "run_step",
    "smooth_plane",
    "sum_known",
    "threshold",
    "weight",
]

_LUMA = (0.299, 0.587, 0.114)


@compiled
def weight(channel: int, channels: int) -> float:
    """Return the share of a channel in the grey of a pixel (ITU-R 601)."""
    return 1.0 if channels == 1 else _LUMA[channel]


@compiled
def threshold(image: Pixels, step: Floats) -> Any:
    """Return the level, of 255, from which on Solarize or Invert inverts.

    Solarize's own is a thousandth lower, for the rounding of levels stored as k / 255.
    """
    value = image.dtype.type(-np.inf if step[0] == INVERT else step[1])
    return image.dtype.type(value - image.dtype.type(1e-3))


@compiled
def grey_plane(image: Pixels, channels: int, grey: Pixels) -> None:
    """Write the grey (H * W,) of every pixel; black where a channel is NaN."""
    size, zero = grey.size, grey.dtype.type(0)
    for c in range(channels):
        plane, share = image[c * size : c * size + size], grey.dtype.type(weight(c, channels))
        for k in range(size):
            grey[k] = share * plane[k] if c == 0 else grey[k] + share * plane[k]
    for k in range(size):
        grey[k] = grey[k] if grey[k] == grey[k] else zero


@summing
def sum_known(plane: Pixels) -> float:
    """Return the sum of what is not NaN."""
    total, zero = 0.0, plane.dtype.type(0)
    for k in range(plane.size):
        total += plane[k] if plane[k] == plane[k] else zero
    return total


@compiled
def mean_grey(image: Pixels, channels: int) -> Any:
    """Return the mean grey of an image; NaN counts as black."""
    size, mean = image.size // channels, 0.0
    for c in range(channels):
        mean += weight(c, channels) * sum_known(image[c * size : c * size + size])
    return image.dtype.type(mean / size)


@compiled
def extremes(plane: Pixels) -> tuple[Any, Any]:
    """Return the lowest and the highest level; NaN if one is NaN."""
    low = high = plane[0]
    odd = plane[0] - plane[0]
    for level in plane:
        low, high = min(low, level), max(high, level)
        odd += level - level
    return low + odd, high + odd


@compiled
def smooth_plane(plane: Pixels, width: int, low: Pixels) -> None:
    """Write PIL's SMOOTH filter of a plane (H * W,); the border of one pixel stays as it is.

    Rows run on into each other, and what that does to the border is undone.
    """
    size, inner = plane.size, plane.size - 2 * width
    copy(plane, low)
    if width < 3 or inner <= 0:
        return
    four, thirteen = plane.dtype.type(4), plane.dtype.type(13)
    columns = np.empty(inner, plane.dtype)
    above, beside, below = plane[:inner], plane[width : width + inner], plane[2 * width :]
    for k in range(inner):
        columns[k] = above[k] + beside[k] + below[k]
    left, middle, right = columns[: inner - 2], columns[1:], columns[2:]
    centre, target = beside[1:], low[width + 1 :]
    for k in range(inner - 2):
        total = left[k] + middle[k] + right[k] + four * centre[k]
        target[k] = centre[k] + (total / thirteen - centre[k])
    for start in range(width, size - width, width):
        low[start], low[start + width - 1] = plane[start], plane[start + width - 1]


@compiled
def _clip(level: Any, zero: Any, one: Any) -> Any:
    """Return a level within 0 and 1; NaN stays."""
    level = zero if level < zero else level
    return one if level > one else level


@compiled
def _mix(low: Pixels, plane: Pixels, factor: Any, target: Pixels) -> None:
    """Blend two planes."""
    zero, one = plane.dtype.type(0), plane.dtype.type(1)
    for k in range(plane.size):
        target[k] = _clip(low[k] + factor * (plane[k] - low[k]), zero, one)


@compiled
def _mix_with(level: Any, source: Pixels, factor: Any, target: Pixels) -> None:
    """Blend an image with one level."""
    zero, one = source.dtype.type(0), source.dtype.type(1)
    for k in range(source.size):
        target[k] = _clip(level + factor * (source[k] - level), zero, one)


@compiled
def _auto_contrast(plane: Pixels, target: Pixels) -> None:
    low, high = extremes(plane)
    if high <= low:
        copy(plane, target)
        return
    span = high - low
    for k in range(plane.size):
        target[k] = (plane[k] - low) / span


@compiled
def _solarize(source: Pixels, target: Pixels, limit: Any) -> None:
    one, most = source.dtype.type(1), source.dtype.type(255)
    for k in range(source.size):
        target[k] = source[k] if most * source[k] < limit else one - source[k]


@compiled
def _posterize(source: Pixels, target: Pixels, bits: float) -> None:
    most, width = source.dtype.type(255), source.dtype.type(2.0 ** (8 - np.floor(bits)))
    for k in range(source.size):
        level = np.floor(np.rint(most * source[k]) / width) * width
        # NaN and infinity become NaN.
        target[k] = level / most + (source[k] - source[k])


@compiled
def _equalize(source: Pixels, target: Pixels, channels: int) -> None:
    size, most = source.size // channels, source.dtype.type(255)
    levels, table = np.empty(source.size, np.uint8), np.empty((channels, 256), np.uint8)
    for k in range(source.size):
        level = np.rint(most * source[k])
        levels[k] = np.int32(min(level, most)) if level > 0 else 0
    measure(levels, EQUALIZE, 0.0, table)
    for c in range(channels):
        for k in range(c * size, c * size + size):
            level = source.dtype.type(table[c, levels[k]])
            target[k] = level / most + (source[k] - source[k])


@compiled
def _colour(source: Pixels, target: Pixels, channels: int, factor: Any) -> None:
    size = source.size // channels
    grey = np.empty(size, source.dtype)
    grey_plane(source, channels, grey)
    for start in range(0, source.size, size):
        _mix(grey, source[start : start + size], factor, target[start : start + size])


@compiled
def _sharpen(plane: Pixels, target: Pixels, width: int, factor: Any) -> None:
    low = np.empty(plane.size, plane.dtype)
    smooth_plane(plane, width, low)
    _mix(low, plane, factor, target)


@compiled
def run_step(source: Pixels, target: Pixels, shape: Shape, step: Floats, colours: Pixels) -> None:
    """Run one step of a program that knows no tables.

    Args:
        source: (C * H * W,), not ``target``.
        target: Likewise, for the result.
        shape: C, H, W.
        step: (8,); not ``KEEP``.
        colours: (3, C), what shows outside a moved image, around a padded crop, in an erased box.
    """
    kind, (channels, height, width) = step[0], shape
    size, factor = height * width, source.dtype.type(step[1])
    if kind == MOVE:
        move(source, target, height, width, step, colours[int(step[7])])
    elif kind == ERASE:
        copy(source, target)
        erase(target, height, width, step, colours[2])
    elif kind in (SOLARIZE, INVERT):
        _solarize(source, target, threshold(source, step))
    elif kind == POSTERIZE:
        _posterize(source, target, step[1])
    elif kind == EQUALIZE:
        _equalize(source, target, channels)
    elif kind == BRIGHTEN:
        _mix_with(source.dtype.type(0), source, factor, target)
    elif kind == CONTRAST:
        _mix_with(mean_grey(source, channels), source, factor, target)
    elif kind == COLOUR:
        _colour(source, target, channels, factor)
    else:
        for start in range(0, source.size, size):
            plane, to = source[start : start + size], target[start : start + size]
            if kind == AUTO_CONTRAST:
                _auto_contrast(plane, to)
            else:
                _sharpen(plane, to, width, factor)
