"""Compiled: gradients of one float image, back through a step of ``smooth_kernels``.

As in ``smooth``: through what rounds, the gradient passes unchanged; what is clipped has none, but
a level of just 0 or 1 keeps its own; the lowest and highest levels of AutoContrast share theirs
among all pixels that have them.
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
    KEEP,
    MOVE,
    POSTERIZE,
    SOLARIZE,
)
from learned_augment.backends.numba.float_forward import (
    extremes,
    grey_plane,
    mean_grey,
    smooth_plane,
    sum_known,
    threshold,
    weight,
)
from learned_augment.backends.numba.jit import compiled, summing
from learned_augment.backends.numba.lut import Floats, copy
from learned_augment.backends.numba.uint8 import Shape, erase
from learned_augment.backends.numba.warp import Pixels, move

__all__ = ["asks", "passes", "pull_back"]


@compiled
def passes(kind: float) -> bool:
    """Return whether gradients pass a kind of step unchanged."""
    return kind in (KEEP, EQUALIZE, POSTERIZE)


@compiled
def asks(kind: float) -> bool:
    """Return whether gradients need to know what went into a kind of step."""
    return not passes(kind) and kind not in (MOVE, ERASE, INVERT)


@compiled
def _unclipped(slope: Any, level: Any, zero: Any, one: Any) -> Any:
    return slope if (level >= zero) & (level <= one) else zero


@compiled
def _through_move(given: Pixels, out: Pixels, height: int, width: int, step: Floats) -> None:
    size = height * width
    source, places = np.arange(size), np.empty(size, np.int64)
    move(source, places, height, width, step, np.full(1, -1))
    out[:] = 0
    for start in range(0, out.size, size):
        plane, slopes = out[start : start + size], given[start : start + size]
        for k in range(size):
            if places[k] >= 0:
                plane[places[k]] += slopes[k]


@compiled
def _through_solarize(image: Pixels, given: Pixels, out: Pixels, limit: Any) -> None:
    most = image.dtype.type(255)
    for k in range(image.size):
        out[k] = given[k] if most * image[k] < limit else -given[k]


@compiled
def _through_brighten(image: Pixels, given: Pixels, out: Pixels, factor: Any) -> None:
    zero, one = image.dtype.type(0), image.dtype.type(1)
    for k in range(image.size):
        out[k] = factor * _unclipped(given[k], factor * image[k], zero, one)


@compiled
def _through_contrast(
    image: Pixels, given: Pixels, out: Pixels, channels: int, factor: Any
) -> None:
    size, mean = image.size // channels, mean_grey(image, channels)
    zero, one = image.dtype.type(0), image.dtype.type(1)
    for k in range(image.size):
        out[k] = _unclipped(given[k], mean + factor * (image[k] - mean), zero, one)
    total = sum_known(out)
    for c in range(channels):
        share = image.dtype.type((one - factor) * total * weight(c, channels) / size)
        for k in range(c * size, c * size + size):
            out[k] = factor * out[k] + (share if image[k] == image[k] else zero)


@compiled
def _through_mix(
    low: Pixels, plane: Pixels, given: Pixels, out: Pixels, factor: Any, rest: Pixels
) -> None:
    """Write the gradients through a plane's share of a blend, add the others to ``rest``."""
    zero, one = plane.dtype.type(0), plane.dtype.type(1)
    other = one - factor
    for k in range(plane.size):
        slope = _unclipped(given[k], low[k] + factor * (plane[k] - low[k]), zero, one)
        out[k] = factor * slope
        rest[k] += other * slope


@compiled
def _through_colour(image: Pixels, given: Pixels, out: Pixels, channels: int, factor: Any) -> None:
    size = image.size // channels
    grey, rest = np.empty(size, image.dtype), np.zeros(size, image.dtype)
    grey_plane(image, channels, grey)
    for start in range(0, image.size, size):
        end = start + size
        _through_mix(grey, image[start:end], given[start:end], out[start:end], factor, rest)
    for c in range(channels):
        plane, share = out[c * size : c * size + size], image.dtype.type(weight(c, channels))
        for k in range(size):
            plane[k] += share * rest[k]


