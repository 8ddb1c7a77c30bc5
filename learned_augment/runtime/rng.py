"""Seeds and torch settings of a long job, which leave the caller's as they were."""

import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TypeVar

import numpy as np
import torch

__all__ = ["default_threads", "isolated", "thread_count", "usable_cores"]

T = TypeVar("T")

_AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def isolated(seed: int, *, precise: bool = False, threads: int | None = None) -> Iterator[None]:
    """Return a context with seeded global generators and fixed settings of torch.

    Inside it gradients are on, inference mode and autocast are off, the default dtype is float32,
    and the default device is the CPU. At its end all of this is as the caller had it.

    Args:
        seed: Seed of the global generators of torch, Python and NumPy, which initial weights and
            dropout draw from.
        precise: Whether products of float32 are computed in float32, not in TF32 or bfloat16.
        threads: Number of CPU threads; None keeps the caller's. Sums on another number of threads
            differ by rounding.
    """
    gpus = range(torch.cuda.device_count())
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        _on_cpu_by_default(),
        _without_autocast(),
        _changed(torch.get_default_dtype, torch.set_default_dtype, torch.float32),
        torch.random.fork_rng(devices=gpus),
        _other_generators_restored(),
        nullcontext() if threads is None else thread_count(threads),
        torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=not precise
        ),
        _precise_products() if precise else nullcontext(),
    ):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        yield


def default_threads() -> int:
    """Return the number of CPU threads that OMP_NUM_THREADS or else the machine allows.

    Unlike ``torch.get_num_threads``, it does not depend on ``torch.set_num_threads``.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if first.isdecimal() and int(first) > 0:
        return int(first)
    return usable_cores()


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_count(count: int) -> AbstractContextManager[None]:
    """Return a context in which torch computes with ``count`` CPU threads."""
    return _changed(torch.get_num_threads, torch.set_num_threads, count)


@contextmanager
def _changed(get: Callable[[], T], change: Callable[[T], None], value: T) -> Iterator[None]:
    before = get()
    change(value)
    try:
        yield
    finally:
        change(before)


@contextmanager
def _on_cpu_by_default() -> Iterator[None]:
    # A device context makes every call of torch slower.
    elsewhere = torch.get_default_device().type != "cpu"
    with torch.device("cpu") if elsewhere else nullcontext():
        yield


@contextmanager
def _without_autocast() -> Iterator[None]:
    with ExitStack() as stack:
        for device in _AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


@contextmanager
def _other_generators_restored() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def _precise_products() -> Iterator[None]:
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # set by torch's newer switches, which the older function cannot read
        with _ieee():
            yield
        return
    with _changed(lambda: before, torch.set_float32_matmul_precision, "highest"):
        yield


@contextmanager
def _ieee() -> Iterator[None]:
    switches = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "ieee"
        yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision
