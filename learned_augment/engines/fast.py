"""Plan + uint8 batch on CPU -> uint8 batch, in compiled code: the pixels of ``exact``, faster.

A whole plan runs in one pass an image, all layers while the image sits in cache, several images at
a time. Needs Numba (extra ``fast``); without it ``exact`` does the same work.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import count
from threading import get_ident
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from learned_augment.engines.exact import apply_exact
from learned_augment.engines.groups import grey_levels
from learned_augment.engines.program import OTHER, Floats, Levels, book
from learned_augment.ops import OPS
from learned_augment.plan import Plan, Step

__all__ = ["apply_fast", "apply_steps", "kernel"]

Run: TypeAlias = Callable[[Any, Any, Floats, Levels, Levels, int, int], None]

ALL = tuple(OPS)

SMALL = 1 << 17
"""Bytes times layers under which a second thread costs more than it gains."""

CHUNKS = 4
"""Pieces a thread, so that a slow image does not keep the others waiting."""


@lru_cache(maxsize=1)
def kernel() -> Run | None:
    """Return the compiled kernel, or None where Numba is missing or finds no room for its cache."""
    try:
        from learned_augment.engines.kernels import run
    except (ImportError, RuntimeError):
        return None
    return run


def apply_fast(images: Tensor, plan: Plan, fill: Tensor | None = None) -> Tensor:
    """Apply a plan to a uint8 CPU batch (B, C, H, W), nearest neighbour; a new tensor.

    Args:
        images: Never written to; any strides.
        plan: B rows.
        fill: (1,) or (C,) levels outside the image; None is 0, and grey for crop padding.
    """
    source = images.contiguous()
    out = torch.empty_like(source)
    height, width = images.shape[-2:]
    steps, tables = book(plan.ops, width, height, get_ident()).batch(plan)
    other = (steps[:, :, 0] == OTHER).any(1)
    if other.any():
        steps[other] = 0
    _spread(source, out, steps, tables, colours(source.shape[1], fill))
    if other.any():
        index = torch.from_numpy(np.flatnonzero(other))
        out[index] = apply_exact(images[index], plan.rows(index), fill=fill)
    return out


def apply_steps(image: Tensor, steps: Sequence[Step], fill: Tensor | None = None) -> Tensor:
    """Apply the steps of one uint8 CPU image (C, H, W), nearest neighbour; a new tensor."""
    channels, height, width = image.shape
    run = kernel()
    program = book(ALL, width, height, get_ident()).image(steps) if run is not None else None
    if run is None or program is None or 0 in image.shape:
        return apply_exact(image[None], _plan(steps), fill=fill)[0]
    source = image.contiguous()
    out = torch.empty_like(source)
    a, b = source.numpy()[None], out.numpy()[None]
    run(a, b, *program, colours(channels, fill), 0, 1)
    return out


def _plan(steps: Sequence[Step]) -> Plan:
    op = torch.tensor([[ALL.index(step.op.name) for step in steps]], dtype=torch.int64)
    value = torch.tensor([[step.value for step in steps]], dtype=torch.float64)
    noise = torch.tensor([step.noise for step in steps]).reshape(1, len(steps), 4)
    return Plan(ALL, op, value, noise)


def colours(channels: int, fill: Tensor | None) -> Levels:
    """Return what shows outside a moved image, around a padded crop, and where it is erased."""
    return _colours(channels, None if fill is None else tuple(fill.tolist()))


@lru_cache(maxsize=64)
def _colours(channels: int, fill: tuple[int, ...] | None) -> Levels:
    grey = grey_levels(channels)
    user = np.broadcast_to(0 if fill is None else fill, channels)
    rows = [user, grey if fill is None else user, grey]
    return np.array(rows).astype(np.uint8)


def _spread(source: Tensor, out: Tensor, steps: Floats, tables: Levels, colour: Levels) -> None:
    """Run the kernel over the batch, on as many threads as torch may use.

    Plain threads, since the kernel holds no lock: Numba's own thread pools survive neither a fork
    nor two callers at a time. DataLoader workers have one thread, by torch's own setting.
    """
    run, size = kernel(), len(source)
    assert run is not None
    threads = min(torch.get_num_threads(), size)
    a, b = source.numpy(), out.numpy()
    if threads < 2 or source.numel() * steps.shape[1] < SMALL:
        run(a, b, steps, tables, colour, 0, size)
        return
    piece = -(-size // (threads * CHUNKS))
    turn = count(0, piece)

    def work() -> None:
        while (start := next(turn)) < size:
            run(a, b, steps, tables, colour, start, min(start + piece, size))

    helpers = [_pool(os.getpid(), threads - 1).submit(work) for _ in range(threads - 1)]
    work()
    for helper in helpers:
        helper.result()


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return the threads of this process; those of a parent did not come along in a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix="learned_augment")
