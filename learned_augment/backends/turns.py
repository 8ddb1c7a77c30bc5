"""Compiled: threads that share out a batch without the interpreter, one image a turn.

A thread that waits for the interpreter sleeps, and waking takes as long as twenty small images.
Counters that are added to atomically need no lock, so nobody waits but for the last image.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numba import types
from numba.extending import intrinsic

from learned_augment.backends.numba.jit import compiled

__all__ = ["Turns", "finish", "take", "wait"]

Turns: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
"""(2,), at first 0: how many images were taken, and how many are finished."""

TAKEN, FINISHED = 0, 1


@intrinsic  # type: ignore[untyped-decorator]
def _add(typing: Any, turns: Any, which: Any, count: Any) -> tuple[Any, Callable[..., Any]]:
    """Add to turns[which] and return what it was, as one step that no other thread can split."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        counters = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.gep(counters, [arguments[1]])
        return builder.atomic_rmw("add", place, arguments[2], "seq_cst")

    return types.int64(turns, types.int64, types.int64), generate


@compiled
def take(turns: Turns) -> int:
    """Return the next image; a number past the last says that none is left."""
    image: int = _add(turns, TAKEN, 1)
    return image


@compiled
def finish(turns: Turns) -> None:
    """Count an image as finished."""
    _add(turns, FINISHED, 1)


@compiled
def wait(turns: Turns, images: int) -> None:
    """Return when all images are finished."""
    while _add(turns, FINISHED, 0) < images:
        pass
