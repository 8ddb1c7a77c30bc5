"""Compiled code that runs one instruction on one float image."""

from typing import Any

import numpy as np

from learned_augment.backends.lowering import Floats
from learned_augment.backends.numba.jit import compiled, summing
from learned_augment.backends.numba.lut import copy, equalize_planes
from learned_augment.backends.numba.opcodes import (
    AFFINE,
    AUTO_CONTRAST,
    BRIGHTNESS,
    COLOR,
    CONTRAST,
    EQUALIZE,
    ERASE,
    INVERT,
    POSTERIZE,
    SOLARIZE,
)
from learned_augment.backends.numba.warp import Pixels, Shape, erase, move

__all__ = [
    "extremes",
    "gray_plane",
    "mean_gray",
    "run_instruction",
    "smooth_plane",
    "sum_known",
    "threshold",
    "weight",
]

_LUMA = (0.299, 0.587, 0.114)


@compiled
def weight(channel: int, channels: int) -> float:
    """Return the weight of a channel in the gray of a pixel (ITU-R 601)."""
    return 1.0 if channels == 1 else _LUMA[channel]


@compiled
def threshold(image: Pixels, instruction: Floats) -> Any:
    """Return the level, 0 to 255, from which on Solarize or Invert inverts pixels.

    It is a thousandth below Solarize's value, as levels stored as k / 255 are rounded.
    """
    value = image.dtype.type(-np.inf if instruction[0] == INVERT else instruction[1])
    return image.dtype.type(value - image.dtype.type(1e-3))


@compiled
def gray_plane(image: Pixels, channels: int, gray: Pixels) -> None:
    """Write the gray (H * W,) of every pixel; a channel that is NaN counts as 0."""
    size, zero = gray.size, gray.dtype.type(0)
    gray[:] = zero
    for c in range(channels):
        plane, own = image[c * size : c * size + size], gray.dtype.type(weight(c, channels))
        for k in range(size):
            gray[k] += own * (plane[k] if plane[k] == plane[k] else zero)


@summing
def sum_known(plane: Pixels) -> float:
    """Return the sum of what is not NaN."""
    total, zero = 0.0, plane.dtype.type(0)
    for k in range(plane.size):
        total += plane[k] if plane[k] == plane[k] else zero
    return total


@compiled
def mean_gray(image: Pixels, channels: int) -> Any:
    """Return the mean gray of an image; NaN counts as black."""
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

    The loop takes all rows for one long row, which is wrong at the border: it is restored then.
    """
    size, inner = plane.size, plane.size - 2 * width
    copy(plane, low)
    if width < 3 or inner <= 0:
        return
    four, thirteen = plane.dtype.type(4), plane.dtype.type(13)
    columns = np.empty(inner, plane.dtype)
    above, middle_row, below = plane[:inner], plane[width : width + inner], plane[2 * width :]
    for k in range(inner):
        columns[k] = above[k] + middle_row[k] + below[k]
    left, middle, right = columns[: inner - 2], columns[1:], columns[2:]
    center, target = middle_row[1:], low[width + 1 :]
    for k in range(inner - 2):
        total = left[k] + middle[k] + right[k] + four * center[k]
        target[k] = center[k] + (total / thirteen - center[k])
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
def _level(value: Any, most: Any) -> Any:
    """Return the whole level 0 to 255 of a value; NaN counts as 0."""
    level = np.rint(most * value)
    return min(level, most) if level > 0 else most - most


@compiled
def _posterize(source: Pixels, target: Pixels, bits: float) -> None:
    most, width = source.dtype.type(255), source.dtype.type(2.0 ** (8 - np.floor(bits)))
    for k in range(source.size):
        level = np.floor(_level(source[k], most) / width) * width
        # NaN and infinity become NaN.
        target[k] = level / most + (source[k] - source[k])


@compiled
def _equalize(source: Pixels, target: Pixels, channels: int) -> None:
    size, most = source.size // channels, source.dtype.type(255)
    levels, table = np.empty(source.size, np.uint8), np.empty((channels, 256), np.uint8)
    for k in range(source.size):
        levels[k] = np.int32(_level(source[k], most))
    equalize_planes(levels, size, table)
    for c in range(channels):
        for k in range(c * size, c * size + size):
            level = source.dtype.type(table[c, levels[k]])
            target[k] = level / most + (source[k] - source[k])


@compiled
def _color(source: Pixels, target: Pixels, channels: int, factor: Any) -> None:
    size = source.size // channels
    gray = np.empty(size, source.dtype)
    gray_plane(source, channels, gray)
    for start in range(0, source.size, size):
        _mix(gray, source[start : start + size], factor, target[start : start + size])


@compiled
def _sharpen(plane: Pixels, target: Pixels, width: int, factor: Any) -> None:
    low = np.empty(plane.size, plane.dtype)
    smooth_plane(plane, width, low)
    _mix(low, plane, factor, target)


@compiled
def run_instruction(
    source: Pixels, target: Pixels, shape: Shape, instruction: Floats, colors: Pixels
) -> None:
    """Run one instruction, with the values of ``kornia_float``.

    Args:
        source: (C * H * W,) in [0, 1], float32 or float64, not ``target``. All arithmetic is in its
            dtype.
        target: Likewise, for the result.
        shape: C, H, W.
        instruction: (8,); not ``IDENTITY``.
        colors: (3, C), what shows outside a moved image, around a padded crop, in an erased box.
    """
    code, (channels, height, width) = instruction[0], shape
    size, factor = height * width, source.dtype.type(instruction[1])
    if code == AFFINE:
        move(source, target, height, width, instruction, colors[int(instruction[7])])
    elif code == ERASE:
        copy(source, target)
        erase(target, height, width, instruction, colors[2])
    elif code in (SOLARIZE, INVERT):
        _solarize(source, target, threshold(source, instruction))
    elif code == POSTERIZE:
        _posterize(source, target, instruction[1])
    elif code == EQUALIZE:
        _equalize(source, target, channels)
    elif code == BRIGHTNESS:
        _mix_with(source.dtype.type(0), source, factor, target)
    elif code == CONTRAST:
        _mix_with(mean_gray(source, channels), source, factor, target)
    elif code == COLOR:
        _color(source, target, channels, factor)
    else:
        for start in range(0, source.size, size):
            plane, to = source[start : start + size], target[start : start + size]
            if code == AUTO_CONTRAST:
                _auto_contrast(plane, to)
            else:
                _sharpen(plane, to, width, factor)
