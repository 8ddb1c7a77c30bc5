"""Whether the derivatives that rewards are made of are those of the network: tried on two images.

No look at the layers can tell. A module may use a layer's weights without calling it, a subclass
may use them in a way of its own, an operation may overwrite what a derivative needs.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from learned_augment._text import first_line
from learned_augment.search.alignment import Tensors, inner, norm
from learned_augment.search.deepaa.frozen import Frozen

__all__ = ["check_each", "check_slopes"]

# Sums of float32 in another order differ by some 1e-6; wrong derivatives by far more.
TOLERANCE = 1e-3
# Below this share of the whole gradient, that of a layer is rounding.
FLOOR = 1e-7
UNLIMITED = 2**62


def check_each(network: nn.Module, images: Tensor) -> None:
    """Refuse a network whose images' own gradients are not those that `Frozen.each` finds.

    Args:
        network: In inference mode; left as it was.
        images: A few, (b, C, H, W) network input.

    Raises:
        ValueError: If they differ, or cannot be found.
    """
    with _filled(network):
        frozen = Frozen(network, images, UNLIMITED)
        expected = _own_gradients(frozen, images)
        try:
            reason = _differing(frozen, images, expected)
        except Exception as error:  # whatever a forward of the user's makes of the hooks
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            reason = kind + first_line(error)
    if reason:
        raise ValueError(
            'Rewards "gram" need convolutions and linear layers that are called as modules, with '
            "the input first, use their own weights as they stand, and whose output is used and "
            f'not overwritten; but here: {reason.rstrip(".")}. Use option rewards="forward".'
        )


def _differing(frozen: Frozen, images: Tensor, own: list[Tensors]) -> str:
    found = {
        name: matrix.new_zeros(len(images), *matrix.shape)
        for name, matrix in frozen.rows(frozen.weights).items()
    }
    for name, rows, each in frozen.each(images, _labels(frozen, images)):
        found[name][:, rows] += each
    for number, gradients in enumerate(own):
        expected = frozen.rows(gradients)
        whole = norm(expected)
        for name, slopes in expected.items():
            error = norm({name: found[name][number] - slopes})
            if not error <= TOLERANCE * norm({name: slopes}) + FLOOR * whole:
                return f"an image's own gradient at layer {name!r} is not the one found there."
    return ""


def check_slopes(network: nn.Module, images: Tensor) -> None:
    """Refuse a network whose forward-mode slopes are not those of its gradients.

    Args:
        network: In inference mode; left as it was.
        images: A few, (b, C, H, W) network input.

    Raises:
        ValueError: If they differ, or an operation has no forward mode; then the layer is named.
    """
    with _filled(network):
        frozen = Frozen(network, images, UNLIMITED)
        own = _own_gradients(frozen, images)
        # Every weight tensor counts alike, also where its gradient is small beside the others'.
        tangent = {
            name: sum((g[name] for g in own), torch.zeros_like(w))
            for name, w in frozen.weights.items()
        }
        tangent = {n: t / t.norm().clamp_min(1e-30) for n, t in tangent.items()}
        found = _slopes(frozen, images, tangent)
    for slope, gradients in zip(found.tolist(), own, strict=True):
        size = sum(float(g.norm()) for g in gradients.values())
        error = abs(slope - float(inner(gradients, tangent)))
        if not error <= TOLERANCE * size:
            raise ValueError(
                f"Forward-mode slopes of the network should be those of its gradients, but are "
                f"{error:.2g} off, where gradients are {size:.2g} long. Write its operations with "
                "torch's own."
            )


def _slopes(frozen: Frozen, images: Tensor, tangent: Tensors) -> Tensor:
    entered: list[str] = []
    handles = [
        layer.register_forward_pre_hook(lambda m, g, name=name: entered.append(name))  # type: ignore[misc]
        for name, layer in frozen.network.named_modules()
    ]
    try:
        return frozen.slopes(images, _labels(frozen, images), tangent)
    except (RuntimeError, NotImplementedError) as error:
        where = entered[-1] if entered else ""
        raise ValueError(
            f"Forward-mode differentiation stops in or after layer {where!r}: {first_line(error)} "
            "Write that operation without inplace=True, += or a name ending in _."
        ) from error
    finally:
        for handle in handles:
            handle.remove()


def _own_gradients(frozen: Frozen, images: Tensor) -> list[Tensors]:
    """Return the gradient of every image's loss, taken of the whole batch."""
    labels, shares = _labels(frozen, images), torch.eye(len(images), device=images.device)
    try:
        return [frozen.gradient(images, labels, share) for share in shares]
    except (RuntimeError, NotImplementedError) as error:
        raise ValueError(
            f"The network has no gradients: {first_line(error)} Write operations that overwrite "
            "what others need without inplace=True, += or a name ending in _."
        ) from error


def _labels(frozen: Frozen, images: Tensor) -> Tensor:
    """Return the classes that come last: a loss near 0 has a gradient near rounding."""
    with torch.no_grad():
        worst: Tensor = frozen.network(images).argmin(1)
    return worst


@contextmanager
def _filled(network: nn.Module) -> Iterator[None]:
    """Put numbers into parameters that start at zero: before them nothing would have a gradient."""
    generator = torch.Generator().manual_seed(0)
    needed = {p: p.requires_grad for p in network.parameters()}
    blank = [p for p in needed if not p.any()]
    with torch.no_grad():
        for p in blank:
            p.copy_(0.1 * torch.randn(p.shape, generator=generator))
    try:
        yield
    finally:
        for p, needs in needed.items():
            p.requires_grad_(needs)
        with torch.no_grad():
            for p in blank:
                p.zero_()
