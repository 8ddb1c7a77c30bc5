"""Apply a plan to a uint8 batch on a GPU, in one launch of a Triton kernel."""

import warnings
from functools import cache

import numpy as np
import torch
from torch import Tensor

from learned_augment.backends import lowering
from learned_augment.backends.lowering import WIDTH, Colors, Floats, Levels, colors
from learned_augment.backends.warp import to_device
from learned_augment.policy import Plan

__all__ = ["apply", "works_on"]

BLOCKS = 384
"""Images under way at a time, which bounds the spare memory; the largest GPUs run as many."""

PIXELS, WARPS = 1024, 8
"""Pixels that a block of threads takes at a time, and its threads / 32: at four pixels a thread two
or three blocks share a processor."""


def apply(images: Tensor, plan: Plan, fill: tuple[float, ...] | None = None) -> Tensor:
    """Apply a plan to a uint8 batch (B, C, H, W) on a GPU, nearest neighbor; a new tensor.

    Pixels are those of ``torch_uint8``, bit for bit. Ops without compiled arithmetic are left out.

    Args:
        images: Never written to; any strides.
        plan: B rows.
        fill: 1 or C levels outside the image; None is 0, and gray for crop padding.
    """
    source = images.contiguous()
    out = torch.empty_like(source)
    channels, height, width = source.shape[1:]
    outside = colors(channels, fill, np.dtype(np.uint8))
    instructions, tables = lowering.instructions(plan, width, height)
    _launch(source, out, instructions, tables, outside)
    return out


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


def _launch(
    source: Tensor, out: Tensor, instructions: Floats, tables: Levels, color: Colors
) -> None:
    """Run the kernel over the batch, without waiting for the device."""
    from learned_augment.backends.triton.kernels import run

    count, channels, height, width = source.shape
    blocks, device = min(count, BLOCKS), source.device
    spare = torch.empty(blocks, channels, height, width, dtype=torch.uint8, device=device)
    spare_tables = torch.empty(blocks, 2, channels, 256, dtype=torch.uint8, device=device)
    axes = torch.empty(blocks, height + width, dtype=torch.int32, device=device)
    memory = spare, spare_tables, axes
    lowered = tuple(to_device(part, device) for part in (instructions, tables, color))
    sizes = (count, instructions.shape[1], height, width)
    with torch.cuda.device_of(source):
        # Contracted into one rounding, a product and a sum would not be what PIL computes.
        run[(blocks,)](
            *(source, out, memory, lowered, *sizes),
            CHANNELS=channels,
            BLOCK=PIXELS,
            num_warps=WARPS,
            enable_fp_fusion=False,
        )
