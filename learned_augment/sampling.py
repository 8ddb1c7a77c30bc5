"""The sampler, which turns random numbers into candidates of a policy."""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "HOST",
    "NOISE",
    "Draw",
    "Integers",
    "Singles",
    "Tables",
    "choose",
    "policy_tables",
    "random_numbers",
]

HOST = torch.device("cpu")
"""Where policies and plans live, whatever the user's default device is."""

NOISE = 4
"""Uniform numbers that every image and layer gets for choosing a place."""

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
Singles: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]


class Tables(NamedTuple):
    """A policy as the arrays in which the sampler looks numbers up.

    Shapes: S sub-policies, L layers, C candidates.

    Attributes:
        mixture: (S,) cumulative probabilities of the sub-policies.
        weights: (S * L * C,) cumulative probabilities of each layer. The layers of all sub-policies
            count from 0; those of layer r are shifted by r, so that all are one sorted array.
        op: (S * L * C,) op of each candidate.
        value: (S * L * C,) value of each candidate.
        layers: Number of layers L.
    """

    mixture: Floats
    weights: Floats
    op: Integers
    value: Floats
    layers: int


class Draw(NamedTuple):
    """Random numbers (B, 1 + 5 L) of B images, and the tables that they choose from."""

    numbers: Singles
    tables: Tables


def policy_tables(mixture: Tensor, weights: Tensor, op: Tensor, value: Tensor) -> Tables:
    """Return the tables of a policy's tensors (S,), (S, L, C), (S, L, C) and (S, L, C)."""
    sums = np.cumsum(mixture.numpy())
    rows = np.cumsum(weights.numpy().reshape(-1, weights.numpy().shape[2]), axis=1)
    rows = rows / rows[:, -1:] + np.arange(len(rows))[:, None]
    layers = weights.numpy().shape[1]
    return Tables(sums / sums[-1], rows.ravel(), op.numpy().ravel(), value.numpy().ravel(), layers)


def random_numbers(count: int, layers: int, generator: torch.Generator | None = None) -> Singles:
    """Draw the numbers (B, 1 + 5 L) of B images with torch, on the CPU.

    They are in [0, 1), with 24 bits. Each image has one for the sub-policy, then one for the
    candidate of each layer, then four for the noise of each layer.
    """
    numbers = np.empty((count, 1 + (1 + NOISE) * layers), np.float32)
    torch.from_numpy(numbers).uniform_(generator=generator)
    return numbers


def choose(numbers: Singles, mixture: Floats, weights: Floats, layers: int) -> Integers:
    """Return the candidates that numbers (B, 1 + 5 L) choose: (B, L) flat indices into (S, L, C).

    The Numba backend compiles this function as it stands.
    """
    uniform = numbers[:, : 1 + layers].astype(np.float64)
    row = np.searchsorted(mixture, uniform[:, :1], "right") * layers + np.arange(layers)
    # Numbers have 24 bits, so row + number is exact and cannot round up into the next row.
    return np.searchsorted(weights, row + uniform[:, 1:], "right")
