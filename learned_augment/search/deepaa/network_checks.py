"""Checks that DeepAA can compute a network's per-image derivatives, and that they are correct."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torchvision.ops import StochasticDepth

from learned_augment._text import first_line
from learned_augment.models.norms import NORMS, norm_parameters
from learned_augment.search.alignment import Tensors, inner_product, norm
from learned_augment.search.deepaa.frozen_network import FrozenNetwork
from learned_augment.search.deepaa.per_image_gradients import check_layer

__all__ = ["check_derivatives"]

# Sums of float32 in another order differ by some 1e-6; wrong derivatives by far more.
_TOLERANCE = 1e-3
# A layer's gradient below this fraction of the whole gradient is rounding.
_FLOOR = 1e-7
_UNLIMITED = 2**62


def check_derivatives(network: nn.Module, images: Tensor, *, gram: bool) -> None:
    """Refuse a network whose gradients DeepAA cannot use.

    The types of the layers alone cannot show this. A module may use a layer's weights without
    calling it. A subclass may use them in its own way. An operation may overwrite a tensor that a
    derivative needs. So the derivatives are also compared on two images with those of the whole
    network.

    Args:
        network: In either mode; left unchanged.
        images: (2, C, H, W) network input.
        gram: Whether per-image gradients will be needed, or forward-mode derivatives.

    Raises:
        ValueError: If there is dropout, another random layer or no normalization, or if the
            derivatives cannot be computed. The message says what to change and, if known, in which
            layer.
    """
    if not any(isinstance(layer, NORMS) for layer in network.modules()):
        kinds = sorted({type(m).__name__ for m in network.modules() if not any(m.children())})
        raise ValueError(
            "Expected a network with batch normalization, which DeepAA's training settings need; "
            f"found none among {', '.join(kinds)}. Add a BatchNorm2d after each convolution, or "
            "another normalization."
        )
    for name, layer in network.named_modules():
        if isinstance(layer, _DropoutNd) and layer.p > 0:
            raise ValueError(
                f"Layer {name!r} is {layer}: the frozen network would differ from the trained one. "
                "Set its p to 0, or leave it out."
            )
        if isinstance(layer, _BatchNorm) and not layer.track_running_stats:
            raise ValueError(
                f"Layer {name!r} is {layer}, by which the images of a batch affect each other also "
                "in inference; build it with track_running_stats=True."
            )
    if gram:
        constant = norm_parameters(network)
        for name, layer in network.named_modules():
            if any(
                f"{name}.{p}".lstrip(".") not in constant
                for p, _ in layer.named_parameters(recurse=False)
            ):
                check_layer(name, layer)
    training = network.training
    try:
        _check_deterministic(network.eval(), images)
        _check_random_layers(network.train(), images)
        network.eval()
        (_check_per_image if gram else _check_directional)(network, images)
    finally:
        network.train(training)


def _check_deterministic(network: nn.Module, images: Tensor) -> None:
    with torch.no_grad():
        before = _generators(images.device)
        first = network(images)
        # A rare random event may leave two passes equal, but not the generator.
        unused = all(map(torch.equal, before, _generators(images.device)))
        repeated = unused and torch.equal(first, network(images))
    if not repeated:
        raise ValueError(
            "The network draws at random, or gives the same images different logits, in inference "
            "mode; remove the layers that draw at random there."
        )


def _check_random_layers(network: nn.Module, images: Tensor) -> None:
    """Refuse layers that are random in training only, except torchvision's stochastic depth.

    Args:
        network: In training mode; left unchanged.
        images: (2, C, H, W) network input.
    """
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    before: dict[nn.Module, list[Tensor]] = {}
    random: list[nn.Module] = []

    def enter(layer: nn.Module, inputs: object) -> None:
        before[layer] = _generators(images.device)

    def leave(layer: nn.Module, inputs: object, output: object) -> None:
        if not all(map(torch.equal, before[layer], _generators(images.device))):
            random.append(layer)

    handles = []
    for layer in network.modules():
        handles += [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]
    try:
        with torch.no_grad(), torch.random.fork_rng(range(torch.cuda.device_count())):
            network(images)
    finally:
        for handle in handles:
            handle.remove()
        network.load_state_dict(state)
    names = {layer: name for name, layer in network.named_modules()}
    inner = [layer for layer in random if not any(child in random for child in layer.children())]
    for layer in inner:
        if not isinstance(layer, StochasticDepth):
            raise ValueError(
                f"Layer {names[layer]!r} is {layer}, random in training only: the frozen network "
                "would differ from the trained one. Search with a Wide-ResNet or a ResNet."
            )


def _generators(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def _check_per_image(network: nn.Module, images: Tensor) -> None:
    """Refuse a network whose `FrozenNetwork.per_image_gradients` are wrong.

    Args:
        network: In inference mode; left unchanged.
        images: A few, (b, C, H, W) network input.

    Raises:
        ValueError: If they are wrong, or cannot be computed.
    """
    with _filled(network):
        frozen = FrozenNetwork(network, images, _UNLIMITED)
        expected = _own_gradients(frozen, images)
        try:
            reason = _difference(frozen, images, expected)
        except Exception as error:  # the user's forward may raise anything under the hooks
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            reason = kind + first_line(error)
    if reason:
        raise ValueError(
            'Rewards "gram" need convolutions and linear layers that are called as modules, with '
            "the input first. They must use their own weights unchanged, and their output must be "
            f"used and not overwritten; but here: {reason}. Use option "
            'rewards="forward".'
        )


def _difference(frozen: FrozenNetwork, images: Tensor, own: list[Tensors]) -> str:
    found = {
        name: matrix.new_zeros(len(images), *matrix.shape)
        for name, matrix in frozen.rows(frozen.weights).items()
    }
    for name, rows, grads in frozen.per_image_gradients(images, _labels(frozen, images)):
        found[name][:, rows] += grads
    for number, gradients in enumerate(own):
        expected = frozen.rows(gradients)
        whole = norm(expected)
        for name, grads in expected.items():
            error = norm({name: found[name][number] - grads})
            if not error <= _TOLERANCE * norm({name: grads}) + _FLOOR * whole:
                return f"an image's own gradient at layer {name!r} is not the one computed there"
    return ""


def _check_directional(network: nn.Module, images: Tensor) -> None:
    """Refuse a network whose forward-mode derivatives do not fit its gradients.

    Args:
        network: In inference mode; left unchanged.
        images: A few, (b, C, H, W) network input.

    Raises:
        ValueError: If they are wrong, or an operation has no forward mode; then the layer is named.
    """
    with _filled(network):
        frozen = FrozenNetwork(network, images, _UNLIMITED)
        own = _own_gradients(frozen, images)
        # Every weight tensor counts the same, even if its gradient is small compared with others.
        tangent = {
            name: sum((g[name] for g in own), torch.zeros_like(w))
            for name, w in frozen.weights.items()
        }
        tangent = {n: t / t.norm().clamp_min(1e-30) for n, t in tangent.items()}
        found = _directional(frozen, images, tangent)
    for derivative, gradients in zip(found.tolist(), own, strict=True):
        size = sum(float(g.norm()) for g in gradients.values())
        error = abs(derivative - float(inner_product(gradients, tangent)))
        if not error <= _TOLERANCE * size:
            raise ValueError(
                f"Forward-mode derivatives of the network should agree with its gradients, but are "
                f"{error:.2g} off, where gradients have norm {size:.2g}. Write its operations with "
                "torch's own."
            )


def _directional(frozen: FrozenNetwork, images: Tensor, tangent: Tensors) -> Tensor:
    entered: list[str] = []
    handles = [
        layer.register_forward_pre_hook(lambda m, inputs, name=name: entered.append(name))  # type: ignore[misc]
        for name, layer in frozen.network.named_modules()
    ]
    try:
        return frozen.directional(images, _labels(frozen, images), tangent)
    except (RuntimeError, NotImplementedError) as error:
        where = entered[-1] if entered else ""
        raise ValueError(
            f"Forward-mode differentiation stops in or after layer {where!r}: "
            f"{first_line(error)}. Write that operation without inplace=True, += or a "
            "name ending in _."
        ) from error
    finally:
        for handle in handles:
            handle.remove()


def _own_gradients(frozen: FrozenNetwork, images: Tensor) -> list[Tensors]:
    """Return the gradient of every image's loss, computed from the whole batch."""
    labels, one_hot = _labels(frozen, images), torch.eye(len(images), device=images.device)
    try:
        return [frozen.gradient(images, labels, weights) for weights in one_hot]
    except (RuntimeError, NotImplementedError) as error:
        raise ValueError(
            f"The network has no gradients: {first_line(error)}. Write operations that "
            "overwrite the input of others without inplace=True, += or a name ending in _."
        ) from error


def _labels(frozen: FrozenNetwork, images: Tensor) -> Tensor:
    """Return the least likely classes: the gradient of a loss near 0 is mostly rounding."""
    with torch.no_grad():
        worst: Tensor = frozen.network(images).argmin(1)
    return worst


@contextmanager
def _filled(network: nn.Module) -> Iterator[None]:
    """Fill parameters that are zero: the layers before them would have no gradient."""
    generator = torch.Generator().manual_seed(0)
    needed = {p: p.requires_grad for p in network.parameters()}
    zero = [p for p in needed if not p.any()]
    with torch.no_grad():
        for p in zero:
            p.copy_(0.1 * torch.randn(p.shape, generator=generator))
    try:
        yield
    finally:
        for p, needs in needed.items():
            p.requires_grad_(needs)
        with torch.no_grad():
            for p in zero:
                p.zero_()
