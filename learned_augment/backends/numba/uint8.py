"""Compiled: the instructions of one uint8 image, all layers while it sits in the cache.

Images are flat, (C * H * W,): an array of another shape costs as much as a hundred pixels.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from learned_augment.backends.lowering import WIDTH, Floats
from learned_augment.backends.numba.jit import Bytes, checksum, compiled, kept
from learned_augment.backends.numba.lowering import Integers, Singles, lower
from learned_augment.backends.numba.lut import compose, copy, look_up, luma, measure, mix
from learned_augment.backends.numba.parallel import Queue, mark_done, next_image, wait_for_all
from learned_augment.backends.numba.warp import Pixels, move, paint
from learned_augment.ops import Opcode
from learned_augment.sampling import NOISE

__all__ = ["Shape", "erase", "run"]

AFFINE, COLOR, ERASE = float(Opcode.AFFINE), float(Opcode.COLOR), float(Opcode.ERASE)
IDENTITY, SHARPNESS = float(Opcode.IDENTITY), float(Opcode.SHARPNESS)
AUTO_CONTRAST, CONTRAST = float(Opcode.AUTO_CONTRAST), float(Opcode.CONTRAST)
EQUALIZE = float(Opcode.EQUALIZE)

Shape: TypeAlias = tuple[int, int, int]

LONG_ROW = 1024
"""Pixels of a row that is long enough for a loop; sixteen-bit sums of them fit the first cache."""


@compiled
def _color(source: Bytes, target: Bytes, size: int, factor: Any) -> None:
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
def erase(target: Pixels, height: int, width: int, step: Floats, gray: Pixels) -> None:
    """Paint the rectangle of an instruction; ``gray`` holds a level for each channel."""
    left, top, right, bottom = int(step[1]), int(step[2]), int(step[3]), int(step[4])
    for c in range(gray.size):
        for y in range(top, bottom):
            row = (c * height + y) * width
            paint(target, row + left, row + right, gray[c])


@compiled
def _redraws(code: float) -> bool:
    """Return whether an instruction writes a new image; tables and erasing need none."""
    return code in (AFFINE, COLOR, SHARPNESS)


@compiled
def _redraw(
    source: Bytes, target: Bytes, height: int, width: int, step: Floats, colors: Bytes
) -> None:
    """Run an instruction that writes a new image."""
    if step[0] == AFFINE:
        move(source, target, height, width, step, colors[int(step[7])])
    elif step[0] == COLOR:
        _color(source, target, height * width, np.float32(step[1]))
    else:
        _sharpen(source, target, height, width, np.float32(step[1]))


@compiled
def _run_image(
    image: Bytes,
    out: Bytes,
    spare: Bytes,
    shape: Shape,
    steps: Floats,
    colors: Bytes,
    table: Bytes,
    measured: Bytes,
) -> None:
    """Run one image's instructions; the last of them writes to ``out``.

    Tables are composed in ``table`` until an instruction needs the pixels that they give.

    Args:
        image: (C * H * W,), never written to.
        out: Likewise, for the result.
        spare: Likewise, to work in.
        shape: C, H, W.
        steps: (L, 8).
        colors: (3, C): outside a moved image, around a padded crop, in an erased box.
        table: (C, 256), to work in.
        measured: (C, 256), to work in.
    """
    _, height, width = shape
    redraws = 0
    for code in steps[:, 0]:
        redraws += _redraws(code)
    current, waiting, copied = image, False, False
    for step in steps:
        code = step[0]
        if code == IDENTITY:
            continue
        maps = not _redraws(code) and code != ERASE
        target = out if redraws % 2 == 0 else spare
        if maps:
            if waiting and code in (CONTRAST, EQUALIZE, AUTO_CONTRAST):
                look_up(current, target, table)
                current, waiting, copied = target, False, True
            measure(current, code, step[1], measured)
            if waiting:
                for c in range(len(table)):
                    compose(table[c], measured[c])
            else:
                for c in range(len(table)):
                    copy(measured[c], table[c])
            waiting = True
            continue
        if waiting:
            look_up(current, target, table)
            current, waiting, copied = target, False, True
        elif not copied and code in (AFFINE, ERASE):
            # Memory read along slanted lines waits at every pixel; a straight copy does not.
            copy(current, target)
            current, copied = target, True
        if code == ERASE:
            erase(target, height, width, step, colors[2])
        else:
            redraws -= 1
            target = out if redraws % 2 == 0 else spare
            _redraw(current, target, height, width, step, colors)
            current, copied = target, True
    if waiting:
        look_up(current, out, table)
    elif not copied:
        copy(image, out)


@compiled
def _split(pixels: Bytes, planes: Bytes, size: int) -> None:
    """Turn pixels of red, green, blue and one more byte into planes."""
    red, green, blue = planes[:size], planes[size : 2 * size], planes[2 * size :]
    for k in range(size):
        place = np.uint64(4 * k)
        red[k] = pixels[place]
        green[k] = pixels[place + np.uint64(1)]
        blue[k] = pixels[place + np.uint64(2)]


@compiled
def _merge(planes: Bytes, pixels: Bytes, size: int) -> None:
    """Undo ``_split``; the fourth byte of a pixel becomes 255."""
    red, green, blue = planes[:size], planes[size : 2 * size], planes[2 * size :]
    for k in range(size):
        place = np.uint64(4 * k)
        pixels[place] = red[k]
        pixels[place + np.uint64(1)] = green[k]
        pixels[place + np.uint64(2)] = blue[k]
        pixels[place + np.uint64(3)] = 255


Run: TypeAlias = Callable[..., None]


def _entry(version: int) -> Run:
    @kept
    def run(
        images: Bytes,
        out: Bytes,
        numbers: Singles,
        mixture: Floats,
        weights: Floats,
        op: Integers,
        value: Floats,
        rows: Floats,
        shape: Shape,
        colors: Bytes,
        queue: Queue,
        stay: bool,
    ) -> None:
        channels, height, width = shape
        size = height * width
        layers = numbers.shape[1] // (1 + NOISE)
        steps, spare = np.empty((layers, WIDTH)), np.empty(channels * size, np.uint8)
        table, measured = np.empty((channels, 256), np.uint8), np.empty((channels, 256), np.uint8)
        # PIL keeps RGB in four bytes a pixel.
        interleaved = images.shape[1] != channels * size
        planes = np.empty((2, channels * size if interleaved else 0), np.uint8)
        if not version:
            return
        i = next_image(queue)
        while i < len(images):
            lower(i, numbers, mixture, weights, op, value, rows, width, height, steps)
            source, target = images[i], out[i]
            if interleaved:
                _split(images[i], planes[0], size)
                source, target = planes[0], planes[1]
            _run_image(source, target, spare, shape, steps, colors, table, measured)
            if interleaved:
                _merge(planes[1], out[i], size)
            mark_done(queue)
            i = next_image(queue)
        if stay:
            wait_for_all(queue, len(images))

    return run


run: Run = _entry(checksum())
"""Apply a plan to the images of a batch that no other thread has taken.

Arguments: images (B, C * H * W) uint8, contiguous, never written to, or (B, 4 * H * W) of pixels of
four bytes; out, likewise, sharing no memory with images; numbers to rows, see ``lower``; shape
(C, H, W); colors (3, C) uint8; queue, see
``Queue``; stay, whether to return only when all threads are done with their images.
"""
