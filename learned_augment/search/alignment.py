"""The mathematics of gradient alignment: how far a training step along one image helps validation.

Weights, gradients and tangents are dictionaries of tensors by parameter name. A *losses* function
turns weights into one loss per image, (B,); the *slope* of an image along a tangent is the
directional derivative of its loss. Slopes are small differences of large numbers: float32 at least.

Random layers draw one set of masks for a slope. Where a shake's backward factors differ from its
forward ones, as in `networks.shakes`, an exact slope follows the former, a difference the latter.
"""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeAlias

import torch
from torch import Tensor
from torch.func import grad, jvp

__all__ = [
    "ImageLosses",
    "Losses",
    "Tensors",
    "cosine_and_tangent",
    "gradient",
    "inner",
    "look_ahead",
    "mixed_difference",
    "mixed_exact",
    "momentum_step",
    "norm",
    "slopes_by_difference",
    "slopes_exact",
]

Tensors: TypeAlias = dict[str, Tensor]
Losses: TypeAlias = Callable[[Tensors], Tensor]
ImageLosses: TypeAlias = Callable[[Tensors, Tensor], Tensor]


def norm(tensors: Tensors) -> Tensor:
    """Return the Euclidean norm of all entries together, a scalar in float64."""
    return torch.stack([t.detach().double().square().sum() for t in tensors.values()]).sum().sqrt()


def inner(one: Tensors, other: Tensors) -> Tensor:
    """Return the inner product of all entries together, a scalar, summed in float64."""
    products = [(one[n].detach().double() * t.detach().double()).sum() for n, t in other.items()]
    return torch.stack(products).sum()


def cosine_and_tangent(
    target: Tensors, moved: Tensors, floor: float = 0.0
) -> tuple[float, Tensors]:
    """Return the cosine of two gradients and what it gains per unit of ``moved``: its gradient.

    The tangent is the part of ``target`` that is orthogonal to ``moved``, over both norms: only a
    turn towards the target is a gain, not a longer gradient. Sums and combination are in float64;
    near cosine 1 nothing but rounding would be left of a float32 one.

    Args:
        target: The gradient to turn towards, v.
        moved: The gradient that turns, g.
        floor: Least norm of ``moved`` that is divided by. An image that the network fits has next
            to no gradient, and would outweigh all others.

    Returns:
        <v, g> / (|v| |g|), and u = (v - g <v, g> / |g|^2) / (|v| |g|) in the dtype of ``target``.

    Zheng et al., Deep AutoAugment, ICLR 2022, arXiv:2203.06172, appendix A.
    """
    long, short = norm(target).clamp_min(1e-30), norm(moved).clamp_min(max(floor, 1e-30))
    product = inner(target, moved)
    tangent = {
        n: ((v.double() - moved[n].double() * (product / short.square())) / (long * short)).to(
            v.dtype
        )
        for n, v in target.items()
    }
    return float(product / (long * short)), tangent


def gradient(losses: Losses, weights: Tensors) -> tuple[Tensors, Tensor]:
    """Return the gradient of the summed losses and the losses (B,): a forward and a backward."""
    live = {name: w.detach().requires_grad_() for name, w in weights.items()}
    values = losses(live)
    # A network may have weights that a pass does not use.
    slopes = torch.autograd.grad(values.sum(), list(live.values()), materialize_grads=True)
    return dict(zip(live, slopes, strict=True)), values.detach()


def momentum_step(
    weights: Tensors, slope: Tensors, velocity: Tensors, momentum: float, weight_decay: float
) -> Tensors:
    """Return the next velocity of SGD: momentum * velocity + gradient + weight_decay * weights."""
    return {
        name: momentum * velocity[name] + slope[name] + weight_decay * w.detach()
        for name, w in weights.items()
    }


def look_ahead(weights: Tensors, velocity: Tensors, rate: float) -> Tensors:
    """Return the weights one step of length ``rate`` down the velocity."""
    return {name: w.detach() - rate * velocity[name] for name, w in weights.items()}


