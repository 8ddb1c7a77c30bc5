"""Plain threads that share out the images of a batch, since compiled loops hold no lock.

Numba's own thread pools survive neither a fork nor two callers at a time. DataLoader workers have
one thread, by torch's own setting.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch

__all__ = ["share_out"]

SMALL = 1 << 20
"""Bytes times layers under which a second thread costs more than it gains."""


def share_out(run: Callable[[Any, bool], None], images: int, work: int) -> None:
    """Run the images of a batch on as many threads as torch may use, and wait for them.

    Args:
        run: Takes turns (see ``turns.Turns``) and whether to stay until all images are finished.
        images: How many.
        work: Bytes of the batch times layers.
    """
    threads, turns = min(torch.get_num_threads(), images), np.zeros(2, np.int64)
    for _ in range(threads - 1 if work >= SMALL else 0):
        _pool(os.getpid(), threads - 1).submit(run, turns, False)
    run(turns, True)


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return the threads of this process; those of a parent did not come along in a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix="learned_augment")
