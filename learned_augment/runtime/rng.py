"""What long work takes for itself and gives back: torch's global generators and its precision."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

__all__ = ["isolated"]


@contextmanager
def isolated(seed: int, *, precise: bool = False) -> Iterator[None]:
    """Seed torch's global generators, for initial weights and dropout, and restore them after.

    Args:
        seed: For all of them.
        precise: Compute float32 products in float32 meanwhile, not in TF32 or bfloat16, whatever
            the user has set.
    """
    gpus = range(torch.cuda.device_count())
    with (
        torch.random.fork_rng(devices=gpus),
        torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=not precise
        ),
        _precise_products() if precise else nullcontext(),
    ):
        torch.manual_seed(seed)
        yield


@contextmanager
def _precise_products() -> Iterator[None]:
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # set by torch's newer switches, which the older function cannot read
        with _ieee():
            yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


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
