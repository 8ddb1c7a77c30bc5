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
SPLIT, MERGE = 101.0, 102.0
"""Instructions that turn pixels into planes, and planes into pixels of four bytes."""

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
    return code in (AFFINE, COLOR, SHARPNESS, SPLIT, MERGE)


@compiled
def _with_conversions(steps: Floats, pixel: int, out: Floats) -> int:
    """Copy the instructions that change an image, with ``SPLIT`` and ``MERGE`` between them.

    Geometric ops and erasing run on whole pixels of four bytes: one read moves all channels.
    Planes are made for the other ops only, from the first of them to the last.

    Args:
        steps: (L, 8).
        pixel: See ``run``.
        out: (L + 2, 8), written to.

    Returns:
        The number of instructions written.
    """
    first, last, count = len(steps), -1, 0
    for k in range(len(steps)):
        if steps[k, 0] not in (IDENTITY, AFFINE, ERASE):
            first, last = min(first, k), k
    if pixel == 3:
        out[0, 0] = SPLIT
        count = 1
    for k in range(len(steps)):
        if k == first and pixel == 4:
            out[count, 0] = SPLIT
            count += 1
        if steps[k, 0] != IDENTITY:
            out[count] = steps[k]
            count += 1
        if k == last and pixel == 4:
            out[count, 0] = MERGE
            count += 1
    return count


@compiled
def _run_image(
    image: Bytes,
    out: Bytes,
    spare: Bytes,
    shape: Shape,
    pixel: int,
    steps: Floats,
    colors: Bytes,
    words: Pixels,
    table: Bytes,
    measured: Bytes,
) -> None:
    """Run one image's instructions; the last of them writes to ``out``.

    Tables are composed in ``table`` until an instruction needs the pixels that they give.

    Args:
        image: Planes (C * H * W,) or pixels (``pixel`` * H * W,), never written to.
        out: As large as the result, which goes here.
        spare: Likewise, to work in.
        shape: C, H, W.
        pixel: See ``run``.
        steps: (n, 8), as ``_with_conversions`` returns them.
        colors: (3, C): outside a moved image, around a padded crop, in an erased box.
        words: (3, 1) uint32, the same as pixels of four bytes.
        table: (C, 256), to work in.
        measured: (C, 256), to work in.
    """
    channels, height, width = shape
    size = height * width
    redraws = 0
    for code in steps[:, 0]:
        redraws += _redraws(code)
    current, waiting, copied, packed = image, False, False, pixel > 0
    for step in steps:
        code = step[0]
        maps = not _redraws(code) and code != ERASE
        room = (pixel if packed else channels) * size
        target = (out if redraws % 2 == 0 else spare)[:room]
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
        elif not copied and (code == ERASE or (code == AFFINE and not packed)):
            # Memory read along slanted lines waits at every pixel; a straight copy does not. The
            # pixels of a PIL image were copied a moment ago.
            copy(current, target)
            current, copied = target, True
        if code == ERASE:
            if packed:
                erase(target.view(np.uint32), height, width, step, words[2])
            else:
                erase(target, height, width, step, colors[2])
            continue
        redraws -= 1
        target = out if redraws % 2 == 0 else spare
        if code == SPLIT:
            target = target[: channels * size]
            if pixel == 3:
                _split_3(current, target, size)
            else:
                _split_4(current, target, size)
            packed = False
        elif code == MERGE:
            _merge(current, target, size)
            packed = True
        elif packed:
            after = target.view(np.uint32)
            move(current.view(np.uint32), after, height, width, step, words[int(step[7])])
        else:
            target = target[: channels * size]
            if code == AFFINE:
                move(current, target, height, width, step, colors[int(step[7])])
            elif code == COLOR:
                _color(current, target, size, np.float32(step[1]))
            else:
                _sharpen(current, target, height, width, np.float32(step[1]))
        current, copied = target, True
    if waiting:
        look_up(current, out, table)
    elif not copied:
        copy(image, out)


def _splitter(pixel: int) -> Callable[[Bytes, Bytes, int], None]:
    @compiled
    def split(pixels: Bytes, planes: Bytes, size: int) -> None:
        """Turn pixels, whose first three bytes are red, green and blue, into planes."""
        red, green, blue = planes[:size], planes[size : 2 * size], planes[2 * size :]
        for k in range(size):
            place = np.uint64(pixel * k)
            red[k] = pixels[place]
            green[k] = pixels[place + np.uint64(1)]
            blue[k] = pixels[place + np.uint64(2)]

    return split


# The compiler makes vector code of a loop whose stride it knows.
_split_3, _split_4 = _splitter(3), _splitter(4)


@compiled
def _merge(planes: Bytes, pixels: Bytes, size: int) -> None:
    """Turn planes into pixels of red, green, blue and a fourth byte of 255."""
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
        pixel: int,
        colors: Bytes,
        queue: Queue,
        stay: bool,
    ) -> None:
        channels, height, width = shape
        layers = numbers.shape[1] // (1 + NOISE)
        lowered, steps = np.empty((layers, WIDTH)), np.empty((layers + 2, WIDTH))
        spare = np.empty(out.shape[1], np.uint8)
        table, measured = np.empty((channels, 256), np.uint8), np.empty((channels, 256), np.uint8)
        words = np.full((3, 4), np.uint8(255))
        words[:, :channels] = colors
        if not version:
            return
        i = next_image(queue)
        while i < len(images):
            lower(i, numbers, mixture, weights, op, value, rows, width, height, lowered)
            count = _with_conversions(lowered, pixel, steps)
            _run_image(
                images[i],
                out[i],
                spare,
                shape,
                pixel,
                steps[:count],
                colors,
                words.view(np.uint32),
                table,
                measured,
            )
            mark_done(queue)
            i = next_image(queue)
        if stay:
            wait_for_all(queue, len(images))

    return run


run: Run = _entry(checksum())
"""Apply a plan to the images of a batch that no other thread has taken.

Arguments: images (B, n) uint8, contiguous, read-only; out (B, m) uint8, sharing no memory with
images; numbers to rows, see ``lower``; shape (C, H, W); pixel, the bytes of a pixel; colors (3, C)
uint8; queue, see ``Queue``; stay, whether to return only when all threads are done with their
images.

A pixel of 0 bytes stands for planes: images and out hold C * H * W levels each. Pixels of 3 bytes
hold the channels side by side, and out is planes. Pixels of 4 bytes are PIL's: red, green, blue and
one more; out holds the same.
"""
