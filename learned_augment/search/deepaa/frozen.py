"""A trained network that no longer changes: what the policy's gradients are taken of.

It runs in inference mode, with the running statistics of batch normalisation, so that images of a
batch do not meet. The weights w of gradients, norms and inner products are those of convolutions
and linear layers; scale and shift of normalisations are constants.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.func import functional_call

from learned_augment.models.norms import norm_parameters
from learned_augment.search.alignment import Tensors, gradient, slopes_exact
from learned_augment.search.deepaa.image_gradients import (
    Call,
    Rows,
    as_rows,
    gradient_rows,
    recorded,
)

__all__ = ["Frozen", "check_memory"]

# A gradient keeps what each layer is given, a forward-mode pass a tangent beside each result;
# both need room to work in. Measured on the shipped networks: 2.1 to 3.6 times the results.
ROOM = 4


class Frozen:
    """A network with its weights, and the derivatives of its losses.

    Args:
        network: Parameters and buffers are taken as they are; the module is put in inference mode.
        sample: (b, C, H, W) normalised images, by which memory is measured; two are enough.
        memory: Bytes that the intermediate results of a pass may take.

    Raises:
        ValueError: If ``memory`` is too small for one image.
    """

    def __init__(self, network: nn.Module, sample: Tensor, memory: int) -> None:
        self.network = network.eval()
        fixed = norm_parameters(network)
        self.weights: Tensors = {}
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name not in fixed)
            if name not in fixed:
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

    def gradient(self, images: Tensor, labels: Tensor, share: Tensor | None = None) -> Tensors:
        """Return the gradient of the images' mean loss, or of their losses weighted by ``share``.

        Args:
            images: Normalised images (B, C, H, W).
            labels: Classes (B,).
            share: (B,) weights of the images' losses.
        """
        share = images.new_full((len(images),), 1 / len(images)) if share is None else share
        whole = {name: torch.zeros_like(w) for name, w in self.weights.items()}
        for x, y, part in self._chunks(images, labels, share.to(images)):
            mine, _ = gradient(lambda w, x=x, y=y, p=part: p * self.losses(w, x, y), self.weights)  # type: ignore[misc]
            for name, slope in mine.items():
                whole[name] += slope
        self.gradients += len(images)
        return whole

    def slopes(self, images: Tensor, labels: Tensor, tangent: Tensors) -> Tensor:
        """Return <gradient of an image's loss, tangent> for every image, (B,): forward mode."""
        found = [
            slopes_exact(lambda w, x=x, y=y: self.losses(w, x, y), self.weights, tangent)  # type: ignore[misc]
            for x, y in self._chunks(images, labels)
        ]
        self.forwards += len(images)
        return torch.cat(found)

    def each(self, images: Tensor, labels: Tensor) -> Iterator[Rows]:
        """Yield every image's own gradient, a few rows of a layer at a time; see `Rows`."""
        parts = [recorded(self.network, self.layers, x, y) for x, y in self._chunks(images, labels)]
        self.gradients += len(images)
        calls: list[Call] = []
        while parts[0]:  # taken out one by one: both, chunks and whole, would take twice the memory
            same = [part.pop(0) for part in parts]
            given, slope = (torch.cat(t) for t in zip(*[call[1:] for call in same], strict=True))
            calls.append(Call(same[0].name, given, slope))
        for name, layer in self.layers.items():
            if mine := [call for call in calls if call.name == name]:
                yield from gradient_rows(layer, mine)

    def rows(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return gradients or the like by layer, (r, c), as `each` counts rows."""
        return {name: as_rows(layer, name, tensors) for name, layer in self.layers.items()}

    def _chunks(self, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
        return list(zip(*(tensor.split(self.chunk) for tensor in tensors), strict=True))


def check_memory(network: nn.Module, sample: Tensor, memory: int, together: int) -> None:
    """Refuse what would not fit, before the network is trained.

    Args:
        network: In whatever mode; left as it was.
        sample: (b, C, H, W) normalised images.
        memory: Bytes that the intermediate results of a pass may take.
        together: Images whose results must be held at once, between chunks.

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
            f"The inner products of a pair hold {together} images, which take the network "
            f"{together * results / 2**20:.0f} MiB, but memory allows {memory / 2**20:.0f}; raise "
            'option memory, lower prefixes, or use rewards="forward".'
        )


def result_bytes(network: nn.Module, sample: Tensor) -> int:
    """Return how many bytes all layers' results take an image."""
    held: list[int] = []
    handles = [
        layer.register_forward_hook(
            lambda module, given, output: held.append(output.nbytes)  # type: ignore[misc]
        )
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
    """Return how many images of this shape a pass can take within ``memory`` bytes.

    Raises:
        ValueError: If it is not one.
    """
    each = ROOM * results
    if each > memory:
        raise ValueError(
            f"One image of {shape} takes the network {each / 2**20:.1f} MiB, but memory allows "
            f"{memory / 2**20:.1f}; raise option memory to {-(-each // 2**20)} or more, or use a "
            "smaller network or image_size."
        )
    return memory // each
