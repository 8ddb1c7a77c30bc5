"""The plan: one draw from a policy for a batch, with all of its randomness.

Shapes: B images, L layers.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from learned_augment.ops import OPS, Op
from learned_augment.sampling import NOISE, Draw, choose

__all__ = ["Plan", "Step"]


class Step(NamedTuple):
    """One op at a value for one image; ``noise`` holds four numbers in [0, 1)."""

    op: Op
    value: float
    noise: tuple[float, float, float, float]


class Plan:
    """The ops of each image of a batch, as CPU tensors.

    Args:
        ops: Names that ``op`` counts through.
        op: (B, L) int64, which op.
        value: (B, L) float64, at which value, in the op's unit. May require a gradient.
        noise: (B, L, 4) float32 in [0, 1), for the ops that choose a place.

    Attributes:
        ops: As given.
        draw: The random numbers of a plan that ``Policy.sample`` drew, else None. Compiled code
            looks them up itself; ``op``, ``value`` and ``noise`` are looked up when first read.
    """

    def __init__(self, ops: tuple[str, ...], op: Tensor, value: Tensor, noise: Tensor) -> None:
        self.ops = ops
        self.draw: Draw | None = None
        self._tensors = (op, value, noise)

    @classmethod
    def drawn(cls, ops: tuple[str, ...], draw: Draw) -> "Plan":
        """Return the plan that random numbers choose from a policy's tables."""
        plan = cls.__new__(cls)
        plan.ops, plan.draw = ops, draw
        return plan

    @cached_property
    def _tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        assert self.draw is not None
        numbers, tables = self.draw
        candidates = choose(numbers, tables.mixture, tables.weights, tables.layers)
        noise = numbers[:, 1 + tables.layers :].reshape(len(numbers), tables.layers, NOISE)
        op, value = tables.op[candidates], tables.value[candidates]
        return torch.from_numpy(op), torch.from_numpy(value), torch.from_numpy(noise)

    @property
    def op(self) -> Tensor:
        """(B, L) int64: which of ``ops``."""
        return self._tensors[0]

    @property
    def value(self) -> Tensor:
        """(B, L) float64: at which value, in the op's unit."""
        return self._tensors[1]

    @property
    def noise(self) -> Tensor:
        """(B, L, 4) float32 in [0, 1)."""
        return self._tensors[2]

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient is asked for in the values."""
        return self.draw is None and self.value.requires_grad

    def __len__(self) -> int:
        return len(self.draw.numbers) if self.draw is not None else len(self.op)

    def rows(self, index: Sequence[int] | Tensor | slice) -> "Plan":
        """Return the plan of the images that ``index`` picks, in its order."""
        return Plan(self.ops, self.op[index], self.value[index], self.noise[index])

    def steps(self, image: int) -> list[Step]:
        """Return the steps of one image, without those that change nothing."""
        rows = zip(
            self.op[image].tolist(),
            self.value[image].tolist(),
            self.noise[image].tolist(),
            strict=True,
        )
        steps = [Step(OPS[self.ops[op]], value, tuple(noise)) for op, value, noise in rows]
        return [step for step in steps if step.value != step.op.identity_value]

    def __repr__(self) -> str:
        images, layers = self.op.shape
        return f"Plan({images} images, {layers} layers, {len(self.ops)} ops)"
