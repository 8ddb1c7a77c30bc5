"""Every image's own gradient from one backward pass, for convolutions and linear layers.

In inference mode images do not meet, so the slopes at a layer's output are the images' own, and the
gradient of its weights is the product of these with the layer's input. Shapes: B images, d weights
and biases of a layer.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

__all__ = ["check_layer", "image_gradients"]


class _Call(NamedTuple):
    name: str
    given: Tensor
    output: Tensor
    version: int


def check_layer(name: str, layer: nn.Module) -> None:
    """Raise ValueError if the images' own gradients of a layer with weights are not known here."""
    plain = isinstance(layer, nn.Linear) or (
        isinstance(layer, nn.Conv2d)
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )
    if not plain:
        raise ValueError(
            f'Rewards "gram" need convolutions padded with a number of zeros and linear layers, '
            f'but layer {name!r} is {layer}; use option rewards="forward".'
        )


def image_gradients(
    network: nn.Module, layers: dict[str, nn.Module], images: Tensor, labels: Tensor
) -> dict[str, Tensor]:
    """Return, for each layer, every image's gradient of its cross entropy, (B, d).

    Args:
        network: In inference mode; the weights of ``layers`` require gradients.
        layers: Convolutions and linear layers by name.
        images: The network's input (B, C, H, W).
        labels: Classes (B,).

    Returns:
        Weights, then biases, of one layer in one row an image.

    Raises:
        ValueError: If a layer's output is changed in place, naming the layer.
    """
    calls: list[_Call] = []
    handles = [
        layer.register_forward_hook(
            lambda module, given, output, name=name: calls.append(  # type: ignore[misc]
                _Call(name, given[0].detach(), output, output._version)
            )
        )
        for name, layer in layers.items()
    ]
    try:
        loss = F.cross_entropy(network(images), labels, reduction="sum")
    finally:
        for handle in handles:
            handle.remove()
    for call in calls:
        if call.output._version != call.version:
            raise ValueError(
                f"The output of layer {call.name!r} is changed in place by the layer after it; "
                "write that one without inplace=True, += or a name ending in _."
            )
    slopes = torch.autograd.grad(loss, [call.output for call in calls])
    found: dict[str, Tensor] = {}
    for call, slope in zip(calls, slopes, strict=True):
        mine = _of_layer(layers[call.name], call.given, slope)
        found[call.name] = found[call.name] + mine if call.name in found else mine
    return found


def _of_layer(layer: nn.Module, given: Tensor, slope: Tensor) -> Tensor:
    if isinstance(layer, nn.Conv2d):
        padding = layer.padding
        assert not isinstance(padding, str)  # see check_layer
        columns = F.unfold(
            given, layer.kernel_size, layer.dilation, padding, layer.stride
        )  # (B, C k k, L)
        columns = columns.unflatten(1, (layer.groups, -1))
        slope = slope.flatten(2).unflatten(1, (layer.groups, -1))  # (B, groups, outputs, L)
        weight = slope @ columns.mT
        bias = slope.sum(-1)
    else:
        # Whatever stands between images and features counts as places: (B, places, features).
        given = given.reshape(len(given), -1, given.shape[-1])
        slope = slope.reshape(len(slope), -1, slope.shape[-1])
        weight = slope.mT @ given
        bias = slope.sum(1)
    parts = [weight.flatten(1)]
    if layer.bias is not None:
        parts.append(bias.flatten(1))
    return torch.cat(parts, 1)
