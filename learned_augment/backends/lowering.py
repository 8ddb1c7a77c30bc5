"""Lowering of a plan: its ops sorted into groups, or turned into instructions, on the CPU."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from learned_augment.ops import (
    BUILT_IN,
    OPS,
    Erase,
    Geometric,
    Kind,
    Op,
    Opcode,
    Pointwise,
    Resample,
)
from learned_augment.ops.array import Array, Noise
from learned_augment.ops.blend import luma
from learned_augment.ops.op import GRAY
from learned_augment.policy import Plan

__all__ = [
    "WIDTH",
    "Colors",
    "Floats",
    "Group",
    "Levels",
    "boxes",
    "colors",
    "compiled_opcode",
    "gray_levels",
    "identity_values",
    "instructions",
    "layer_groups",
    "level_table",
    "matrices",
    "outside_colors",
    "rectangle",
]

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Levels: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
Colors: TypeAlias = np.ndarray[Any, Any]

WIDTH = 8
"""Numbers of an instruction: what to run, then up to seven parameters."""


@dataclass(frozen=True)
class Group:
    """The images of a layer that one op acts on.

    Attributes:
        op: The op.
        index: (n,) int64 CPU tensor, which images of the batch.
        value: (n,) float64 tensor, in the op's unit; keeps its gradient.
        noise: (n, 4) float64 tensor.
    """

    op: Op
    index: Tensor
    value: Tensor
    noise: Tensor

    @property
    def arrays(self) -> tuple[Floats, tuple[Floats, ...]]:
        """Value (n,) and four noise arrays (n,) for NumPy."""
        return self.value.detach().cpu().numpy(), tuple(self.noise.numpy().T)


def layer_groups(plan: Plan, layer: int) -> dict[type[Kind], list[Group]]:
    """Return the groups of one layer by their kind, without the images that no op changes.

    Backends that run the definition of an op on many images at once use these groups.
    """
    op, value, noise = plan.op[:, layer].numpy(), plan.value[:, layer], plan.noise[:, layer]
    # A differentiable value keeps its op even where it changes nothing: its gradient counts.
    acting = value.requires_grad | (value.detach().numpy() != identity_values(plan.op_rows)[op])
    order = np.flatnonzero(acting)
    order = order[op[order].argsort(kind="stable")]
    counts = np.bincount(op[order])
    which = np.flatnonzero(counts)
    index, sizes = torch.from_numpy(order), counts[which].tolist()
    parts = (part.split(sizes) for part in (index, value[index], noise[index].double()))
    groups: dict[type[Kind], list[Group]] = defaultdict(list)
    for number, rows, values, places in zip(which.tolist(), *parts, strict=True):
        row = OPS[plan.ops[number]]
        groups[type(row.kind)].append(Group(row, rows, values, places))
    return groups


@lru_cache(maxsize=64)
def identity_values(ops: tuple[Op, ...]) -> Floats:
    """Return the value at which each op changes nothing; NaN for an op without one."""
    values = (op.identity_value for op in ops)
    return np.array([np.nan if value is None else value for value in values])


def compiled_opcode(op: Op) -> Opcode:
    """Return an op's opcode; ``DEFINITION`` if its kind is not the one that the opcode computes."""
    return op.opcode if (op.opcode, op.kind) in _COMPILED else Opcode.DEFINITION


_COMPILED = {(op.opcode, op.kind) for op in BUILT_IN}


def matrices(groups: Sequence[Group], width: int, height: int) -> Floats:
    """Return the coefficients (a, b, c, d, e, f) of geometric groups, (n, 6) float64."""
    return np.concatenate([_matrix(group, width, height) for group in groups])


def _matrix(group: Group, width: int, height: int) -> Floats:
    kind = group.op.kind
    assert isinstance(kind, Geometric)
    value, noise = group.arrays
    return _columns(kind.matrix(value, noise, width, height), len(value))


def _columns(parameters: Sequence[Any], count: int) -> Floats:
    """Return parameters, each a number or an array (n,), side by side."""
    out = np.empty((count, len(parameters)))
    for column, parameter in enumerate(parameters):
        out[:, column] = parameter
    return out


def boxes(group: Group, width: int, height: int, size: int | None) -> Floats:
    """Return the rectangles (x0, y0, x1, y1) that a group erases or crops, (n, 4)."""
    value, noise = group.arrays
    kind = group.op.kind
    assert isinstance(kind, Erase | Resample)
    return _columns(rectangle(kind, value, noise, width, height, size), len(value))


