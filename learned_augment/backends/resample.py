"""The weights of PIL's antialiased bicubic resizing, as one matrix per image and axis."""

from typing import Any

import numpy as np

__all__ = ["PRECISION", "resize_weights", "whole_weights"]

PRECISION = 22
"""Fractional bits of PIL's whole-number weights."""

Matrix = np.ndarray[Any, np.dtype[np.float64]]


def resize_weights(start: int, stop: int, length: int, out: int) -> Matrix:
    """Return (out, length) weights that resize pixels ``start`` to ``stop`` - 1 to ``out``.

    Catmull-Rom's cubic (a = -1/2), widened when shrinking; each row sums to 1.
    """
    scale = (stop - start) / out
    stretch = max(scale, 1.0)
    centre = (np.arange(out)[:, None] + 0.5) * scale
    pixel = np.arange(stop - start)[None, :]
    first = np.maximum(np.trunc(centre - 2 * stretch + 0.5), 0)
    last = np.minimum(np.trunc(centre + 2 * stretch + 0.5), stop - start)
    weights = _cubic((pixel - centre + 0.5) * (1.0 / stretch))
    weights = np.where((pixel >= first) & (pixel < last), weights, 0.0)
    # Running sums add in PIL's order.
    weights = weights / np.cumsum(weights, axis=1)[:, -1:]
    matrix = np.zeros((out, length))
    matrix[:, start:stop] = weights
    return matrix


def whole_weights(weights: Matrix) -> Matrix:
    """Return the weights in units of 2**-22, rounded half away from zero as PIL does."""
    scaled = weights * (1 << PRECISION)
    return np.trunc(scaled + np.where(scaled < 0, -0.5, 0.5))


def _cubic(x: Matrix) -> Matrix:
    a, x = -0.5, np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
