"""Compiled loops that count and map the grey levels of uint8 planes.

Tables wait: ``table`` (C, 256) holds what has been composed and not yet been applied to pixels.
Arithmetic is PIL's: single precision where PIL's is, and nothing contracted or reordered.
"""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numba import njit

from learned_augment.engines.program import CONTRAST, EQUALIZE

__all__ = [
    "Bytes",
    "Floats",
    "compiled",
    "compose",
    "compose_measured",
    "copy",
    "look_up",
    "luma",
    "mix",
    "reset",
]

Function = TypeVar("Function")
Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Counts: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]

compiled: Callable[[Function], Function] = njit(nogil=True, error_model="numpy")
"""Compile a loop: no interpreter lock, no checks for division by zero."""


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
    """Follow one table (256,) by another."""
    for k in range(256):
        table[k] = levels[table[k]]


@compiled
def look_up(source: Bytes, target: Bytes, table: Bytes) -> None:
    """Map an image (C, H, W) through its tables; ``target`` may be ``source``."""
    for c in range(source.shape[0]):
        plane, mapped, levels = source[c].ravel(), target[c].ravel(), table[c]
        for k in range(mapped.size):
            mapped[k] = levels[plane[k]]


@compiled
def compose_measured(
    source: Bytes, kind: float, value: float, table: Bytes, waiting: bool, levels: Bytes
) -> None:
    """Follow the waiting tables by those that depend on the image they give.

    Args:
        source: The image (C, H, W) before the waiting tables.
        kind: ``CONTRAST``, ``EQUALIZE`` or ``AUTO_CONTRAST``.
        value: Of the op.
        table: (C, 256), the waiting tables.
        waiting: Whether ``table`` changes anything.
        levels: (256,), room to work in.
    """
    if kind == CONTRAST:
        mean = np.float32(_mean_luma(source, table, waiting))
        for k in range(256):
            levels[k] = np.int32(mix(mean, np.float32(k), np.float32(value)))
    for c in range(source.shape[0]):
        if kind == EQUALIZE:
            _equalize(_histogram(source[c].ravel(), table[c], waiting), levels)
        elif kind != CONTRAST:
            _auto_contrast(source[c].ravel(), table[c], waiting, levels)
        compose(table[c], levels)


@compiled
def _histogram(plane: Bytes, table: Bytes, waiting: bool) -> Counts:
    """Count levels after the table; in four counters, so that equal neighbours do not wait."""
    counts = np.zeros((4, 256), np.int32)
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
    total = counts[0]
    for k in range(256):
        total[k] += counts[1, k] + counts[2, k] + counts[3, k]
    if not waiting:
        return total
    after = np.zeros(256, np.int32)
    for k in range(256):
        after[table[k]] += total[k]
    return after


@compiled
def _auto_contrast(plane: Bytes, table: Bytes, waiting: bool, levels: Bytes) -> None:
    low, high = np.uint8(255), np.uint8(0)
    if waiting:
        for k in range(plane.size):
            level = table[plane[k]]
            low, high = min(low, level), max(high, level)
    else:
        for k in range(plane.size):
            low, high = min(low, plane[k]), max(high, plane[k])
    scale = 255.0 / (high - low) if high > low else 1.0
    shift = low * scale if high > low else 0.0
    for k in range(256):
        levels[k] = np.int32(min(max(k * scale - shift, 0.0), 255.0))


@compiled
def _equalize(counts: Counts, levels: Bytes) -> None:
    last, total = 255, 0
    while counts[last] == 0:
        last -= 1
    for k in range(last):
        total += counts[k]
    step = np.float64(total // 255)
    if step == 0:
        for k in range(256):
            levels[k] = k
        return
    below = np.empty(256, np.int32)
    before = np.int32(step) // 2
    for k in range(256):
        below[k] = before
        before += counts[k]
    for k in range(256):
        # Whole numbers this small divide exactly enough in double precision to be cut off.
        levels[k] = np.int32(min(below[k] / step, 255.0))


@compiled
def _mean_luma(source: Bytes, table: Bytes, waiting: bool) -> float:
    total: Any = 0
    if source.shape[0] == 1:
        counts = _histogram(source[0].ravel(), table[0], waiting)
        for k in range(256):
            total += k * counts[k]
    else:
        red, green, blue = source[0].ravel(), source[1].ravel(), source[2].ravel()
        if waiting:
            for k in range(red.size):
                total += np.int64(luma(table[0, red[k]], table[1, green[k]], table[2, blue[k]]))
        else:
            for k in range(red.size):
                total += np.int64(luma(red[k], green[k], blue[k]))
    mean: float = np.floor(total / source[0].size + 0.5)
    return mean
