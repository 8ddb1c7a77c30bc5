"""Compiled: a program of steps + one uint8 image -> uint8 image, all layers while it sits in cache.

A step is eight float64: its kind, then parameters as ``program`` lays them out.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numba import carray

from learned_augment.engines.compiling import Bytes, bytes_at, checksum, compiled, kept
from learned_augment.engines.levels import (
    Floats,
    compose,
    copy,
    look_up,
    luma,
    measure,
    mix,
    reset,
)
from learned_augment.engines.moves import move
from learned_augment.engines.program import COLOUR, CONTRAST, ERASE, KEEP, MOVE, TABLE
from learned_augment.engines.turns import Turns, finish, take, wait

__all__ = ["run", "run_one", "run_pixels"]

Shape: TypeAlias = tuple[int, int, int]
Run: TypeAlias = Callable[[Bytes, Bytes, Shape, Floats, Bytes, Bytes, Turns, bool], None]
RunOne: TypeAlias = Callable[[int, Bytes, Floats, Bytes, Bytes], None]
RunPixels: TypeAlias = Callable[[bytes, Bytes, Shape, Floats, Bytes, Bytes], None]


@compiled
def _colour(source: Bytes, target: Bytes, factor: Any) -> None:
    if source.shape[0] == 1:
        copy(source.ravel(), target.ravel())
        return
    red, green, blue = source[0].ravel(), source[1].ravel(), source[2].ravel()
    to_red, to_green, to_blue = target[0].ravel(), target[1].ravel(), target[2].ravel()
    for k in range(red.size):
        r, g, b = np.float32(red[k]), np.float32(green[k]), np.float32(blue[k])
        low = luma(r, g, b)
        to_red[k] = np.int32(mix(low, r, factor))
        to_green[k] = np.int32(mix(low, g, factor))
        to_blue[k] = np.int32(mix(low, b, factor))


@compiled
def _sharpen(source: Bytes, target: Bytes, height: int, width: int, factor: Any) -> None:
    """Blend flat planes with their smooth form; the border of one pixel stays as it is."""
    copy(source, target)
    columns, inner = np.empty(width, np.int16), max(width - 2, 0)
    for first in range(0, source.size, height * width):
        for y in range(1, height - 1):
            row = first + y * width
            for x in range(width):
                above, below = np.uint64(row - width + x), np.uint64(row + width + x)
                columns[x] = source[above] + source[np.uint64(row + x)] + source[below]
            for x in range(inner):
                k = np.uint64(row + 1 + x)
                level, right = np.float32(source[k]), np.float32(columns[np.uint64(x + 2)])
                total = np.float32(columns[x]) + np.float32(columns[np.uint64(x + 1)]) + right
                # Half a step off the whole numbers, a rounded reciprocal divides exactly.
                total = total + np.float32(4) * level + np.float32(6.5)
                low = np.floor(total * np.float32(1 / 13))
                target[k] = np.int32(mix(low, level, factor))


@compiled
def _erase(target: Bytes, step: Floats, grey: Bytes) -> None:
    for c in range(target.shape[0]):
        target[c, int(step[2]) : int(step[4]), int(step[1]) : int(step[3])] = grey[c]


@compiled
def _redraw(source: Bytes, target: Bytes, step: Floats, colours: Bytes) -> None:
    """Run a step that writes a new image."""
    height, width = source.shape[1:]
    if step[0] == MOVE:
        move(source.ravel(), target.ravel(), height, width, step, colours[int(step[7])])
    elif step[0] == COLOUR:
        _colour(source, target, np.float32(step[1]))
    else:
        _sharpen(source.ravel(), target.ravel(), height, width, np.float32(step[1]))


@compiled
def _run_image(
    image: Bytes,
    out: Bytes,
    spare: Bytes,
    steps: Floats,
    tables: Bytes,
    colours: Bytes,
    table: Bytes,
) -> None:
    """Run one image's steps; ``spare`` and ``out`` take turns so that the last one ends in out.

    Tables wait for each other in ``table``, until a step needs the pixels they give.
    """
    redraws = 0
    for step in steps:
        redraws += step[0] >= MOVE and step[0] != ERASE
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
            copy(current.ravel(), target.ravel())
            current, copied = target, True
        if kind <= CONTRAST:
            measure(current, kind, step[1], table)
            waiting = True
        elif kind == ERASE:
            _erase(target, step, colours[2])
        else:
            redraws -= 1
            target = out if redraws % 2 == 0 else spare
            _redraw(current, target, step, colours)
            current, copied = target, True
    if waiting:
        look_up(current, out, table)
    elif not copied:
        copy(image.ravel(), out.ravel())


@compiled
def _split(pixels: bytes, planes: Bytes) -> None:
    """Turn pixels of one byte, or of red, green, blue and one more, into planes."""
    first = planes[0].ravel()
    if len(planes) == 1:
        for k in range(first.size):
            first[k] = pixels[k]
        return
    green, blue = planes[1].ravel(), planes[2].ravel()
    for k in range(first.size):
        place = np.uint64(4 * k)
        first[k] = pixels[place]
        green[k] = pixels[place + np.uint64(1)]
        blue[k] = pixels[place + np.uint64(2)]


@compiled
def _merge(planes: Bytes, pixels: Bytes) -> None:
    """Undo ``_split``; the fourth byte of a pixel becomes 255."""
    first = planes[0].ravel()
    if len(planes) == 1:
        copy(first, pixels)
        return
    green, blue = planes[1].ravel(), planes[2].ravel()
    for k in range(first.size):
        place = np.uint64(4 * k)
        pixels[place] = first[k]
        pixels[place + np.uint64(1)] = green[k]
        pixels[place + np.uint64(2)] = blue[k]
        pixels[place + np.uint64(3)] = 255


def _compiled_runs(version: int) -> tuple[Run, RunOne, RunPixels]:
    @kept
    def run(
        images: Bytes,
        out: Bytes,
        shape: Shape,
        program: Floats,
        tables: Bytes,
        colours: Bytes,
        turns: Turns,
        stay: bool,
    ) -> None:
        spare, table = np.empty(shape, np.uint8), np.empty((shape[0], 256), np.uint8)
        batch = (len(images), shape[0], shape[1], shape[2])
        sources, targets = images.reshape(batch), out.reshape(batch)  # by image it takes time
        if not version:
            return
        i = take(turns)
        while i < len(images):
            _run_image(sources[i], targets[i], spare, program[i], tables, colours, table)
            finish(turns)
            i = take(turns)
        if stay:
            wait(turns, len(images))

    @kept
    def run_one(address: int, out: Bytes, program: Floats, tables: Bytes, colours: Bytes) -> None:
        spare, table = np.empty(out.shape, np.uint8), np.empty((len(out), 256), np.uint8)
        if not version:
            return
        source = carray(bytes_at(address), out.shape)
        _run_image(source, out, spare, program[0], tables, colours, table)

    @kept
    def run_pixels(
        pixels: bytes, out: Bytes, shape: Shape, program: Floats, tables: Bytes, colours: Bytes
    ) -> None:
        source, target = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
        spare, table = np.empty(shape, np.uint8), np.empty((shape[0], 256), np.uint8)
        if not version:
            return
        _split(pixels, source)
        _run_image(source, target, spare, program[0], tables, colours, table)
        _merge(target, out)

    return run, run_one, run_pixels


_NAMES = ("compiling", "kernels", "levels", "lookup", "moves", "program", "turns")

run, run_one, run_pixels = _compiled_runs(checksum(*(f"engines/{name}.py" for name in _NAMES)))
"""Three ways to run programs: a batch, one image of planes, one of a PIL image's pixels.

``run`` runs the images of a batch that no other thread has taken. Its arguments: images
(B, C * H * W) uint8, contiguous, never written to; out, likewise, sharing no memory with images;
shape (C, H, W); program (B, L, 8) float64; tables (T, 256) uint8 that ``TABLE`` steps name; colours
(3, C) uint8, what shows outside a moved image, around a padded crop, in an erased box; turns, see
``turns.Turns``; stay, whether to return only when all threads have finished their images.

``run_one`` takes the address of contiguous planes of the shape of ``out`` (C, H, W), for a view of
an array takes half a microsecond; ``run_pixels`` bytes, as ``out`` (n,), one a grey pixel or four a
pixel of red, green, blue and one more. Both then program (1, L, 8), tables and colours.
"""
