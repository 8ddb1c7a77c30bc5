"""Plain threads that share out the images of a batch, since compiled loops hold no lock.

Numba's own thread pools survive neither a fork nor two callers at a time. DataLoader workers have
one thread, by torch's own setting.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learned_augment.backends.lowering import Floats

__all__ = ["share_out"]

SMALL = 1 << 20
"""Bytes times layers under which a second thread costs more than it gains."""


def share_out(
    kernel: Callable[..., None], batches: Sequence[Tensor], steps: Floats, *rest: Any
) -> None:
    """Run the images of a batch on as many threads as torch may use, and wait for them.

    Args:
        kernel: Takes batches (B, C * H * W), the shape (C, H, W), the steps, the rest, turns (see
            ``turns.Turns``) and whether to stay until all images are finished.
        batches: What is read and written, each (B, C, H, W), contiguous.
        steps: (B, L, 8).
        rest: What else the kernel takes.
    """
    size, *shape = batches[0].shape
    flat = [batch.detach().numpy().reshape(size, prod(shape)) for batch in batches]
    run = partial(kernel, *flat, tuple(shape), steps, *rest, np.zeros(2, np.int64))
    threads = min(torch.get_num_threads(), size)
    for _ in range(threads - 1 if batches[0].nbytes * steps.shape[1] >= SMALL else 0):
        _pool(os.getpid(), threads - 1).submit(run, False)
    run(True)


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return the threads of this process; those of a parent did not come along in a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix="learned_augment")
