"""The functions that the definitions of ops use, for floats, NumPy arrays and tensors."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch

__all__ = ["Array", "Noise", "keep_nan", "whole_levels", "with_gradients", "xp"]

Array: TypeAlias = Any
"""A float, a NumPy array or a tensor."""

Noise: TypeAlias = Any
"""Four numbers in [0, 1), each an ``Array``."""


def with_gradients(hard: torch.Tensor, soft: torch.Tensor) -> torch.Tensor:
    """Return the value of ``hard`` with the gradients of both."""
    return hard + (soft - soft.detach())


def keep_nan(result: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Return ``result`` with NaN where ``images`` have it; gradients pass to the result alone."""
    return result.add(images.detach(), alpha=0)


def whole_levels(images: torch.Tensor) -> torch.Tensor:
    """Round images in [0, 1] to levels 0 to 255, without a gradient; NaN becomes 0."""
    return (255 * images.detach().nan_to_num(nan=0.0)).round().clamp(0, 255)


def _either(name: str) -> Callable[..., Array]:
    """Return the function of a name that torch and NumPy share."""
    of_torch, of_numpy = getattr(torch, name), getattr(np, name)

    def apply(array: Array) -> Array:
        return of_torch(array) if isinstance(array, torch.Tensor) else of_numpy(array)

    return apply


class xp:  # noqa: N801, the usual name of an array namespace
    """Functions with NumPy's names for floats, NumPy arrays and tensors.

    The Numba backend compiles a definition with NumPy in the place of ``xp``. So every function
    here has NumPy's name.
    """

    cos = staticmethod(_either("cos"))
    sin = staticmethod(_either("sin"))
    exp = staticmethod(_either("exp"))
    sqrt = staticmethod(_either("sqrt"))

    @staticmethod
    def floor(array: Array) -> Array:
        """Round down; a tensor keeps its gradient, as if it had not been rounded."""
        if not isinstance(array, torch.Tensor):
            return np.floor(array)
        if array.requires_grad:
            return array + (array.floor() - array).detach()
        return array.floor()

    @staticmethod
    def round(array: Array) -> Array:
        """Round to the nearest whole number, halves to the even one."""
        return array.round() if isinstance(array, torch.Tensor) else np.round(array)

    @staticmethod
    def minimum(array: Array, other: Array) -> Array:
        """Return the smaller of two, elementwise."""
        if isinstance(array, torch.Tensor):
            return array.clamp(max=other)
        return np.minimum(array, other)

    @staticmethod
    def maximum(array: Array, other: Array) -> Array:
        """Return the larger of two, elementwise."""
        if isinstance(array, torch.Tensor):
            return array.clamp(min=other)
        return np.maximum(array, other)

    @staticmethod
    def where(condition: Array, array: Array, other: Array) -> Array:
        """Return ``array`` where the condition holds, elsewhere ``other``."""
        tensor = isinstance(condition, torch.Tensor)
        return torch.where(condition, array, other) if tensor else np.where(condition, array, other)

    @staticmethod
    def float32(array: Array) -> Array:
        """Convert to single precision."""
        return array.float() if isinstance(array, torch.Tensor) else np.float32(array)
