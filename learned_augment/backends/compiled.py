"""Plan + batch -> batch by a compiled kernel, whichever it is.

A kernel knows programs, not ops. Images with a step that a program cannot say take a plain engine.
"""

from collections.abc import Callable
from functools import lru_cache
from threading import get_ident
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from learned_augment.backends.groups import grey_levels, sent
from learned_augment.backends.lowering import OTHER, Floats, Levels, book
from learned_augment.backends.torch_uint8 import apply_exact
from learned_augment.plan import Plan

__all__ = ["Kernel", "apply_compiled", "apply_levels", "colours", "run_program"]

UINT8 = np.dtype(np.uint8)

Kernel: TypeAlias = Callable[[Tensor, Tensor, Floats, Levels, Levels], None]
"""Takes the images, a tensor for the result, both contiguous, the steps (B, L, 8), the tables
(T, 256) and the colours (3, C) uint8."""


def apply_compiled(
    images: Tensor,
    plan: Plan,
    run: Callable[[Tensor, Floats, Levels], Tensor],
    plain: Callable[[Tensor, Plan], Tensor],
) -> Tensor:
    """Apply a plan to a batch (B, C, H, W), nearest neighbour; a new tensor.

    Args:
        images: Never written to; any strides, on any device that the kernel works on.
        plan: B rows.
        run: Runs a program: takes images, the steps (B, L, 8) and the tables (T, 256).
        plain: Applies a plan to the images that have a step which no program can say.
    """
    height, width = images.shape[-2:]
    floats = images.is_floating_point()
    steps, tables = book(plan.ops, width, height, get_ident(), floats).batch(plan)
    other = (steps[:, :, 0] == OTHER).any(1)
    if other.any():
        steps[other] = 0
    out = run(images, steps, tables)
    if other.any():
        rows = np.flatnonzero(other)
        index = sent(rows, images.device)
        rest = plan.rows(torch.from_numpy(rows))
        out.index_copy_(0, index, plain(images[index], rest))
    return out


def apply_levels(
    images: Tensor, plan: Plan, kernel: Kernel, fill: tuple[int, ...] | None = None
) -> Tensor:
    """Do so with a uint8 batch: the pixels of ``exact``.

    ``fill`` is 1 or C levels outside the image; None is 0, and grey for crop padding.
    """

    def run(images: Tensor, steps: Floats, tables: Levels) -> Tensor:
        return run_program(images, steps, tables, kernel, fill)

    def plain(images: Tensor, plan: Plan) -> Tensor:
        outside = None if fill is None else sent(np.array(fill, np.uint8), images.device)
        return apply_exact(images, plan, fill=outside)

    return apply_compiled(images, plan, run, plain)


def run_program(
    images: Tensor,
    steps: Floats,
    tables: Levels,
    kernel: Kernel,
    fill: tuple[int, ...] | None = None,
) -> Tensor:
    """Run a program that the kernel knows on uint8 images as for ``apply_levels``; a new tensor."""
    source = images.contiguous()
    out = torch.empty_like(source)
    kernel(source, out, steps, tables, colours(images.shape[1], fill))
    return out


@lru_cache(maxsize=64)
def colours(
    channels: int, fill: tuple[float, ...] | None, kind: np.dtype[Any] = UINT8
) -> np.ndarray[Any, Any]:
    """Return what shows outside a moved image, around a padded crop, where it is erased: (3, C)."""
    grey = grey_levels(channels) / (1 if kind == UINT8 else 255)
    user = np.broadcast_to(0 if fill is None else fill, channels)
    rows = [user, grey if fill is None else user, grey]
    return np.array(rows).astype(kind)