def rectangle(
    kind: Erase | Resample, value: Array, noise: Noise, width: int, height: int, size: int | None
) -> tuple[Array, Array, Array, Array]:
    """Return the edges (x0, y0, x1, y1) of what an op erases, or of what it crops.

    A cutout is a share of the output size, or of the shorter side. A crop has the aspect of the
    result: a square if an output size is given.
    """
    if isinstance(kind, Erase):
        return kind.box(value, noise, width, height, size or min(width, height))
    return kind.box(value, noise, width, height, 1.0 if size else width / height)


def level_table(kind: Pointwise, value: Floats, statistics: Any = None) -> Levels:
    """Return the new level of each of 256 levels, (n, 256), at values (n,).

    With the statistics of one image, and one value, n is the number of rows of the statistics.
    """
    table = kind.level(value[:, None], np.arange(256.0), statistics)
    shape = np.broadcast_shapes(np.shape(table), (len(value), 256))
    return np.broadcast_to(table, shape).clip(0, 255).astype(np.uint8)


def gray_levels(channels: int) -> Floats:
    """Return the papers' gray, 0 to 255, for images of 1 or 3 channels."""
    levels = np.array(GRAY)
    return (levels if channels == 3 else luma(levels.reshape(3, 1, 1)).reshape(1)).astype(float)


def outside_colors(groups: Sequence[Group], fill: Tensor | None, gray: Tensor) -> Tensor:
    """Return what shows outside each moved image, (n, C): ``fill``, 0, or the papers' gray."""
    outside = torch.zeros_like(gray) if fill is None else fill.expand_as(gray)
    rows = []
    for group in groups:
        kind = group.op.kind
        padded = isinstance(kind, Geometric) and kind.fill == "gray" and fill is None
        rows.append((gray if padded else outside).expand(len(group.index), -1))
    return torch.cat(rows)


@lru_cache(maxsize=64)
def colors(channels: int, fill: tuple[float, ...] | None, dtype: np.dtype[Any]) -> Colors:
    """Return the colors of kernels, (3, C): outside a moved image, around a padded crop, erased.

    They are kept for later calls: never write to them. ``fill`` is in the images' own scale: 0 to
    255 for uint8, else 0 to 1.
    """
    gray = gray_levels(channels) / (1 if dtype == np.uint8 else 255)
    user = np.broadcast_to(0.0 if fill is None else fill, channels)
    return np.array([user, gray if fill is None else user, gray]).astype(dtype)


def instructions(plan: Plan, width: int, height: int) -> tuple[Floats, Levels]:
    """Return the instructions (B, L, 8) of uint8 images of one size and the tables (T, 256).

    The Triton kernel runs them. The Numba backend compiles the same definitions and writes
    instructions of its own, see ``numba.lowering``.

    An instruction is an opcode, then its parameters. ``AFFINE`` has six coefficients and 1 where
    gray shows outside. ``ERASE`` has the rectangle, ``TABLE`` the row of its table, any other the
    value. Ops at their identity value or without compiled arithmetic become ``IDENTITY``.
    """
    op, value = plan.op.flatten().numpy(), plan.value.detach().flatten().numpy()
    noise = plan.noise.flatten(0, 1).numpy().astype(np.float64)
    out, tables, count = np.zeros((len(op), WIDTH)), [np.zeros((1, 256), np.uint8)], 1
    acting = value != identity_values(plan.op_rows)[op]
    for number in np.unique(op[acting]).tolist():
        row, rows = OPS[plan.ops[number]], np.flatnonzero(acting & (op == number))
        kind, values, places = row.kind, value[rows], tuple(noise[rows].T)
        code: float = compiled_opcode(row)
        if code == Opcode.DEFINITION:
            continue
        parameters: Sequence[Any] = [values]
        if isinstance(kind, Geometric):
            gray = float(kind.fill == "gray")
            parameters = [*kind.matrix(values, places, width, height), gray]
        elif isinstance(kind, Erase):
            parameters = rectangle(kind, values, places, width, height, None)
        elif isinstance(kind, Pointwise) and kind.statistics == "none":
            code, parameters = Opcode.TABLE, [np.arange(count, count + len(rows))]
            tables.append(level_table(kind, values))
            count += len(rows)
        out[rows, 0] = code
        out[rows, 1 : 1 + len(parameters)] = _columns(parameters, len(rows))
    return out.reshape(*plan.op.shape, WIDTH), np.concatenate(tables)
