"""Plan + uint8 batch on a GPU -> uint8 batch, in one launch of a Triton kernel.

A whole plan runs in one pass an image, as in ``fast``: the pixels of ``exact``, bit for bit.
"""

import warnings
from functools import cache

import numpy as np
import torch
from torch import Tensor

from learned_augment.backends.compiled import apply_levels
from learned_augment.backends.groups import sent
from learned_augment.backends.lowering import TABLE, WIDTH, Floats, Levels
from learned_augment.plan import Plan

__all__ = ["apply_fused", "suits", "works_on"]

BLOCKS = 384
"""Images under way at a time, which bounds the spare memory; the largest GPUs run as many."""

PIXELS, WARPS = 1024, 8
"""Pixels that a block of threads takes at a time, and its threads / 32: at four pixels a thread two
or three blocks share a processor."""

FEW, LARGE = 64, 1 << 18
"""Images fewer than ``FEW`` leave most of a GPU idle, one image a block; above ``LARGE`` pixels
plain torch, which spreads an image over all of it, is to be preferred."""


def apply_fused(images: Tensor, plan: Plan, fill: tuple[int, ...] | None = None) -> Tensor:
    """Apply a plan to a uint8 batch (B, C, H, W) on a GPU, nearest neighbour; a new tensor.

    Args:
        images: Never written to; any strides.
        plan: B rows.
        fill: 1 or C levels outside the image; None is 0, and grey for crop padding.
    """
    return apply_levels(images, plan, _launch, fill)


def suits(images: Tensor) -> bool:
    """Return whether images (B, C, H, W) are on a GPU, small or many enough, and Triton works."""
    small = images.shape[-2] * images.shape[-1] <= LARGE
    return images.is_cuda and (small or len(images) >= FEW) and works_on(images.device)


@cache
def works_on(device: torch.device) -> bool:
    """Return whether Triton is there and can compile for ``device``; if it cannot, say so once."""
    try:
        from learned_augment.backends.triton.kernels import run  # noqa: F401
    except ImportError:
        return False
    image = torch.zeros(1, 3, 1, 1, dtype=torch.uint8, device=device)
    nothing = np.zeros((1, 1, WIDTH)), np.zeros((1, 256), np.uint8), np.zeros((3, 3), np.uint8)
    try:
        _launch(image, torch.empty_like(image), *nothing)
    except torch.OutOfMemoryError:
        raise
    except Exception as problem:
        warnings.warn(
            f"Triton could not compile for {device} ({type(problem).__name__}: {problem}). uint8 "
            "batches there take plain torch: the same result, more slowly. Triton needs a C "
            "compiler on the path and a GPU that it supports.",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True


def _launch(source: Tensor, out: Tensor, steps: Floats, tables: Levels, colour: Levels) -> None:
    """Run the kernel over the batch, without waiting for the device."""
    from learned_augment.backends.triton.kernels import run

    count, channels, height, width = source.shape
    blocks, device = min(count, BLOCKS), source.device
    steps, tables = _used(steps, tables)
    spare = torch.empty(blocks, channels, height, width, dtype=torch.uint8, device=device)
    spare_tables = torch.empty(blocks, 2, channels, 256, dtype=torch.uint8, device=device)
    axes = torch.empty(blocks, height + width, dtype=torch.int32, device=device)
    program = [sent(part, device) for part in (steps, tables, colour)]
    sizes = (count, steps.shape[1], height, width)
    with torch.cuda.device_of(source):
        # Contracted into one rounding, a product and a sum would not be what PIL computes.
        run[(blocks,)](
            *(source, out, spare, spare_tables, axes, *program, *sizes),
            CHANNELS=channels,
            BLOCK=PIXELS,
            num_warps=WARPS,
            enable_fp_fusion=False,
        )


def _used(steps: Floats, tables: Levels) -> tuple[Floats, Levels]:
    """Return the steps and the tables that they name, at least one: a book holds many more."""
    named = steps[:, :, 0] == TABLE
    rows, place = np.unique(steps[named, 1].astype(np.int64), return_inverse=True)
    if len(rows) == 0:
        return steps, np.zeros((1, 256), np.uint8)
    steps = steps.copy()
    steps[named, 1] = place
    return steps, tables[rows]
