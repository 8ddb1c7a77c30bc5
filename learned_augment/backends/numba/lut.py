"""Compiled loops that count and map the grey levels of uint8 planes.

Arithmetic is PIL's: single precision where PIL's is, and nothing contracted or reordered.
"""

from typing import Any, TypeAlias

import numpy as np

from learned_augment.backends.lookup import map_levels
from learned_augment.backends.lowering import CONTRAST, EQUALIZE
from learned_augment.backends.numba.jit import Bytes, compiled

__all__ = [
    "Floats",
    "compose",
    "copy",
    "look_up",
    "luma",
    "measure",
    "mix",
    "reset",
]

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Counts: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]


@compiled
def mix(low: Any, level: Any, factor: Any) -> Any:
    """Blend two levels, clipped to 0..255; all in single precision."""
    return min(max(low + factor * (level - low), np.float32(0)), np.float32(255))


@compiled
def luma(red: Any, green: Any, blue: Any) -> Any:
    """Return the luma of levels; whole numbers below 2**24 are exact in single precision."""
    total = np.float32(19595) * np.float32(red) + np.float32(38470) * np.float32(green)
    total += np.float32(7471) * np.float32(blue) + np.float32(32768)
    return np.floor(total * np.float32(1 / 65536))


@compiled
def copy(source: Bytes, target: Bytes) -> None:
    """Copy a row of levels."""
    for k in range(target.size):
        target[k] = source[k]


@compiled
def reset(table: Bytes) -> None:
    """Make every table the one that changes nothing."""
    for c in range(table.shape[0]):
        for k in range(256):
            table[c, k] = k


@compiled
def compose(table: Bytes, levels: Bytes) -> None:
    """Follow every table (C, 256) by another (256,)."""
    for c in range(table.shape[0]):
        map_levels(table[c], table[c], levels)


@compiled
def look_up(source: Bytes, target: Bytes, table: Bytes) -> None:
    """Map an image (C * H * W,) through its tables (C, 256); ``target`` may be ``source``."""
    size = source.size // len(table)
    for c in range(len(table)):
        start = c * size
        map_levels(source[start : start + size], target[start : start + size], table[c])


@compiled
def measure(image: Bytes, kind: float, value: float, table: Bytes) -> None:
    """Write the tables (C, 256) of an op that asks what is in the image (C * H * W,).

    Args:
        image: The image.
        kind: ``CONTRAST``, ``EQUALIZE`` or ``AUTO_CONTRAST``.
        value: Of the op.
        table: Where the tables go.
    """
    if kind == CONTRAST:
        _contrast(image, np.float32(value), table)
    elif kind == EQUALIZE:
        _equalize(image, table)
    else:
        _auto_contrast(image, table)


@compiled
def _contrast(image: Bytes, factor: Any, table: Bytes) -> None:
    mean = np.float32(_mean_luma(image, image.size // len(table)))
    for c in range(len(table)):
        for k in range(256):
            table[c, k] = np.int32(mix(mean, np.float32(k), factor))


@compiled
def _equalize(image: Bytes, table: Bytes) -> None:
    size, counts = image.size // len(table), np.empty((4, 256), np.int32)
    for c in range(len(table)):
        _count(image[c * size : c * size + size], counts)
        _equalize_plane(counts[0], size, table[c])


@compiled
def _auto_contrast(image: Bytes, table: Bytes) -> None:
    size = image.size // len(table)
    for c in range(len(table)):
        low, high = np.uint8(255), np.uint8(0)
        for level in image[c * size : c * size + size]:
            low, high = min(low, level), max(high, level)
        scale = 255.0 / (high - low) if high > low else 1.0
        shift = low * scale if high > low else 0.0
        for k in range(256):
            table[c, k] = np.int32(min(max(k * scale - shift, 0.0), 255.0))


@compiled
def _count(plane: Bytes, counts: Counts) -> None:
    """Count levels into the first of four rows (4, 256).

    The others let equal neighbours not wait for each other.
    """
    counts[:] = 0
    quarter = plane.size // 4
    first, second = plane[:quarter], plane[quarter : 2 * quarter]
    third, fourth = plane[2 * quarter : 3 * quarter], plane[3 * quarter :]
    for k in range(quarter):
        counts[0, first[k]] += 1
        counts[1, second[k]] += 1
        counts[2, third[k]] += 1
        counts[3, fourth[k]] += 1
    for k in range(quarter, fourth.size):
        counts[3, fourth[k]] += 1
    for k in range(256):
        counts[0, k] += counts[1, k] + counts[2, k] + counts[3, k]


@compiled
def _equalize_plane(counts: Counts, size: int, levels: Bytes) -> None:
    """Write the table (256,) for counts (256,) of ``size`` levels, which are written over."""
    last = 255
    while counts[last] == 0:
        last -= 1
    step = (size - counts[last]) // 255
    if step == 0:
        for k in range(256):
            levels[k] = k
        return
    before = np.int32(step // 2)
    for k in range(256):
        count = counts[k]
        counts[k] = before
        before += count
    inverse = 1 / step
    for k in range(256):
        # Half a level off the whole numbers, a rounded reciprocal divides exactly.
        levels[k] = np.int32(min((counts[k] + 0.5) * inverse, 255.0))


@compiled
def _mean_luma(image: Bytes, size: int) -> float:
    total: Any = 0
    if image.size == size:
        for k in range(size):
            total += np.int64(image[k])
    else:
        red, green, blue = image[:size], image[size : 2 * size], image[2 * size :]
        for k in range(size):
            total += np.int64(luma(red[k], green[k], blue[k]))
    mean: float = np.floor(total / size + 0.5)
    return mean
