"""Gradient alignment: how much a training step along one image's gradient helps validation."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias

import torch
from torch import Tensor
from torch.func import grad, jvp

__all__ = [
    "ImageLosses",
    "Losses",
    "Tensors",
    "cosine_and_tangent",
    "directional_difference",
    "directional_exact",
    "gradient",
    "inner_product",
    "look_ahead",
    "mixed_difference",
    "mixed_exact",
    "momentum_step",
    "norm",
]

Tensors: TypeAlias = dict[str, Tensor]
"""Weights, gradients or tangents: tensors by parameter name."""

Losses: TypeAlias = Callable[[Tensors], Tensor]
"""A function from weights to one loss per image, (B,)."""

ImageLosses: TypeAlias = Callable[[Tensors, Tensor], Tensor]
"""A function from weights and images to one loss per image, (B,)."""


def norm(tensors: Tensors) -> Tensor:
    """Return the Euclidean norm over all entries, a scalar in float64."""
    return torch.stack([t.detach().double().square().sum() for t in tensors.values()]).sum().sqrt()


def inner_product(one: Tensors, other: Tensors) -> Tensor:
    """Return the inner product over all entries, a scalar, summed in float64."""
    products = [(one[n].detach().double() * t.detach().double()).sum() for n, t in other.items()]
    return torch.stack(products).sum()


def cosine_and_tangent(
    target: Tensors, moved: Tensors, floor: float = 0.0
) -> tuple[float, Tensors]:
    """Return the cosine of two gradients, and the gradient of that cosine by ``moved``.

    The gradient of the cosine is the tangent: the part of ``target`` that is orthogonal to
    ``moved``, divided by both norms. The cosine rises if ``moved`` turns toward the target, not if
    it grows. All sums are in float64: near cosine 1 a float32 result would be only rounding.

    Args:
        target: The fixed gradient, v.
        moved: The gradient that changes, g.
        floor: Least norm of ``moved`` in a denominator. An image that the network fits has almost
            no gradient, and would outweigh all others.

    Returns:
        <v, g> / (|v| |g|), and u = (v - g <v, g> / |g|^2) / (|v| |g|) in the dtype of ``target``.

    Zheng et al., Deep AutoAugment, ICLR 2022, arXiv:2203.06172, appendix A.
    """
    target_norm, moved_norm = (
        norm(target).clamp_min(1e-30),
        norm(moved).clamp_min(max(floor, 1e-30)),
    )
    product = inner_product(target, moved)
    tangent = {
        n: (
            (v.double() - moved[n].double() * (product / moved_norm.square()))
            / (target_norm * moved_norm)
        ).to(v.dtype)
        for n, v in target.items()
    }
    return float(product / (target_norm * moved_norm)), tangent


def gradient(losses: Losses, weights: Tensors) -> tuple[Tensors, Tensor]:
    """Return the gradient of the summed losses, and the losses (B,).

    It takes a forward and a backward pass.
    """
    leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}
    values = losses(leaves)
    # A network may have weights that a pass does not use.
    grads = torch.autograd.grad(values.sum(), list(leaves.values()), materialize_grads=True)
    return dict(zip(leaves, grads, strict=True)), values.detach()


def momentum_step(
    weights: Tensors, grads: Tensors, velocity: Tensors, momentum: float, weight_decay: float
) -> Tensors:
    """Return the next velocity of SGD: momentum * velocity + gradient + weight_decay * weights."""
    return {
        name: momentum * velocity[name] + grads[name] + weight_decay * w.detach()
        for name, w in weights.items()
    }


def look_ahead(weights: Tensors, velocity: Tensors, rate: float) -> Tensors:
    """Return the weights one step of length ``rate`` down the velocity."""
    return {name: w.detach() - rate * velocity[name] for name, w in weights.items()}


def _moved(weights: Tensors, tangent: Tensors, factor: Tensor) -> Tensors:
    return {name: w.detach() + factor.to(w.dtype) * tangent[name] for name, w in weights.items()}


def _repeated_draws(weights: Tensors) -> AbstractContextManager[None]:
    """Return a context that puts torch's random generators back when it ends.

    A pass inside it and a pass after it then draw the same dropout masks. With different masks,
    their difference would be that of the masks.
    """
    devices = {w.device for w in weights.values() if w.is_cuda}
    return torch.random.fork_rng(devices=list(devices))


def directional_exact(losses: Losses, weights: Tensors, tangent: Tensors) -> Tensor:
    """Return <grad loss_i, tangent> for every image i, (B,), in one forward-mode pass.

    This is the derivative of the image's loss along the tangent. The pass costs about three forward
    passes. A layer that scales its gradient in another way than its output (Shake-Shake) has the
    derivative of its backward pass here, and that of its forward pass in `directional_difference`.
    """
    with torch.no_grad(), _forward_mode():
        derivatives: Tensor = jvp(losses, (weights,), (tangent,))[1]
    return derivatives


@contextmanager
def _forward_mode() -> Iterator[None]:
    """Silence a warning of torch 2.14 and later of a function that its own forward mode calls."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script`", FutureWarning)
        yield


