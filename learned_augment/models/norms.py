"""Normalization layers of a network, and their parameters."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from learned_augment.runtime.distributed import SyncedBatchNorm

__all__ = ["NORMS", "norm_parameters", "remembering_one_batch"]

NORMS = (_BatchNorm, SyncedBatchNorm, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)


def norm_parameters(network: nn.Module) -> set[str]:
    """Return the names of the scales and shifts of all normalizations."""
    return {
        f"{name}.{parameter}".lstrip(".")
        for name, layer in network.named_modules()
        if isinstance(layer, NORMS)
        for parameter, _ in layer.named_parameters(recurse=False)
    }


@contextmanager
def remembering_one_batch(network: nn.Module) -> Iterator[None]:
    """Return a context in which running statistics become those of the next batch alone."""
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm | SyncedBatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum  # type: ignore[assignment]
