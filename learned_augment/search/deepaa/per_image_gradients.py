"""The gradient of each image from one backward pass, for convolutions and linear layers."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from learned_augment.search.alignment import Tensors

__all__ = [
    "GradientRows",
    "LayerCall",
    "as_rows",
    "check_layer",
    "gradient_rows",
    "recorded_calls",
]

# A block of gradients, in numbers: what fits a processor's cache and the system's memory pool.
BLOCK = 2**21


class LayerCall(NamedTuple):
    """One call of a layer: its name, its input, and the gradient of the loss at its output."""

    name: str
    inputs: Tensor
    output_grad: Tensor


class GradientRows(NamedTuple):
    """Gradients of some rows of a layer's weights, (B, r, c), for B images.

    The weights are a matrix of c columns, with one row for each output. The last column is the
    bias, if the layer has one.
    """

    name: str
    rows: slice
    gradients: Tensor


def check_layer(name: str, layer: nn.Module) -> None:
    """Raise ValueError if this module cannot compute the gradient of each image for a layer."""
    plain = isinstance(layer, nn.Linear) or (
        isinstance(layer, nn.Conv2d)
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )
    if not plain:
        raise ValueError(
            f'Rewards "gram" need convolutions padded with a number of zeros and linear layers, '
            f'but layer {name!r} is {layer!r:.80}; use option rewards="forward".'
        )


def recorded_calls(
    network: nn.Module, layers: dict[str, nn.Module], images: Tensor, labels: Tensor
) -> list[LayerCall]:
    """Return every call of the layers in one pass over the images, with its gradients.

    Args:
        network: In inference mode; the weights of ``layers`` require gradients.
        layers: Convolutions and linear layers by name.
        images: The network's input (B, C, H, W).
        labels: Classes (B,).

    Raises:
        ValueError: If a layer's output is changed in place, naming the layer.
    """
    calls: list[LayerCall] = []
    versions: list[int] = []

    def record(name: str, inputs: Tensor, output: Tensor) -> None:
        calls.append(LayerCall(name, inputs.detach(), output))
        versions.append(output._version)

    handles = [
        layer.register_forward_hook(lambda m, inputs, out, name=name: record(name, inputs[0], out))  # type: ignore[misc]
        for name, layer in layers.items()
    ]
    try:
        loss = F.cross_entropy(network(images), labels, reduction="sum")
    finally:
        for handle in handles:
            handle.remove()
    for call, version in zip(calls, versions, strict=True):
        if call.output_grad._version != version:
            raise ValueError(
                f"The output of layer {call.name!r} is changed in place by the layer after it; "
                "write that one without inplace=True, += or a name ending in _."
            )
    grads = torch.autograd.grad(loss, [call.output_grad for call in calls])
    return [call._replace(output_grad=g) for call, g in zip(calls, grads, strict=True)]


def gradient_rows(layer: nn.Module, calls: list[LayerCall]) -> Iterator[GradientRows]:
    """Yield the images' gradients of one layer, a block of rows at a time.

    In inference mode images do not affect each other. So the gradient at a layer's output belongs
    to one image, and its product with the layer's input is that image's gradient of the weights.
    In blocks of rows, the gradients never exist all at once.

    Args:
        layer: A convolution or linear layer.
        calls: All calls of this layer.
    """
    parts = [_matrices(layer, call) for call in calls]
    grads, columns = parts[0]
    groups, outputs = grads.shape[1:3]
    height = max(1, BLOCK // (len(columns) * columns.shape[2]))
    for group in range(groups):
        for first in range(0, outputs, height):
            rows = slice(first, min(first + height, outputs))
            found = grads[:, group, rows] @ columns[:, group].mT
            for g, c in parts[1:]:
                found = found + g[:, group, rows] @ c[:, group].mT
            at = slice(group * outputs + rows.start, group * outputs + rows.stop)
            yield GradientRows(calls[0].name, at, found)


def _matrices(layer: nn.Module, call: LayerCall) -> tuple[Tensor, Tensor]:
    """Return gradients (B, groups, r, L) and inputs (B, groups, c, L), ones last for a bias.

    L counts the places of the layer's output.
    """
    if isinstance(layer, nn.Conv2d):
        padding = layer.padding
        assert not isinstance(padding, str)  # see check_layer
        size = layer.kernel_size, layer.dilation, padding, layer.stride
        columns = F.unfold(call.inputs, *size).unflatten(1, (layer.groups, -1))
        grads = call.output_grad.flatten(2).unflatten(1, (layer.groups, -1))
    else:
        # All dimensions between images and features count as places.
        columns, grads = (
            t.reshape(len(t), 1, -1, t.shape[-1]).mT for t in (call.inputs, call.output_grad)
        )
    if layer.bias is not None:
        columns = F.pad(columns, (0, 0, 0, 1), value=1.0)
    return grads, columns


def as_rows(layer: nn.Module, name: str, tensors: Tensors) -> Tensor:
    """Return a layer's entries of weight and bias as (r, c), in the order of `gradient_rows`."""
    weight = tensors[f"{name}.weight".lstrip(".")].flatten(1)
    if layer.bias is None:
        return weight
    return torch.cat([weight, tensors[f"{name}.bias".lstrip(".")][:, None]], 1)