@compiled
def _through_sharpen(plane: Pixels, given: Pixels, out: Pixels, width: int, factor: Any) -> None:
    size, edge = plane.size, width + 1
    low, padded = np.empty(size, plane.dtype), np.zeros(size + 2 * edge, plane.dtype)
    smooth_plane(plane, width, low)
    rest = padded[edge : edge + size]
    _through_mix(low, plane, given, out, factor, rest)
    _spread_back(padded, out, width)


@compiled
def _spread_back(padded: Pixels, out: Pixels, width: int) -> None:
    """Add the gradients of smoothed pixels to those of the pixels that they were made of.

    ``padded`` has ``width`` + 1 zeros before and after; it is written over.
    """
    size, edge = out.size, width + 1
    rest, small = padded[edge : edge + size], width < 3 or size < 3 * width
    four, thirteen = out.dtype.type(4), out.dtype.type(13)
    for y in range(0, size, width):
        border = small or y == 0 or y == size - width
        for x in range(y, y + width, 1 if border else width - 1):
            out[x] += rest[x]
            rest[x] = 0
    if small:
        return
    for k in range(size):
        rest[k] /= thirteen
    columns = np.empty(size + 2, out.dtype)
    above, beside, below = padded, padded[width:], padded[2 * width :]
    for k in range(size + 2):
        columns[k] = above[k] + beside[k] + below[k]
    middle, right = columns[1:], columns[2:]
    for k in range(size):
        out[k] += columns[k] + middle[k] + right[k] + four * rest[k]


@summing
def _through_stretch(
    plane: Pixels, given: Pixels, out: Pixels, low: Any, span: Any
) -> tuple[float, float]:
    """Write the gradients at fixed extremes; return those of the lowest and the highest level."""
    total, weighted = 0.0, 0.0
    for k in range(plane.size):
        out[k] = given[k] / span
        total += out[k]
        weighted += out[k] * ((plane[k] - low) / span)
    return weighted - total, -weighted


@compiled
def _through_auto_contrast(plane: Pixels, given: Pixels, out: Pixels) -> None:
    low, high = extremes(plane)
    if high <= low:
        copy(given, out)
        return
    of_low, of_high = _through_stretch(plane, given, out, low, high - low)
    lows, highs = 0, 0
    for level in plane:
        lows, highs = lows + (level == low), highs + (level == high)
    at_low, at_high = plane.dtype.type(of_low / lows), plane.dtype.type(of_high / highs)
    zero = plane.dtype.type(0)
    for k in range(plane.size):
        out[k] += (at_low if plane[k] == low else zero) + (at_high if plane[k] == high else zero)


@compiled
def pull_back(image: Pixels, given: Pixels, out: Pixels, shape: Shape, step: Floats) -> None:
    """Write the gradients of what went into a step from those of what came out of it.

    Args:
        image: (C * H * W,), what went in; anything where the step does not ``ask``.
        given: Likewise, gradients of what came out.
        out: Likewise, for the result.
        shape: C, H, W.
        step: (8,), of a kind that gradients do not ``pass``.
    """
    kind, (channels, height, width) = step[0], shape
    size, factor = height * width, image.dtype.type(step[1])
    if kind == MOVE:
        _through_move(given, out, height, width, step)
    elif kind == ERASE:
        copy(given, out)
        erase(out, height, width, step, np.zeros(channels, out.dtype))
    elif kind in (SOLARIZE, INVERT):
        _through_solarize(image, given, out, threshold(image, step))
    elif kind == BRIGHTEN:
        _through_brighten(image, given, out, factor)
    elif kind == CONTRAST:
        _through_contrast(image, given, out, channels, factor)
    elif kind == COLOUR:
        _through_colour(image, given, out, channels, factor)
    else:
        for start in range(0, image.size, size):
            end = start + size
            plane, slopes, to = image[start:end], given[start:end], out[start:end]
            if kind == AUTO_CONTRAST:
                _through_auto_contrast(plane, slopes, to)
            else:
                _through_sharpen(plane, slopes, to, width, factor)
