"""Which layers normalise, and which parameters are theirs."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from learned_augment.jobs.processes import BatchNormOverAll

__all__ = ["NORMS", "norm_parameters"]

NORMS = (_BatchNorm, BatchNormOverAll, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)


def norm_parameters(network: nn.Module) -> set[str]:
    """Return the names of the scales and shifts of all normalisations."""
    return {
        f"{name}.{parameter}".lstrip(".")
        for name, layer in network.named_modules()
        if isinstance(layer, NORMS)
        for parameter, _ in layer.named_parameters(recurse=False)
    }
