"""The plan: one draw from a policy for a batch, the whole of its randomness.

Shapes: B images, L layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from learned_augment.ops import OPS, Op

__all__ = ["HOST", "NOISE", "Plan", "Step"]

HOST = torch.device("cpu")
"""Where policies and plans live, whatever the user's default device is."""

NOISE = 4
"""Uniform numbers that every image and layer gets for choosing a place."""


class Step(NamedTuple):
    """One op at a value for one image; ``noise`` holds four numbers in [0, 1)."""

    op: Op
    value: float
    noise: tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Plan:
    """What happens to each image of a batch: the whole of the randomness, as CPU tensors.

    Attributes:
        ops: Names that ``op`` counts through.
        op: (B, L) int64, which op.
        value: (B, L) float64, at which value, in the op's unit. May require a gradient.
        noise: (B, L, 4) float32 in [0, 1), for the ops that choose a place.
    """

    ops: tuple[str, ...]
    op: Tensor
    value: Tensor
    noise: Tensor

    def __len__(self) -> int:
        return self.op.shape[0]

    def rows(self, index: Sequence[int] | Tensor | slice) -> "Plan":
        """Return the plan of the images that ``index`` picks, in its order."""
        return Plan(self.ops, self.op[index], self.value[index], self.noise[index])

    def steps(self, image: int) -> list[Step]:
        """Return what happens to one image, without the steps that change nothing."""
        rows = zip(
            self.op[image].tolist(),
            self.value[image].tolist(),
            self.noise[image].tolist(),
            strict=True,
        )
        steps = [Step(OPS[self.ops[op]], value, tuple(noise)) for op, value, noise in rows]
        return [step for step in steps if step.value != step.op.identity_value]
