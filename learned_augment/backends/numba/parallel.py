"""Threads that share the images of a batch."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import torch
from numba import types
from numba.extending import intrinsic

from learned_augment.backends.numba.jit import compiled, not_kept

__all__ = ["Queue", "call", "mark_done", "next_image", "run_on_threads", "wait_for_all"]

Queue: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
"""(2,), at first 0: how many images were taken, and how many are done.

Threads add to both counters atomically. A lock of the interpreter would put a thread to sleep, and
waking takes as long as twenty small images.
"""

TAKEN, DONE = 0, 1

FAILED = 1 << 40
"""More than any number of images: a thread has ended without counting an image that it took."""

SMALL = 1 << 18
"""Bytes under which a second thread costs more than it gains."""


@intrinsic  # type: ignore[untyped-decorator]
def _add(typing: Any, queue: Any, which: Any, count: Any) -> tuple[Any, Callable[..., Any]]:
    """Add to queue[which] atomically and return what it was."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        counters = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.gep(counters, [arguments[1]])
        return builder.atomic_rmw("add", place, arguments[2], "seq_cst")

    return types.int64(queue, types.int64, types.int64), generate


@compiled
def next_image(queue: Queue) -> int:
    """Return the next image; a number past the last says that none is left."""
    image: int = _add(queue, TAKEN, 1)
    return image


@compiled
def mark_done(queue: Queue) -> None:
    """Count an image as done."""
    _add(queue, DONE, 1)


@compiled
def wait_for_all(queue: Queue, images: int) -> None:
    """Return when all images are done."""
    while _add(queue, DONE, 0) < images:
        pass


def run_on_threads(entry: Callable[..., Any], batches: Sequence[Any], *rest: Any) -> None:
    """Run an entry point on as many threads as torch may use, and wait for all images.

    Compiled loops hold no interpreter lock, so these are plain threads: Numba's own thread pools
    survive neither a fork nor two callers at a time. A thread that comes late finds no image left
    and touches none. DataLoader workers have one thread, by torch's own setting.

    If the entry fails in one thread, for lack of memory, all others end before the error is raised.

    Args:
        entry: Takes the batches, the rest, a queue and whether to stay until all images are done.
        batches: Arrays (B, N) that are read or written.
        rest: What else the entry takes.
    """
    queue, others = np.zeros(2, np.int64), []
    arguments = (*batches, *rest, queue)
    if batches[0].nbytes >= SMALL:
        threads = min(torch.get_num_threads(), len(batches[0]))
        others = [
            _pool(os.getpid(), threads - 1).submit(_help, entry, *arguments)
            for _ in range(threads - 1)
        ]
    try:
        call(entry, *arguments, True)
    except BaseException:
        wait(others)
        raise
    if others and queue[DONE] >= FAILED:
        wait(others)
        for other in others:
            other.result()


def _help(entry: Callable[..., Any], *arguments: Any) -> None:
    """Run an entry point in a helper thread; an error there ends the caller's wait."""
    try:
        call(entry, *arguments, False)
    except BaseException:
        arguments[-1][DONE] = FAILED
        raise


def call(entry: Callable[..., Any], *arguments: Any) -> Any:
    """Call an entry point, also where there is no room to keep it on disk."""
    try:
        return entry(*arguments)
    except OSError:  # compiled code itself raises no such error
        return not_kept(entry)(*arguments)


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return the threads of this process; those of a parent did not come along in a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix="learned_augment")
