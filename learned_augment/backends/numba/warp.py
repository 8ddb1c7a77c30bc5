"""Compiled loops that move the pixels of an image, nearest neighbor, as PIL moves them."""

from typing import Any, TypeAlias

import numpy as np

from learned_augment.backends.lowering import Floats
from learned_augment.backends.numba.jit import compiled

__all__ = ["Pixels", "Shape", "erase", "move"]

Pixels: TypeAlias = np.ndarray[Any, Any]
"""An array of gray levels, floats or four-byte pixels."""

Shape: TypeAlias = tuple[int, int, int]
"""C, H, W."""

# Numba checks a signed offset for < 0, so the loops cast offsets to unsigned.


@compiled
def move(
    source: Pixels,
    target: Pixels,
    height: int,
    width: int,
    instruction: Floats,
    outside: Pixels,
) -> None:
    """Write the moved image.

    The part of a row that has a source is found first, so that the loop over pixels tests nothing.

    Args:
        source: (C * H * W,), not ``target``: C planes of H rows of W levels. It is flat, as making
            views in a loop over rows costs more than a row of 32 pixels.
        target: (C * H * W,).
        height: H.
        width: W.
        instruction: (8,), the matrix from the second number on.
        outside: (C,), what shows where there is no source.
    """
    if instruction[2] == 0 and instruction[4] == 0:
        _move_separate(source, target, height, width, instruction, outside)
    else:
        _move_fixed(source, target, height, width, instruction, outside)


@compiled
def _move_separate(
    source: Pixels,
    target: Pixels,
    height: int,
    width: int,
    instruction: Floats,
    outside: Pixels,
) -> None:
    """Move along the axes: PIL sums positions in floating point."""
    columns, rows = np.empty(width, np.int32), np.empty(height, np.int32)
    first, last, stride = _positions(instruction[3], instruction[1], width, columns)
    top, bottom, down = _positions(instruction[6], instruction[5], height, rows)
    if stride == 1 and down == 1 and first < last and top < bottom:
        start, stop = top * width + first, (bottom - 1) * width + last
        shift = (rows[top] - top) * width + columns[first] - first
        gap = width - (last - first)
        size = height * width
        _shift(source, target, size, width, start, stop, shift, gap, outside)
        return
    index = np.empty(width, np.int32)
    for y in range(height):
        count = last - first if 0 <= rows[y] < height else 0
        for k in range(count if stride == 0 else min(count, 1)):
            index[k] = rows[y] * width + columns[first + k]
        _write_row(source, target, height, width, y, first, count, index, stride, outside)


@compiled
def _positions(offset: float, increment: float, limit: int, out: Any) -> Any:
    """Write the source of each position of an axis; return the span of those that have one.

    The third result is 1 or -1 if the sources of the span are neighbors, rising or falling.
    """
    first, last, position, rising, falling = out.size, 0, offset + increment * 0.5, True, True
    for k in range(out.size):
        source = np.int32(-1) if position < 0 else np.int32(min(position, limit))
        out[k] = source
        if 0 <= source < limit:
            if k > first:
                rising = rising and source == out[k - 1] + 1
                falling = falling and source == out[k - 1] - 1
            first, last = min(first, k), k + 1
        position += increment
    return min(first, last), last, 1 if rising else (-1 if falling else 0)


@compiled
def _shift(
    source: Pixels,
    target: Pixels,
    size: int,
    width: int,
    start: int,
    stop: int,
    shift: int,
    gap: int,
    outside: Pixels,
) -> None:
    """Write whole planes shifted: all rows as one long row, then the pixels without a source.

    Args:
        source: (C * H * W,).
        target: (C * H * W,).
        size: H * W.
        width: W.
        start: First pixel of a plane that has a source.
        stop: Last pixel that has one + 1.
        shift: How far ahead the source of a pixel lies.
        gap: Pixels without a source between those of one row and those of the next.
        outside: (C,), what shows where there is no source.
    """
    for c in range(outside.size):
        plane, level = c * size, outside[c]
        for k in range(plane + start, plane + stop):
            target[np.uint64(k)] = source[np.uint64(k + shift)]
        _paint(target, plane, plane + start, level)
        _paint(target, plane + stop, plane + size, level)
        if gap > 0:
            for at in range(plane + start + width - gap, plane + stop, width):
                for k in range(gap):
                    target[np.uint64(at + k)] = level


