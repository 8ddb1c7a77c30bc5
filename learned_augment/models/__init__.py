"""Networks that compare and search can train."""

from collections.abc import Callable
from functools import partial

from torch import nn

from learned_augment.models.resnet import resnet50
from learned_augment.models.small_cnn import small_cnn
from learned_augment.models.wide_resnet import WideResNet

__all__ = [
    "NETWORKS",
    "NetworkChoice",
    "WideResNet",
    "build_network",
    "network_name",
    "resnet50",
    "small_cnn",
]

NetworkChoice = str | nn.Module | Callable[[int], nn.Module]

NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "small-cnn": small_cnn,
    "wrn-16-1": partial(WideResNet, 16, 1),
    "wrn-40-2": partial(WideResNet, 40, 2),
    "wrn-28-10": partial(WideResNet, 28, 10),
    "resnet50": resnet50,
}
"""Networks by name: functions from a number of classes to an untrained network.

A network turns a normalized float batch (B, 3, H, W) of at least 16 x 16 pixels into logits
(B, num_classes). No layer works in place, so that `torch.func.jvp` works.
"""


def network_name(network: NetworkChoice) -> str:
    """Return what a network is called: its name, or that of the factory or of the module's class.

    Examples:
        >>> network_name("small-cnn"), network_name(nn.Linear(8, 5)), network_name(small_cnn)
        ('small-cnn', 'Linear', 'small_cnn')
    """
    if isinstance(network, str):
        return network
    return str(getattr(network, "__qualname__", type(network).__name__))


def build_network(network: NetworkChoice, num_classes: int) -> nn.Module:
    """Return a network for `num_classes`, from a name, a factory or a finished module.

    Args:
        network: A name of `NETWORKS`, a callable that takes the number of classes, or a module,
            which is returned as it is.
        num_classes: Length of a row of logits.

    Raises:
        ValueError: If no network has this name.
        TypeError: If `network` is of another kind, or a factory returned no module.

    Examples:
        >>> build_network("small-cnn", num_classes=5)[-1]
        Linear(in_features=96, out_features=5, bias=True)
        >>> build_network(lambda num_classes: nn.Linear(8, num_classes), num_classes=5)
        Linear(in_features=8, out_features=5, bias=True)
    """
    if isinstance(network, nn.Module):
        return network
    if isinstance(network, str):
        if network not in NETWORKS:
            raise ValueError(f"No network named {network!r}. Available: {', '.join(NETWORKS)}.")
        return NETWORKS[network](num_classes)
    if not callable(network):
        raise TypeError(
            "Expected a network as a name, a torch.nn.Module or a callable that takes the number "
            f"of classes, got {type(network).__name__}."
        )
    try:
        built = network(num_classes)
    except TypeError as error:
        raise TypeError(
            "Expected a network that is made by a call with the number of classes, got "
            f"{network_name(network)}, which raised: {error}"
        ) from error
    if not isinstance(built, nn.Module):
        raise TypeError(
            f"Expected the network factory to return a torch.nn.Module, got {type(built).__name__}."
        )
    return built
