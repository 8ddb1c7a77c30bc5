"""Plan + uint8 batch on CPU -> uint8 batch, in compiled code: the pixels of ``exact``, faster.

A whole plan runs in one pass an image, all layers while the image sits in cache, several images at
a time. Needs Numba (extra ``fast``); without it ``exact`` and ``pil`` do the same work.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from math import prod
from threading import get_ident
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from learned_augment.engines.compiled import apply_compiled, colours
from learned_augment.engines.exact import apply_exact
from learned_augment.engines.program import Floats, Levels, book
from learned_augment.ops import OPS
from learned_augment.plan import HOST, Plan, Step

__all__ = ["apply_fast", "apply_pixels", "apply_steps", "kernel"]

Shape: TypeAlias = tuple[int, int, int]
Run: TypeAlias = Callable[[Any, Any, Shape, bool, Floats, Levels, Levels, Any, bool], None]

ALL = tuple(OPS)

SMALL = 1 << 20
"""Bytes times layers under which a second thread costs more than it gains."""


@lru_cache(maxsize=1)
def kernel() -> Run | None:
    """Return the compiled kernel, or None where Numba is missing or finds no room for its cache."""
    try:
        from learned_augment.engines.kernels import run
    except (ImportError, RuntimeError):
        return None
    return run


def apply_fast(images: Tensor, plan: Plan, fill: tuple[int, ...] | None = None) -> Tensor:
    """Apply a plan to a uint8 CPU batch (B, C, H, W), nearest neighbour; a new tensor.

    Args:
        images: Never written to; any strides.
        plan: B rows.
        fill: 1 or C levels outside the image; None is 0, and grey for crop padding.
    """
    return apply_compiled(images, plan, _spread, fill)


def apply_steps(
    image: Tensor, steps: Sequence[Step], fill: tuple[int, ...] | None = None
) -> Tensor:
    """Apply the steps of one uint8 CPU image (C, H, W), nearest neighbour; a new tensor."""
    channels, height, width = image.shape
    program = _program(steps, width, height)
    if program is None or 0 in image.shape:
        outside = None if fill is None else torch.tensor(fill, dtype=torch.uint8, device=HOST)
        return apply_exact(image[None], _plan(steps), fill=outside)[0]
    shape = channels, height, width
    out = np.empty(shape, np.uint8)
    _run_one(image.contiguous().numpy(), out, shape, False, program, colours(channels, fill))
    return torch.from_numpy(out)


def apply_pixels(
    image: Image.Image, steps: Sequence[Step], fill: tuple[int, ...] | None = None
) -> Image.Image | None:
    """Apply the steps of one RGB or L image, nearest neighbour; a new image.

    Returns None where PIL's own calls are the way: for a few light steps, for steps that the
    kernel does not know, and without a kernel.
    """
    if sum([_WEIGHT.get(step.op.name, 1) for step in steps]) < HEAVY or 0 in image.size:
        return None
    (width, height), channels = image.size, len(image.mode)
    program = _program(steps, width, height)
    if program is None:
        return None
    # PIL keeps RGB in four bytes a pixel: taken as they are, they cost a third of packed ones.
    layout = "RGBX" if channels == 3 else "L"
    source = np.frombuffer(bytearray(image.tobytes("raw", layout)), np.uint8)
    out, shape = np.empty_like(source), (channels, height, width)
    _run_one(source, out, shape, channels == 3, program, colours(channels, fill))
    return Image.frombytes(image.mode, image.size, out.data, "raw", layout)


HEAVY = 2
"""Weight from which steps repay a PIL image's way to the kernel and back."""

_LIGHT = ("Identity", "TranslateX", "TranslateY", "Flip", "PadCrop", "Cutout", "CutoutClipped")
_SLOW = ("AutoContrast", "Equalize", "Contrast", "Color", "Sharpness")
_WEIGHT = dict.fromkeys(_LIGHT, 0.5) | dict.fromkeys(_SLOW, 2)
"""What PIL takes for a step: little more than a copy, several passes, or, unless named, one: 1."""


def _program(steps: Sequence[Step], width: int, height: int) -> tuple[Floats, Levels] | None:
    """Return one image's program, or None: no kernel, or a step that it does not know."""
    return None if kernel() is None else book(ALL, width, height, get_ident()).image(steps)


def _run_one(
    source: Any,
    out: Any,
    shape: Shape,
    interleaved: bool,
    program: tuple[Floats, Levels],
    colour: Levels,
) -> None:
    run = kernel()
    assert run is not None
    a, b = source.reshape(1, -1), out.reshape(1, -1)
    run(a, b, shape, interleaved, *program, colour, np.zeros(2, np.int64), False)


def _plan(steps: Sequence[Step]) -> Plan:
    op = np.array([[ALL.index(step.op.name) for step in steps]], np.int64)
    value = np.array([[step.value for step in steps]], np.float64)
    noise = np.array([step.noise for step in steps], np.float32).reshape(1, len(steps), 4)
    return Plan(ALL, *map(torch.from_numpy, (op, value, noise)))


def _spread(source: Tensor, out: Tensor, steps: Floats, tables: Levels, colour: Levels) -> None:
    """Run the kernel over the batch, on as many threads as torch may use.

    Plain threads, since the kernel holds no lock: Numba's own thread pools survive neither a fork
    nor two callers at a time. DataLoader workers have one thread, by torch's own setting.
    """
    run, size = kernel(), len(source)
    assert run is not None
    threads = min(torch.get_num_threads(), size)
    if source.numel() * steps.shape[1] < SMALL:
        threads = 1
    shape = (source.shape[1], source.shape[2], source.shape[3])
    a, b = (batch.numpy().reshape(size, prod(shape)) for batch in (source, out))
    batch = (a, b, shape, False, steps, tables, colour, np.zeros(2, np.int64))
    for _ in range(threads - 1):
        _pool(os.getpid(), threads - 1).submit(run, *batch, False)
    run(*batch, True)


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return the threads of this process; those of a parent did not come along in a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix="learned_augment")
