"""What a policy's random numbers choose: its chances as running sums, made once and looked up.

Shapes: S sub-policies, L layers, C candidates, B images. One image takes 1 + 5 L numbers in [0, 1)
of 24 bits: one for the sub-policy, one for each layer's candidate, four for each layer's place.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from learned_augment.ops import OPS, Op
from learned_augment.plan import HOST, NOISE, Plan, Step

__all__ = ["Chances", "random_numbers", "refill"]

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


def random_numbers(shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
    """Draw on the CPU, in float32, whatever the default device and dtype are."""
    return torch.rand(shape, generator=generator, dtype=torch.float32, device=HOST)


def refill(numbers: Tensor, generator: torch.Generator | None = None) -> None:
    """Draw into a tensor of ``random_numbers``: the same numbers without a new tensor."""
    if generator is None:  # to name one takes a tenth of a microsecond
        numbers.uniform_()
    else:
        numbers.uniform_(generator=generator)


class Chances:
    """Looks up what numbers choose; equal only to itself.

    Attributes:
        numbers: How many an image takes, 1 + 5 L.
        mixture_sums: (S,) running sums of the chances of sub-policies.
        weight_sums: (S * L, C) running sums of every layer, those of layer r shifted by r: all of
            them in a row are one sorted array.
        op: (S * L * C,) int64, which of ``ops`` a candidate applies.
        value: (S * L * C,) float64, at which value.
        candidates: Op and value likewise; None where they change nothing.
    """

    def __init__(
        self, ops: tuple[str, ...], mixture: Tensor, weights: Tensor, op: Tensor, value: Tensor
    ) -> None:
        self.ops, self.layers = ops, weights.shape[1]
        self.numbers = 1 + (1 + NOISE) * self.layers
        sums: Floats = np.cumsum(mixture.numpy())
        self.mixture_sums: Floats = sums / sums[-1]
        sums = np.cumsum(weights.numpy().reshape(-1, weights.shape[2]), axis=1)
        self.weight_sums: Floats = sums / sums[:, -1:] + np.arange(len(sums))[:, None]
        self.op, self.value = op.numpy().reshape(-1), value.numpy().reshape(-1)
        rows = [OPS[name] for name in ops]
        self.candidates: list[tuple[Op, float] | None] = [
            None if at == rows[which].identity_value else (rows[which], at)
            for which, at in zip(self.op.tolist(), self.value.tolist(), strict=True)
        ]
        self._lists = self.mixture_sums.tolist(), self.weight_sums.reshape(-1).tolist()

    def plan(self, numbers: Tensor) -> Plan:
        """Return what numbers (B, 1 + 5 L) choose for B images."""
        layers = self.layers
        uniform = numbers[:, : 1 + layers].numpy().astype(np.float64)
        s = np.searchsorted(self.mixture_sums, uniform[:, 0], side="right")
        row = s[:, None] * layers + np.arange(layers)
        # Numbers have 24 bits, so row + number is exact and cannot round up into the next row.
        sums = self.weight_sums.reshape(-1)
        flat = np.searchsorted(sums, row + uniform[:, 1:], side="right")
        op, value = torch.from_numpy(self.op[flat]), torch.from_numpy(self.value[flat])
        return Plan(self.ops, op, value, numbers[:, 1 + layers :].unflatten(1, (layers, NOISE)))

    def steps(self, numbers: Sequence[float]) -> list[Step]:
        """Return what 1 + 5 L numbers choose for one image: ``plan(...).steps(0)``, faster."""
        layers, (mixture_sums, weight_sums) = self.layers, self._lists
        width = self.weight_sums.shape[1]
        row = bisect_right(mixture_sums, numbers[0]) * layers
        steps, noise = [], 1 + layers
        for layer in range(layers):
            low = (row + layer) * width
            flat = bisect_right(weight_sums, row + layer + numbers[1 + layer], low, low + width)
            candidate = self.candidates[flat]
            if candidate is not None:
                a, b, c, d = numbers[noise : noise + NOISE]
                steps.append(Step(*candidate, (a, b, c, d)))
            noise += NOISE
        return steps
