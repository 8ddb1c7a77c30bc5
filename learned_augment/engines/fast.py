"""Plan + uint8 batch on CPU -> uint8 batch, in compiled code: the pixels of ``exact``, faster.

A whole plan runs in one pass an image, all layers while the image sits in cache, several images at
a time. Needs Numba (extra ``fast``); without it ``exact`` does the same work.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learned_augment.engines.compiled import apply_compiled, run_program
from learned_augment.engines.hand import Hand, drawn
from learned_augment.engines.program import Floats, Levels
from learned_augment.plan import Plan
from learned_augment.policy import Policy

__all__ = ["apply_fast", "compiled_code", "draw_images"]

SMALL = 1 << 20
"""Bytes times layers under which a second thread costs more than it gains."""


@lru_cache(maxsize=1)
def compiled_code() -> Any:
    """Return the compiled functions; None where Numba is missing or has no room for its cache."""
    try:
        from learned_augment.engines import runs
    except (ImportError, RuntimeError):
        return None
    return runs


def draw_images(
    policy: Policy, generator: torch.Generator | None, images: int, width: int, height: int
) -> Plan | Hand:
    """Draw for uint8 CPU images of a size, for ``apply_fast``.

    See ``Hand`` for how long the result is good.
    """
    if compiled_code() is None:
        return policy.sample(images, generator)
    return drawn(policy, generator, images, width, height)


def apply_fast(images: Tensor, plan: Plan | Hand, fill: tuple[int, ...] | None = None) -> Tensor:
    """Apply a plan to a uint8 CPU batch (B, C, H, W), nearest neighbour; a new tensor.

    Args:
        images: Never written to; any strides.
        plan: B rows, or what ``draw_images`` drew for B images.
        fill: 1 or C levels outside the image; None is 0, and grey for crop padding.
    """
    if isinstance(plan, Plan):
        return apply_compiled(images, plan, _spread, fill)
    program = plan.program()
    if program is None:
        return apply_compiled(images, plan.plan, _spread, fill)
    return run_program(images, *program, _spread, fill)


def _spread(source: Tensor, out: Tensor, steps: Floats, tables: Levels, colour: Levels) -> None:
    """Run the kernel over the batch, on as many threads as torch may use.

    Plain threads, since the kernel holds no lock: Numba's own thread pools survive neither a fork
    nor two callers at a time. DataLoader workers have one thread, by torch's own setting.
    """
    run, size = compiled_code().run, len(source)
    threads = min(torch.get_num_threads(), size)
    if source.numel() * steps.shape[1] < SMALL:
        threads = 1
    shape = (source.shape[1], source.shape[2], source.shape[3])
    a, b = (batch.numpy().reshape(size, prod(shape)) for batch in (source, out))
    shared = partial(run, a, b, shape, steps, tables, colour, np.zeros(2, np.int64))
    for _ in range(threads - 1):
        _pool(os.getpid(), threads - 1).submit(shared, False)
    shared(True)


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return the threads of this process; those of a parent did not come along in a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix="learned_augment")
