"""Compiled loops that move the pixels of a uint8 image, nearest neighbour, as PIL steps.

The part of a row that has a source is found first, so that the loop over pixels tests nothing.
Images are (C, H, W); offsets are cast to unsigned because Numba checks signed ones for < 0.
"""

from typing import Any

import numpy as np

from learned_augment.engines.levels import Bytes, Floats, compiled

__all__ = ["move"]


@compiled
def move(
    source: Bytes, target: Bytes, step: Floats, table: Bytes, waiting: bool, outside: Bytes
) -> None:
    """Write the moved image.

    Args:
        source: (C, H, W), not ``target``.
        target: (C, H, W).
        step: (8,), the matrix from the second number on.
        table: (C, 256), applied on the way.
        waiting: Whether ``table`` changes anything.
        outside: (C,), what shows where there is no source.
    """
    if step[2] == 0 and step[4] == 0:
        _move_separate(source, target, step, table, waiting, outside)
    else:
        _move_fixed(source, target, step, table, waiting, outside)


@compiled
def _move_separate(
    source: Bytes, target: Bytes, step: Floats, table: Bytes, waiting: bool, outside: Bytes
) -> None:
    """Move along the axes: PIL sums positions in floating point."""
    height, width = source.shape[1:]
    columns, rows = np.empty(width, np.int64), np.empty(height, np.int64)
    first, last, straight = _positions(step[3], step[1], width, columns)
    _positions(step[6], step[5], height, rows)
    index = np.zeros(width, np.int64)
    for y in range(height):
        count = last - first if 0 <= rows[y] < height else 0
        for k in range(min(count, 1) if straight else count):
            index[k] = rows[y] * width + columns[first + k]
        _write_row(source, target, y, first, count, index, straight, table, waiting, outside)


@compiled
def _positions(offset: float, step: float, limit: int, out: Any) -> Any:
    """Write the source of each position of an axis; return the span of those that have one.

    The third result says whether the sources of the span are neighbours.
    """
    first, last, position, straight = out.size, 0, offset + step * 0.5, True
    for k in range(out.size):
        source = np.int64(-1) if position < 0 else np.int64(position)
        out[k] = source
        if 0 <= source < limit:
            straight = straight and (k <= first or source == out[k - 1] + 1)
            first, last = min(first, k), k + 1
        position += step
    return min(first, last), last, straight


@compiled
def _move_fixed(
    source: Bytes, target: Bytes, step: Floats, table: Bytes, waiting: bool, outside: Bytes
) -> None:
    """Move along slanted lines: PIL sums positions in 16.16 fixed point."""
    height, width = source.shape[1:]
    a, b, c, d, e, f = step[1], step[2], step[3], step[4], step[5], step[6]
    x0, y0 = _fixed(c + a * 0.5 + b * 0.5), _fixed(f + d * 0.5 + e * 0.5)
    dx, dy, down_x, down_y = _fixed(a), _fixed(d), _fixed(b), _fixed(e)
    straight = dx == 65536 and dy == 0
    index = np.zeros(width, np.int64)
    for y in range(height):
        first, last = _span(x0, dx, width << 16, width)
        first_y, last_y = _span(y0, dy, height << 16, width)
        first = max(first, first_y)
        count = max(min(last, last_y) - first, 0)
        x, line = x0 + first * dx, y0 + first * dy
        for k in range(min(count, 1) if straight else count):
            index[k] = ((line + k * dy) >> 16) * width + ((x + k * dx) >> 16)
        _write_row(source, target, y, first, count, index, straight, table, waiting, outside)
        x0 += down_x
        y0 += down_y


@compiled
def _fixed(value: float) -> Any:
    return np.int64(np.floor(value * 65536.0 + 0.5))


@compiled
def _span(start: int, step: int, limit: int, length: int) -> tuple[int, int]:
    """Return the positions k with 0 <= start + k * step < limit, as first and last + 1."""
    if step == 0:
        return 0, (length if 0 <= start < limit else 0)
    if step > 0:
        first, last = -(start // step), -((start - limit) // step)
    else:
        first, last = (start - limit) // -step + 1, start // -step + 1
    first = min(max(first, 0), length)
    return first, max(min(last, length), first)


@compiled
def _write_row(
    source: Bytes,
    target: Bytes,
    y: int,
    first: int,
    count: int,
    index: Any,
    straight: bool,
    table: Bytes,
    waiting: bool,
    outside: Bytes,
) -> None:
    """Write row y of all planes: the pixels that ``index`` names from ``first`` on."""
    height, width = source.shape[1:]
    read, write = source.ravel(), target.ravel()
    for c in range(source.shape[0]):
        plane = c * height * width
        at = plane + y * width
        _paint(write, at, at + first, outside[c])
        _paint(write, at + first + count, at + width, outside[c])
        if not straight:
            _gather(read, write, plane, index, at + first, count, table[c])
        elif waiting:
            _look_up(read, write, plane + index[0], at + first, count, table[c])
        else:
            _copy(read, write, plane + index[0], at + first, count)


@compiled
def _paint(target: Bytes, start: int, stop: int, level: int) -> None:
    for k in range(start, stop):
        target[np.uint64(k)] = level


@compiled
def _copy(source: Bytes, target: Bytes, start: int, at: int, count: int) -> None:
    for k in range(count):
        target[np.uint64(at + k)] = source[np.uint64(start + k)]


@compiled
def _look_up(source: Bytes, target: Bytes, start: int, at: int, count: int, table: Bytes) -> None:
    for k in range(count):
        target[np.uint64(at + k)] = table[source[np.uint64(start + k)]]


@compiled
def _gather(
    source: Bytes, target: Bytes, start: int, index: Any, at: int, count: int, table: Bytes
) -> None:
    for k in range(count):
        target[np.uint64(at + k)] = table[source[np.uint64(start + index[k])]]
