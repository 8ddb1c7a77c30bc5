"""Compiled: random numbers -> which candidates they choose, and their steps.

The places of four ops are drawn here, too, in the same arithmetic as in their rows.
"""

from collections.abc import Callable
from math import floor
from typing import Any, TypeAlias

import numpy as np

from learned_augment.engines.compiling import checksum, compiled, kept
from learned_augment.engines.hand import CUTOUT, FLIP, PAD_CROP
from learned_augment.engines.program import ERASE, KEEP, MOVE, Floats, Whole
from learned_augment.ops.region import CENTRE_WINDOW
from learned_augment.plan import NOISE

__all__ = ["choose"]

Singles: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
Choose: TypeAlias = Callable[[Singles, Floats, Floats, Floats, int, int, Whole, Floats], float]


@compiled
def _offset(padding: float, noise: float) -> float:
    pixels = floor(padding + 0.5)
    return floor(noise * (2 * pixels + 1)) - pixels


@compiled
def _from_start(centre: float, size: float, length: int) -> tuple[float, float]:
    start = floor(max(centre - size / 2, 0.0))
    return start, min(floor(start + size) + 1, length)


@compiled
def _around(noise: float, half: float, length: int, side: int) -> tuple[float, float]:
    window = min(length, side * CENTRE_WINDOW)
    centre = (length - window) / 2 + noise * window
    return max(floor(centre - half), 0), min(floor(centre + half) + 1, length)


@compiled
def _place(row: Floats, kind: float, value: float, noise: Singles, width: int, height: int) -> None:
    """Write the step (8,) of a candidate of a kind in ``hand.PLACED``."""
    x, y = np.float64(noise[0]), np.float64(noise[1])
    row[:] = 0
    if kind == FLIP:
        row[0], row[1], row[3], row[5] = MOVE if x < value else KEEP, -1, width, 1
    elif kind == PAD_CROP:
        row[0], row[1], row[5], row[7] = MOVE, 1, 1, 1
        row[3], row[6] = _offset(value * width, x), _offset(value * height, y)
    elif kind == CUTOUT:
        row[0] = ERASE
        row[1], row[3] = _from_start(x * width, value * width, width)
        row[2], row[4] = _from_start(y * height, value * width, height)
    else:
        side = min(width, height)
        row[0] = ERASE
        row[1], row[3] = _around(x, value * side / 2, width, side)
        row[2], row[4] = _around(y, value * side / 2, height, side)


def _compiled_choose(version: int) -> Choose:
    @kept
    def choose(
        numbers: Singles,
        mixture_sums: Floats,
        weight_sums: Floats,
        candidates: Floats,
        width: int,
        height: int,
        chosen: Whole,
        program: Floats,
    ) -> float:
        layers, count, highest = chosen.shape[1], weight_sums.shape[1], 0.0
        if not version:
            return highest
        for i in range(len(numbers)):
            drawn = numbers[i]
            first = np.searchsorted(mixture_sums, np.float64(drawn[0]), side="right") * layers
            for layer in range(layers):
                sums, number = weight_sums[first + layer], np.float64(drawn[1 + layer])
                place = np.searchsorted(sums, first + layer + number, side="right")
                chosen[i, layer] = (first + layer) * count + place
                step, row = candidates[chosen[i, layer]], program[i, layer]
                if step[0] >= FLIP:
                    noise = 1 + layers + NOISE * layer
                    _place(row, step[0], step[1], drawn[noise : noise + NOISE], width, height)
                else:
                    row[:] = step
                highest = max(highest, row[0])
        return highest

    return choose


_NAMES = (
    "engines/choose",
    "engines/compiling",
    "engines/hand",
    "engines/program",
    "ops/region",
    "plan",
)

choose: Choose = _compiled_choose(checksum(*(f"{name}.py" for name in _NAMES)))
"""Do what ``Chances.plan`` does; return the highest kind of step that was written.

Arguments: numbers (B, 1 + 5 L) float32; mixture_sums (S,) and weight_sums (S * L, C) of
``Chances``; candidates (S * L * C, 8) float64, their steps, or a kind of ``hand.PLACED`` and the
value; width and height of the images, pixels; chosen (B, L) int64, where the chosen candidates are
written; program (B, L, 8) float64, where their steps are written.
"""
