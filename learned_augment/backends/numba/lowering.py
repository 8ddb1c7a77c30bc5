"""Compiled code that turns a plan into the instructions of one image."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from learned_augment.backends.lowering import Floats, compiled_opcode, identity_values
from learned_augment.backends.numba.jit import compile_definition, compiled
from learned_augment.backends.numba.opcodes import AFFINE, ERASE
from learned_augment.ops import BUILT_IN, Erase, Geometric, Op, Opcode, Pointwise
from learned_augment.policy import Plan
from learned_augment.sampling import NOISE, Integers, Singles, choose

__all__ = ["PlanArrays", "lower", "new_level", "plan_arrays"]

Compiled: TypeAlias = Callable[..., Any]

CODE, NUMBER, GRAY, IDENTITY = range(4)
"""Columns of ``PlanArrays.rows``."""

_AFFINE = [op for op in BUILT_IN if op.opcode == Opcode.AFFINE]
_ERASE = [op for op in BUILT_IN if op.opcode == Opcode.ERASE]
_LEVEL = [
    op
    for op in BUILT_IN
    if isinstance(op.kind, Pointwise) and op.opcode > 0 and op.kind.statistics != "histogram"
]
_NUMBERS = {op.kind: float(n) for ops in (_AFFINE, _ERASE) for n, op in enumerate(ops)}


def _choice(numbers: Sequence[float], functions: Sequence[Compiled]) -> Compiled:
    """Return a compiled function of a number and five arguments; the number picks the function."""
    first = functions[0]

    @compiled
    def pick(number: Any, a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
        return first(a, b, c, d, e)

    for number, function in zip(numbers[1:], functions[1:], strict=True):
        pick = _link(number, function, pick)
    return pick


def _link(own: float, function: Compiled, others: Compiled) -> Compiled:
    @compiled
    def pick(number: Any, a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
        if number == own:
            return function(a, b, c, d, e)
        return others(number, a, b, c, d, e)

    return pick


def _matrix(op: Op) -> Compiled:
    assert isinstance(op.kind, Geometric)
    matrix = compile_definition(op.kind.matrix)  # type: ignore[arg-type]

    @compiled
    def coefficients(value: Any, noise: Any, width: Any, height: Any, side: Any) -> Any:
        a, b, c, d, e, f = matrix(value, noise, width, height)
        return float(a), float(b), float(c), float(d), float(e), float(f)

    return coefficients


def _box(op: Op) -> Compiled:
    assert isinstance(op.kind, Erase)
    box = compile_definition(op.kind.box)  # type: ignore[arg-type]

    @compiled
    def edges(value: Any, noise: Any, width: Any, height: Any, side: Any) -> Any:
        x0, y0, x1, y1 = box(value, noise, width, height, side)
        return float(x0), float(y0), float(x1), float(y1)

    return edges


def _level(op: Op) -> Compiled:
    assert isinstance(op.kind, Pointwise)
    level = compile_definition(op.kind.level)  # type: ignore[arg-type]

    @compiled
    def mapped(value: Any, old: Any, statistics: Any, d: Any, e: Any) -> Any:
        return float(level(value, old, statistics))

    return mapped


_matrices = _choice(range(len(_AFFINE)), [_matrix(op) for op in _AFFINE])
_boxes = _choice(range(len(_ERASE)), [_box(op) for op in _ERASE])
_levels = _choice([float(op.opcode) for op in _LEVEL], [_level(op) for op in _LEVEL])


@compiled
def new_level(code: float, value: float, level: float, statistics: float) -> float:
    """Return what a pointwise op that needs no histogram makes of a level."""
    mapped: float = _levels(code, value, level, statistics, 0.0, 0.0)
    return mapped


choose_candidates = compiled(choose)


class PlanArrays(NamedTuple):
    """A plan as arrays, for compiled code.

    Attributes:
        numbers: (B, 1 + 5 L), as the sampler draws them.
        mixture: (S,), as in ``sampling.Tables``. Empty for a plan whose ops are given: its
            candidates are the ops of the images in order.
        weights: As in ``sampling.Tables``.
        op: Which row of ``rows`` a candidate applies.
        value: At which value.
        rows: (O, 4), the ops: opcode, number among the ops of that opcode, 1 if gray shows outside,
            identity value. An op without compiled arithmetic has the opcode ``DEFINITION``.
    """

    numbers: Singles
    mixture: Floats
    weights: Floats
    op: Integers
    value: Floats
    rows: Floats


@compiled
def lower(plan: PlanArrays, image: int, width: int, height: int, out: Floats) -> None:
    """Write the instructions of one image.

    An instruction is (8,) float64: the opcode, then its parameters. ``AFFINE`` has six coefficients
    and 1 where gray shows outside. ``ERASE`` has the rectangle. Any other has the value.

    Args:
        plan: The plan of the batch.
        image: Which image.
        width: Of the image.
        height: Of the image.
        out: (L, 8), written to. Ops at their identity value or without compiled arithmetic become
            ``IDENTITY``.
    """
    layers, drawn, op, value, rows = len(out), plan.numbers[image], plan.op, plan.value, plan.rows
    if plan.mixture.size:
        own = plan.numbers[image : image + 1]
        candidates = choose_candidates(own, plan.mixture, plan.weights, layers)[0]
    else:
        candidates = np.arange(image * layers, (image + 1) * layers)
    for layer in range(layers):
        candidate = candidates[layer]
        row, at = rows[op[candidate]], value[candidate]
        instruction, code = out[layer], row[CODE]
        instruction[:] = 0.0
        if at == row[IDENTITY] or code <= 0:
            continue
        instruction[0] = code
        if code in (AFFINE, ERASE):
            first = 1 + layers + NOISE * layer
            noise = (
                np.float64(drawn[first]),
                np.float64(drawn[first + 1]),
                np.float64(drawn[first + 2]),
                np.float64(drawn[first + 3]),
            )
            if code == AFFINE:
                a, b, c, d, e, f = _matrices(row[NUMBER], at, noise, width, height, 0)
                instruction[1], instruction[2], instruction[3] = a, b, c
                instruction[4], instruction[5], instruction[6] = d, e, f
                instruction[7] = row[GRAY]
            else:
                side = min(width, height)
                x0, y0, x1, y1 = _boxes(row[NUMBER], at, noise, width, height, side)
                instruction[1], instruction[2], instruction[3], instruction[4] = x0, y0, x1, y1
        else:
            instruction[1] = at


def plan_arrays(plan: Plan) -> tuple[Any, ...]:
    """Return the fields of ``PlanArrays``; a plain tuple is faster to pass to compiled code."""
    rows = _rows_of(plan.op_rows)
    if (draw := plan.draw) is not None:
        numbers, (mixture, weights, op, value, _) = draw
        return numbers, mixture, weights, op, value, rows
    noise = plan.noise.numpy().reshape(len(plan), -1)
    numbers = np.empty((len(plan), 1 + plan.op.shape[1] + noise.shape[1]), np.float32)
    numbers[:, 1 + plan.op.shape[1] :] = noise
    op, value = plan.op.numpy().reshape(-1), plan.value.detach().numpy().reshape(-1)
    return numbers, _NONE, _NONE, op, value, rows


_NONE: Floats = np.empty(0)


@lru_cache(maxsize=64)
def _rows_of(ops: tuple[Op, ...]) -> Floats:
    """Return rows of the op table as numbers, (O, 4), as in ``PlanArrays``."""
    numbers = np.zeros((len(ops), 4))
    for row, op in zip(numbers, ops, strict=True):
        row[CODE] = compiled_opcode(op)
        row[NUMBER] = _NUMBERS.get(op.kind, 0.0)
        row[GRAY] = isinstance(op.kind, Geometric) and op.kind.fill == "gray"
    numbers[:, IDENTITY] = identity_values(ops)
    return numbers