def directional_difference(
    losses: Losses, weights: Tensors, tangent: Tensors, length: float = 0.01
) -> Tensor:
    """Return the derivatives of `directional_exact`, (B,), from two passes without a graph.

    A derivative is a small difference of large numbers, so it needs float32 or better.

    Args:
        losses: From weights to one loss per image, (B,).
        weights: Where the derivative is taken.
        tangent: The direction, of any length.
        length: Euclidean distance of both sets of weights from ``weights``; the papers use 0.01.
    """
    factor = length / norm(tangent).clamp_min(1e-30)
    with torch.no_grad():
        with _repeated_draws(weights):
            ahead = losses(_moved(weights, tangent, factor))
        behind = losses(_moved(weights, tangent, -factor))
    return (ahead - behind) / (2 * factor).to(ahead.dtype)


def mixed_difference(
    losses: ImageLosses,
    weights: Tensors,
    tangent: Tensors,
    images: Tensor,
    length: float = 0.01,
) -> tuple[Tensor, Tensor]:
    """Return the derivatives along a tangent, (B,), and the gradient of their sum by the images.

    It takes two forward passes, and two backward passes to the input only. Batch normalization
    couples the images, so the gradient (B, C, H, W) includes a pixel's effect on the derivatives of
    other images.

    Args:
        losses: From weights and images to one loss per image, (B,).
        weights: Where the derivatives are taken.
        tangent: The direction in weight space, of any length.
        images: The network's input (B, C, H, W).
        length: Euclidean distance of both sets of weights from ``weights``.
    """
    factor = length / norm(tangent).clamp_min(1e-30)

    def at(side: Tensor) -> tuple[Tensor, Tensor]:
        leaf = images.detach().requires_grad_()
        values = losses(_moved(weights, tangent, side), leaf)
        return values.detach(), torch.autograd.grad(values.sum(), leaf)[0]

    with _repeated_draws(weights):
        ahead, pixels_ahead = at(factor)
    behind, pixels_behind = at(-factor)
    width = (2 * factor).to(images.dtype)
    return (ahead - behind) / width, (pixels_ahead - pixels_behind) / width


def mixed_exact(
    losses: ImageLosses, weights: Tensors, tangent: Tensors, images: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the limit of `mixed_difference`, by forward mode over reverse mode.

    It costs about six forward passes.

    Reverse over forward mode would be wrong. Through batch normalization in training mode it takes
    the batch's statistics for constants, without a warning. Its relative errors are 4 to 94 % in
    torch 2.15.
    """

    def total(x: Tensor, w: Tensors) -> tuple[Tensor, Tensor]:
        values = losses(w, x)
        return values.sum(), values

    def by_pixel(w: Tensors) -> tuple[Tensor, Tensor]:
        pixels, values = grad(total, has_aux=True)(images.detach(), w)
        return values, pixels

    detached = {name: w.detach() for name, w in weights.items()}
    with _forward_mode():
        derivatives, pixels = jvp(by_pixel, (detached,), (tangent,))[1]
    return derivatives.detach(), pixels.detach()
