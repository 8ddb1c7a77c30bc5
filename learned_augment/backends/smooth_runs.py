"""Compiled: the ways into the float kernels: a batch forward, and its gradients back."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from learned_augment.backends.lowering import KEEP, Whole
from learned_augment.backends.numba.float_backward import asks, passes, pull_back
from learned_augment.backends.numba.float_forward import run_step
from learned_augment.backends.numba.jit import checksum, compiled, kept
from learned_augment.backends.numba.lut import Floats, copy
from learned_augment.backends.numba.uint8 import Shape
from learned_augment.backends.numba.warp import Pixels
from learned_augment.backends.turns import Turns, finish, take, wait

__all__ = ["run", "run_back"]

Run: TypeAlias = Callable[[Pixels, Pixels, Shape, Floats, Pixels, Turns, bool], None]
RunBack: TypeAlias = Callable[[Pixels, Pixels, Pixels, Shape, Floats, Pixels, Turns, bool], None]


@compiled
def _run_image(
    image: Pixels, out: Pixels, spare: Pixels, shape: Shape, steps: Floats, colours: Pixels
) -> None:
    """Run one image's steps; ``spare`` and ``out`` take turns so that the last one ends in out."""
    left = 0
    for kind in steps[:, 0]:
        left += kind != KEEP
    if left == 0:
        copy(image, out)
    current = image
    for step in steps:
        if step[0] != KEEP:
            left -= 1
            target = out if left % 2 == 0 else spare
            run_step(current, target, shape, step, colours)
            current = target


@compiled
def _run_inputs(
    image: Pixels, inputs: Pixels, which: Whole, shape: Shape, steps: Floats, colours: Pixels
) -> None:
    """Run one image's steps as far as one ``asks``; row which[l] of ``inputs`` enters step l.

    Row -1 is the image itself.
    """
    last = -1
    for layer in range(len(steps)):
        last = layer if asks(steps[layer, 0]) else last
    row = -1
    for layer in range(len(steps)):
        which[layer] = row
        if layer < last and steps[layer, 0] != KEEP:
            source = inputs[row] if row >= 0 else image
            row += 1
            run_step(source, inputs[row], shape, steps[layer], colours)


@compiled
def _run_image_back(
    image: Pixels,
    given: Pixels,
    out: Pixels,
    spare: Pixels,
    inputs: Pixels,
    which: Whole,
    shape: Shape,
    steps: Floats,
) -> None:
    """Write the gradients of one image from those of its result."""
    left = 0
    for kind in steps[:, 0]:
        left += not passes(kind)
    if left == 0:
        copy(given, out)
    current = given
    for layer in range(len(steps) - 1, -1, -1):
        if not passes(steps[layer, 0]):
            left -= 1
            target = out if left % 2 == 0 else spare
            source = inputs[which[layer]] if which[layer] >= 0 else image
            pull_back(source, current, target, shape, steps[layer])
            current = target


def _compiled_runs(version: int) -> tuple[Run, RunBack]:
    @kept
    def run(
        images: Pixels,
        out: Pixels,
        shape: Shape,
        program: Floats,
        colours: Pixels,
        turns: Turns,
        stay: bool,
    ) -> None:
        spare = np.empty(images.shape[1], images.dtype)
        if not version:
            return
        i = take(turns)
        while i < len(images):
            _run_image(images[i], out[i], spare, shape, program[i], colours)
            finish(turns)
            i = take(turns)
        if stay:
            wait(turns, len(images))

    @kept
    def run_back(
        images: Pixels,
        given: Pixels,
        out: Pixels,
        shape: Shape,
        program: Floats,
        colours: Pixels,
        turns: Turns,
        stay: bool,
    ) -> None:
        layers, size = program.shape[1], images.shape[1]
        inputs, spare = np.empty((layers, size), images.dtype), np.empty(size, images.dtype)
        which = np.empty(layers, np.int64)
        if not version:
            return
        i = take(turns)
        while i < len(images):
            _run_inputs(images[i], inputs, which, shape, program[i], colours)
            _run_image_back(images[i], given[i], out[i], spare, inputs, which, shape, program[i])
            finish(turns)
            i = take(turns)
        if stay:
            wait(turns, len(images))

    return run, run_back


run, run_back = _compiled_runs(checksum())
"""Run the images of a batch that no other thread has taken, forward or back.

Arguments of ``run``: images (B, C * H * W), float32 or float64, contiguous, never written to; out,
likewise, sharing no memory with images; shape (C, H, W); program (B, L, 8) float64, of a book for
floats; colours (3, C), of the images' dtype, what shows outside a moved image, around a padded
crop, in an erased box; turns, see ``turns.Turns``; stay, whether to return only when all threads
have finished their images.

``run_back`` also takes, after the images, the gradients of the result, and writes those of the
images.
"""
