"""The row type of the op table and the five laws that an op can obey.

Formulas take a value and the plan's noise as floats, NumPy arrays or tensors alike, so that every
engine runs the same definition. Pixels are grey levels 0 to 255; coordinates put pixel centres at
+0.5, as PIL does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from learned_augment.ops import scalars

__all__ = [
    "GREY",
    "Array",
    "Blend",
    "Erase",
    "Geometric",
    "Kind",
    "Noise",
    "Op",
    "Pointwise",
    "Resample",
    "floor",
    "namespace",
]

# A float, a NumPy array or a tensor: the formulas broadcast over all three. Noise is four of them.
Array: TypeAlias = Any
Noise: TypeAlias = Sequence[Array]

GREY = (125, 123, 114)
"""What cutout and crop padding paint, as (R, G, B): CIFAR-10's mean colour, as in the papers."""


def namespace(array: Array) -> ModuleType:
    """Return the module whose functions fit ``array``: torch, NumPy, or those for plain floats."""
    if type(array) is float:
        return scalars
    return torch if isinstance(array, torch.Tensor) else np


def floor(array: Array) -> Array:
    """Round down; a tensor keeps its gradient, as if it had not been rounded."""
    if isinstance(array, torch.Tensor) and array.requires_grad:
        return array + (array.floor() - array).detach()
    return namespace(array).floor(array)


@dataclass(frozen=True)
class Geometric:
    """Moves pixels: output pixel (x, y) reads input (a x + b y + c, d x + e y + f).

    Attributes:
        matrix: (value, noise, width, height) -> the six coefficients (a, b, c, d, e, f).
        fill: What shows where the input ends: the caller's ``fill``, or the papers' grey.
    """

    matrix: Callable[[Array, Noise, int, int], tuple[Array, ...]]
    fill: Literal["user", "grey"] = "user"


@dataclass(frozen=True)
class Pointwise:
    """Maps grey levels: a table of 256 levels for each image and channel.

    Attributes:
        table: (value, statistics) -> table of shape (..., 256).
        smooth: The float form, differentiable: (images (n, C, H, W) in [0, 1], value
            (n, 1, 1, 1)) -> images.
        statistics: What the table needs to know of the image: nothing; the histogram of each
            channel (..., C, 256); or the rounded mean of the luma image (...).
    """

    table: Callable[[Array, Array], Array]
    smooth: Callable[[Tensor, Tensor], Tensor]
    statistics: Literal["none", "histogram", "mean luma"] = "none"


@dataclass(frozen=True)
class Blend:
    """Mixes: degenerate + value * (image - degenerate), clipped to 0..255 and truncated.

    Attributes:
        degenerate: (..., C, H, W) integer levels -> the degenerate image, C or 1 channels.
        smooth: The same for floats in [0, 1], differentiable.
    """

    degenerate: Callable[[Array], Array]
    smooth: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Erase:
    """Paints a rectangle grey.

    Attributes:
        box: (value, noise, width, height, side) -> (x0, y0, x1, y1), whole pixels, x1 and y1
            excluded. ``side`` is the length in pixels that fractions of a side refer to: the
            shorter side of the image, or the output size that the caller asked for.
    """

    box: Callable[[Array, Noise, int, int, int], tuple[Array, ...]]


@dataclass(frozen=True)
class Resample:
    """Cuts out a rectangle and resizes it (bicubic) to the output size.

    Attributes:
        box: (value, noise, width, height, aspect) -> (x0, y0, x1, y1), whole pixels, x1 and y1
            excluded. ``aspect`` is the output's width over its height.
    """

    box: Callable[[Array, Noise, int, int, float], tuple[Array, ...]]


Kind: TypeAlias = Geometric | Pointwise | Blend | Erase | Resample


@dataclass(frozen=True)
class Op:
    """One row of the op table: a named change of an image.

    Attributes:
        name: The op's name in policies and files.
        unit: What the value counts; empty when the op has no value (its value is then 0).
        low: Smallest legal value. Ranges and signs that a paper searches are in ``spaces``.
        high: Largest legal value.
        identity_value: The value that leaves every image as it is; None when there is none.
        kind: How the op acts.
        random: Whether the plan's noise matters, because the op chooses a place.
    """

    name: str
    unit: str
    low: float
    high: float
    identity_value: float | None
    kind: Kind
    random: bool = False