@compiled
def _move_fixed(
    source: Pixels,
    target: Pixels,
    height: int,
    width: int,
    instruction: Floats,
    outside: Pixels,
) -> None:
    """Move along slanted lines: PIL sums positions in 16.16 fixed point."""
    a, b, c = instruction[1], instruction[2], instruction[3]
    d, e, f = instruction[4], instruction[5], instruction[6]
    x0, y0 = _fixed(c + a * 0.5 + b * 0.5), _fixed(f + d * 0.5 + e * 0.5)
    dx, dy, down_x, down_y = _fixed(a), _fixed(d), _fixed(b), _fixed(e)
    stride = 1 if dx == 65536 and dy == 0 else 0
    index = np.empty(width, np.int32)
    for y in range(height):
        first, last = _span(x0, dx, width << 16, width)
        first_y, last_y = _span(y0, dy, height << 16, width)
        first = max(first, first_y)
        count = max(min(last, last_y) - first, 0)
        x, line = x0 + first * dx, y0 + first * dy
        for k in range(count if stride == 0 else min(count, 1)):
            index[k] = ((line + k * dy) >> 16) * width + ((x + k * dx) >> 16)
        _write_row(source, target, height, width, y, first, count, index, stride, outside)
        x0 += down_x
        y0 += down_y


@compiled
def _fixed(value: float) -> Any:
    return np.int64(np.floor(value * 65536.0 + 0.5))


@compiled
def _span(start: int, increment: int, limit: int, length: int) -> tuple[int, int]:
    """Return the positions k with 0 <= start + k * increment < limit, as first and last + 1."""
    if increment == 0:
        return 0, (length if 0 <= start < limit else 0)
    if increment > 0:
        first, last = -(start // increment), -((start - limit) // increment)
    else:
        first, last = (start - limit) // -increment + 1, start // -increment + 1
    first = min(max(first, 0), length)
    return first, max(min(last, length), first)


@compiled
def _write_row(
    source: Pixels,
    target: Pixels,
    height: int,
    width: int,
    y: int,
    first: int,
    count: int,
    index: Any,
    stride: int,
    outside: Pixels,
) -> None:
    """Write row y of all planes: the pixels that ``index`` names from ``first`` on."""
    for c in range(outside.size):
        plane = c * height * width
        row = plane + y * width
        at = row + first
        _paint(target, row, at, outside[c])
        _paint(target, at + count, row + width, outside[c])
        start = plane + index[0]
        if stride == 1:
            for k in range(count):
                target[np.uint64(at + k)] = source[np.uint64(start + k)]
        elif stride == -1:
            for k in range(count):
                target[np.uint64(at + k)] = source[np.uint64(start - k)]
        else:
            for k in range(count):
                target[np.uint64(at + k)] = source[np.uint64(plane + index[k])]


@compiled
def _paint(target: Pixels, start: int, stop: int, level: int) -> None:
    """Write one level over part of a row of levels."""
    for k in range(start, stop):
        target[np.uint64(k)] = level


@compiled
def erase(target: Pixels, height: int, width: int, instruction: Floats, gray: Pixels) -> None:
    """Paint the rectangle of an instruction; ``gray`` holds a level for each channel."""
    left, top = int(instruction[1]), int(instruction[2])
    right, bottom = int(instruction[3]), int(instruction[4])
    for c in range(gray.size):
        for y in range(top, bottom):
            row = (c * height + y) * width
            _paint(target, row + left, row + right, gray[c])
