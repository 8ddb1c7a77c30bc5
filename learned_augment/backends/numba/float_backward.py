"""Compiled gradients of one float image, back through one instruction."""

from typing import Any

import numpy as np

from learned_augment.backends.lowering import Floats
from learned_augment.backends.numba.float_forward import (
    extremes,
    gray_plane,
    mean_gray,
    smooth_plane,
    sum_known,
    threshold,
    weight,
)
from learned_augment.backends.numba.jit import compiled, summing
from learned_augment.backends.numba.lut import copy
from learned_augment.backends.numba.opcodes import (
    AFFINE,
    AUTO_CONTRAST,
    BRIGHTNESS,
    COLOR,
    CONTRAST,
    EQUALIZE,
    ERASE,
    IDENTITY,
    INVERT,
    POSTERIZE,
    SOLARIZE,
)
from learned_augment.backends.numba.warp import Pixels, Shape, erase, move

__all__ = ["backward", "needs_input", "passes"]


@compiled
def passes(code: float) -> bool:
    """Return whether gradients pass an instruction unchanged."""
    return code in (IDENTITY, EQUALIZE, POSTERIZE)


@compiled
def needs_input(code: float) -> bool:
    """Return whether gradients need the pixels that went into an instruction."""
    return not (passes(code) or code in (AFFINE, ERASE, INVERT))


@compiled
def _unclipped(slope: Any, level: Any, zero: Any, one: Any) -> Any:
    return slope if (level >= zero) & (level <= one) else zero


@compiled
def _through_move(given: Pixels, out: Pixels, height: int, width: int, instruction: Floats) -> None:
    size = height * width
    source, places = np.arange(size), np.empty(size, np.int64)
    move(source, places, height, width, instruction, np.full(1, -1))
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
    size, mean = image.size // channels, mean_gray(image, channels)
    zero, one = image.dtype.type(0), image.dtype.type(1)
    for k in range(image.size):
        out[k] = _unclipped(given[k], mean + factor * (image[k] - mean), zero, one)
    total = sum_known(out)
    for c in range(channels):
        own = image.dtype.type((one - factor) * total * weight(c, channels) / size)
        for k in range(c * size, c * size + size):
            out[k] = factor * out[k] + (own if image[k] == image[k] else zero)


@compiled
def _through_mix(
    low: Pixels, plane: Pixels, given: Pixels, out: Pixels, factor: Any, rest: Pixels
) -> None:
    """Write the gradients of a blended plane; add those of the degenerate one to ``rest``."""
    zero, one = plane.dtype.type(0), plane.dtype.type(1)
    other = one - factor
    for k in range(plane.size):
        slope = _unclipped(given[k], low[k] + factor * (plane[k] - low[k]), zero, one)
        out[k] = factor * slope
        rest[k] += other * slope


@compiled
def _through_color(image: Pixels, given: Pixels, out: Pixels, channels: int, factor: Any) -> None:
    size = image.size // channels
    gray, rest = np.empty(size, image.dtype), np.zeros(size, image.dtype)
    gray_plane(image, channels, gray)
    for start in range(0, image.size, size):
        end = start + size
        _through_mix(gray, image[start:end], given[start:end], out[start:end], factor, rest)
    zero = image.dtype.type(0)
    for c in range(channels):
        plane, own = out[c * size : c * size + size], image.dtype.type(weight(c, channels))
        source = image[c * size : c * size + size]
        for k in range(size):
            plane[k] += own * rest[k] if source[k] == source[k] else zero


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
    above, middle_row, below = padded, padded[width:], padded[2 * width :]
    for k in range(size + 2):
        columns[k] = above[k] + middle_row[k] + below[k]
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
def backward(image: Pixels, given: Pixels, out: Pixels, shape: Shape, instruction: Floats) -> None:
    """Write the gradients of the input of an instruction from those of its output.

    They are those of ``kornia_float``. The gradient passes unchanged through an op that rounds. A
    clipped pixel has none, but a pixel of exactly 0 or 1 keeps its own. (Under Kornia it depends on
    the version of torch, whose ``clamp`` may pass none there.) In AutoContrast all pixels
    of the lowest level share its gradient, and so do those of the highest level.

    Args:
        image: (C * H * W,), the input; anything where it is not needed, see ``needs_input``.
        given: Likewise, gradients of the output.
        out: Likewise, for the result.
        shape: C, H, W.
        instruction: (8,), one that gradients do not pass unchanged.
    """
    code, (channels, height, width) = instruction[0], shape
    size, factor = height * width, image.dtype.type(instruction[1])
    if code == AFFINE:
        _through_move(given, out, height, width, instruction)
    elif code == ERASE:
        copy(given, out)
        erase(out, height, width, instruction, np.zeros(channels, out.dtype))
    elif code in (SOLARIZE, INVERT):
        _through_solarize(image, given, out, threshold(image, instruction))
    elif code == BRIGHTNESS:
        _through_brighten(image, given, out, factor)
    elif code == CONTRAST:
        _through_contrast(image, given, out, channels, factor)
    elif code == COLOR:
        _through_color(image, given, out, channels, factor)
    else:
        for start in range(0, image.size, size):
            end = start + size
            plane, slopes, to = image[start:end], given[start:end], out[start:end]
            if code == AUTO_CONTRAST:
                _through_auto_contrast(plane, slopes, to)
            else:
                _through_sharpen(plane, slopes, to, width, factor)
