"""A trained network that no longer changes, and the gradients of its losses."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from learned_augment.models.norms import norm_parameters
from learned_augment.search.alignment import Tensors, directional_exact, gradient
from learned_augment.search.deepaa.per_image_gradients import (
    GradientRows,
    LayerCall,
    as_rows,
    gradient_rows,
    recorded_calls,
)

__all__ = ["FrozenNetwork", "check_memory"]

# A gradient keeps the input of each layer, a forward-mode pass a tangent of each result; both need
# working memory. Measured on the shipped networks: 2.1 to 3.6 times the results.
_MEMORY_FACTOR = 4


class FrozenNetwork:
    """A network with its weights, and the derivatives of its losses.

    The network runs in inference mode, with the running statistics of batch normalization, so the
    images of a batch do not affect each other. Gradients are those of the weights of convolutions
    and linear layers. Scale and shift of normalizations are constants.

    Args:
        network: Parameters and buffers are taken as they are; the module is put in inference mode.
        sample: (b, C, H, W) normalized images, by which memory is measured; two are enough.
        memory: Bytes that the intermediate results of a pass may take.

    Attributes:
        weights: The weights that gradients are taken of, by name.
        layers: The layers that have such weights, by name.
        chunk: Images that a pass takes at once.
        gradients: Number of images whose gradient was taken so far.
        forwards: Number of images whose directional derivative was taken so far.

    Raises:
        ValueError: If ``memory`` is too small for one image.
    """

    def __init__(self, network: nn.Module, sample: Tensor, memory: int) -> None:
        self.network = network.eval()
        constant = norm_parameters(network)
        self.weights: Tensors = {}
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name not in constant)
            if name not in constant:
                self.weights[name] = parameter.detach()
        self.layers = {
            name: layer
            for name, layer in network.named_modules()
            if any(f"{name}.{p}".lstrip(".") in self.weights for p in layer._parameters)
        }
        self.results = result_bytes(self.network, sample)
        self.chunk = chunk_size(self.results, tuple(sample.shape[1:]), memory)
        self.gradients = self.forwards = 0

    def losses(self, weights: Tensors, images: Tensor, labels: Tensor) -> Tensor:
        """Return the cross entropy of every image, (B,)."""
        logits = functional_call(self.network, weights, (images,))
        return F.cross_entropy(logits, labels, reduction="none")

    def gradient(
        self, images: Tensor, labels: Tensor, image_weights: Tensor | None = None
    ) -> Tensors:
        """Return the gradient of the images' mean loss, or of a weighted sum of their losses.

        Args:
            images: Normalized images (B, C, H, W).
            labels: Classes (B,).
            image_weights: (B,) weights of the images' losses; None for their mean.
        """
        if image_weights is None:
            image_weights = images.new_full((len(images),), 1 / len(images))
        whole = {name: torch.zeros_like(w) for name, w in self.weights.items()}
        for x, y, part in self._chunks(images, labels, image_weights.to(images)):
            grads, _ = gradient(lambda w, x=x, y=y, p=part: p * self.losses(w, x, y), self.weights)  # type: ignore[misc]
            for name, grad in grads.items():
                whole[name] += grad
        self.gradients += len(images)
        return whole

    def directional(self, images: Tensor, labels: Tensor, tangent: Tensors) -> Tensor:
        """Return <gradient of an image's loss, tangent> for every image, (B,), by forward mode."""
        found = [
            directional_exact(lambda w, x=x, y=y: self.losses(w, x, y), self.weights, tangent)  # type: ignore[misc]
            for x, y in self._chunks(images, labels)
        ]
        self.forwards += len(images)
        return torch.cat(found)

    def per_image_gradients(self, images: Tensor, labels: Tensor) -> Iterator[GradientRows]:
        """Yield the gradient of each image, a few rows of a layer at a time."""
        parts = [
            recorded_calls(self.network, self.layers, x, y) for x, y in self._chunks(images, labels)
        ]
        self.gradients += len(images)
        calls: list[LayerCall] = []
        while parts[0]:  # removed one by one: chunks and whole together need twice the memory
            same = [part.pop(0) for part in parts]
            inputs, grads = (torch.cat(t) for t in zip(*[call[1:] for call in same], strict=True))
            calls.append(LayerCall(same[0].name, inputs, grads))
        for name, layer in self.layers.items():
            if of_layer := [call for call in calls if call.name == name]:
                yield from gradient_rows(layer, of_layer)

    def rows(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return gradients or weights by layer, (r, c), in the rows of `per_image_gradients`."""
        return {name: as_rows(layer, name, tensors) for name, layer in self.layers.items()}

    def _chunks(self, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
        return list(zip(*(tensor.split(self.chunk) for tensor in tensors), strict=True))


def check_memory(network: nn.Module, sample: Tensor, memory: int, together: int) -> None:
    """Refuse a network that would not fit into memory, before it is trained.

    Args:
        network: In either mode; left unchanged.
        sample: (b, C, H, W) normalized images.
        memory: Bytes that the intermediate results of a pass may take.
        together: Images whose results must be held at once, across chunks.

    Raises:
        ValueError: If one image does not fit, or ``together`` of them do not.
    """
    training = network.training
    try:
        results = result_bytes(network.eval(), sample)
    finally:
        network.train(training)
    chunk_size(results, tuple(sample.shape[1:]), memory)
    if together * results > memory:
        raise ValueError(
            f"The inner products of a pair hold {together} images in the network at once. These "
            f"take {together * results / 2**20:.0f} MiB, but memory allows {memory / 2**20:.0f}; "
            'raise option memory, lower prefixes, or use rewards="forward".'
        )


def result_bytes(network: nn.Module, sample: Tensor) -> int:
    """Return the bytes of all layers' results, for one image."""
    held: list[int] = []

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        held.extend(part.nbytes for part in tree_leaves(output) if isinstance(part, Tensor))

    handles = [
        layer.register_forward_hook(count)
        for layer in network.modules()
        if not any(layer.children())
    ]
    try:
        with torch.no_grad():
            network(sample)
    finally:
        for handle in handles:
            handle.remove()
    return max(1, sum(held) // len(sample))


def chunk_size(results: int, shape: tuple[int, ...], memory: int) -> int:
    """Return how many images of this shape fit in a pass of ``memory`` bytes.

    Raises:
        ValueError: If none fits.
    """
    each = _MEMORY_FACTOR * results
    if each > memory:
        raise ValueError(
            f"One image of {shape} takes the network {each / 2**20:.1f} MiB, but memory allows "
            f"{memory / 2**20:.1f}; raise option memory to {-(-each // 2**20)} or more, or use a "
            "smaller network or image_size."
        )
    return memory // each