def _moved(weights: Tensors, tangent: Tensors, step: Tensor) -> Tensors:
    return {name: w.detach() + step.to(w.dtype) * tangent[name] for name, w in weights.items()}


def _draws_again(weights: Tensors) -> AbstractContextManager[None]:
    """Return a context after which random layers draw once more what they drew within.

    With masks of its own at either side, a difference would be that of the masks.
    """
    devices = {w.device for w in weights.values() if w.is_cuda}
    return torch.random.fork_rng(devices=list(devices))


def slopes_exact(losses: Losses, weights: Tensors, tangent: Tensors) -> Tensor:
    """Return <grad loss_i, tangent> for every image, (B,), in one forward-mode pass (3F)."""
    with torch.no_grad(), warnings.catch_warnings():
        # Torch 2.15 warns of a function that its own forward mode still calls.
        warnings.filterwarnings("ignore", "`torch.jit.script`", FutureWarning)
        slopes: Tensor = jvp(losses, (weights,), (tangent,))[1]
    return slopes


def slopes_by_difference(
    losses: Losses, weights: Tensors, tangent: Tensors, length: float = 0.01
) -> Tensor:
    """Return <grad loss_i, tangent> for every image, (B,), from two forwards without graph (2F).

    Args:
        losses: weights -> one loss per image (B,).
        weights: Where the slope is taken.
        tangent: The direction, of any length.
        length: Euclidean length of the step to either side; the papers use 0.01.
    """
    step = length / norm(tangent).clamp_min(1e-30)
    with torch.no_grad():
        with _draws_again(weights):
            ahead = losses(_moved(weights, tangent, step))
        behind = losses(_moved(weights, tangent, -step))
    return (ahead - behind) / (2 * step).to(ahead.dtype)


def mixed_difference(
    losses: ImageLosses,
    weights: Tensors,
    tangent: Tensors,
    images: Tensor,
    length: float = 0.01,
) -> tuple[Tensor, Tensor]:
    """Return the slopes (B,) and what each pixel does to their sum, (B, C, H, W).

    Two forwards and two backwards to the input only (4F). Batch normalisation couples the images,
    so the second result counts what a pixel does to the slopes of the other images too.

    Args:
        losses: (weights, images) -> one loss per image (B,).
        weights: Where the slopes are taken.
        tangent: The direction in weight space, of any length.
        images: The network's input (B, C, H, W).
        length: Euclidean length of the step to either side.
    """
    step = length / norm(tangent).clamp_min(1e-30)

    def at(side: Tensor) -> tuple[Tensor, Tensor]:
        live = images.detach().requires_grad_()
        values = losses(_moved(weights, tangent, side), live)
        return values.detach(), torch.autograd.grad(values.sum(), live)[0]

    with _draws_again(weights):
        ahead, pixels_ahead = at(step)
    behind, pixels_behind = at(-step)
    width = (2 * step).to(images.dtype)
    return (ahead - behind) / width, (pixels_ahead - pixels_behind) / width


def mixed_exact(
    losses: ImageLosses, weights: Tensors, tangent: Tensors, images: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what `mixed_difference` approximates, forward mode over reverse mode (about 6F).

    Never the other way round: differentiating a forward-mode result backwards through batch
    normalisation in training mode takes the batch's statistics for constants, without a warning
    (relative errors of 4 to 94 % in torch 2.15).
    """

    def total(x: Tensor, w: Tensors) -> tuple[Tensor, Tensor]:
        values = losses(w, x)
        return values.sum(), values

    def by_pixel(w: Tensors) -> tuple[Tensor, Tensor]:
        pixels, values = grad(total, has_aux=True)(images.detach(), w)
        return values, pixels

    detached = {name: w.detach() for name, w in weights.items()}
    slopes, pixels = jvp(by_pixel, (detached,), (tangent,))[1]
    return slopes.detach(), pixels.detach()
