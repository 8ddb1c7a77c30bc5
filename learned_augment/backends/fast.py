"""Plan + uint8 batch on CPU -> uint8 batch, in compiled code: the pixels of ``exact``, faster.

A whole plan runs in one pass an image, all layers while the image sits in cache, several images at
a time. Needs Numba (extra ``fast``); without it ``exact`` does the same work.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from learned_augment.backends.compiled import apply_levels, run_program
from learned_augment.backends.hand import Hand, drawn
from learned_augment.backends.lowering import Floats, Levels
from learned_augment.backends.numba.parallel import share_out
from learned_augment.plan import Plan
from learned_augment.policy import Policy

__all__ = ["apply_fast", "compiled_code", "draw_images"]


@lru_cache(maxsize=1)
def compiled_code() -> Any:
    """Return the compiled functions; None where Numba is missing or has no room for its cache."""
    try:
        from learned_augment.backends import runs
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
        return apply_levels(images, plan, _spread, fill)
    program = plan.program()
    if program is None:
        return apply_levels(images, plan.plan, _spread, fill)
    return run_program(images, *program, _spread, fill)


def _spread(source: Tensor, out: Tensor, steps: Floats, tables: Levels, colour: Levels) -> None:
    share_out(compiled_code().run, [source, out], steps, tables, colour)
