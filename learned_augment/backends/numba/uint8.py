"""Compiled: a program of steps + one uint8 image -> uint8 image, all layers while it sits in cache.

A step is eight float64: its kind, then parameters as ``program`` lays them out. Images are flat,
(C * H * W,): an array of another shape costs as much as a hundred pixels.
"""

from typing import Any, TypeAlias

import numpy as np

from learned_augment.backends.lowering import COLOUR, CONTRAST, ERASE, KEEP, MOVE, TABLE
from learned_augment.backends.numba.jit import Bytes, compiled
from learned_augment.backends.numba.lut import (
    Floats,
    compose,
    copy,
    look_up,
    luma,
    measure,
    mix,
    reset,
)
from learned_augment.backends.numba.warp import Pixels, move, paint

__all__ = ["Shape", "erase", "run_image"]

Shape: TypeAlias = tuple[int, int, int]

LONG_ROW = 1024
"""Pixels of a row that is long enough for a loop; sixteen-bit sums of them fit the first cache."""


@compiled
def _colour(source: Bytes, target: Bytes, size: int, factor: Any) -> None:
    if source.size == size:
        copy(source, target)
        return
    red, green, blue = source[:size], source[size : 2 * size], source[2 * size :]
    to_red, to_green, to_blue = target[:size], target[size : 2 * size], target[2 * size :]
    for k in range(size):
        r, g, b = np.float32(red[k]), np.float32(green[k]), np.float32(blue[k])
        low = luma(r, g, b)
        to_red[k] = np.int32(mix(low, r, factor))
        to_green[k] = np.int32(mix(low, g, factor))
        to_blue[k] = np.int32(mix(low, b, factor))


@compiled
def _sharpen(source: Bytes, target: Bytes, height: int, width: int, factor: Any) -> None:
    """Blend planes with their smooth form; the border of one pixel stays as it is.

    Rows run on into each other, as one long row is faster than many short ones, and what that does
    to the border is undone.
    """
    copy(source, target)
    most = max(LONG_ROW // width, 1)
    columns = np.empty(most * width, np.int16)
    for plane in range(0, source.size, height * width):
        for top in range(1, height - 1, most):
            rows = min(most, height - 1 - top)
            start = plane + top * width
            for x in range(rows * width):
                above, below = np.uint64(start - width + x), np.uint64(start + width + x)
                columns[x] = source[above] + source[np.uint64(start + x)] + source[below]
            for x in range(rows * width - 2):
                k = np.uint64(start + 1 + x)
                level, right = np.float32(source[k]), np.float32(columns[np.uint64(x + 2)])
                total = np.float32(columns[x]) + np.float32(columns[np.uint64(x + 1)]) + right
                # Half a step off the whole numbers, a rounded reciprocal divides exactly.
                total = total + np.float32(4) * level + np.float32(6.5)
                low = np.floor(total * np.float32(1 / 13))
                target[k] = np.int32(mix(low, level, factor))
            for left in range(start, start + rows * width, width):
                last = left + width - 1
                target[left], target[last] = source[left], source[last]


@compiled
def erase(target: Pixels, height: int, width: int, step: Floats, grey: Pixels) -> None:
    """Paint the rectangle of a step; ``grey`` holds a level for each channel."""
    left, top, right, bottom = int(step[1]), int(step[2]), int(step[3]), int(step[4])
    for c in range(grey.size):
        for y in range(top, bottom):
            row = (c * height + y) * width
            paint(target, row + left, row + right, grey[c])


@compiled
def _redraw(
    source: Bytes, target: Bytes, height: int, width: int, step: Floats, colours: Bytes
) -> None:
    """Run a step that writes a new image."""
    if step[0] == MOVE:
        move(source, target, height, width, step, colours[int(step[7])])
    elif step[0] == COLOUR:
        _colour(source, target, height * width, np.float32(step[1]))
    else:
        _sharpen(source, target, height, width, np.float32(step[1]))


@compiled
def run_image(
    image: Bytes,
    out: Bytes,
    spare: Bytes,
    shape: Shape,
    steps: Floats,
    tables: Bytes,
    colours: Bytes,
    table: Bytes,
) -> None:
    """Run one image's steps; ``spare`` and ``out`` take turns so that the last one ends in out.

    Tables wait for each other in ``table``, until a step needs the pixels they give.

    Args:
        image: (C * H * W,), never written to.
        out: Likewise, for the result.
        spare: Likewise, to work in.
        shape: C, H, W.
        steps: (L, 8).
        tables: (T, 256), which ``TABLE`` steps name.
        colours: (3, C), what shows outside a moved image, around a padded crop, in an erased box.
        table: (C, 256), to work in.
    """
    _, height, width = shape
    redraws = 0
    for kind in steps[:, 0]:
        redraws += kind >= MOVE and kind != ERASE
    current, waiting, copied = image, False, False
    for step in steps:
        kind = step[0]
        if kind == KEEP:
            continue
        if kind == TABLE:
            if not waiting:
                reset(table)
            compose(table, tables[int(step[1])])
            waiting = True
            continue
        target = out if redraws % 2 == 0 else spare
        if waiting:
            look_up(current, target, table)
            current, waiting, copied = target, False, True
        elif not copied and kind in (MOVE, ERASE):
            # Memory read along slanted lines waits at every pixel; a straight copy does not.
            copy(current, target)
            current, copied = target, True
        if kind <= CONTRAST:
            measure(current, kind, step[1], table)
            waiting = True
        elif kind == ERASE:
            erase(target, height, width, step, colours[2])
        else:
            redraws -= 1
            target = out if redraws % 2 == 0 else spare
            _redraw(current, target, height, width, step, colours)
            current, copied = target, True
    if waiting:
        look_up(current, out, table)
    elif not copied:
        copy(image, out)
