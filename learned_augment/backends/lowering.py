"""Plan -> program: every step resolved through its op's row into eight numbers for the kernels.

Host side, NumPy only. A step is (kind, p0, ..., p6): for ``MOVE`` the matrix and 1 where grey
shows outside, for ``ERASE`` the rectangle, for ``TABLE`` its row of the tables, else p0 the value.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from learned_augment.ops import OPS, Erase, Geometric, Op, Pointwise
from learned_augment.plan import Plan, Step

__all__ = ["Book", "book"]

KEEP, TABLE, AUTO_CONTRAST, EQUALIZE, CONTRAST, MOVE, COLOUR, SHARPEN, ERASE, DRAWN, OTHER = range(
    11
)
"""Kinds of steps; up to ``CONTRAST`` they only compose tables. No program has the last two."""

NEW, FLIP, PAD_CROP, CUTOUT, CUTOUT_CLIPPED = range(OTHER + 1, OTHER + 6)
"""Kinds of a policy's candidates only: one that was never chosen before and has yet to be resolved,
and those in ``PLACED``."""

INVERT, SOLARIZE, POSTERIZE, BRIGHTEN = range(OTHER + 6, OTHER + 10)
"""Kinds in programs for floats only, which no table can map."""

PLACED = {
    "Flip": FLIP,
    "PadCrop": PAD_CROP,
    "Cutout": CUTOUT,
    "CutoutClipped": CUTOUT_CLIPPED,
}
"""Ops whose places ``choose`` draws itself; p0 is the value."""

WIDTH = 8
CAPACITY = 4096
"""Steps that a book holds before it starts afresh."""

_NAMED = {
    "AutoContrast": AUTO_CONTRAST,
    "Equalize": EQUALIZE,
    "Contrast": CONTRAST,
    "Color": COLOUR,
    "Sharpness": SHARPEN,
}
"""Ops whose pixels the kernels compute themselves. Any other op of a law that needs the image's
statistics or a degenerate image is ``OTHER``: its images take the plain engine."""

_NAMED_FLOATS = {
    **_NAMED,
    "Invert": INVERT,
    "Solarize": SOLARIZE,
    "Posterize": POSTERIZE,
    "Brightness": BRIGHTEN,
}
"""The same for floats."""

Whole: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Levels: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]


class Book:
    """The resolved steps of one set of ops at one image size, each computed once.

    Args:
        ops: Names that a plan's ``op`` counts through.
        width: Of the images, pixels.
        height: Of the images, pixels.
        floats: Whether the images are floats: their programs have no tables.

    Attributes:
        tables: (T, 256), of the steps so far.
    """

    def __init__(self, ops: tuple[str, ...], width: int, height: int, floats: bool = False) -> None:
        self.ops, self._tables = [OPS[name] for name in ops], not floats
        self._named = _NAMED_FLOATS if floats else _NAMED
        self.width, self.height = width, height
        self._clear()

    def batch(self, plan: Plan) -> tuple[Floats, Levels]:
        """Return the steps (B, L, 8) and the tables (T, 256) that they name."""
        if len(self._steps) + len(self._single) > CAPACITY:
            self._clear()
        op, value = plan.op.reshape(-1).numpy(), plan.value.reshape(-1).numpy()
        steps = self._look_up(op, value)
        drawn = np.flatnonzero(steps[:, 0] == DRAWN)
        if len(drawn):
            noise = plan.noise.reshape(-1, 4).numpy().astype(np.float64)
            for number in np.unique(op[drawn]):
                rows = drawn[op[drawn] == number]
                places = tuple(noise[rows].T)
                steps[rows] = self._rows(self.ops[number], value[rows], places, len(rows))
        return steps.reshape(*plan.op.shape, WIDTH), self.tables

    def image(self, steps: Sequence[Step]) -> tuple[Floats, Levels] | None:
        """Return the steps (1, L, 8) of one image and the tables; None if one is ``OTHER``."""
        if len(self._steps) + len(self._single) > CAPACITY:
            self._clear()
        rows = np.empty((1, len(steps), WIDTH))
        for row, (op, value, noise) in zip(rows[0], steps, strict=True):
            row[:] = self.step(op, value)
            if row[0] == OTHER:
                return None
            if row[0] == DRAWN:
                self.place(row, op, value, noise)
        return rows, self.tables

    def step(self, op: Op, value: float) -> Floats:
        """Return the step (8,) of one op at one value, as far as nothing is drawn."""
        row = self._single.get((op.name, value))
        if row is None:
            row = self._single[op.name, value] = self._resolve(op, np.array([value]))[0]
        return row

    def place(self, row: Floats, op: Op, value: float, noise: Sequence[float]) -> None:
        """Write a step (8,) whose place is drawn."""
        numbers = self._placed(op, value, noise)
        row[: len(numbers)] = numbers

    def _placed(self, op: Op, value: Any, noise: Any) -> tuple[Any, ...]:
        """Return kind and parameters of a step that moves or erases; numbers or arrays (n,)."""
        law, width, height = op.kind, self.width, self.height
        if isinstance(law, Geometric):
            return (MOVE, *law.matrix(value, noise, width, height), float(law.fill == "grey"))
        assert isinstance(law, Erase)
        return (ERASE, *law.box(value, noise, width, height, min(width, height)))

    def _clear(self) -> None:
        self._single: dict[tuple[str, float], Floats] = {}
        self._pairs: Any = np.empty(0, np.complex128)
        self._steps: Floats = np.empty((0, WIDTH))
        self.tables: Levels = np.empty((0, 256), np.uint8)

    def _look_up(self, op: Whole, value: Floats) -> Floats:
        """Return a copy of the steps (n, 8) of ops and values (n,)."""
        # Complex numbers are ordered as pairs: one sorted array finds op and value together.
        pairs = op + 1j * value
        row = self._pairs.searchsorted(pairs)
        if len(self._pairs) == 0 or (self._pairs.take(row, mode="clip") != pairs).any():
            self._add(pairs)
            row = self._pairs.searchsorted(pairs)
        found: Floats = self._steps[row]
        return found

    def _add(self, pairs: Any) -> None:
        """Resolve the pairs of op and value that are new, op by op."""
        new = np.setdiff1d(pairs, self._pairs)
        op, value = new.real.astype(np.int64), new.imag.copy()
        steps = [self._resolve(self.ops[n], value[op == n]) for n in np.unique(op)]
        pairs = np.concatenate([self._pairs, new])
        order = pairs.argsort()
        self._pairs, self._steps = pairs[order], np.concatenate([self._steps, *steps])[order]

    def _resolve(self, op: Op, values: Floats) -> Floats:
        """Return the steps (n, 8) of one op at ``values`` (n,), as far as nothing is drawn."""
        count = len(values)
        nothing = (0.0, 0.0, 0.0, 0.0)
        drawn = op.random and isinstance(op.kind, Geometric | Erase)
        steps = _steps(DRAWN, count) if drawn else self._rows(op, values, nothing, count)
        steps[values == op.identity_value, 0] = KEEP
        return steps

    def _rows(self, op: Op, values: Any, noise: Any, count: int) -> Floats:
        """Return the steps (n, 8) of one op; values and noise are numbers or arrays (n,)."""
        law = op.kind
        if isinstance(law, Geometric | Erase):
            kind, *parameters = self._placed(op, values, noise)
            return _steps(kind, count, *parameters)
        if isinstance(law, Pointwise) and law.statistics == "none" and self._tables:
            start = len(self.tables)
            self.tables = np.concatenate([self.tables, law.table(values, None).astype(np.uint8)])
            return _steps(TABLE, count, np.arange(start, start + count))
        return _steps(self._named.get(op.name, OTHER), count, values)


def _steps(kind: int, count: int, *parameters: Any) -> Floats:
    steps = np.zeros((count, WIDTH))
    steps[:, 0] = kind
    for column, parameter in enumerate(parameters, 1):
        steps[:, column] = parameter
    return steps


@lru_cache(maxsize=32)
def book(ops: tuple[str, ...], width: int, height: int, thread: int, floats: bool = False) -> Book:
    """Return the book of ``ops`` at a size; one a thread, so that growing needs no lock."""
    return Book(ops, width, height, floats)
