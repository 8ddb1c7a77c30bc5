"""Compiled: the ways into the kernel: a batch, one image drawn on the way, a PIL image's pixels."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numba import carray

from learned_augment.backends.choose import choose_program
from learned_augment.backends.lowering import DRAWN, Whole
from learned_augment.backends.numba.jit import Bytes, bytes_at, checksum, compiled, kept
from learned_augment.backends.numba.lut import Floats, copy
from learned_augment.backends.numba.uint8 import Shape, run_image
from learned_augment.backends.turns import Turns, finish, take, wait

__all__ = ["run", "run_drawn", "run_pixels"]

Run: TypeAlias = Callable[[Bytes, Bytes, Shape, Floats, Bytes, Bytes, Turns, bool], None]
RunDrawn: TypeAlias = Callable[[Whole, Bytes, Bytes, int, Bytes], float]
RunPixels: TypeAlias = Callable[[bytes, Bytes, Shape, Floats, Bytes, Bytes], None]


@compiled
def _split(pixels: bytes, planes: Bytes, size: int) -> None:
    """Turn pixels of one byte, or of red, green, blue and one more, into planes."""
    if planes.size == size:
        for k in range(size):
            planes[k] = pixels[k]
        return
    red, green, blue = planes[:size], planes[size : 2 * size], planes[2 * size :]
    for k in range(size):
        place = np.uint64(4 * k)
        red[k] = pixels[place]
        green[k] = pixels[place + np.uint64(1)]
        blue[k] = pixels[place + np.uint64(2)]


@compiled
def _merge(planes: Bytes, pixels: Bytes, size: int) -> None:
    """Undo ``_split``; the fourth byte of a pixel becomes 255."""
    if planes.size == size:
        copy(planes, pixels)
        return
    red, green, blue = planes[:size], planes[size : 2 * size], planes[2 * size :]
    for k in range(size):
        place = np.uint64(4 * k)
        pixels[place] = red[k]
        pixels[place + np.uint64(1)] = green[k]
        pixels[place + np.uint64(2)] = blue[k]
        pixels[place + np.uint64(3)] = 255


def _compiled_runs(version: int) -> tuple[Run, RunDrawn, RunPixels]:
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
        spare, table = np.empty(images.shape[1], np.uint8), np.empty((shape[0], 256), np.uint8)
        if not version:
            return
        i = take(turns)
        while i < len(images):
            run_image(images[i], out[i], spare, shape, program[i], tables, colours, table)
            finish(turns)
            i = take(turns)
        if stay:
            wait(turns, len(images))

    @kept
    def run_drawn(layout: Whole, tables: Bytes, colours: Bytes, address: int, out: Bytes) -> float:
        spare, table = np.empty(out.size, np.uint8), np.empty((len(out), 256), np.uint8)
        if not version:
            return 0.0
        highest, program = choose_program(layout)
        if highest < DRAWN:
            source, flat, shape = carray(bytes_at(address), out.size), out.ravel(), out.shape
            run_image(source, flat, spare, shape, program[0], tables, colours, table)
        return highest

    @kept
    def run_pixels(
        pixels: bytes, out: Bytes, shape: Shape, program: Floats, tables: Bytes, colours: Bytes
    ) -> None:
        size = shape[1] * shape[2]
        source, target = np.empty(shape[0] * size, np.uint8), np.empty(shape[0] * size, np.uint8)
        spare, table = np.empty(shape[0] * size, np.uint8), np.empty((shape[0], 256), np.uint8)
        if not version:
            return
        _split(pixels, source, size)
        run_image(source, target, spare, shape, program[0], tables, colours, table)
        _merge(target, out, size)

    return run, run_drawn, run_pixels


_VERSION = checksum()

run, run_drawn, run_pixels = _compiled_runs(_VERSION)
"""Three ways to run programs.

They take tables (T, 256) uint8 that ``TABLE`` steps name, and colours (3, C) uint8, what shows
outside a moved image, around a padded crop, in an erased box.

``run`` runs the images of a batch that no other thread has taken. Its arguments: images
(B, C * H * W) uint8, contiguous, never written to; out, likewise, sharing no memory with images;
shape (C, H, W); program (B, L, 8) float64; tables; colours; turns, see ``turns.Turns``; stay,
whether to return only when all threads have finished their images.

``run_drawn`` chooses one image's program as it goes: the layout of a hand of one image; tables;
colours; the address of the image's contiguous planes, for a view of an array takes half a
microsecond; out (C, H, W). It returns the highest kind of step; from ``DRAWN`` on, nothing was
written.

``run_pixels`` runs a program (1, L, 8) on bytes, as ``out`` (n,), one a grey pixel or four a pixel
of red, green, blue and one more.
"""
